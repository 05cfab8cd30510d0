//! `manta node upgrade`: another program in the place of the agent on this machine, under which what runs goes on.
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use manta_api::ErrorCode;
use manta_api::control::{AgentStatus, ControlAnswer, ControlRequest};
use manta_api::version::SCHEMA_VERSION;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::node_data::{AgentArgs, ask};
use crate::out;
use crate::report::{Failure, Form};
use crate::text::count;

/// How long the program that comes may take until it answers.
const COMES_MAX: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Options of `manta node upgrade`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program that takes the agent's place [default: the agent's own file, as it is now].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,

    #[command(flatten)]
    agent: AgentArgs,
}

/// Asks for the upgrade, and waits until the program that came answers.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let Args { program, agent } = args;
    let program = program.map(|path| std::path::absolute(&path).map(|path| path.display().to_string())).transpose();
    let program = program.map_err(|error| Failure::usage(format!("the path of --program cannot be used: {error}")))?;
    let before = status(&agent).await?;
    let (from, to, running) = match ask(&agent, &ControlRequest::Upgrade { program }).await? {
        ControlAnswer::Upgrading { from, to, running } => (from, to, running),
        other => return Err(Failure::internal(format!("the agent answered something else: {other:?}"))),
    };
    let begun = Instant::now();
    let after = loop {
        match status(&agent).await {
            Ok(after) if after.process != before.process => break after,
            _ if begun.elapsed() < COMES_MAX => sleep(LOOK).await,
            _ => {
                let words = format!(
                    "the agent does not answer {} s after manta {to} was started in its place",
                    COMES_MAX.as_secs()
                );
                return Err(Failure::new(ErrorCode::Internal, words).hint("see the agent's log"));
            }
        }
    };
    // Said by the one that was there before, where it had to take all back.
    let why = after.notes.iter().find(|note| note.ends_with("goes on")).cloned();
    if why.is_some() || after.agent_version != to {
        let words =
            why.unwrap_or_else(|| format!("manta {to} could not take over, and manta {} goes on", after.agent_version));
        return Err(Failure::new(ErrorCode::Conflict, words).hint("see the agent's log; what runs was not interrupted"));
    }
    match form {
        Form::Json => out::put_json(&json!({
            "schema_version": SCHEMA_VERSION, "node": after.node, "from": from, "to": to, "running": running,
        }))?,
        Form::Text => {
            let runs =
                if running == 0 { String::new() } else { format!("; {} went on", count(running as usize, "attempt")) };
            out::say(&format!("node {} runs manta {to} now (it was {from}){runs}", after.node));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(agent: &AgentArgs) -> Result<AgentStatus, Failure> {
    match ask(agent, &ControlRequest::Status).await? {
        ControlAnswer::Status(status) => Ok(status),
        other => Err(Failure::internal(format!("the agent answered something else: {other:?}"))),
    }
}
