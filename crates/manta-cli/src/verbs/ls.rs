//! `manta ls`: the swarms of a cluster.
use std::process::ExitCode;
use std::time::SystemTime;

use manta_api::SwarmView;
use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{ago, one_line};
use crate::{connection, out};

/// Options of `manta ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Lists swarms.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let swarms = args.connection.client()?.swarms().await?;
    if form == Form::Json {
        out::put_json(&json!({"schema_version": SCHEMA_VERSION, "swarms": swarms}))?;
        return Ok(ExitCode::SUCCESS);
    }
    if swarms.is_empty() {
        out::say("there are no swarms yet; `manta deploy PATH` submits one");
        return Ok(ExitCode::SUCCESS);
    }
    let now = now_ms();
    let mut table = Table::new(&["NAME", "STATE", "ITERATION", "CREATED", "ID", "PRIORITY", "REASON"]);
    for swarm in swarms {
        let iteration = iteration(swarm.iteration);
        let (created, id) = (ago(swarm.created_ms, now), swarm.id.to_string());
        let (reason, priority) = (one_line(reason(&swarm), 60), swarm.priority.to_string());
        table.row(vec![one_line(&swarm.name, 32), swarm.state, iteration, created, id, priority, reason]);
    }
    out::put(&table.render(out::width()))?;
    Ok(ExitCode::SUCCESS)
}

/// Why it is in its state; while it runs, what waits for more than the tasks before it.
fn reason(swarm: &SwarmView) -> &str {
    let stuck = swarm.waiting.iter().find(|waiting| !waiting.nodes.is_empty());
    stuck.map_or(&swarm.reason, |waiting| &waiting.reason)
}

/// The current iteration, counted from 0.
pub(crate) fn iteration(now: Option<u32>) -> String {
    now.map_or_else(|| "-".to_owned(), |now| now.to_string())
}

/// The wall clock, for relative times.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
