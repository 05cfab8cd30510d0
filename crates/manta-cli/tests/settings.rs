//! Settings as people and scripts meet them: contexts made and used, where each value comes from, and that nothing secret shows.
#![expect(clippy::unwrap_used, reason = "tests")]
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn manta(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manta"));
    command.current_dir(home).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).args(arguments);
    command.stdin(Stdio::null());
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    manta(home, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn good(home: &Path, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn settings(mut command: Command) -> serde_json::Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    document["settings"].clone()
}

fn add_with_token(home: &Path, name: &str, address: &str, token: &str) {
    let mut child = manta(home, &["context", "add", name, "--manager", address, "--token-stdin"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn contexts_are_added_chosen_shown_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    add_with_token(home, "prod", "unix:/nonexistent/prod", "s3cret-of-prod");
    good(home, &["context", "add", "lab", "--manager", "http://127.0.0.1:1", "--cluster", "eu"]);
    let list: serde_json::Value = serde_json::from_str(&good(home, &["--json", "context", "ls"])).unwrap();
    let all = list["contexts"].as_array().unwrap();
    assert_eq!((list["schema_version"].as_u64(), all.len()), (Some(1), 2));
    assert_eq!((all[0]["name"].as_str(), all[0]["current"].as_bool()), (Some("lab"), Some(false)));
    assert_eq!((all[1]["name"].as_str(), all[1]["current"].as_bool()), (Some("prod"), Some(true)));

    let away = run(home, &["ls"]);
    assert_eq!(away.status.code(), Some(5), "{}", text(&away.stderr));
    assert!(text(&away.stderr).contains("unix:/nonexistent/prod"), "{}", text(&away.stderr));
    good(home, &["context", "use", "lab"]);
    let lab = run(home, &["ls"]);
    assert!(text(&lab.stderr).contains("no token is kept for the context `lab`"), "{}", text(&lab.stderr));

    let unknown = run(home, &["context", "use", "lap"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(text(&unknown.stderr).contains("did you mean `lab`?"), "{}", text(&unknown.stderr));

    good(home, &["context", "rm", "prod"]);
    let kept = fs::read_to_string(home.join(".config/manta/credentials.toml")).unwrap();
    assert!(!kept.contains("s3cret"), "{kept}");
    assert_eq!(run(home, &["context", "show", "prod"]).status.code(), Some(3));
}

#[test]
fn tokens_are_kept_closed_and_never_shown() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    add_with_token(home, "prod", "unix:/nonexistent/prod", "s3cret");
    let credentials = home.join(".config/manta/credentials.toml");
    assert_eq!(fs::metadata(&credentials).unwrap().permissions().mode() & 0o777, 0o600);
    for arguments in [&["context", "ls"][..], &["context", "show"], &["config", "show", "--origin"], &["ls"]] {
        for form in [&[][..], &["--json"]] {
            let output = run(home, &[form, arguments].concat());
            let told = text(&output.stdout) + &text(&output.stderr);
            assert!(!told.contains("s3cret"), "{arguments:?}: {told}");
        }
    }
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o640)).unwrap();
    let loose = run(home, &["ls"]);
    assert_eq!(loose.status.code(), Some(2));
    let errors = text(&loose.stderr);
    assert!(errors.contains("can be read by others (mode 640)") && errors.contains("chmod 600"), "{errors}");
}

#[test]
fn a_value_comes_from_the_first_place_that_has_it() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let show = ["--json", "config", "show"];
    let from = |settings: &serde_json::Value, name: &str| {
        (settings[name]["value"].as_str().map(str::to_owned), settings[name]["origin"].as_str().unwrap().to_owned())
    };
    let nothing = settings(manta(home, &show));
    assert_eq!(from(&nothing, "manager"), (Some("127.0.0.1:7766".into()), "default".into()));

    good(home, &["context", "add", "prod", "--manager", "unix:/prod", "--cluster", "eu"]);
    good(home, &["context", "add", "lab", "--manager", "unix:/lab"]);
    let user = settings(manta(home, &show));
    let (address, origin) = from(&user, "manager");
    assert_eq!(address.as_deref(), Some("unix:/prod"));
    assert!(origin.ends_with(".config/manta/config.toml:4"), "{origin}");
    assert_eq!(from(&user, "cluster").0.as_deref(), Some("eu"));

    fs::write(home.join("pyproject.toml"), "[tool.manta]\ncontext = \"lab\"\ncluster = \"us\"\n").unwrap();
    let project = settings(manta(home, &show));
    assert_eq!(from(&project, "manager").0.as_deref(), Some("unix:/lab"));
    assert!(from(&project, "cluster").1.ends_with("pyproject.toml:3"));

    let mut variable = manta(home, &show);
    variable.env("MANTA_CONTEXT", "prod").env("MANTA_CLUSTER", "env");
    let environment = settings(variable);
    assert_eq!(from(&environment, "manager").0.as_deref(), Some("unix:/prod"));
    assert_eq!(from(&environment, "cluster"), (Some("env".into()), "MANTA_CLUSTER".into()));

    let mut option = manta(home, &["--json", "config", "show", "--manager", "unix:/flag"]);
    option.env("MANTA_CONTEXT", "prod").env("MANTA_MANAGER", "unix:/env");
    let flag = settings(option);
    assert_eq!(from(&flag, "manager"), (Some("unix:/flag".into()), "--manager".into()));
    assert_eq!(from(&flag, "context").0, None, "an address replaces the context whole");
}

#[test]
fn a_token_of_a_context_is_not_sent_to_another_address() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    add_with_token(home, "prod", "unix:/nonexistent/prod", "s3cret");
    for arguments in [
        &["ls", "--manager", "unix:/nonexistent/other"][..],
        &["module", "ls", "--registry", "unix:/nonexistent/other"],
    ] {
        let output = run(home, arguments);
        assert_eq!(output.status.code(), Some(6), "{arguments:?}: {}", text(&output.stderr));
    }
    fs::write(home.join("pyproject.toml"), "[tool.manta]\nmanager = \"http://127.0.0.1:1\"\n").unwrap();
    let project = run(home, &["ls"]);
    assert_eq!(project.status.code(), Some(2));
    assert!(text(&project.stderr).contains("pyproject.toml:2: `manager` has no place"), "{}", text(&project.stderr));
}

