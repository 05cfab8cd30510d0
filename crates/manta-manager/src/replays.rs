//! Replays of past attempts: ordered through a node's session, gone with it, kept in memory alone.
//!
//! Nothing here reaches the engine or the store. A replay lives as long as the session that ordered it: when that ends,
//! the node drops its end and this side tells whoever waits that the replay is lost.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manta_api::node::{self as wire, manager_message};
use manta_api::{AttemptInputs, AttemptOutcome, LogLine, ReplayEvent, ReplayNews, ReplayView};
use manta_types::{AttemptId, NodeName, ReplayId};
use tokio::sync::watch;

use crate::keys::Idempotency;
use crate::orchestrator::{Session, SessionId};

/// The first node protocol that knows replays.
const PROTOCOL_MIN: u32 = 2;
/// Replays that are kept; the oldest that is over makes room.
const REPLAYS_MAX: usize = 64;
/// Bytes of log lines that are kept of one replay; a note stands where lines are left out.
const LOG_BYTES_MAX: usize = 4 << 20;
/// Bytes that a line is taken to need beside its text.
const LINE_BYTES: usize = 256;

/// What is to be run again, and where.
pub(crate) struct NewReplay {
    pub(crate) id: ReplayId,
    pub(crate) attempt: AttemptId,
    pub(crate) node: NodeName,
    pub(crate) task: String,
    pub(crate) iteration: u32,
    /// The offer as it was.
    pub(crate) offer: wire::Offer,
    pub(crate) inputs: AttemptInputs,
    /// The client's idempotency key.
    pub(crate) idempotency: Option<Idempotency>,
}

/// Why a replay was not ordered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OrderRefusal {
    /// The node has no session.
    #[error("the node `{0}` is not connected")]
    NotConnected(NodeName),
    /// The node's agent is of an earlier release.
    #[error("the agent of node `{node}` speaks node protocol {protocol}, and replays need {PROTOCOL_MIN}")]
    TooOld {
        /// The node.
        node: NodeName,
        /// What it speaks.
        protocol: u32,
    },
    /// All places are taken by replays that still run.
    #[error("{REPLAYS_MAX} replays run already, which is the limit")]
    TooMany,
    /// The client's key was used for another request.
    #[error("the idempotency key was used for a replay of attempt `{0}`")]
    KeyUsed(AttemptId),
}

/// All replays, and the sessions through which they are ordered.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    doors: BTreeMap<NodeName, Door>,
    replays: BTreeMap<ReplayId, Replay>,
}

/// A node's open session.
#[derive(Debug)]
struct Door {
    session: Session,
    protocol: u32,
}

#[derive(Debug)]
struct Replay {
    attempt: AttemptId,
    node: NodeName,
    task: String,
    iteration: u32,
    session: SessionId,
    state: &'static str,
    inputs: Arc<AttemptInputs>,
    /// Keys of the calls that ordered and ended it; they go with it.
    keys: Vec<Idempotency>,
    told: Vec<ReplayEvent>,
    log_bytes: usize,
    news: watch::Sender<u64>,
}

impl Replays {
    /// Notes a node's session, in place of the one before.
    pub(crate) fn connected(&self, node: NodeName, session: Session, protocol: u32) {
        let mut inner = self.inner();
        if let Some(former) = inner.doors.insert(node, Door { session, protocol }) {
            inner.lose(former.session.id);
        }
    }

    /// Notes that a session has ended; its replays are lost.
    pub(crate) fn disconnected(&self, node: &NodeName, session: SessionId) {
        let mut inner = self.inner();
        if inner.doors.get(node).is_some_and(|door| door.session.id == session) {
            inner.doors.remove(node);
        }
        inner.lose(session);
    }

    /// A node's open session.
    pub(crate) fn session(&self, node: &NodeName) -> Option<Session> {
        self.inner().doors.get(node).map(|door| door.session.clone()).filter(|session| !session.over.is_cancelled())
    }

