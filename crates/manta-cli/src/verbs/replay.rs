//! `manta replay`: one past attempt once more, and whether it does the same.
use std::path::PathBuf;
use std::process::ExitCode;

use futures_util::StreamExt;
use manta_api::version::SCHEMA_VERSION;
use manta_api::{AttemptOutcome, AttemptView, ErrorCode, ReplayNews};
use manta_client::Client;
use serde::Serialize;

use super::logs::render as render_line;
use crate::replay::local::{self, Debugger, StandIns};
use crate::replay::verdict::{self, Verdict, compare};
use crate::report::{Failure, Form};
use crate::text::{clean, count};
use crate::{connection, out, python, shutdown};

/// Options of `manta replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The attempt: its id (`manta why` and a swarm's events name them), or the beginning of it.
    attempt: String,

    /// Run it on this machine instead of its node, without a sandbox and without the node's data.
    #[arg(long)]
    local: bool,

    /// A stand-in for one of its datasets; implies --local.
    #[arg(long, value_name = "NAME=PATH")]
    data: Vec<String>,

    /// Open the debugger where an exception ends the task; implies --local.
    #[arg(long)]
    pdb: bool,

    /// Open the debugger before the first line of the task; implies --pdb.
    #[arg(long = "break")]
    break_first: bool,

    /// The Python interpreter for --local [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

impl Args {
    fn debugger(&self) -> Debugger {
        match (self.pdb, self.break_first) {
            (_, true) => Debugger::AtStart,
            (true, false) => Debugger::AtFailure,
            (false, false) => Debugger::Off,
        }
    }

    fn is_local(&self) -> bool {
        self.local || !self.data.is_empty() || self.debugger() != Debugger::Off
    }
}

/// What `manta replay --json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema_version: u32,
    attempt: &'a AttemptView,
    /// The node's name, or `local`.
    ran_on: &'a str,
    /// Absent where the attempt left nothing to compare with.
    #[serde(flatten)]
    verdict: Option<&'a Verdict>,
    replay: &'a AttemptOutcome,
    /// Names of state that it read.
    state_read: &'a [String],
    /// What else may explain a difference.
    notes: &'a [String],
}

/// What a replay left, wherever it ran.
struct Ran {
    on: String,
    outcome: AttemptOutcome,
    state_read: Vec<String>,
    notes: Vec<String>,
}

/// Runs an attempt again; the exit code is 0 where it did the same, 1 where it did not.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let attempt = client.attempt(&args.attempt).await?;
    if attempt.state == "live" {
        let message = format!("attempt {} is not over, so there is nothing to run again", attempt.id);
        return Err(Failure::new(ErrorCode::Conflict, message));
    }
    let folder = tempfile::Builder::new().prefix("manta-replay-").tempdir();
    let folder = folder.map_err(|error| Failure::file("no folder can be made in", &std::env::temp_dir(), &error))?;
    out::say(&clean(&format!(
        "attempt {}: task {} on {}, iteration {}, try {}, {}",
        attempt.id, attempt.task, attempt.node, attempt.iteration, attempt.number, attempt.state
    )));
    let ran = if args.is_local() {
        let stand_ins = local::stand_ins(&args.data, &attempt)?;
        if args.debugger() == Debugger::Off {
            let ended = shutdown::listen(shutdown::Lifeline::None)?;
            here(&client, &attempt, &args, &stand_ins, folder.path(), ended).await?
        } else {
            let ended = shutdown::listen_beside_a_debugger()?;
            here(&client, &attempt, &args, &stand_ins, folder.path(), ended).await?
        }
    } else {
        on_its_node(&client, &attempt, form).await?
    };
    let verdict = match &attempt.outcome {
        Some(original) => Some(compare(&client, original, &ran.outcome, folder.path()).await?),
        None => None,
    };
    tell(&attempt, &ran, verdict.as_ref(), form)?;
    let same = verdict.map_or(ran.outcome.failure.is_none(), |verdict| verdict.identical);
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn on_its_node(client: &Client, attempt: &AttemptView, form: Form) -> Result<Ran, Failure> {
    let ended = shutdown::listen(shutdown::Lifeline::None)?;
    let replay = client.replay(attempt.id, &Client::new_key()).await?;
    out::say(&format!("runs again on {} as {}; nothing of it counts", replay.node, replay.id));
    tokio::pin!(ended);
    let mut told = client.replay_stream(replay.id);
    loop {
        let event = tokio::select! {
            event = told.next() => event,
            () = &mut ended => {
                client.stop_replay(replay.id, &Client::new_key()).await?;
                return Err(Failure::interrupted());
            }
        };
        let Some(event) = event else {
            return Err(Failure::internal("the manager ended the replay's events before the replay"));
        };
        match event?.what {
            ReplayNews::Phase { .. } => {}
            ReplayNews::Log { line } => say_line(&render_line(&line), form),
            ReplayNews::Finished { outcome, state_read } => {
                let notes = state_note(attempt, &state_read).into_iter().collect();
                return Ok(Ran { on: replay.node, outcome, state_read, notes });
            }
            ReplayNews::Lost { reason } => {
                let failure = Failure::new(ErrorCode::Conflict, format!("the replay was lost: {reason}"));
                return Err(failure.hint("run it again when the node is back, or with `--local --data NAME=PATH`"));
            }
        }
    }
}

