//! What holds for every command, walked over the list of them in the documentation, so that none is forgotten.
#![expect(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The help of every command; a stage of the tests compares it with the program.
const REFERENCE: &str = include_str!("../../../docs/reference/cli.md");
const SHAPES: &str = include_str!("snapshots/shapes.txt");

fn manta(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manta"));
    command.current_dir(home).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).env("TMPDIR", home);
    command.stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn commands() -> Vec<Vec<&'static str>> {
    let names = REFERENCE.lines().filter_map(|line| line.strip_prefix("## manta"));
    names.map(|name| name.split_whitespace().collect()).collect()
}

fn check(output: &Output, words: &[&str]) -> Value {
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {errors}");
    assert!(output.stdout.is_empty(), "{words:?} printed data");
    serde_json::from_str(&errors).unwrap_or_else(|_| panic!("{words:?} printed more than one object: {errors}"))
}

#[test]
fn a_mistake_is_told_alike_by_every_command() {
    let home = tempfile::tempdir().unwrap();
    let all = commands();
    assert!(all.len() > 50, "{}", all.len());
    for words in all {
        let output = manta(home.path()).args(&words).args(["--json", "--bogus-option"]).output().unwrap();
        let object = check(&output, &words);
        let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["code", "docs", "hint", "message"], "{words:?}");
        assert_eq!(object["code"], "MANTA-0110", "{words:?}");
        assert_eq!(object["docs"], "docs/reference/errors.md#manta-0110", "{words:?}");

        let output = manta(home.path()).args(&words).arg("--bogus-option").output().unwrap();
        let errors = text(&output.stderr);
        assert!(errors.starts_with("error[MANTA-0110]: unexpected argument '--bogus-option'"), "{words:?}: {errors}");
    }
}

#[test]
fn help_is_data_without_colour_in_80_columns() {
    let home = tempfile::tempdir().unwrap();
    for words in commands() {
        let output = manta(home.path()).args(&words).arg("--help").env("TERM", "dumb").output().unwrap();
        let help = text(&output.stdout);
        assert!(output.status.success() && output.stderr.is_empty() && help.contains("--json"), "{words:?}");
        assert!(!help.contains('\x1b'), "{words:?} colours what no terminal shows");
    }
}

/// A value's form: its keys with their types, lists by their first item.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Array(items) => format!("[{}]", items.first().map(shape).unwrap_or_default()),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: {}", shape(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// The form of each document, against `snapshots/shapes.txt`; what a program relies on changes only there, on purpose.
#[test]
fn documents_keep_their_form() {
    let home = tempfile::Builder::new().prefix("mw").tempdir_in("/tmp").unwrap();
    let home = home.path();
    let socket = format!("unix:{}", home.join("s").display());
    let mut manager = manta(home)
        .args(["--json", "manager", "run", "--lifeline", "--data-dir", "data", "--listen", &socket])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(manager.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let token = told["token_file"].as_str().unwrap();
    let mut shapes = BTreeMap::new();
    for words in [
        &["context", "add", "here", "--manager", &socket, "--token-file", token][..],
        &["context", "ls"],
        &["context", "show"],
        &["context", "use", "here"],
        &["config", "show"],
        &["explain", "107"],
        &["explain"],
        &["ls"],
        &["node", "ls"],
        &["module", "ls"],
        &["rollout", "ls"],
        &["top", "--once"],
        &["key", "new", "ada"],
        &["key", "ls"],
        &["image", "ls"],
        &["context", "rm", "here"],
    ] {
        let output = manta(home).args(words).arg("--json").output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["schema_version"], 1, "{words:?}");
        let name: Vec<&str> =
            words.iter().take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase())).copied().collect();
        shapes.insert(format!("{} ({})", name.join(" "), words.len()), shape(&document));
    }
    drop(manager.stdin.take());
    assert!(manager.wait().unwrap().success());
    let now: String = shapes.iter().map(|(name, shape)| format!("{name}\n    {shape}\n")).collect();
    if now != SHAPES {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shapes.txt");
        fs::write(&file, &now).unwrap();
        panic!("documents have another form; if that is meant, take it from {}:\n{now}", file.display());
    }
}