    /// Orders a replay from its node; the same key gives the replay that it ordered before.
    pub(crate) fn order(&self, new: NewReplay) -> Result<ReplayView, OrderRefusal> {
        let mut inner = self.inner();
        if let Some(known) = inner.done_before(new.idempotency.as_ref())? {
            return Ok(known);
        }
        let door = inner.doors.get(&new.node).filter(|door| !door.session.over.is_cancelled());
        let door = door.ok_or_else(|| OrderRefusal::NotConnected(new.node.clone()))?;
        if door.protocol < PROTOCOL_MIN {
            return Err(OrderRefusal::TooOld { node: new.node, protocol: door.protocol });
        }
        let session = door.session.clone();
        inner.make_room()?;
        let NewReplay { id, attempt, node, task, iteration, offer, inputs, idempotency } = new;
        let replay = Replay {
            attempt,
            node,
            task,
            iteration,
            session: session.id,
            state: "ordered",
            inputs: Arc::new(inputs),
            keys: idempotency.into_iter().collect(),
            told: Vec::new(),
            log_bytes: 0,
            news: watch::Sender::new(0),
        };
        let view = replay.view(id);
        inner.replays.insert(id, replay);
        let order = wire::ReplayOrder { replay: id.to_string(), offer: Some(offer) };
        session.send(wire::ManagerMessage { kind: Some(manager_message::Kind::Replay(order)) });
        Ok(view)
    }

    /// The replay that this very request ordered or ended before under its key.
    pub(crate) fn done_before(&self, sent: Option<&Idempotency>) -> Result<Option<ReplayView>, OrderRefusal> {
        self.inner().done_before(sent)
    }

    /// The attempt of the replay that a key was used for.
    pub(crate) fn used(&self, key: &str) -> Option<AttemptId> {
        let inner = self.inner();
        inner.replays.values().find(|replay| replay.keys.iter().any(|(used, _)| used == key)).map(|known| known.attempt)
    }

    /// Ends a replay that still runs; nothing where there is no such replay.
    pub(crate) fn stop(&self, id: ReplayId, reason: &str, idempotency: Option<Idempotency>) -> Option<ReplayView> {
        let mut inner = self.inner();
        let replay = inner.replays.get_mut(&id)?;
        if !replay.is_over() {
            replay.tell(ReplayNews::Lost { reason: reason.to_owned() });
            replay.state = "stopped";
            replay.keys.extend(idempotency);
        }
        let (view, node, session) = (replay.view(id), replay.node.clone(), replay.session);
        if let Some(door) = inner.doors.get(&node).filter(|door| door.session.id == session) {
            let cancel = wire::ReplayCancel { replay: id.to_string(), reason: reason.to_owned() };
            door.session.send(wire::ManagerMessage { kind: Some(manager_message::Kind::ReplayCancel(cancel)) });
        }
        Some(view)
    }

    /// A replay as it is now.
    pub(crate) fn show(&self, id: ReplayId) -> Option<ReplayView> {
        self.inner().replays.get(&id).map(|replay| replay.view(id))
    }

    /// What the attempt could read, for the node that runs it again.
    pub(crate) fn inputs(&self, id: ReplayId, node: &NodeName) -> Option<Arc<AttemptInputs>> {
        let inner = self.inner();
        let replay = inner.replays.get(&id).filter(|replay| replay.node == *node && !replay.is_over())?;
        Some(Arc::clone(&replay.inputs))
    }

    /// What a replay told after a position, whether that is all, and where news of more is found.
    pub(crate) fn read(&self, id: ReplayId, after: u64) -> Option<(Vec<ReplayEvent>, bool, watch::Receiver<u64>)> {
        let inner = self.inner();
        let replay = inner.replays.get(&id)?;
        let start = usize::try_from(after).unwrap_or(usize::MAX).min(replay.told.len());
        Some((replay.told[start..].to_vec(), replay.is_over(), replay.news.subscribe()))
    }

    /// Takes what a node says of a replay that its session was ordered to run; anything else is dropped.
    pub(crate) fn hear(&self, session: SessionId, id: ReplayId, news: ReplayNews) {
        let mut inner = self.inner();
        let replay = inner.replays.get_mut(&id).filter(|replay| replay.session == session && !replay.is_over());
        let Some(replay) = replay else {
            tracing::debug!(replay = %id, kind = news.kind(), "nobody waits for what a node says of a replay");
            return;
        };
        match &news {
            ReplayNews::Phase { phase } => replay.state = known_phase(phase),
            ReplayNews::Log { line } if !replay.has_room(line) => return,
            ReplayNews::Log { .. } => {}
            ReplayNews::Finished { .. } => replay.state = "finished",
            ReplayNews::Lost { .. } => replay.state = "lost",
        }
        replay.tell(news);
    }

