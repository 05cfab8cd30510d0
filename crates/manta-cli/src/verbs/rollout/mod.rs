//! `manta rollout` and `manta rollback`: another version of a task's module in a swarm that runs.
use std::process::ExitCode;

use clap::Subcommand;
use manta_api::version::SCHEMA_VERSION;
use manta_api::{ErrorCode, RolloutView, SwarmView};
use manta_client::Client;
use manta_types::name::nearest;
use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::report::{Failure, Form};
use crate::text::clean;
use crate::{find, out};

pub(crate) mod back;
mod ls;
mod order;
mod show;
mod start;

/// Verbs of rollouts.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Bring another version of a task's module to a growing share of its nodes.
    Start(start::Args),
    /// Show a rollout: its step, its gates, its nodes.
    Show(show::Args),
    /// List rollouts.
    Ls(ls::Args),
    /// Let a rollout stay at its step.
    Hold(order::Args),
    /// Let a held rollout go on as its gates say.
    Resume(order::Args),
    /// Let a rollout take its next step at the next iteration, whatever its gates say.
    Promote(order::PromoteArgs),
    /// Take a rollout back: what begins from now on runs the version of before.
    Revert(order::Args),
}

/// Does what the command line says.
pub(crate) fn main(verb: Verb, form: Form) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Start(args) => super::block_on(start::main(args, form)),
        Verb::Show(args) => super::block_on(show::main(args, form)),
        Verb::Ls(args) => super::block_on(ls::main(args, form)),
        Verb::Hold(args) => super::block_on(order::main(args, form, "hold")),
        Verb::Resume(args) => super::block_on(order::main(args, form, "resume")),
        Verb::Promote(args) => super::block_on(order::promote(args, form)),
        Verb::Revert(args) => super::block_on(order::main(args, form, "revert")),
    }
}

/// Which task of which swarm.
#[derive(Debug, clap::Args)]
pub(crate) struct TaskArgs {
    /// The swarm, by its id, the beginning of it, or its name; and the task's alias.
    #[arg(value_name = "SWARM/TASK")]
    place: String,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// A task of a swarm, found.
struct Place {
    client: Client,
    swarm: SwarmView,
    task: String,
}

impl TaskArgs {
    async fn find(&self, using: find::Use, form: Form) -> Result<Place, Failure> {
        let (swarm, task) = split(&self.place);
        let Some(task) = task else {
            let failure = Failure::usage(format!("`{}` names no task", clean(&self.place)));
            return Err(failure.hint("write SWARM/TASK, such as FedAvg/worker"));
        };
        let client = self.connection.client()?;
        let swarm = find::swarm(&client, swarm, using, form).await?;
        known(&swarm, task)?;
        Ok(Place { client, task: task.to_owned(), swarm })
    }
}

/// `FedAvg/worker` as a swarm and a task; the names of swarms may have slashes, those of tasks may not.
fn split(place: &str) -> (&str, Option<&str>) {
    place.rsplit_once('/').map_or((place, None), |(swarm, task)| (swarm, Some(task)))
}

fn known(swarm: &SwarmView, task: &str) -> Result<(), Failure> {
    if swarm.tasks.iter().any(|alias| alias == task) {
        return Ok(());
    }
    let message = format!("swarm `{}` has no task `{}`", clean(&swarm.name), clean(task));
    let failure = Failure::new(ErrorCode::NotFound, message);
    Err(match nearest(task, swarm.tasks.iter().map(String::as_str)) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("its tasks are {}", clean(&swarm.tasks.join(", ")))),
    })
}

/// Says what became of a rollout.
fn tell(rollout: &RolloutView, form: Form) -> Result<ExitCode, Failure> {
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "rollout": rollout}))?,
        Form::Text => out::put(&show::render(rollout))?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_swarm_and_a_task() {
        assert_eq!(split("FedAvg/worker"), ("FedAvg", Some("worker")));
        assert_eq!(split("a/b/worker[0]"), ("a/b", Some("worker[0]")));
        assert_eq!(split("FedAvg"), ("FedAvg", None));
    }
}
