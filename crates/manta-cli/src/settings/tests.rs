//! What a file of settings may say, and what each mistake in it is told as.
use std::path::Path;

use super::file;
use crate::report::Failure;

fn user(text: &str) -> Result<super::UserFile, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    file::user(&path)
}

fn refused(text: &str, line: usize, words: &[&str]) {
    let failure = user(text).unwrap_err();
    let told = format!("{} {}", failure.message, failure.hint.clone().unwrap_or_default());
    assert_eq!((failure.exit, failure.code.as_deref()), (2, Some("MANTA-0113")), "{told}");
    assert!(told.contains(&format!("config.toml:{line}: ")), "line {line}: {told}");
    assert!(words.iter().all(|word| told.contains(word)), "{words:?}: {told}");
}

#[test]
fn mistakes_are_told_with_file_line_key_and_the_nearest_right_one() {
    refused("contxt = \"a\"\n", 1, &["`contxt`", "did you mean `context`?"]);
    refused("\n[contexts.prod]\nmanager = \"unix:/s\"\nclutser = \"c\"\n", 4, &["[contexts.prod]", "`cluster`"]);
    refused("[contexts.prod]\ncluster = \"c\"\n", 1, &["`prod` has no `manager`", "manager = "]);
    refused("[contexts]\nprod = 3\n", 2, &["`prod` is a table, not a number"]);
    refused("context = 7\n", 1, &["`context` is a text in quotes, not a number"]);
    refused("context = \" \"\n", 1, &["`context` is empty"]);
    refused("wait_timeout = 600\n", 1, &["`wait_timeout`", "not a number", "\"10m\""]);
    refused("# one\nwait_timeout = \"10 parsecs\"\n", 2, &["`10 parsecs`", "s, m, h or d"]);
    refused("context = \"a\"\ncontext = \"b\"\n", 2, &["duplicate key"]);
    refused("wait_timeout = \"1h\"\ncontext prod\n", 2, &["expected `=`"]);
    refused("zzzzzzzzzzzzzzzzzz = 1\n", 1, &["its keys are context, contexts"]);
}

#[test]
fn a_file_that_is_not_there_says_nothing() {
    assert!(file::user(Path::new("/nonexistent/config.toml")).unwrap().contexts.is_empty());
    assert!(file::credential(Path::new("/nonexistent/credentials.toml"), "prod").unwrap().is_none());
}

#[test]
fn values_know_their_lines() {
    let said = user("wait_timeout = \"2h\"\ncontext = \"prod\"\n[contexts.prod]\nmanager = \"unix:/s\"\n").unwrap();
    let context = said.context.unwrap();
    assert!(context.origin.to_string().ends_with("config.toml:2"), "{}", context.origin);
    assert_eq!(said.wait_timeout.unwrap().value.as_secs(), 7200);
    assert_eq!(said.contexts["prod"].manager.value, "unix:/s");
}

#[test]
fn a_project_names_a_context_and_never_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, path) = (folder.path().join("a/b"), folder.path().join("pyproject.toml"));
    std::fs::create_dir_all(&inner).unwrap();
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("[project]\nname = \"x\"\n");
    assert!(file::project(&inner).unwrap().context.is_none());
    write("[tool.manta]\ncontext = \"prod\"\n[tool.manta.module]\nversion = \"1\"\n");
    assert_eq!(file::project(&inner).unwrap().context.unwrap().value, "prod");
    for key in ["manager", "token", "token_file", "registry"] {
        write(&format!("[tool.manta]\n{key} = \"http://127.0.0.1:1\"\n"));
        let failure = file::project(&inner).unwrap_err();
        assert!(failure.message.contains(&format!("pyproject.toml:2: `{key}` has no place")), "{failure:?}");
    }
    write("[tool.manta]\ncontxt = \"prod\"\n");
    assert_eq!(file::project(&inner).unwrap_err().hint.as_deref(), Some("did you mean `context`?"));
}

#[test]
fn credentials_that_others_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[contexts.prod]\ntoken = \"s3cret\"\n").unwrap();
    assert_eq!(file::credential(file.path(), "prod").unwrap().as_deref(), Some("s3cret"));
    assert_eq!(file::credential(file.path(), "other").unwrap(), None);
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o604)).unwrap();
    let failure = file::credential(file.path(), "prod").unwrap_err();
    assert!(failure.message.ends_with("can be read by others (mode 604)"), "{failure:?}");
    assert!(!format!("{failure:?}").contains("s3cret") && failure.exit == 2, "{failure:?}");
}
