//! `manta why`: the reason, per node, and what would change it.
use std::process::ExitCode;

use manta_api::WhyView;
use manta_types::AttemptId;

use crate::report::{Failure, Form};
use crate::text::clean;
use crate::{connection, find, out};

/// Options of `manta why`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A swarm (its id, the beginning of it, or its name), `SWARM/TASK`, or an attempt (`at_…`).
    #[arg(value_name = "SWARM[/TASK]|ATTEMPT")]
    about: String,

    /// The task, where it does not stand in the first argument.
    task: Option<String>,

    /// The task in this iteration, counted from 0 [default: the current one].
    #[arg(long, value_name = "N")]
    iteration: Option<u32>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Prints why something is as it is.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    // A task's name holds no slash, a swarm's may.
    let (about, task) = match (args.task, args.about.rsplit_once('/')) {
        (None, Some((swarm, task))) if !task.is_empty() => (swarm.to_owned(), Some(task.to_owned())),
        (task, _) => (args.about, task),
    };
    let why = match task {
        Some(task) => {
            let swarm = find::swarm(&client, &about, find::Use::Look, form).await?;
            client.why_task(swarm.id, &task, args.iteration).await?
        }
        None if args.iteration.is_some() => {
            return Err(Failure::usage("--iteration needs a task").hint("write manta why SWARM/TASK --iteration N"));
        }
        None if about.starts_with(AttemptId::PREFIX) => client.why_attempt(&about).await?,
        None => {
            let swarm = find::swarm(&client, &about, find::Use::Look, form).await?;
            client.why_swarm(swarm.id).await?
        }
    };
    match form {
        Form::Json => out::put_json(&why)?,
        Form::Text => {
            out::put(&format!("{}\n", clean(&why.text)))?;
            if let Some(hint) = replay_hint(&why) {
                out::say(&hint);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How to see an attempt that has ended do it again.
fn replay_hint(why: &WhyView) -> Option<String> {
    let attempt = why.attempt?;
    let finds = match why.state.as_str() {
        "accepted" => "whether its outputs are the same to the bit",
        "failed" => "whether it fails in the same way; `--pdb` opens the debugger there",
        _ => return None,
    };
    Some(format!("hint: `manta replay {attempt}` runs it again and says {finds}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(attempt: Option<AttemptId>, state: &str) -> WhyView {
        let swarm = manta_types::SwarmId::from_uuid(uuid::Uuid::from_u128(1));
        let document = serde_json::json!({
            "schema_version": 1, "swarm": swarm, "name": "s", "attempt": attempt, "state": state, "reason": "r",
            "nodes": [], "waiting": [], "attempts": [], "chain": [], "would_change": [], "text": "t",
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn only_an_attempt_that_has_ended_can_be_replayed() {
        let attempt = AttemptId::from_uuid(uuid::Uuid::from_u128(7));
        for state in ["accepted", "failed"] {
            let hint = replay_hint(&why(Some(attempt), state)).unwrap();
            assert!(hint.contains(&format!("`manta replay {attempt}`")), "{hint}");
        }
        assert_eq!(replay_hint(&why(Some(attempt), "running")), None);
        assert_eq!(replay_hint(&why(None, "failed")), None);
    }
}
