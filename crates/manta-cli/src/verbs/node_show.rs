//! `manta node show`: one node, and all that its manager knows of it.
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use manta_api::{DatasetView, NEVER_CONNECTED, NodeDetailView};
use serde_json::json;

use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{bytes, clean, hanging, iso, one_line};
use crate::{connection, out};

/// What is known of a node before it says what it is.
const KNOWN_OF_UNSEEN: [&str; 3] = ["state", "joined", "labels"];
/// Columns of a dataset that are named to people.
const COLUMNS_TOLD: usize = 8;

/// Options of `manta node show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's name.
    name: String,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Shows a node.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let node = args.connection.client()?.node(&args.name).await?;
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "node": node}))?,
        Form::Text => out::put(&render(&node, out::width()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn render(detail: &NodeDetailView, width: Option<usize>) -> String {
    let node = &detail.node;
    let heard = node.heard_s.map(|seconds| format!(", heard {seconds:.0} s ago")).unwrap_or_default();
    let quality = detail.link_quality.map_or("not told".to_owned(), |quality| format!("{quality:.2}"));
    let protocol = detail.protocol.map(|protocol| format!(", node protocol {protocol}")).unwrap_or_default();
    let labels = node.labels.iter().map(|(key, value)| {
        let by = if detail.own_labels.contains_key(key) { "" } else { " (given here)" };
        format!("{key}={value}{by}")
    });
    let labels: Vec<String> = labels.collect();
    let images: Vec<&str> = detail.images.keys().map(String::as_str).collect();
    let gpus: Vec<String> = node.gpus.iter().map(|gpu| format!("{} {}", gpu.name, bytes(gpu.memory_bytes))).collect();
    let none = |list: Vec<String>| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let rows = [
        ("state", format!("{}, {}{heard}", node.state, node.duty)),
        ("link", quality),
        ("agent", format!("manta {}{protocol}", detail.agent_version)),
        ("joined", iso(detail.joined_ms)),
        ("tier", format!("{}, engine {}", node.tier, if node.engine.is_empty() { "not told" } else { &node.engine })),
        ("host", format!("{} cores, {}, {}", detail.cpu_count, bytes(detail.memory_bytes), detail.platform)),
        ("python", detail.python_version.clone()),
        ("images", images.join(", ")),
        ("gpus", none(gpus)),
        ("labels", none(labels)),
        ("policy", detail.policy.clone().unwrap_or_else(|| "none: it runs whatever its manager sends".to_owned())),
        ("attempts", format!("{} of {} slots", node.attempts, node.slots)),
    ];
    let mut text = format!("{}  {}\n", clean(&node.name), node.id);
    let is_unseen = node.notes.iter().any(|note| note == NEVER_CONNECTED);
    for (name, value) in rows.into_iter().filter(|(name, _)| !is_unseen || KNOWN_OF_UNSEEN.contains(name)) {
        text.push_str(&format!("{name:<10} {}\n", hanging(&value)));
    }
    for note in &node.notes {
        text.push_str(&format!("note       {}\n", hanging(note)));
    }
    if !detail.datasets.is_empty() {
        text.push_str(&format!("\n{}", datasets(detail.datasets.iter(), width)));
    }
    if !detail.running.is_empty() {
        let mut table = Table::new(&["ATTEMPT", "SWARM", "TASK", "ITERATION", "STATE"]);
        for run in &detail.running {
            let (swarm, task) = (one_line(&run.swarm_name, 32), one_line(&run.task, 32));
            table.row(vec![run.attempt.to_string(), swarm, task, run.iteration.to_string(), run.state.clone()]);
        }
        text.push_str(&format!("\n{}", table.render(width)));
    }
    if !detail.events.is_empty() {
        text.push_str("\nsince the manager started\n");
        for event in &detail.events {
            text.push_str(&format!("  {}  {}\n", iso(event.time_ms), hanging(&event.message)));
        }
    }
    text
}

/// Datasets as a table.
pub(super) fn datasets<'a>(all: impl Iterator<Item = &'a DatasetView>, width: Option<usize>) -> String {
    let mut table = Table::new(&["DATASET", "FORM", "SIZE", "ROWS", "COLUMNS"]);
    for set in all {
        let schema = set.schema.clone().unwrap_or_default();
        let form = if schema.format.is_empty() { set.form.clone() } else { schema.format.clone() };
        let rows = match (schema.rows, schema.files) {
            (Some(rows), _) => rows.to_string(),
            (None, Some(files)) => format!("{files} files"),
            (None, None) => "-".to_owned(),
        };
        table.row(vec![one_line(&set.name, 32), form, bytes(set.size), rows, columns(set)]);
    }
    table.render(width)
}

fn columns(set: &DatasetView) -> String {
    let Some(schema) = &set.schema else { return "-".to_owned() };
    let named = schema.columns.iter().take(COLUMNS_TOLD).map(|column| {
        let shape: Vec<String> = column.shape.iter().map(ToString::to_string).collect();
        let shape = if shape.is_empty() { String::new() } else { format!("[{}]", shape.join("×")) };
        format!("{} {}{shape}", column.name, column.dtype).trim().to_owned()
    });
    let mut told: Vec<String> = named.collect();
    if schema.columns.len() > COLUMNS_TOLD {
        told.push(format!("and {} more", schema.columns.len() - COLUMNS_TOLD));
    }
    if told.is_empty() { "-".to_owned() } else { one_line(&told.join(", "), 120) }
}
