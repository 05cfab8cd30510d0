//! What reads modules of others, over some thousand damaged inputs; `cargo xtask fuzz zip` and `manifest` try as many as they may.
use std::process::Command;

use serde_json::Value as Json;

fn fuzz(target: &str) -> Json {
    let folder = tempfile::tempdir().expect("a folder");
    let mut fuzz = Command::new(env!("CARGO_BIN_EXE_manta-fuzz"));
    fuzz.arg(target)
        .args(["--inputs", "6000", "--seconds", "60", "--seed", "7", "--json", "--corpus"])
        .arg(folder.path());
    let ended = fuzz.output().expect("it starts");
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{told}{}", String::from_utf8_lossy(&ended.stderr));
    serde_json::from_str(&told).expect("it prints JSON")
}

#[test]
fn damaged_archives_are_refused_or_seen_alike_by_every_reader() {
    let told = fuzz("zip");
    assert!(told["inputs"].as_u64() >= Some(6000) && told["ways"].as_u64() >= Some(20), "{told}");
}

#[test]
fn damaged_manifests_are_refused_or_have_one_form() {
    let told = fuzz("manifest");
    assert!(told["inputs"].as_u64() >= Some(6000) && told["ways"].as_u64() >= Some(100), "{told}");
}
