//! `manta logs`: what a swarm's tasks logged and printed.
use std::process::ExitCode;

use futures_util::StreamExt;
use manta_api::{LogLine, SwarmView};
use manta_client::{Client, LogFilter};
use manta_types::AttemptId;
use serde_json::json;

use crate::history::{FailedAttempt, History};
use crate::report::{Failure, Form};
use crate::text::{clean, hanging, iso};
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

    /// Only what surrounds the first error: the lines of its attempt, from a few before it; where no line is an error, the
    /// failure that decided, or the last one of a swarm that went on.
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

/// Prints what surrounds the first line of level `error`, or how an attempt failed that left none.
async fn first_error(client: &Client, swarm: &SwarmView, filter: LogFilter, form: Form) -> Result<ExitCode, Failure> {
    let of_errors = LogFilter { level: Some("error".to_owned()), ..filter.clone() };
    let errors = client.logs(swarm.id, &of_errors).await?;
    let Some(first) = errors.first() else { return failure_alone(client, swarm, &filter, form).await };
    let around = LogFilter { attempt: Some(first.attempt), ..LogFilter::default() };
    let lines = client.logs(swarm.id, &around).await?;
    let at = lines.iter().position(|line| line.seq >= first.seq).unwrap_or(0);
    for line in &lines[at.saturating_sub(LINES_BEFORE)..] {
        put(line, form)?;
    }
    say_more(first.attempt);
    Ok(ExitCode::SUCCESS)
}

/// Prints how the attempt failed that decided, as `manta why` does: what is raised need not stand in any line.
async fn failure_alone(
    client: &Client,
    swarm: &SwarmView,
    filter: &LogFilter,
    form: Form,
) -> Result<ExitCode, Failure> {
    let mut history = History::new(swarm.id);
    for event in client.events(swarm.id, 0).await? {
        history.event(event);
    }
    let fits = |wanted: &Option<String>, is: &String| wanted.as_ref().is_none_or(|wanted| wanted == is);
    let is_wanted = |failed: &FailedAttempt| {
        let of_iteration = filter.iteration.is_none_or(|wanted| wanted == failed.iteration);
        of_iteration && fits(&filter.task, &failed.task) && fits(&filter.node, &failed.node)
    };
    let Some(failed) = history.failure(is_wanted) else {
        out::say(&format!("no line is an error; `manta why {}` says how the swarm is", swarm.id));
        return Ok(ExitCode::SUCCESS);
    };
    match form {
        Form::Json => out::put_json(&json!({"attempt": failed.id, "failure": failed}))?,
        Form::Text => out::put(&render_failure(failed))?,
    }
    if swarm.state != "failed" {
        out::say(&format!("note: the swarm did not end of it, it is {}", clean(&swarm.state)));
    }
    say_more(failed.id);
    Ok(ExitCode::SUCCESS)
}

fn say_more(attempt: AttemptId) {
    out::say(&format!("`manta replay {attempt}` runs this attempt again, `manta why {attempt}` says why it ended"));
}

/// A failure as a person reads it, with its traceback.
fn render_failure(failed: &FailedAttempt) -> String {
    let FailedAttempt { task, node, iteration, failure, .. } = failed;
    let place = failure.location.as_deref().map(|place| format!(" at {}", clean(place))).unwrap_or_default();
    let (class, what) = (clean(&failure.class), hanging(&failure.message));
    let mut text = format!("task {} on {}, iteration {iteration}\n", clean(task), clean(node));
    text.push_str(&format!("failure: {class}{place}: {what}\n"));
    clean(&failure.traceback).lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_its_place_and_its_traceback() {
        let failure = json!({
            "class": "user_error", "message": "ValueError: no\nnote: all is well", "location": "crash.py:7",
            "traceback": "Traceback:\n  File \"crash.py\"",
        });
        let failed = FailedAttempt {
            id: AttemptId::from_uuid(uuid::Uuid::from_u128(7)),
            task: "crash".into(),
            node: "node-2".into(),
            iteration: 3,
            attempt: 0,
            failure: serde_json::from_value(failure).unwrap(),
            usage: None,
            retry_after_ms: None,
        };
        let lines = [
            "task crash on node-2, iteration 3",
            "failure: user_error at crash.py:7: ValueError: no",
            "    note: all is well",
            "  Traceback:",
            "    File \"crash.py\"\n",
        ];
        assert_eq!(render_failure(&failed), lines.join("\n"));
    }
}
