//! `manta show`: one swarm, its tasks, and what waits.
use std::process::ExitCode;

use manta_api::SwarmView;
use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{bytes, clean, hanging, iso, one_line};
use crate::{connection, find, out};

/// Options of `manta show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The swarm: its id, the beginning of it, or its name.
    swarm: String,

    /// As it was when this event had happened; `manta events` lists them.
    #[arg(long, value_name = "EVENT", value_parser = clap::value_parser!(u64).range(1..))]
    at: Option<u64>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Shows a swarm.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let mut swarm = find::swarm(&client, &args.swarm, find::Use::Look, form).await?;
    if let Some(event) = args.at {
        swarm = client.swarm_at(swarm.id, event).await?;
    }
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "swarm": swarm}))?,
        Form::Text => out::put(&render(&swarm, out::width()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn render(swarm: &SwarmView, width: Option<usize>) -> String {
    let mut text = format!("{}  {}\nstate      {}", clean(&swarm.name), swarm.id, swarm.state);
    if !swarm.reason.is_empty() && swarm.reason != swarm.state {
        text.push_str(&format!(": {}", hanging(&swarm.reason)));
    }
    let iteration = super::ls::iteration(swarm.iteration);
    let most = swarm.max_iteration.map(|most| format!(" (counted from 0, {most} in all at most)")).unwrap_or_default();
    text.push_str(&format!("\niteration  {iteration}{most}\ncreated    {}\n", iso(swarm.created_ms)));
    if let Some(finished) = swarm.finished_ms {
        text.push_str(&format!("finished   {}\n", iso(finished)));
    }
    if swarm.priority != 0 {
        text.push_str(&format!("priority   {}\n", swarm.priority));
    }
    if let Some(most) = swarm.attempts_max {
        text.push_str(&format!("attempts   at most {most} at once\n"));
    }
    text.push_str(&format!("event      {}\n", swarm.seq));
    if let Some(told) = &swarm.distribution {
        text.push_str(&format!("modules    on {} of {} nodes that may run it\n", told.ready, told.nodes));
        for node in &told.failed {
            text.push_str(&format!("  {}: {}\n", clean(&node.node), hanging(&node.cause)));
        }
    }
    if !swarm.task_runs.is_empty() {
        let mut table = Table::new(&["TASK", "STATE", "NODES", "ACCEPTED", "VERSIONS", "STARTS", "MEMORY", "REASON"]);
        for run in &swarm.task_runs {
            let (nodes, accepted) = (run.nodes.to_string(), run.accepted.to_string());
            let starts: Vec<String> = run.starts.iter().map(|(way, count)| format!("{count} {way}")).collect();
            let versions: Vec<String> =
                run.versions.iter().map(|(version, nodes)| format!("{version} ×{nodes}")).collect();
            let versions = clean(&versions.join(", "));
            let (task, reason) = (one_line(&run.task, 32), one_line(&run.reason, 80));
            let memory = run.memory_bytes_peak.map(bytes).unwrap_or_default();
            table.row(vec![
                task,
                run.state.clone(),
                nodes,
                accepted,
                versions,
                clean(&starts.join(", ")),
                memory,
                reason,
            ]);
        }
        text.push('\n');
        text.push_str(&table.render(width));
    }
    for waiting in &swarm.waiting {
        text.push_str(&format!("\nwaiting: task {}: {}\n", clean(&waiting.task), hanging(&waiting.reason)));
        for node in &waiting.nodes {
            text.push_str(&format!("  {}: {}\n", clean(&node.node), clean(&node.cause)));
        }
        if !waiting.would_change.is_empty() {
            text.push_str(&format!("  would change it: {}\n", clean(&waiting.would_change.join("; or "))));
        }
    }
    text
}
