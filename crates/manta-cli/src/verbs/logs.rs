//! `manta logs`: what a swarm's tasks logged and printed.
use std::process::ExitCode;

use futures_util::StreamExt;
use manta_api::{LogLine, SwarmView};
use manta_client::{Client, LogFilter};

use crate::report::{Failure, Form};
use crate::text::{clean, iso};
use crate::{connection, find, out, shutdown};

/// Lines that are shown before the first error.
const LINES_BEFORE: usize = 20;

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

    /// Only what surrounds the first error: the lines of its attempt, from a few before it.
    #[arg(long, conflicts_with_all = ["follow", "level"])]
    first_error: bool,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Prints log lines; with `--json`, one object a line.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let swarm = find::swarm(&client, &args.swarm, find::Use::Look, form).await?;
    let Args { task, node, iteration, level, .. } = args;
    if let Some(task) = &task {
        find::task(&swarm, task)?;
    }
    if let Some(node) = &node {
        find::node_of(&client, &swarm, node).await?;
    }
    let filter = LogFilter { task, node, iteration, level, ..LogFilter::default() };
    if args.first_error {
        return first_error(&client, &swarm, filter, form).await;
    }
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

/// Prints what surrounds the first line of level `error`.
async fn first_error(client: &Client, swarm: &SwarmView, filter: LogFilter, form: Form) -> Result<ExitCode, Failure> {
    let errors = client.logs(swarm.id, &LogFilter { level: Some("error".to_owned()), ..filter }).await?;
    let Some(first) = errors.first() else {
        out::say(&format!("no line is an error; `manta why {}` says how the swarm is", swarm.id));
        return Ok(ExitCode::SUCCESS);
    };
    let around = LogFilter { attempt: Some(first.attempt), ..LogFilter::default() };
    let lines = client.logs(swarm.id, &around).await?;
    let at = lines.iter().position(|line| line.seq >= first.seq).unwrap_or(0);
    for line in &lines[at.saturating_sub(LINES_BEFORE)..] {
        put(line, form)?;
    }
    out::say(&format!(
        "`manta replay {}` runs this attempt again, `manta why {}` says why it ended",
        first.attempt, first.attempt
    ));
    Ok(ExitCode::SUCCESS)
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