    /// Where lines of a replay belong; nothing where that session runs no such replay.
    pub(crate) fn place(&self, session: SessionId, id: ReplayId) -> Option<(AttemptId, String, u32)> {
        let inner = self.inner();
        let replay = inner.replays.get(&id).filter(|replay| replay.session == session)?;
        Some((replay.attempt, replay.task.clone(), replay.iteration))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn done_before(&self, sent: Option<&Idempotency>) -> Result<Option<ReplayView>, OrderRefusal> {
        let Some((key, request)) = sent else { return Ok(None) };
        let known = self.replays.iter().find_map(|(id, replay)| {
            replay.keys.iter().find(|(used, _)| used == key).map(|(_, known)| (*id, replay, known == request))
        });
        match known {
            None => Ok(None),
            Some((id, replay, true)) => Ok(Some(replay.view(id))),
            Some((_, replay, false)) => Err(OrderRefusal::KeyUsed(replay.attempt)),
        }
    }

    fn lose(&mut self, session: SessionId) {
        for replay in self.replays.values_mut().filter(|replay| replay.session == session && !replay.is_over()) {
            let reason = format!("the connection of node `{}` ended, and a replay ends with it", replay.node);
            replay.tell(ReplayNews::Lost { reason });
            replay.state = "lost";
        }
    }

    /// Ids rise with time, so the first that is over is the oldest.
    fn make_room(&mut self) -> Result<(), OrderRefusal> {
        if self.replays.len() < REPLAYS_MAX {
            return Ok(());
        }
        let oldest = self.replays.iter().find(|(_, replay)| replay.is_over()).map(|(id, _)| *id);
        self.replays.remove(&oldest.ok_or(OrderRefusal::TooMany)?);
        Ok(())
    }
}

impl Replay {
    fn view(&self, id: ReplayId) -> ReplayView {
        let (attempt, node) = (self.attempt, self.node.to_string());
        ReplayView { id, attempt, node, state: self.state.to_owned() }
    }

    fn is_over(&self) -> bool {
        self.told.last().is_some_and(|event| event.what.is_last())
    }

    fn tell(&mut self, mut what: ReplayNews) {
        let seq = self.told.len() as u64 + 1;
        if let ReplayNews::Log { line } = &mut what {
            line.seq = seq;
        }
        self.told.push(ReplayEvent { seq, what });
        self.news.send_replace(seq);
    }

    /// Counts a line; the first that finds no room is told by a note in its place.
    fn has_room(&mut self, line: &LogLine) -> bool {
        let full = self.log_bytes > LOG_BYTES_MAX;
        self.log_bytes += line.text.len() + LINE_BYTES;
        if !full && self.log_bytes > LOG_BYTES_MAX {
            let text = format!("the log of this replay has reached {LOG_BYTES_MAX} bytes; what follows is not kept");
            let (level, source) = ("warning".to_owned(), "platform".to_owned());
            self.tell(ReplayNews::Log { line: LogLine { text, level, source, data: None, ..line.clone() } });
        }
        self.log_bytes <= LOG_BYTES_MAX
    }
}

fn known_phase(phase: &str) -> &'static str {
    ["preparing", "running", "uploading"].into_iter().find(|known| *known == phase).unwrap_or("running")
}

