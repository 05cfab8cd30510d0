//! `manta rollout start`: another version of a task's module, step by step.
use std::process::ExitCode;
use std::time::Duration;

use manta_api::RolloutRequest;
use manta_client::Client;
use manta_types::{Gate, rollout};

use super::{TaskArgs, tell};
use crate::find;
use crate::report::{Failure, Form};

/// Options of `manta rollout start`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    task: TaskArgs,

    /// The version: a number, a range or a tag, as published at the manager. It is chosen now, and pinned by its digest.
    version: String,

    /// Shares of the task's nodes that run it, one step after the other.
    #[arg(long, value_name = "SHARES", value_delimiter = ',', default_value = "100%", value_parser = rollout::share)]
    steps: Vec<f64>,

    /// What each step must keep to: failures<=1%, or metric:NAME>=-0.01, the mean over the new version's attempts less that
    /// over the old one's. May be given several times.
    #[arg(long = "gate", value_name = "GATE")]
    gates: Vec<Gate>,

    /// Iterations that a step lasts at least.
    #[arg(long, value_name = "ITERATIONS", default_value_t = 1)]
    every: u32,

    /// Wait at each step for `manta rollout promote`.
    #[arg(long)]
    hold_each: bool,

    /// The most time for one step; then the rollout is reverted, held or not. `none` sets no limit.
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = deadline)]
    deadline: Deadline,

    /// Only say what it would do.
    #[arg(long)]
    dry_run: bool,
}

/// The most time for one step, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Deadline(Option<Duration>);

/// `90s`, `30m`, `12h`, `2d`, `none`.
fn deadline(text: &str) -> Result<Deadline, String> {
    if text == "none" {
        return Ok(Deadline(None));
    }
    let told = || format!("`{}` is no time; write 90s, 30m, 12h, 2d or none", crate::text::one_line(text, 32));
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(told)?);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(told()),
    };
    let number: f64 = number.trim().parse().map_err(|_| told())?;
    Duration::try_from_secs_f64(number * seconds).map(|span| Deadline(Some(span))).map_err(|_| told())
}

/// Starts a rollout.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let Args { task, version, steps, gates, every, hold_each, deadline, dry_run } = args;
    let deadline_ms = deadline.0.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let request = RolloutRequest { task: String::new(), version, steps, gates, every, hold_each, deadline_ms, dry_run };
    request.plan().check().map_err(|problem| Failure::usage(problem.to_string()))?;
    let place = task.find(find::Use::Change, form).await?;
    let request = RolloutRequest { task: place.task, ..request };
    tell(&place.client.roll_out(place.swarm.id, &request, &Client::new_key()).await?, form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_have_units() {
        let seconds = |text: &str| deadline(text).unwrap().0.map(|span| span.as_secs());
        assert_eq!(
            [seconds("90s"), seconds("30m"), seconds("1d"), seconds("none")],
            [Some(90), Some(1800), Some(86_400), None]
        );
        assert!(["30", "m", "-1h", "1y", "NaNs"].iter().all(|text| deadline(text).is_err()));
    }
}