#[test]
fn comments_of_the_user_stay() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let file = home.join(".config/manta/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "# mine\nwait_timeout = \"2h\" # long\n\n[contexts.prod]\n# the big one\nmanager = \"unix:/s\"\n")
        .unwrap();
    let quiet = run(home, &["-q", "context", "use", "prod"]);
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
    good(home, &["context", "add", "lab", "--manager", "unix:/lab"]);
    let after = fs::read_to_string(&file).unwrap();
    assert!(["# mine", "# long", "# the big one"].iter().all(|comment| after.contains(comment)), "{after}");
    good(home, &["config", "show"]);
}

#[test]
fn contexts_added_at_once_are_all_there() {
    let home = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    let children: Vec<_> = names
        .iter()
        .map(|name| {
            manta(home.path(), &["context", "add", name, "--manager", "unix:/s"]).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let list: serde_json::Value = serde_json::from_str(&good(home.path(), &["--json", "context", "ls"])).unwrap();
    assert_eq!(list["contexts"].as_array().unwrap().len(), names.len());
}

#[test]
fn shells_get_a_script_and_codes_get_a_page() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = good(home.path(), &["completions", shell]);
        assert!(
            script.contains("results") && script.contains("token-file") && !script.contains("__openapi"),
            "{shell}"
        );
    }
    let script = home.path().join("manta.bash");
    fs::write(&script, good(home.path(), &["completions", "bash"])).unwrap();
    let ask = format!(
        ". {} && COMP_WORDS=(manta no) COMP_CWORD=1 && _manta manta no manta && echo \"${{COMPREPLY[*]}}\"",
        script.display()
    );
    let completed = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
    assert_eq!(text(&completed.stdout).trim(), "node", "{}", text(&completed.stderr));

    assert!(good(home.path(), &["explain", "0107"]).starts_with("MANTA-0107: the swarm cannot be loaded\n"));
    let all: serde_json::Value = serde_json::from_str(&good(home.path(), &["--json", "explain"])).unwrap();
    assert!(all["errors"].as_array().unwrap().len() > 50);
    let unknown = run(home.path(), &["explain", "MANTA-0170"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(text(&unknown.stderr).contains("did you mean `MANTA-0"), "{}", text(&unknown.stderr));
}
