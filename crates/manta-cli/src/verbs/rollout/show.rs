//! `manta rollout show`: the newest rollout of a task.
use std::process::ExitCode;

use manta_api::{ErrorCode, RolloutView};
use manta_types::rollout::percent;

use super::{TaskArgs, tell};
use crate::find;
use crate::report::{Failure, Form};
use crate::text::{clean, hanging, iso, lasting};

/// Options of `manta rollout show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    task: TaskArgs,
}

/// Shows a rollout.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let place = args.task.find(find::Use::Look, form).await?;
    let rollouts = place.client.rollouts(place.swarm.id).await?;
    let Some(last) = rollouts.iter().rev().find(|rollout| rollout.task == place.task) else {
        let message = format!("nothing was rolled out to `{}/{}` yet", clean(&place.swarm.name), clean(&place.task));
        let failure = Failure::new(ErrorCode::NotFound, message);
        return Err(failure.hint("start with `manta rollout start SWARM/TASK VERSION`"));
    };
    tell(last, form)
}

/// A rollout as people read it.
pub(super) fn render(rollout: &RolloutView) -> String {
    let back = if rollout.back { "rollback" } else { "rollout" };
    let (name, task) = (clean(&rollout.swarm_name), clean(&rollout.task));
    let mut text = format!("{back} {} of {name}/{task}  {}\n", rollout.number, rollout.swarm);
    let mut line = |what: &str, value: &str| text.push_str(&format!("{what:<10} {value}\n"));
    line("state", &format!("{}: {}", rollout.state, hanging(&rollout.reason)));
    let (module, from, to) = (clean(&rollout.module), clean(&rollout.from), clean(&rollout.to));
    line(
        "versions",
        &format!("{module} {from} to {to} ({} to {})", rollout.from_bundle.short(), rollout.to_bundle.short()),
    );
    let steps: Vec<_> = rollout.steps.iter().map(|step| percent(*step)).collect();
    let now = match rollout.step {
        Some(step) => format!(
            "step {} of {}: {} of the nodes",
            step + 1,
            steps.len().max(step as usize + 1),
            percent(rollout.share)
        ),
        None if rollout.ended_ms.is_some() => "ended before its first step".to_owned(),
        None => "begins with the next iteration".to_owned(),
    };
    line("steps", &format!("{}; {now}", steps.join(", ")));
    let judged = |gate: &manta_types::Gate| rollout.figures.iter().find(|figure| figure.gate == *gate);
    for gate in &rollout.gates {
        line("gate", &clean(&judged(gate).map_or_else(|| gate.to_string(), ToString::to_string)));
    }
    if let Some(left) = rollout.deadline_left_ms {
        line("deadline", &format!("this step is reverted in {} unless it is done with", lasting(left / 1000)));
    }
    if !rollout.nodes.is_empty() {
        line("nodes", &clean(&rollout.nodes.join(", ")));
    }
    for unfit in &rollout.unfit {
        line("unfit", &clean(&format!("{} {}", unfit.node, unfit.cause)));
    }
    if rollout.started_ms > 0 {
        line("started", &iso(rollout.started_ms));
    }
    if let Some(ended) = rollout.ended_ms {
        line("ended", &iso(ended));
    }
    text
}
