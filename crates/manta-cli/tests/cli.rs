//! The program as people and scripts meet it: exit codes, errors, what is printed where, and what is left behind.
#![expect(clippy::unwrap_used, reason = "tests")]
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn manta(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manta"));
    command.current_dir(folder).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder).env("TMPDIR", folder);
    command.stdin(Stdio::null());
    command
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("mc").tempdir_in("/tmp").unwrap()
}

fn run(arguments: &[&str]) -> Output {
    let folder = folder();
    manta(folder.path()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn check(arguments: &[&str], exit: i32, words: &[&str]) {
    let output = run(arguments);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {errors}");
    assert!(words.iter().all(|word| errors.contains(word)), "{arguments:?}: {errors}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed data");
}

#[test]
fn version_and_help_are_data() {
    let version = run(&["--version"]);
    assert_eq!(
        (version.status.code(), text(&version.stdout)),
        (Some(0), format!("manta {}\n", env!("CARGO_PKG_VERSION")))
    );
    let help = text(&run(&["--help"]).stdout);
    for verb in [
        "demo", "run", "plan", "deploy", "ls", "show", "why", "events", "logs", "results", "pause", "resume", "stop",
        "manager", "node",
    ] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} is not in:\n{help}");
    }
    assert!(!help.contains("__"), "hidden verbs are shown:\n{help}");
    for verb in [
        "demo",
        "run",
        "plan",
        "deploy",
        "ls",
        "show",
        "why",
        "events",
        "logs",
        "results",
        "pause",
        "resume",
        "stop",
        "manager run",
        "node run",
        "node ls",
    ] {
        let arguments: Vec<&str> = verb.split(' ').chain(["--help"]).collect();
        let help = run(&arguments);
        assert!(help.status.success() && text(&help.stdout).contains("--json"), "{verb}");
    }
}

#[test]
fn mistakes_on_the_command_line_exit_with_2() {
    check(&["rum"], 2, &["unrecognized subcommand 'rum'", "run"]);
    check(&["run"], 2, &["PATH[:CLASS]"]);
    check(&["run", "x.py", "--nodes", "0"], 2, &["--nodes"]);
    check(
        &["run", "x.py", "--python", "/bin/sh", "--data", "digits="],
        2,
        &["error[MANTA-0110]: --data `digits=` names no path"],
    );
    check(&["deploy", "x.py", "--priority", "101"], 2, &["--priority", "-100..=100"]);
    check(&["deploy", "x.py", "--attempts-max", "0"], 2, &["--attempts-max"]);
    check(&["show", "s", "--at", "0"], 2, &["--at"]);
    check(
        &["plan", "x.py", "--nodes", "2", "--manager", "unix:/x"],
        2,
        &["--nodes, --node and --data mean nodes of this"],
    );
    check(&["why", "s", "--iteration", "1", "--manager", "unix:/x"], 6, &["no token"]);
    check(&["ls", "--manager", "ftp://x"], 2, &["`ftp://x` is not a manager's address"]);
    check(
        &["--json", "run", "x.py", "--bogus"],
        2,
        &["{\"code\":\"MANTA-0110\",\"message\":\"unexpected argument '--bogus' found\""],
    );
}

#[test]
fn errors_have_a_code_a_sentence_and_a_hint() {
    check(&["ls"], 6, &["error[MANTA-0401]: no token", "hint: set MANTA_TOKEN_FILE"]);
    let sh = ["run", "x.py", "--python", "/bin/sh", "--data", "digits=/nonexistent/d"];
    check(
        &sh,
        4,
        &["error[MANTA-0206]: the dataset `digits` at `/nonexistent/d` cannot be read: No such file", "hint: "],
    );
    let folder = folder();
    let away =
        manta(folder.path()).args(["ls", "--manager", "unix:/nonexistent/s"]).env("MANTA_TOKEN", "t").output().unwrap();
    assert_eq!(away.status.code(), Some(5));
    assert!(
        text(&away.stderr).starts_with("error[MANTA-0601]: the manager at `unix:/nonexistent/s` cannot be reached")
    );
}

