//! `manta module check`: all that can be said of a module without running it.
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use manta_api::ErrorCode;
use serde_json::Value;

use crate::report::{Failure, Form};
use crate::text::one_line;
use crate::{out, python};

/// What a person reads of the module's names, by their key in the document.
const NAMES: [(&str, &str); 6] = [
    ("publishes", "publishes"),
    ("selects", "selects"),
    ("reads", "reads globals"),
    ("writes", "writes globals"),
    ("datasets", "opens"),
    ("state", "keeps"),
];

/// Options of `manta module check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module: a `.py` file or a folder with `__init__.py`.
    module: PathBuf,

    /// Compare its names with those of this swarm's other modules, too.
    #[arg(long, value_name = "PATH[:CLASS]")]
    swarm: Option<String>,

    /// The Python interpreter [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

/// Reads the module and says what it is; whatever is wrong with it is a refusal, and so is the exit code.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let mut command = python::command(&python::find(args.python.as_deref())?)?;
    command.args(["-m", "manta._module_check"]).arg(&args.module).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(swarm) = &args.swarm {
        command.args(["--swarm", swarm]);
    }
    let ended = command.output().await;
    let ended = ended.map_err(|error| Failure::internal(format!("the interpreter cannot be started: {error}")))?;
    let Ok(document) = serde_json::from_slice::<Value>(&ended.stdout) else {
        return Err(refused(&String::from_utf8_lossy(&ended.stderr)));
    };
    let problems = texts(&document["problems"]);
    match form {
        Form::Json => out::put_json(&document)?,
        Form::Text => out::put(&render(&document))?,
    }
    if problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(ErrorCode::InvalidSwarm, problems.join("\n")))
}

fn render(document: &Value) -> String {
    let mut text = String::new();
    let mut line = |what: &str, told: &str| {
        if !told.is_empty() {
            text.push_str(&format!("{what:<16}{}\n", one_line(told, 1000)));
        }
    };
    line("", document["doc"].as_str().unwrap_or_default().lines().next().unwrap_or_default());
    let entry = &document["entry"];
    let called = entry["call"].as_str().or(entry["class"].as_str()).unwrap_or_default();
    line("entry", &format!("{called} in {}", entry["file"].as_str().unwrap_or_default()));
    for (key, what) in NAMES {
        line(what, &texts(&document[key]).join(", "));
    }
    text
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map(|entries| entries.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// The last line that the child wrote, where it is the object that tells a mistake.
fn refused(said: &str) -> Failure {
    let last = said.trim().lines().last().unwrap_or_default();
    let told: Value = serde_json::from_str(last).unwrap_or(Value::Null);
    let Some(message) = told["message"].as_str() else {
        return Failure::internal(format!("the module could not be checked: {}", one_line(last, 400)));
    };
    let code = told["code"].as_str().and_then(ErrorCode::from_code).unwrap_or(ErrorCode::BadRequest);
    let place = told["where"].as_str().map(|place| format!("{place}: ")).unwrap_or_default();
    let failure = Failure::new(code, format!("{place}{message}"));
    match told["hint"].as_str() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
