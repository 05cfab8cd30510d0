//! Keeps swarms going while a process is meant to end, and finishes all of them when it did not.
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use manta_api::{ErrorCode, SwarmView};
use manta_client::{Client, ClientError};
use manta_types::{AttemptId, SwarmId};
use rustix::process::Signal;

use crate::cluster::{Cluster, Launch, Who, tail};
use crate::history::{History, Seen};
use crate::wait::until;
use crate::workload::{Kind, Swarm, persist, submit};

/// How long swarms may take to end once no fault is made any more.
pub(crate) const OVER_WITHIN: Duration = Duration::from_secs(90);
/// The node that is drained.
const DRAINED: &str = "node-2";
/// How long a process that shall end at a crash point may take to come there.
const REACHED_WITHIN: Duration = Duration::from_secs(120);

/// What became of a process that was to end at a crash point.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It ended there.
    Yes,
    /// The work was over before it came there so often.
    No,
}

/// Swarms under way, and what clients know of all there ever were.
#[derive(Debug, Default)]
pub(crate) struct Work {
    history: History,
    /// Submissions whose swarms are not known to be over, by key.
    open: BTreeMap<String, Kind>,
    made: u64,
}

impl Work {
    /// A submission under a new key, to be sent as often as it takes.
    pub(crate) fn add(&mut self, kind: Kind) {
        self.made += 1;
        self.open.insert(format!("chaos-{:06}", self.made), kind);
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Submits what is open, again where it was submitted before, and gives the swarms.
    pub(crate) async fn submit_all(&mut self, client: &Client) -> Result<BTreeMap<String, SwarmId>> {
        let mut swarms = BTreeMap::new();
        for (key, kind) in &self.open {
            let swarm = submit(client, *kind, key).await?;
            self.history.submitted(key, &swarm);
            swarms.insert(key.clone(), swarm.id);
        }
        Ok(swarms)
    }

    /// Submits what is open, sees it through to its end, and checks it.
    pub(crate) async fn finish(&mut self, client: &Client) -> Result<()> {
        for (key, id) in self.submit_all(client).await? {
            match self.open.get(&key) {
                Some(Kind::Hold) => {
                    running(client, id).await?;
                    let stop = format!("{key}-stop");
                    persist("a stop", || client.stop(id, &stop)).await?;
                }
                Some(Kind::Excused) => self.excuse(client, &key, id).await?,
                Some(Kind::Paused { .. }) => {
                    let (pause, resume) = (format!("{key}-pause"), format!("{key}-resume"));
                    persist("a pause", || unless_over(client, id, client.pause(id, &pause))).await?;
                    persist("a resumption", || unless_over(client, id, client.resume(id, &resume))).await?;
                }
                Some(Kind::Drained { .. }) => {
                    let (drain, resume) = (format!("{key}-drain"), format!("{key}-undrain"));
                    persist("a drain", || client.drain_node(DRAINED, None, &drain)).await?;
                    persist("an end of a drain", || client.resume_node(DRAINED, &resume)).await?;
                }
                _ => {}
            }
            self.history.finish(client, id, OVER_WITHIN).await?;
            if self.open.get(&key) == Some(&Kind::Retried) {
                let retry = format!("{key}-retry");
                let again = persist("a retry", || client.retry(id, &retry)).await?.id;
                self.history.submitted(&retry, &Swarm { id: again, kind: Kind::Broken });
                self.history.finish(client, again, OVER_WITHIN).await?;
            }
            self.open.remove(&key);
        }
        Ok(())
    }

    /// Drains a node at once while a task runs on it, which goes on without, and stops the swarm.
    async fn excuse(&mut self, client: &Client, key: &str, id: SwarmId) -> Result<()> {
        running(client, id).await?;
        let (drain, resume, stop) = (format!("{key}-drain"), format!("{key}-undrain"), format!("{key}-stop"));
        persist("a drain", || client.drain_node(DRAINED, Some(Duration::ZERO), &drain)).await?;
        until(OVER_WITHIN, "a node being excused", async || {
            let events = self.history.look(client, id).await?;
            let is_there = events.iter().any(|event| matches!(event.kind(), "node_excused" | "swarm_stopped"));
            Ok((!is_there).then(|| format!("{} events, none says that one is", events.len())))
        })
        .await?;
        persist("an end of a drain", || client.resume_node(DRAINED, &resume)).await?;
        persist("a stop", || client.stop(id, &stop)).await.map(drop)
    }

    /// Submits one swarm more, sees it through to its end, and checks it.
    pub(crate) async fn one(&mut self, client: &Client, kind: Kind) -> Result<SwarmId> {
        self.made += 1;
        let key = format!("chaos-{:06}", self.made);
        let swarm = submit(client, kind, &key).await?;
        self.history.submitted(&key, &swarm);
        self.history.finish(client, swarm.id, OVER_WITHIN).await?;
        Ok(swarm.id)
    }

    /// Waits until an attempt was taken for lost.
    async fn lost_one(&mut self, client: &Client) -> Result<()> {
        let swarms = self.submit_all(client).await?;
        until(OVER_WITHIN, "an attempt being lost", async || {
            for id in swarms.values() {
                let events = self.history.look(client, *id).await?;
                if events.iter().any(|event| event.kind() == "attempt_lost") {
                    return Ok(None);
                }
            }
            Ok(Some("none is".to_owned()))
        })
        .await
        .map(drop)
    }

    /// Reads the histories of what is open, so that all that is there now was seen by a client.
    pub(crate) async fn look(&mut self, client: &Client, swarms: &BTreeMap<String, SwarmId>) -> Result<()> {
        for id in swarms.values() {
            self.history.look(client, *id).await?;
        }
        Ok(())
    }

    /// Whether a client has seen the end of all of them.
    pub(crate) fn all_over(&self, swarms: &BTreeMap<String, SwarmId>) -> bool {
        swarms.values().all(|id| self.history.is_over(*id))
    }

    /// The attempts on a node that a client has seen accepted.
    pub(crate) fn accepted_on(&self, node: &str) -> Result<BTreeSet<AttemptId>> {
        self.history.accepted_on(node)
    }

    /// Checks one swarm that is over.
    pub(crate) async fn check(&mut self, client: &Client, swarm: SwarmId) -> Result<Seen> {
        self.history.check(client, swarm).await
    }

    /// Checks everything that was ever acknowledged.
    pub(crate) async fn check_all(&mut self, client: &Client) -> Result<Seen> {
        self.history.check_all(client).await
    }
}

/// A swarm may be over before it is held for the first time; nothing else is a reason to refuse it.
async fn unless_over(
    client: &Client,
    id: SwarmId,
    call: impl Future<Output = Result<SwarmView, ClientError>>,
) -> Result<(), ClientError> {
    match call.await {
        Err(error) if error.error_code() == Some(ErrorCode::Conflict) => match client.swarm(id).await? {
            swarm if swarm.finished_ms.is_some() => Ok(()),
            _ => Err(error),
        },
        other => other.map(drop),
    }
}

/// Waits until some attempt of a swarm runs user code, or it is over.
pub(crate) async fn running(client: &Client, id: SwarmId) -> Result<()> {
    until(OVER_WITHIN, "an attempt running", async || {
        let events = persist("a history", || client.events(id, 0)).await?;
        let runs = events.iter().any(|event| {
            event.event["state"] == "running"
                || matches!(event.kind(), "swarm_stopped" | "swarm_failed" | "swarm_succeeded")
        });
        Ok((!runs).then(|| format!("{} events, none says that an attempt runs", events.len())))
    })
    .await
    .map(drop)
}

/// Does something while a process is watched: it is given up as soon as the process ends.
pub(crate) async fn while_alive<T>(
    cluster: &mut Cluster,
    who: Who,
    work: impl Future<Output = Result<T>>,
) -> Result<Result<T, ExitStatus>> {
    let process = cluster.process(who)?;
    let ended = async {
        let mut status = None;
        until(REACHED_WITHIN, &format!("{}'s end at its crash point", who.name()), async || {
            status = process.ended()?;
            Ok(status.is_none().then(|| "it runs".to_owned()))
        })
        .await?;
        status.context("a process that ended has a status")
    };
    let outcome = tokio::select! {
        biased;
        done = work => Ok(done?),
        status = ended => Err(status?),
    };
    if outcome.is_err() {
        cluster.take_ended(who)?;
    }
    Ok(outcome)
}

/// Runs the work while a process that was launched with a crash point comes there, or does not.
pub(crate) async fn to_crash_point(
    cluster: &mut Cluster,
    who: Who,
    work: &mut Work,
    loses_node: Option<u32>,
) -> Result<Reached> {
    let client = cluster.client()?;
    let log = cluster.log(who);
    if let Some(node) = loses_node {
        let begun = async {
            let swarms = work.submit_all(&client).await?;
            for id in swarms.values() {
                running(&client, *id).await?;
            }
            Ok(())
        };
        if let Err(status) = while_alive(cluster, who, begun).await? {
            return reached(who, status, &log);
        }
        cluster.kill_and_restart(Who::Node(node)).await?;
        if let Err(status) = while_alive(cluster, who, work.lost_one(&client)).await? {
            return reached(who, status, &log);
        }
    }
    match while_alive(cluster, who, work.finish(&client)).await? {
        Ok(()) => Ok(Reached::No),
        Err(status) => reached(who, status, &log),
    }
}

fn reached(who: Who, status: ExitStatus, log: &Path) -> Result<Reached> {
    let is_killed = status.signal() == Some(Signal::KILL.as_raw());
    ensure!(is_killed, "{} ended with {status}, not at its crash point; its last words:\n{}", who.name(), tail(log));
    Ok(Reached::Yes)
}

/// Kills a process, starts it anew and waits until it takes part again: how long that took since it was started.
pub(crate) async fn kill_and_wait(cluster: &mut Cluster, who: Who, nodes: u32) -> Result<Duration> {
    cluster.end(who, Signal::KILL).await?;
    bring_back(cluster, who, nodes).await
}

/// Starts a process that ended and waits until it takes part again.
pub(crate) async fn bring_back(cluster: &mut Cluster, who: Who, nodes: u32) -> Result<Duration> {
    cluster.launch(who, &Launch::default())?;
    match who {
        Who::Manager => cluster.serving().await,
        Who::Node(_) => cluster.joined(who, nodes).await,
    }
}
