//! Follows a swarm to its end: events and log lines as they come, what waits, and when to give up.
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use manta_api::{SwarmView, TaskRunView, WaitingView};
use manta_client::{Client, LogFilter};
use manta_types::SwarmId;
use tokio::time::{Instant, MissedTickBehavior};

use crate::history::{History, Notice};
use crate::report::Failure;
use crate::screen::Screen;

/// How often it is asked what waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long something waits before it is shown.
const WAITING_SHOWN: Duration = Duration::from_secs(2);
/// How long log lines may still come after the last event.
const DRAIN: Duration = Duration::from_secs(2);

/// Follows a swarm until it is over.
///
/// # Errors
/// When the manager cannot be reached any more, or `ended` resolves first, with what it gives.
pub(crate) async fn follow(
    client: &Client,
    swarm: &SwarmView,
    screen: &Screen,
    ended: impl Future<Output = Failure>,
) -> Result<History, Failure> {
    let mut history = History::new(swarm.id);
    screen.bounded(swarm.max_iteration);
    screen.head();
    let followed = follow_events(client, swarm.id, screen, &mut history);
    tokio::select! {
        outcome = followed => outcome?,
        failure = ended => return Err(failure),
    }
    Ok(history)
}

async fn follow_events(client: &Client, id: SwarmId, screen: &Screen, history: &mut History) -> Result<(), Failure> {
    let mut events = client.events_stream(id, 0);
    let mut lines = client.logs_stream(id, LogFilter::default()).fuse();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waits = Waits::default();
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { break };
                for notice in history.event(event?) {
                    show(client, id, screen, history, notice).await?;
                }
            }
            Some(line) = lines.next() => {
                let line = line?;
                history.line(&line);
                history.last_line = line.seq;
                screen.log(&line);
            }
            _ = look.tick() => {
                let waiting = news(client.swarm(id).await?);
                waits.look(waiting, Instant::now()).iter().for_each(|waiting| screen.waiting(waiting));
            }
        }
    }
    // The swarm is over; a slow last line must not keep anyone waiting.
    let drained = tokio::time::timeout(DRAIN, async {
        while let Some(Ok(line)) = lines.next().await {
            history.line(&line);
            screen.log(&line);
        }
    });
    let _ = drained.await;
    if history.ending.is_none() {
        return Err(Failure::internal("the manager ended the swarm's events before the swarm"));
    }
    Ok(())
}

async fn show(
    client: &Client,
    id: SwarmId,
    screen: &Screen,
    history: &mut History,
    notice: Notice,
) -> Result<(), Failure> {
    match notice {
        Notice::IterationStarted(iteration) => screen.iteration_started(iteration),
        Notice::Progress(task, done, of) => screen.progress(&task, done, of),
        Notice::Attention(message) => screen.attention(&message),
        Notice::Failed(position) => screen.failed(&history.failures[position]),
        Notice::Ended(_) => {}
        Notice::IterationFinished(iteration) => {
            // Its metrics are stored by now, but may still be on their way in the stream of lines.
            let filter = LogFilter { after: history.last_line, iteration: Some(iteration), ..LogFilter::default() };
            client.logs(id, &filter).await?.iter().for_each(|line| history.line(line));
            if let Some(row) = history.row(iteration) {
                screen.iteration_finished(&row);
            }
        }
    }
    Ok(())
}

/// What waits for more than the tasks before it, which is the ordinary course of things.
fn news(swarm: SwarmView) -> Vec<WaitingView> {
    let ordinary = |waiting: &WaitingView| {
        let same = |run: &&TaskRunView| run.task == waiting.task && run.iteration == waiting.iteration;
        waiting.nodes.is_empty() && swarm.task_runs.iter().find(same).is_some_and(|run| run.state == "waiting")
    };
    swarm.waiting.iter().filter(|waiting| !ordinary(waiting)).cloned().collect()
}

/// What waits since when, so that each reason is shown once and only when it lasts.
#[derive(Debug, Default)]
struct Waits {
    since: BTreeMap<(String, u32, String), Wait>,
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    shown: bool,
}

impl Waits {
    /// Takes what waits now and gives what has to be shown.
    fn look(&mut self, waiting: Vec<WaitingView>, now: Instant) -> Vec<WaitingView> {
        let key = |view: &WaitingView| (view.task.clone(), view.iteration, view.reason.clone());
        let keys: Vec<_> = waiting.iter().map(key).collect();
        self.since.retain(|known, _| keys.contains(known));
        let lasting = waiting.into_iter().zip(keys).filter_map(|(view, key)| {
            let wait = self.since.entry(key).or_insert(Wait { since: now, shown: false });
            let due = !wait.shown && now.duration_since(wait.since) >= WAITING_SHOWN;
            wait.shown |= due;
            due.then_some(view)
        });
        lasting.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_shown_once_and_only_when_it_lasts() {
        let view = |reason: &str| WaitingView {
            task: "t".into(),
            iteration: 0,
            reason: reason.into(),
            nodes: vec![],
            would_change: vec![],
        };
        let (mut waits, start) = (Waits::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(waits.look(vec![view("a")], at(0)).is_empty());
        assert_eq!(waits.look(vec![view("a"), view("b")], at(2)), [view("a")]);
        assert_eq!(waits.look(vec![view("a"), view("b")], at(4)), [view("b")]);
        assert!(waits.look(vec![], at(5)).is_empty());
        assert!(waits.look(vec![view("a")], at(6)).is_empty());
    }
}