/// What a replay left, from a report that was checked like any other.
pub(crate) fn outcome(
    outputs: manta_types::event::Outputs,
    failure: Option<manta_types::AttemptFailure>,
    timings: manta_types::event::Timings,
) -> AttemptOutcome {
    let manta_types::event::Outputs { results, globals, next_iterations, stop_swarm, .. } = outputs;
    AttemptOutcome { results, globals, next_iterations, stop_swarm, failure: failure.map(Into::into), timings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::session_channel;

    fn id(n: u128) -> ReplayId {
        ReplayId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn node() -> NodeName {
        NodeName::new("node-1").unwrap()
    }

    fn new(n: u128) -> NewReplay {
        NewReplay {
            id: id(n),
            attempt: AttemptId::from_uuid(uuid::Uuid::from_u128(7)),
            node: node(),
            task: "worker".to_owned(),
            iteration: 3,
            offer: wire::Offer::default(),
            inputs: AttemptInputs::default(),
            idempotency: None,
        }
    }

    fn line(text: &str) -> ReplayNews {
        let (level, source) = ("info".to_owned(), "log".to_owned());
        let (task, node) = ("worker".to_owned(), "node-1".to_owned());
        let attempt = new(1).attempt;
        let line = LogLine {
            seq: 0,
            time_ms: 1,
            attempt,
            task,
            node,
            iteration: 3,
            level,
            source,
            text: text.into(),
            data: None,
        };
        ReplayNews::Log { line }
    }

    fn kinds(replays: &Replays, n: u128) -> Vec<&'static str> {
        replays.read(id(n), 0).unwrap().0.iter().map(|event| event.what.kind()).collect()
    }

    #[test]
    fn a_replay_is_ordered_once_per_key_and_told_to_its_end() {
        let (replays, (session, mut sent)) = (Replays::default(), session_channel());
        assert_eq!(replays.order(new(1)).unwrap_err(), OrderRefusal::NotConnected(node()));
        replays.connected(node(), session.clone(), 2);
        let under = |request: &str| Some(("k".to_owned(), request.to_owned()));
        let keyed = |n| NewReplay { idempotency: under("replay"), ..new(n) };
        assert_eq!(replays.order(keyed(1)).unwrap().id, id(1));
        assert_eq!(replays.order(keyed(2)).unwrap().id, id(1));
        let other = NewReplay { idempotency: under("another"), ..keyed(2) };
        assert_eq!(replays.order(other).unwrap_err(), OrderRefusal::KeyUsed(new(1).attempt));
        assert!(matches!(sent.try_recv().unwrap().kind, Some(manager_message::Kind::Replay(_))));
        assert!(sent.try_recv().is_err(), "one order");

        replays.hear(session.id, id(1), ReplayNews::Phase { phase: "running".to_owned() });
        replays.hear(session.id, id(1), line("one"));
        assert_eq!(replays.show(id(1)).unwrap().state, "running");
        let state_read = vec!["momentum".to_owned()];
        replays.hear(session.id, id(1), ReplayNews::Finished { outcome: AttemptOutcome::default(), state_read });
        replays.hear(session.id, id(1), line("too late"));
        assert_eq!(kinds(&replays, 1), ["phase", "log", "finished"]);
        let (rest, over, _) = replays.read(id(1), 2).unwrap();
        assert!(over && rest.len() == 1 && rest[0].seq == 3);
        assert!(replays.inputs(id(1), &node()).is_none(), "nobody needs them any more");
    }

    #[test]
    fn a_session_speaks_for_its_own_replays_only_and_takes_them_with_it() {
        let (replays, (first, _kept), (second, _too)) = (Replays::default(), session_channel(), session_channel());
        replays.connected(node(), first.clone(), 2);
        replays.order(new(1)).unwrap();
        let other = NodeName::new("node-2").unwrap();
        assert!(replays.inputs(id(1), &node()).is_some() && replays.inputs(id(1), &other).is_none());
        replays.hear(second.id, id(1), line("forged"));
        assert_eq!((kinds(&replays, 1).len(), replays.place(second.id, id(1))), (0, None));
        replays.connected(node(), second.clone(), 2);
        assert_eq!(kinds(&replays, 1), ["lost"]);
        replays.disconnected(&node(), first.id);
        assert!(replays.order(new(2)).is_ok(), "the newer session stays");
        replays.disconnected(&node(), second.id);
        assert_eq!((kinds(&replays, 2), replays.show(id(2)).unwrap().state.as_str()), (vec!["lost"], "lost"));
    }

    #[test]
    fn an_agent_of_an_earlier_release_is_named() {
        let (replays, (session, _kept)) = (Replays::default(), session_channel());
        replays.connected(node(), session, 1);
        let refusal = replays.order(new(1)).unwrap_err();
        assert!(refusal.to_string().contains("protocol 1, and replays need 2"), "{refusal}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (replays, (session, _kept)) = (Replays::default(), session_channel());
        replays.connected(node(), session.clone(), 2);
        for n in 0..REPLAYS_MAX as u128 {
            replays.order(new(n)).unwrap();
        }
        assert_eq!(replays.order(new(1000)).unwrap_err(), OrderRefusal::TooMany);
        assert_eq!(replays.stop(id(5), "stopped", None).unwrap().state, "stopped");
        replays.order(new(1000)).unwrap();
        assert!(replays.show(id(5)).is_none() && replays.show(id(4)).is_some());
        for _ in 0..5 {
            replays.hear(session.id, id(1), line(&"x".repeat(1 << 20)));
        }
        let (told, ..) = replays.read(id(1), 0).unwrap();
        let ReplayNews::Log { line } = &told.last().unwrap().what else { panic!("{told:?}") };
        assert!(line.text.contains("what follows is not kept") && told.len() == 4, "{}", told.len());
    }
}
