//! `manta top`: nodes and what runs on them, as they are, again and again.
use std::process::ExitCode;
use std::time::Duration;

use manta_api::version::SCHEMA_VERSION;
use manta_api::{NodeView, SwarmView};
use manta_client::Client;
use manta_types::AttemptId;
use serde::Serialize;

use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{count, one_line};
use crate::{connection, out, shutdown};

/// Attempts that are asked for and shown.
const ATTEMPTS_MAX: usize = 100;
/// States in which an attempt is over.
const OVER: [&str; 4] = ["accepted", "failed", "lost", "cancelled"];

/// Options of `manta top`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Look once and end, as it does where standard output is no terminal.
    #[arg(long)]
    once: bool,

    /// How often to look, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// What there is at one moment.
#[derive(Debug, Serialize)]
struct Look {
    schema_version: u32,
    nodes: Vec<NodeView>,
    swarms: usize,
    attempts: Vec<Running>,
}

/// An attempt that is not over.
#[derive(Debug, Serialize)]
struct Running {
    attempt: AttemptId,
    swarm: String,
    task: String,
    iteration: Option<u32>,
    node: String,
    state: String,
}

/// Looks until it is told to end; with `--json`, one object a line.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let ended = shutdown::listen(shutdown::Lifeline::None)?;
    tokio::pin!(ended);
    let redraws = form == Form::Text && out::height().is_some();
    let once = args.once || (form == Form::Text && !redraws);
    let mut ticks = tokio::time::interval(Duration::from_secs(args.every));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut ended => return Err(Failure::silent(130)),
        }
        let look = look(&client).await?;
        match form {
            Form::Json => out::put_json(&look)?,
            Form::Text if once => out::put(&render(&look, out::width()))?,
            Form::Text => out::put(&redrawn(&render(&look, out::width()), out::height().unwrap_or(usize::MAX)))?,
        }
        if once {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

async fn look(client: &Client) -> Result<Look, Failure> {
    let (nodes, swarms) = tokio::try_join!(client.nodes(), client.swarms())?;
    let live: Vec<SwarmView> = swarms.into_iter().filter(|swarm| swarm.finished_ms.is_none()).collect();
    let mut attempts = Vec::new();
    for swarm in &live {
        for run in swarm.task_runs.iter().filter(|run| run.state == "running") {
            if attempts.len() >= ATTEMPTS_MAX {
                break;
            }
            let why = client.why_task(swarm.id, &run.task, Some(run.iteration)).await?;
            attempts.extend(why.attempts.into_iter().filter(|made| !OVER.contains(&made.state.as_str())).map(|made| {
                Running {
                    attempt: made.attempt,
                    swarm: swarm.name.clone(),
                    task: run.task.clone(),
                    iteration: why.iteration,
                    node: made.node,
                    state: made.state,
                }
            }));
        }
    }
    attempts.truncate(ATTEMPTS_MAX);
    Ok(Look { schema_version: SCHEMA_VERSION, nodes, swarms: live.len(), attempts })
}

fn render(look: &Look, width: Option<usize>) -> String {
    let online = look.nodes.iter().filter(|node| node.state == "online").count();
    let busy: u32 = look.nodes.iter().map(|node| node.attempts).sum();
    let mut text = format!(
        "{online} of {} online, {} running, {}\n\n",
        count(look.nodes.len(), "node"),
        count(look.swarms, "swarm"),
        count(busy as usize, "attempt")
    );
    let mut nodes = Table::new(&["NODE", "STATE", "DUTY", "ATTEMPTS", "HEARD", "TIER"]);
    for node in &look.nodes {
        let heard = node.heard_s.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0} s ago"));
        let attempts = format!("{}/{}", node.attempts, node.slots);
        let (state, duty, tier) = (node.state.clone(), node.duty.clone(), node.tier.clone());
        nodes.row(vec![one_line(&node.name, 32), state, duty, attempts, heard, tier]);
    }
    text.push_str(&nodes.render(width));
    if !look.attempts.is_empty() {
        let mut attempts = Table::new(&["SWARM", "TASK", "ITERATION", "NODE", "STATE", "ATTEMPT"]);
        for running in &look.attempts {
            attempts.row(vec![
                one_line(&running.swarm, 24),
                one_line(&running.task, 24),
                super::ls::iteration(running.iteration),
                one_line(&running.node, 32),
                running.state.clone(),
                running.attempt.to_string(),
            ]);
        }
        text.push('\n');
        text.push_str(&attempts.render(width));
    }
    text
}

/// The text over what the terminal showed before, in at most its lines.
fn redrawn(text: &str, height: usize) -> String {
    let lines = text.lines().take(height.saturating_sub(1));
    let lines: String = lines.map(|line| format!("{line}\x1b[K\r\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_fits_the_terminal() {
        let node = |name: &str| -> NodeView {
            serde_json::from_value(serde_json::json!({
                "id": "nd_1", "name": name, "state": "online", "duty": "active", "labels": {}, "datasets": [],
                "slots": 2, "attempts": 1, "tier": "full", "notes": [], "heard_s": 0.4,
            }))
            .unwrap()
        };
        let running = Running {
            attempt: AttemptId::from_uuid(uuid::Uuid::from_u128(7)),
            swarm: "FedAvg".into(),
            task: "worker".into(),
            iteration: Some(3),
            node: "a".into(),
            state: "running".into(),
        };
        let look = Look { schema_version: 1, nodes: vec![node("a"), node("b")], swarms: 1, attempts: vec![running] };
        let text = render(&look, Some(80));
        assert!(text.starts_with("2 of 2 nodes online, 1 swarm running, 2 attempts\n\nNODE"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("FedAvg  worker  3          a     running"), "{text}");
        let drawn = redrawn(&text, 4);
        assert_eq!(drawn.lines().count(), 4, "{drawn:?}");
        assert!(drawn.starts_with("\x1b[H") && drawn.ends_with("\x1b[J"), "{drawn:?}");
    }
}
