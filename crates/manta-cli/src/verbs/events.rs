//! `manta events`: a swarm's history, as it is or as it goes on.
use std::process::ExitCode;

use futures_util::StreamExt;
use manta_api::EventView;

use crate::report::{Failure, Form};
use crate::text::{iso, one_line};
use crate::{connection, find, out, shutdown};

/// Columns of a cause.
const CAUSE_WIDTH: usize = 22;
/// Columns before a message: sequence, time, iteration, cause and what stands between them.
const HEAD_WIDTH: usize = 6 + 2 + 12 + 2 + 4 + 2 + CAUSE_WIDTH + 2;
/// The narrowest message; on a narrower terminal lines wrap.
const MESSAGE_WIDTH_MIN: usize = 20;

/// Options of `manta events`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The swarm: its id, the beginning of it, or its name.
    swarm: String,

    /// Go on until the swarm is over.
    #[arg(long, short)]
    follow: bool,

    /// Only what happened after this event.
    #[arg(long, value_name = "EVENT", default_value_t = 0)]
    after: u64,

    /// Only what concerns this task.
    #[arg(long)]
    task: Option<String>,

    /// Only what concerns this node.
    #[arg(long)]
    node: Option<String>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Prints events; with `--json`, one object a line.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let swarm = find::swarm(&client, &args.swarm, find::Use::Look, form).await?;
    if let Some(task) = &args.task {
        find::task(&swarm, task)?;
    }
    let is_wanted = |event: &EventView| {
        let fits = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        fits(&args.task, &event.task_name) && fits(&args.node, &event.node_name)
    };
    let width = out::width();
    if form == Form::Text {
        out::put(&line("EVENT", "TIME", "ITER", "FOLLOWS FROM", "WHAT"))?;
    }
    if !args.follow {
        for event in client.events(swarm.id, args.after).await?.iter().filter(|event| is_wanted(event)) {
            put(event, form, width)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let ended = shutdown::listen(shutdown::Lifeline::None)?;
    tokio::pin!(ended);
    let mut events = client.events_stream(swarm.id, args.after);
    loop {
        tokio::select! {
            event = events.next() => match event.transpose()? {
                Some(event) if is_wanted(&event) => put(&event, form, width)?,
                Some(_) => {}
                None => return Ok(ExitCode::SUCCESS),
            },
            () = &mut ended => {
                out::say(&format!("the swarm goes on; `manta stop {}` ends it", swarm.id));
                return Err(Failure::silent(130));
            }
        }
    }
}

fn put(event: &EventView, form: Form, width: Option<usize>) -> Result<(), Failure> {
    match form {
        Form::Json => out::put_json(event),
        Form::Text => out::put(&render(event, width)),
    }
}

fn render(event: &EventView, width: Option<usize>) -> String {
    let time = iso(event.time_ms);
    // The day stands in the swarm's own dates; the time of day tells events apart.
    let time = time.split_once('T').map_or(time.as_str(), |(_, time)| time.trim_end_matches('Z'));
    let iteration = event.subject.iteration.map_or_else(|| "-".to_owned(), |iteration| iteration.to_string());
    let most = width.map_or(usize::MAX, |width| width.saturating_sub(HEAD_WIDTH).max(MESSAGE_WIDTH_MIN));
    let cause = one_line(&event.cause.to_string(), CAUSE_WIDTH);
    line(&event.seq.to_string(), time, &iteration, &cause, &one_line(&event.message, most))
}

fn line(seq: &str, time: &str, iteration: &str, cause: &str, message: &str) -> String {
    format!("{seq:>6}  {time:<12}  {iteration:>4}  {cause:<CAUSE_WIDTH$}  {message}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_that_fits() {
        let event = EventView {
            seq: 7,
            time_ms: 3_723_004,
            task_name: Some("worker".into()),
            node_name: None,
            message: "worker failed: ValueError: no such column in this table at all".into(),
            subject: manta_types::Subject { iteration: Some(3), ..Default::default() },
            cause: manta_types::Cause::Event { seq: 6 },
            event: serde_json::json!({"kind": "task_run_closed"}),
        };
        let line = render(&event, Some(80));
        assert!(line.starts_with("     7  01:02:03.004     3  event 6"), "{line}");
        assert_eq!(line.trim_end().chars().count(), 80, "{line}");
        assert!(render(&event, None).ends_with("at all\n"));
    }
}
