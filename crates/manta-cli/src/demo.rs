//! The example that `manta demo` carries: its files, its data and its model, by way of the example's own scripts.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use manta_api::ErrorCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::connection::variable;
use crate::report::Failure;
use crate::screen::Screen;
use crate::{home, python};

/// Path in the example → content.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/example_files.rs"));

/// The script that cuts the digits into shards.
const PREPARE: &str = "prepare.py";
/// Where scikit-learn keeps the digits below its own folder.
const DIGITS_IN_SKLEARN: &str = "datasets/data/digits.csv.gz";
/// Prints the folder of scikit-learn without importing it.
const FIND_SKLEARN: &str = "import importlib.util as u; s = u.find_spec('sklearn'); \
                            print(s.submodule_search_locations[0] if s else '')";

/// The example's files in a folder of the user's.
#[derive(Debug)]
pub(crate) struct Example {
    /// Where they lie.
    pub(crate) folder: PathBuf,
}

impl Example {
    /// Writes the files that are not there; what the user changed stays as it is.
    pub(crate) fn write(folder: &Path, screen: &Screen) -> Result<Self, Failure> {
        let failed =
            |path: &Path, error: &std::io::Error| Failure::file("the example cannot be written as", path, error);
        for (name, content) in FILES {
            let path = folder.join(name);
            match std::fs::read(&path) {
                Ok(there) if there == content.as_bytes() => {}
                Ok(_) => screen.line(&format!("keeping your changes in {}", path.display())),
                Err(_) => {
                    let parent = path.parent().unwrap_or(folder);
                    std::fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
                    std::fs::write(&path, content).map_err(|error| failed(&path, &error))?;
                }
            }
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The swarm's file, as a person types it.
    pub(crate) fn swarm_file(&self) -> String {
        self.folder.join("swarm.py").display().to_string()
    }
}

/// What `prepare.py` made.
#[derive(Debug, Deserialize)]
pub(crate) struct Prepared {
    /// Node → its shard.
    pub(crate) shards: BTreeMap<String, PathBuf>,
    /// What the same model reaches with all digits in one place, where it was said along.
    central_accuracy: Option<f64>,
    /// What trains that model still.
    #[serde(skip)]
    central: Mutex<Option<Central>>,
}

/// `prepare.py` while it trains the central twin.
#[derive(Debug)]
struct Central {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it complains of, read all the time so that it never waits for that.
    errors: JoinHandle<Vec<u8>>,
}

impl Central {
    /// Waits until it ends; its output is what was read already, and the rest.
    async fn end(mut self, read: String) -> Result<Output, Failure> {
        let mut stdout = read.into_bytes();
        let rest = self.output.read_to_end(&mut stdout).await;
        let ended = rest.and(self.child.wait().await);
        let status = ended.map_err(|error| cannot_be_heard(PREPARE, &error))?;
        Ok(Output { status, stdout, stderr: self.errors.await.unwrap_or_default() })
    }
}

/// What it says then.
#[derive(Deserialize)]
struct Trained {
    central_accuracy: f64,
}

impl Prepared {
    /// The folder of the shards.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.shards.values().next().and_then(|path| path.parent())
    }

    /// Waits until the model is trained with all digits in one place, and says what it reaches.
    pub(crate) async fn central_accuracy(&self) -> Result<f64, Failure> {
        if let Some(accuracy) = self.central_accuracy {
            return Ok(accuracy);
        }
        let central = self.central.lock().await.take();
        let central = central.ok_or_else(|| Failure::internal("the central twin was asked for twice"))?;
        let trained: Trained = understood(&central.end(String::new()).await?, PREPARE)?;
        Ok(trained.central_accuracy)
    }
}

#[derive(Deserialize)]
struct Saved {
    model: PathBuf,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    hint: Option<String>,
}

/// Finds the digits: the option, MANTA_DIGITS, or an installed scikit-learn.
pub(crate) async fn find_digits(option: Option<&Path>, python: &Path) -> Result<PathBuf, Failure> {
    if let Some(path) = option.map(Path::to_owned).or_else(|| variable("MANTA_DIGITS").map(PathBuf::from)) {
        return match path.is_file() {
            true => Ok(path),
            false => Err(no_digits(format!("there is no file `{}`", path.display()))),
        };
    }
    let output = python::command(python)?.args(["-c", FIND_SKLEARN]).output().await;
    let folder = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let path = Path::new(folder.trim()).join(DIGITS_IN_SKLEARN);
    if !folder.trim().is_empty() && path.is_file() {
        return Ok(path);
    }
    Err(no_digits("the digits were not found".to_owned()))
}

fn no_digits(message: String) -> Failure {
    Failure::new(ErrorCode::DatasetPath, message)
        .hint("install scikit-learn, or name its datasets/data/digits.csv.gz with --digits or MANTA_DIGITS")
}

/// Cuts the digits into a shard for each node; the central twin is trained behind it.
pub(crate) async fn prepare(
    example: &Example,
    python: &Path,
    digits: &Path,
    nodes: u32,
    seed: u32,
) -> Result<Prepared, Failure> {
    let cache = home::cache().ok_or_else(|| Failure::usage("there is no home directory").hint("set MANTA_HOME"))?;
    let mut command = python::command(python)?;
    command.arg(example.folder.join(PREPARE)).arg("--digits").arg(digits);
    command.arg("--out").arg(cache.join("demo").join(format!("nodes-{nodes}-seed-{seed}")));
    command.args(["--nodes", &nodes.to_string(), "--seed", &seed.to_string()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| cannot_be_heard(PREPARE, &error))?;
    let (stdout, stderr) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    let errors = tokio::spawn(async move {
        let (mut stderr, mut errors) = (stderr, Vec::new());
        // What was heard until then is worth telling.
        let _ = stderr.read_to_end(&mut errors).await;
        errors
    });
    let mut central = Central { child, output: BufReader::new(stdout), errors };
    let mut line = String::new();
    central.output.read_line(&mut line).await.map_err(|error| cannot_be_heard(PREPARE, &error))?;
    match serde_json::from_str::<Prepared>(&line) {
        Ok(prepared) => Ok(Prepared { central: Mutex::new(Some(central)), ..prepared }),
        Err(_) => Err(misunderstood(&central.end(line).await?, PREPARE)),
    }
}

/// Turns the model's value into a numpy file beside it.
pub(crate) async fn save_npz(example: &Example, python: &Path, value: &Path) -> Result<PathBuf, Failure> {
    let mut command = python::command(python)?;
    command.arg(example.folder.join("save.py")).arg(value).arg(value.with_extension("npz"));
    let saved: Saved = answer(command, "save.py").await?;
    Ok(saved.model)
}

/// Runs one of the example's scripts and reads the one JSON object that it prints.
async fn answer<T: DeserializeOwned>(mut command: tokio::process::Command, name: &str) -> Result<T, Failure> {
    let output = command.output().await.map_err(|error| cannot_be_heard(name, &error))?;
    understood(&output, name)
}

/// The JSON object that a script printed which ended well.
fn understood<T: DeserializeOwned>(output: &Output, name: &str) -> Result<T, Failure> {
    match serde_json::from_slice(&output.stdout) {
        Ok(answer) if output.status.success() => Ok(answer),
        _ => Err(misunderstood(output, name)),
    }
}

/// Why a script did not do what it is for: in its own words, where it has some.
fn misunderstood(output: &Output, name: &str) -> Failure {
    if let Ok(refused) = serde_json::from_slice::<Refused>(&output.stdout) {
        let failure = Failure::new(ErrorCode::DatasetPath, refused.error);
        return Failure { hint: refused.hint, ..failure };
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it printed nothing");
    Failure::new(ErrorCode::SwarmFile, format!("{name} failed ({}): {last}", output.status))
}

fn cannot_be_heard(name: &str, error: &std::io::Error) -> Failure {
    Failure::internal(format!("{name} cannot be started or heard: {error}"))
}

/// Text as one word of a shell's command line.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '=' | ':' | '+' | ',');
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Form;
    use crate::screen::Show;

    #[test]
    fn changed_files_are_kept_and_missing_ones_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let screen = Screen::new(Form::Json, Show::Accuracy);
        Example::write(folder.path(), &screen).unwrap();
        let (swarm, scheduler) = (folder.path().join("swarm.py"), folder.path().join("modules/scheduler.py"));
        std::fs::write(&swarm, "mine").unwrap();
        std::fs::remove_file(&scheduler).unwrap();
        Example::write(folder.path(), &screen).unwrap();
        assert_eq!(std::fs::read_to_string(swarm).unwrap(), "mine");
        assert!(scheduler.is_file());
    }

    #[test]
    fn words_with_braces_are_quoted() {
        assert_eq!(shell_word("digits=/a/{node}.npz"), "'digits=/a/{node}.npz'");
        assert_eq!(shell_word("./manta-demo/swarm.py"), "./manta-demo/swarm.py");
    }
}
