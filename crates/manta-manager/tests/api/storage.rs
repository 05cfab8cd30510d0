//! Stored data that is damaged is named and never served; a full disk is said, and passes by itself.
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use http::{Method, StatusCode};
use manta_types::Digest;
use serde_json::json;

use crate::harness::{LIMIT, Manager, chain, tcp, until};
use crate::node::{connect, hello};

/// Flips a bit in the middle of a stored blob's file.
fn damage(dir: &Path, digest: &Digest) {
    let name = digest.to_string();
    let path = dir.join("data/blobs").join(&name[..2]).join(&name);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
}

fn set_aside(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("data/blobs/quarantine")).unwrap().count()
}

#[tokio::test]
async fn a_damaged_blob_is_said_set_aside_and_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    for (range, count) in [(None, 1), (Some("bytes=0-1"), 2)] {
        let blob = manager.put_blob(b"a small value").await;
        damage(dir.path(), &blob.digest);
        let path = format!("{}/blobs/{}", crate::harness::BASE, blob.digest);
        let bearer = format!("Bearer {}", manager.user);
        let headers = [Some(("authorization", bearer.as_str())), range.map(|range| ("range", range))];
        let headers: Vec<_> = headers.into_iter().flatten().collect();
        let got = manager.raw(Method::GET, &path, &headers, Bytes::new()).await;
        assert_eq!((got.status, got.code().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "MANTA-0702"), "{got:?}");
        assert_eq!(set_aside(dir.path()), count);
        let gone = manager.get(&format!("/blobs/{}", blob.digest)).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
        let again = manager.put_blob(b"a small value").await;
        assert_eq!(manager.get(&format!("/blobs/{}", again.digest)).await.body, "a small value");
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_large_damaged_blob_breaks_off_before_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let blob = manager.put_blob(&vec![7; (3 << 20) + 5]).await;
    damage(dir.path(), &blob.digest);
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LIMIT, manager.client().get_blob_to(&blob.digest, &mut bytes)).await.unwrap();
    assert!(read.is_err());
    assert!((bytes.len() as u64) < blob.size, "{} bytes of {}", bytes.len(), blob.size);
    assert_eq!(set_aside(dir.path()), 1);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_damaged_bundle_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello("node-1")).await;
    let module = manager.put_module("worker", &[]).await;
    damage(dir.path(), &module["bundle"].as_str().unwrap().parse().unwrap());
    let refused = manager.submit(&chain("s", std::slice::from_ref(&module))).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "MANTA-0204"));
    let asked = json!({"digests": [module["bundle"]]}).to_string();
    let missing = manager.call(Method::POST, "/blobs/missing", asked).await;
    assert_eq!(missing.json(), json!({"missing": [module["bundle"]]}));
    manager.put_module("worker", &[]).await;
    assert_eq!(manager.submit(&chain("s", &[module])).await.status, StatusCode::CREATED);
    node.offer().await;
    manager.stop().await.unwrap();
}

/// A file system of 16 MiB, gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path) -> Option<Self> {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "manta-test"]).arg(dir).output();
        if status.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir.to_owned()));
        }
        eprintln!("skipped: needs the right to mount a tmpfs");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_work_goes_on_when_there_is_space_again() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(dir.path()) else { return };
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello("node-1")).await;
    let module = manager.put_module("worker", &[]).await;
    let submission = chain("s", &[module]);
    let id = manager.submit(&submission).await.json()["id"].as_str().unwrap().to_owned();
    let stopped = manager.submit(&submission).await.json()["id"].as_str().unwrap().to_owned();
    let offer = node.offer().await;
    let value = manager.put_blob(b"weights").await;

    let filler = dir.path().join("filler");
    std::fs::write(&filler, vec![1; 13 << 20]).unwrap();
    let full = |text: &str| text.starts_with("disk full: ");
    wait_for_health(&manager, full).await;
    let unready = manager.raw(Method::GET, "/readyz", &[], Bytes::new()).await;
    assert_eq!(unready.status, StatusCode::SERVICE_UNAVAILABLE, "{unready:?}");
    let obstacles = &unready.json()["obstacles"];
    assert_eq!((obstacles.as_array().unwrap().len(), obstacles[0]["what"].as_str()), (1, Some("disk")), "{obstacles}");
    let refused = manager.submit(&submission).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::INSUFFICIENT_STORAGE, "MANTA-0701"));
    let sentence = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(sentence.contains(" MiB free, and ") && sentence.contains(dir.path().to_str().unwrap()), "{sentence}");
    let put = manager.call(Method::PUT, &format!("/blobs/{}", manta_module::digest_of(b"new")), "new").await;
    assert_eq!(put.status, StatusCode::INSUFFICIENT_STORAGE);
    node.finish(&offer, &[("weights", value)]).await;
    let stop = manager.call(Method::POST, &format!("/swarms/{stopped}/stop"), Bytes::new()).await;
    assert_eq!(stop.status, StatusCode::OK, "stopping still works");
    assert_eq!(manager.get(&format!("/swarms/{id}")).await.json()["state"], "running", "the result waits at the node");

    std::fs::remove_file(&filler).unwrap();
    wait_for_health(&manager, |text| text == "ok\n").await;
    // What was found before holds for a second.
    until(|| async {
        let ready = manager.raw(Method::GET, "/readyz", &[], Bytes::new()).await;
        (ready.status, &ready.json()["ready"]) == (StatusCode::OK, &json!(true))
    })
    .await;
    node.finish(&offer, &[("weights", value)]).await;
    manager.wait_for_swarm(&id, "succeeded").await;
    assert_eq!(manager.submit(&submission).await.status, StatusCode::CREATED);
    manager.stop().await.unwrap();
}

async fn wait_for_health(manager: &Manager, is_so: impl Fn(&str) -> bool) {
    let begun = std::time::Instant::now();
    loop {
        let seen = manager.raw(Method::GET, "/healthz", &[], Bytes::new()).await;
        let seen = String::from_utf8(seen.body.to_vec()).unwrap();
        if is_so(&seen) {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "last seen: {seen}");
        tokio::task::yield_now().await;
    }
}
