//! `manta logs`: what a swarm's tasks logged and printed.
use std::process::ExitCode;

use futures_util::StreamExt;
use manta_api::LogLine;
use manta_client::LogFilter;

use crate::report::{Failure, Form};
use crate::text::{clean, iso};
use crate::{connection, find, out, shutdown};

/// Options of `manta logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The swarm: its id, the beginning of it, or its name.
    swarm: String,

    /// Go on until the swarm is over.
    #[arg(long, short)]
    follow: bool,

    /// Only this task.
    #[arg(long)]
    task: Option<String>,

    /// Only this node.
    #[arg(long)]
    node: Option<String>,

    /// Only this iteration, counted from 0.
    #[arg(long, value_name = "N")]
    iteration: Option<u32>,

    /// Only this level and those above it.
    #[arg(long, value_parser = ["debug", "info", "warning", "error"])]
    level: Option<String>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Prints log lines; with `--json`, one object a line.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let swarm = find::swarm(&client, &args.swarm).await?;
    let Args { task, node, iteration, level, .. } = args;
    let filter = LogFilter { task, node, iteration, level, ..LogFilter::default() };
    if !args.follow {
        for line in client.logs(swarm.id, &filter).await? {
            put(&line, form)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let ended = shutdown::listen(shutdown::Lifeline::None)?;
    tokio::pin!(ended);
    let mut lines = client.logs_stream(swarm.id, filter);
    loop {
        tokio::select! {
            line = lines.next() => match line {
                Some(line) => put(&line?, form)?,
                None => return Ok(ExitCode::SUCCESS),
            },
            () = &mut ended => {
                out::say(&format!("the swarm goes on; `manta stop {}` ends it", swarm.id));
                return Err(Failure::silent(130));
            }
        }
    }
}

fn put(line: &LogLine, form: Form) -> Result<(), Failure> {
    match form {
        Form::Json => out::put_json(line),
        Form::Text => out::put(&render(line)),
    }
}

/// A line of the log as a person reads it.
pub(crate) fn render(line: &LogLine) -> String {
    let LogLine { time_ms, task, node, iteration, level, .. } = line;
    let head = format!("{} {node} {task} {iteration} {level}", iso(*time_ms));
    let text = match (&line.data, line.text.is_empty()) {
        (Some(data), true) => format!("{}: {data}", line.source),
        _ => line.text.clone(),
    };
    clean(&text).lines().map(|text| format!("{} {text}\n", clean(&head))).collect()
}