#[test]
fn errors_are_one_object_with_json() {
    let output = run(&["ls", "--json"]);
    let object: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((object["code"].as_str(), output.status.code()), (Some("MANTA-0401"), Some(6)));
    assert!(object["hint"].is_string() && output.stdout.is_empty());
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let folder = folder();
    let mut child = manta(folder.path()).arg("--help").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// An interpreter that writes `script`'s output instead of tracing anything.
fn interpreter(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("python");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn left_behind(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("manta-")).collect()
}

#[test]
fn a_mistake_in_the_swarms_file_is_the_error_and_nothing_is_left_behind() {
    let folder = folder();
    let script = r#"echo "print of the user"; echo talk >&2
        echo '{"code":"MANTA-0104","message":"`maximum` is 0","where":"swarm.py:7","hint":"take 1"}' >&2; exit 4"#;
    let python = interpreter(folder.path(), script);
    let output = manta(folder.path()).args(["run", "swarm.py", "--python"]).arg(&python).output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(4), &b""[..]), "{errors}");
    assert!(errors.contains("print of the user") && errors.contains("talk"), "{errors}");
    assert!(errors.ends_with("error[MANTA-0104]: swarm.py:7: `maximum` is 0\nhint: take 1\n"), "{errors}");
    assert_eq!(left_behind(folder.path()), Vec::<String>::new());
}

#[test]
fn with_json_a_run_always_prints_one_document() {
    let folder = folder();
    let python = interpreter(folder.path(), "echo 'ValueError: no' >&2; exit 1");
    let output = manta(folder.path()).args(["run", "swarm.py", "--json", "--python"]).arg(&python).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["status"], "error");
    assert_eq!(document["error"]["code"], "MANTA-0107");
    assert_eq!(output.status.code(), Some(4));
}

/// A manager held by a pipe, and the document that it prints once it listens.
fn manager(folder: &Path, listen: &str) -> (Child, serde_json::Value) {
    let mut child = manta(folder)
        .args(["--json", "manager", "run", "--lifeline", "--data-dir", "data", "--listen", listen])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

#[test]
fn a_manager_tells_where_it_listens_and_ends_with_its_pipe() {
    let folder = folder();
    let (mut child, told) = manager(folder.path(), "127.0.0.1:0");
    let url = told["url"].as_str().unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("data/address")).unwrap().trim(), url);

    let list = manta(folder.path())
        .args(["--json", "ls", "--manager", url, "--token-file", told["token_file"].as_str().unwrap()])
        .output()
        .unwrap();
    let document: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(document, serde_json::json!({"schema_version": 1, "swarms": []}));

    let second = manta(folder.path())
        .args(["manager", "run", "--data-dir", "data", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(8), "{}", text(&second.stderr));
    assert!(text(&second.stderr).contains("error[MANTA-0603]"));

    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_running_managers_data_is_backed_up_checked_and_brought_back() {
    let folder = folder();
    let (mut child, _) = manager(folder.path(), "127.0.0.1:0");
    let run = |arguments: &[&str]| manta(folder.path()).args(["--json", "manager"]).args(arguments).output().unwrap();
    let document = |output: &Output| -> serde_json::Value { serde_json::from_slice(&output.stdout).unwrap() };

    let backup = run(&["backup", "--data-dir", "data", "copy"]);
    assert_eq!(backup.status.code(), Some(0), "{}", text(&backup.stderr));
    let scrub = run(&["scrub", "--data-dir", "data"]);
    assert_eq!((scrub.status.code(), document(&scrub)["damage"].clone()), (Some(0), serde_json::json!([])));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());

    let taken = run(&["restore", "copy", "--data-dir", "data"]);
    assert_eq!(taken.status.code(), Some(8), "{}", text(&taken.stderr));
    let restore = run(&["restore", "copy", "--data-dir", "again"]);
    assert_eq!(restore.status.code(), Some(0), "{}", text(&restore.stderr));
    let (before, after) = (document(&backup)["generation"].as_u64(), document(&restore)["generation"].as_u64());
    assert!(before < after, "{before:?} {after:?}");

    fs::write(folder.path().join("again/state.db"), "no database").unwrap();
    for arguments in [&["scrub", "--data-dir", "again"][..], &["run", "--data-dir", "again", "--listen", "127.0.0.1:0"]]
    {
        let output = run(arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains("MANTA-0702") && errors.contains("state.db"), "{arguments:?}: {errors}");
        assert!(errors.contains("manta manager restore"), "{arguments:?}: {errors}");
    }
    assert_eq!(fs::read(folder.path().join("again/state.db")).unwrap(), b"no database", "it was left as it is");
    let missing = run(&["scrub", "--data-dir", "nothing"]);
    assert!(text(&missing.stderr).contains("nothing/state.db"), "{}", text(&missing.stderr));
}

#[test]
fn a_swarm_that_is_not_there_exits_with_3() {
    let folder = folder();
    let (mut child, told) = manager(folder.path(), &format!("unix:{}", folder.path().join("s").display()));
    let address = format!("unix:{}", folder.path().join("s").display());
    for verb in ["show", "logs", "results", "stop"] {
        let output = manta(folder.path())
            .args([verb, "nothing", "--manager", &address, "--token-file", told["token_file"].as_str().unwrap()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{verb}: {}", text(&output.stderr));
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