/// Lines of a task's log are talk, so that standard output holds the verdict alone.
fn say_line(text: &str, form: Form) {
    if form == Form::Text {
        out::say(text.trim_end_matches('\n'));
    }
}

/// The state that a node keeps is that of now.
fn state_note(attempt: &AttemptView, state_read: &[String]) -> Option<String> {
    if state_read.is_empty() || attempt.accepted_since == 0 {
        return None;
    }
    let (names, since) = (state_read.join("`, `"), count(attempt.accepted_since as usize, "attempt"));
    Some(format!(
        "it read the state `{names}` as {} keeps it now; {since} accepted since the original began may have changed it",
        attempt.node
    ))
}

async fn here(
    client: &Client,
    attempt: &AttemptView,
    args: &Args,
    stand_ins: &StandIns,
    folder: &std::path::Path,
    ended: impl Future<Output = ()>,
) -> Result<Ran, Failure> {
    let mut notes = Vec::new();
    if args.debugger() != Debugger::Off && !args.local && args.data.is_empty() {
        out::say("a debugger needs a terminal, so the attempt runs on this machine, not on its node");
    }
    for (name, path) in stand_ins {
        notes.push(format!("`{}` stands in for the dataset `{name}` of {}", path.display(), attempt.node));
    }
    notes.push("it ran with this machine's Python and packages, and without a sandbox and its limits".to_owned());
    notes.iter().for_each(|note| out::say(&clean(&format!("note: {note}"))));
    let python = python::find(args.python.as_deref())?;
    let running = local::run(client, attempt, stand_ins, args.debugger(), &python, folder);
    // The child ends with the future that waits for it.
    let run = tokio::select! {
        run = running => run?,
        () = ended => return Err(Failure::interrupted()),
    };
    let state_read: Vec<String> = run.state_read.into_iter().collect();
    if !state_read.is_empty() {
        let names = state_read.join("`, `");
        notes.push(format!("it asked for the state `{names}`, which only {} has; here there was none", attempt.node));
    }
    Ok(Ran { on: "local".to_owned(), outcome: run.outcome, state_read, notes })
}

fn tell(attempt: &AttemptView, ran: &Ran, verdict: Option<&Verdict>, form: Form) -> Result<(), Failure> {
    if form == Form::Json {
        return out::put_json(&Document {
            schema_version: SCHEMA_VERSION,
            attempt,
            ran_on: &ran.on,
            verdict,
            replay: &ran.outcome,
            state_read: &ran.state_read,
            notes: &ran.notes,
        });
    }
    let mut lines = match verdict {
        Some(verdict) => verdict.lines(),
        None => {
            let why = attempt.ended_because.as_deref().unwrap_or("it left nothing");
            let ending = verdict::ending(ran.outcome.failure.as_ref());
            vec![format!("nothing to compare with: the original was {} ({why}); the replay {ending}", attempt.state)]
        }
    };
    if !verdict.is_some_and(|verdict| verdict.identical) {
        lines.extend(ran.notes.iter().map(|note| format!("  note: {note}")));
        if let Some(failure) = &ran.outcome.failure {
            lines.extend(failure.traceback.lines().map(|line| format!("    {line}")));
        }
    }
    let text: String = lines.iter().map(|line| format!("{}\n", clean(line))).collect();
    out::put(&text)
}
