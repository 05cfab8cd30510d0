//! A task that runs, attended: its socket answered, its output read, its limits kept, until it has ended or another program goes on.
use std::time::Duration;

use manta_sandbox::Exit;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Order;
use super::outcome::{Cut, Evidence};
use super::run::Output;
use crate::agent::Node;
use crate::light::{Channel, Ending, Server};
use crate::logs::{AttemptLog, Stream};
use crate::parting::Busy;
use crate::runner::Hold;

/// How long a task may take to go after it said that it is done.
const GRACE: Duration = Duration::from_secs(5);
/// How long what a dead task left in its pipes is read.
const DRAIN: Duration = Duration::from_millis(500);

/// Our ends of what leads out of a sandbox, as far as they are open.
pub(super) struct Ends {
    pub(super) channel: Option<Channel>,
    pub(super) stdout: Option<Output>,
    pub(super) stderr: Option<Output>,
}

/// How it came that a task is attended no more.
pub(super) enum Attended {
    /// It has ended, and all it left has been read.
    Ended(Evidence, Busy),
    /// Another program goes on with it.
    Parted(Hold, Ends),
}

/// Does everything at once until the task has ended and all it left has been read, or another program goes on with it.
#[expect(clippy::too_many_arguments, reason = "all that an attempt has, once")]
pub(super) async fn attend(
    node: &Node,
    order: &Order,
    task: (Hold, Instant),
    ends: Ends,
    server: &mut Server<'_>,
    log: &AttemptLog,
    cancel: &CancellationToken,
    busy: Busy,
) -> Attended {
    let Ends { channel, stdout, stderr } = ends;
    let gone = CancellationToken::new();
    let reading = async {
        let pumps = async {
            tokio::join!(
                pump(log, Stream::Stdout, stdout, busy.beside()),
                pump(log, Stream::Stderr, stderr, busy.beside())
            )
        };
        tokio::pin!(pumps);
        tokio::select! {
            left = &mut pumps => left,
            () = gone.cancelled() => match timeout(DRAIN, &mut pumps).await {
                Ok(left) => left,
                Err(_) => {
                    log.platform("warning", "the rest of the output could not be read in time").await;
                    (None, None)
                }
            }
        }
    };
    let watching = async {
        let watched = watch(node, order, task, channel.as_ref(), server, cancel, &busy).await;
        if matches!(watched, Watched::Ended(_)) {
            gone.cancel();
        }
        watched
    };
    let (watched, (stdout, stderr)) = tokio::join!(watching, reading);
    match watched {
        Watched::Ended(evidence) => Attended::Ended(evidence, busy),
        Watched::Parted { hold, is_served } => {
            Attended::Parted(hold, Ends { channel: channel.filter(|_| !is_served), stdout, stderr })
        }
    }
}

/// Passes on what a task writes, until it ends or another program goes on with it.
async fn pump(log: &AttemptLog, stream: Stream, output: Option<Output>, busy: Busy) -> Option<Output> {
    let Output { mut pipe, begun } = output?;
    let begun = log.pump(stream, &mut pipe, begun, busy).await?;
    Some(Output { pipe, begun })
}

/// What was seen of a task.
enum Watched {
    /// Its end.
    Ended(Evidence),
    /// That another program goes on with it.
    Parted {
        hold: Hold,
        /// Whether it closed its socket.
        is_served: bool,
    },
}

/// Waits for the end of the task, and brings it about where it has to be; or for another program that goes on with it.
async fn watch(
    node: &Node,
    order: &Order,
    (mut hold, launched): (Hold, Instant),
    channel: Option<&Channel>,
    server: &mut Server<'_>,
    cancel: &CancellationToken,
    busy: &Busy,
) -> Watched {
    let (kill, is_program) = (hold.killer(), hold.is_program());
    let mut cut = None;
    let mut ending = None;
    let mut served = channel.is_none();
    let exit = {
        let serving = async {
            match channel {
                Some(channel) => server.serve(channel, busy).await,
                None => Ending::Closed,
            }
        };
        let cut_off = node.link.cut_for(order.stop_after);
        let time_over = time_over(launched, order.timeout);
        let exiting = hold.exit();
        tokio::pin!(serving, cut_off, time_over, exiting);
        let mut grace = None;
        let exit: Option<Exit> = loop {
            let open = cut.is_none();
            // In this order: after a pause of the agent itself all may be due, and a task that ended in time did so.
            tokio::select! {
                biased;
                how = &mut serving, if !served => {
                    if how == Ending::Parted && open {
                        break None;
                    }
                    served = true;
                    if how == Ending::Parted || is_program && how == Ending::Closed {
                        // It is being killed, or may well have no use for its socket.
                        continue;
                    }
                    if let (Ending::Violation(words), true) = (&how, open) {
                        cut = Some(Cut::Violation(words.clone()));
                        kill();
                    }
                    ending = Some(how);
                    grace = Some(Instant::now() + GRACE);
                }
                exit = &mut exiting => break Some(exit),
                () = sleep_until(grace), if grace.is_some() => {
                    grace = None;
                    if open && matches!(ending, Some(Ending::Closed)) {
                        cut = Some(Cut::Violation("closed its socket and went on".to_owned()));
                    }
                    kill();
                }
                () = cancel.cancelled(), if open => {
                    cut = Some(Cut::Cancelled);
                    kill();
                }
                () = &mut time_over, if open && ending.is_none() => {
                    cut = order.timeout.map(Cut::Timeout);
                    kill();
                }
                () = &mut cut_off, if open && ending.is_none() => {
                    cut = order.stop_after.map(Cut::Disconnected);
                    kill();
                }
                // A program that closed its socket has nobody else to stand still for it.
                () = busy.asked(), if served && ending.is_none() && open => {
                    if busy.stand_still().await {
                        break None;
                    }
                }
            }
        };
        // The last words of a task that is gone may still be in its socket.
        if !served && cut.is_none() && exit.is_some() {
            ending = timeout(DRAIN, &mut serving).await.ok();
        }
        exit
    };
    let Some(exit) = exit else { return Watched::Parted { hold, is_served: served } };
    let (said, cut) = match ending {
        Some(Ending::Finished(said)) => (Some(said), cut),
        Some(Ending::Violation(words)) => (None, cut.or(Some(Cut::Violation(words)))),
        Some(Ending::Closed | Ending::Parted) | None => (None, cut),
    };
    Watched::Ended(Evidence { said, cut, exit, is_program })
}

async fn time_over(launched: Instant, limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep_until(launched + limit).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
