//! `manta node ls`: the nodes of a cluster.
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use manta_api::{NOT_BELIEVED, TURNED_AWAY};
use serde_json::json;

use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::one_line;
use crate::{connection, out};

/// Options of `manta node ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Lists nodes.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let nodes = args.connection.client()?.nodes().await?;
    if form == Form::Json {
        out::put_json(&json!({"schema_version": SCHEMA_VERSION, "nodes": nodes}))?;
        return Ok(ExitCode::SUCCESS);
    }
    if nodes.is_empty() {
        out::say("there are no nodes yet; `manta node token` prints the command that adds one");
        return Ok(ExitCode::SUCCESS);
    }
    let columns = ["NAME", "STATE", "DUTY", "ATTEMPTS", "DATASETS", "GPUS", "HEARD", "TIER", "ENGINE", "LABELS"];
    let mut table = Table::new(&columns);
    let mut doubts = Vec::new();
    for node in nodes {
        let is_flag = |note: &&String| note.starts_with(NOT_BELIEVED) || note.starts_with(TURNED_AWAY);
        let flags = node.notes.iter().filter(is_flag);
        doubts.extend(flags.map(|note| format!("node `{}` is {note}", node.name)));
        let heard = node.heard_s.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0} s ago"));
        let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let attempts = format!("{}/{}", node.attempts, node.slots);
        let datasets = one_line(&node.datasets.join(", "), 40);
        table.row(vec![
            node.name,
            node.state,
            node.duty,
            attempts,
            datasets,
            node.gpus.len().to_string(),
            heard,
            node.tier,
            node.engine,
            one_line(&labels.join(", "), 40),
        ]);
    }
    out::put(&table.render(out::width()))?;
    doubts.iter().for_each(|doubt| out::complain(doubt));
    Ok(ExitCode::SUCCESS)
}
