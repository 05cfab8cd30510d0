//! What the service loop decides, without clock, channel or thread: the simulation runs this very code.
//!
//! ```text
//! begin ─► hear, connect, submit, step, … ─► seal ─► one transaction ─► effects
//! ```
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use manta_api::NodeEventView;
use manta_engine::{DutyChanged, Engine, Held, Input, Now, Submit, SwarmRun, describe};
use manta_store::{KeyRecord, NewSwarm};
use manta_types::{Checkpoint, NodeDuty, NodeId, NodeName, SwarmId, SwarmSpec, Timestamp};

use super::change::Change;
use super::nodes::{Greeting, KnownNode, NodeTable};
use super::profile::{NodeProfile, Offering};
use super::recover::Recovered;
use super::registry::{Registry, signatures};
use super::turn::{Askers, ChangeOutcome, Effect, Recall, Refused, Sealed, SessionId, SubmitOutcome, Turn};

/// The longest sleep of an idle loop.
const PULSE: Duration = Duration::from_millis(1000);
/// By how much the caller may wake too late before it counts as having stood still.
const LATE: Duration = Duration::from_millis(500);
/// How long a turn may take until all of it is known; a longer one counts as standing still, for nobody can tell a slow disk
/// from a process that was stopped meanwhile.
const SLOW: Duration = Duration::from_millis(2000);
/// The sleep when something that was due in the last turn is due still: it waits for something else to happen.
const RECHECK: Duration = Duration::from_millis(100);

/// What a node is told whose session another has replaced.
const REPLACED: &str = "another session under this node's id took its place; if two agents run on copies of one data \
                        directory, stop one";
/// What a node is told that is revoked.
const REVOKED: &str = "this node was revoked";

/// A node that opens a session.
#[derive(Debug, Clone)]
pub struct Joining {
    /// Its name.
    pub name: NodeName,
    /// The id that it kept; absent the first time.
    pub id: Option<NodeId>,
    /// The id that it gets if it is new.
    pub fresh: NodeId,
    /// What it says of itself.
    pub profile: NodeProfile,
    /// Attempts that it still has.
    pub held: Vec<Held>,
    /// Which of its greetings it is, where it says so.
    pub greeting: Option<Greeting>,
    /// The session, which no other shares its id with.
    pub session: SessionId,
}

/// What a question may look at.
#[derive(Debug)]
pub struct View<'a> {
    /// All that is decided.
    pub engine: &'a Engine,
    /// All nodes that ever joined.
    pub nodes: &'a BTreeMap<NodeName, KnownNode>,
    /// What happened to each since the start.
    pub node_events: &'a BTreeMap<NodeName, VecDeque<NodeEventView>>,
    /// All modules that are published.
    pub modules: &'a Registry,
    /// The time of the turn.
    pub now: Now,
}

/// What keeps a cluster from going: the names of what uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// Swarms that are not over.
    pub swarms: BTreeSet<String>,
    /// Nodes that are neither revoked nor removed.
    pub nodes: BTreeSet<String>,
}

/// The engine, and around it what only a manager knows: who the nodes are, which sessions are open, which keys are used.
#[derive(Debug)]
pub struct Core {
    engine: Engine,
    nodes: NodeTable,
    modules: Registry,
    /// The newest session of each node that has one.
    sessions: BTreeMap<NodeName, SessionId>,
    /// Idempotency keys used since the start; older ones are in the store.
    keys: BTreeMap<String, KeyRecord>,
    last_turn: Timestamp,
    /// When the next turn begins at the latest, unless the caller stands still.
    awake_by: Timestamp,
    /// Whether the last turn took so long that the caller may have stood still in it.
    was_slow: bool,
    /// Rules that are taken out, so that the simulation can show that it notices.
    #[cfg(feature = "planted-bugs")]
    pub bugs: Bugs,
}

/// Rules of the core that can be taken out.
#[cfg(feature = "planted-bugs")]
#[derive(Debug, Clone, Copy, Default)]
pub struct Bugs {
    /// Leases are judged after the caller stood still as if it had not.
    pub no_forgiveness: bool,
    /// Keys used since the start are forgotten.
    pub forget_keys: bool,
    /// Attempts that the engine has forgotten are not looked up.
    pub forget_old_verdicts: bool,
    /// A swarm that continues another begins without what was reached.
    pub retry_from_nothing: bool,
}

impl Core {
    /// Goes on from what was recovered at this time.
    pub fn new(recovered: Recovered, now: Now) -> Self {
        Self {
            engine: recovered.engine,
            nodes: NodeTable::new(recovered.nodes),
            modules: recovered.modules,
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
            last_turn: now.monotonic,
            awake_by: now.monotonic,
            was_slow: false,
            #[cfg(feature = "planted-bugs")]
            bugs: Bugs::default(),
        }
    }

    /// The engine, for taking its rules out.
    #[cfg(feature = "planted-bugs")]
    pub const fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// All that is decided.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What uses the cluster, where something does.
    pub fn in_use(&self) -> Option<InUse> {
        let live = self.engine.swarms().filter(|swarm| !swarm.is_over());
        let nodes = self.engine.nodes().filter(|node| node.duty() != NodeDuty::Revoked);
        let swarms: BTreeSet<_> = live.map(|swarm| format!("{} {}", swarm.spec().name, swarm.id())).collect();
        let nodes: BTreeSet<_> = nodes.map(|node| node.name().to_string()).collect();
        (!swarms.is_empty() || !nodes.is_empty()).then_some(InUse { swarms, nodes })
    }

    /// The state as a question asked in this turn sees it.
    pub fn view<A: Askers>(&self, turn: &Turn<A>) -> View<'_> {
        let NodeTable { known: nodes, events: node_events, .. } = &self.nodes;
        View { engine: &self.engine, nodes, node_events, modules: &self.modules, now: turn.now }
    }

    /// Ends a turn: all of it is known by now. Answers how long to sleep if nothing comes.
    pub fn rest(&mut self, now: Now) -> Duration {
        let sleep = match self.engine.next_wake() {
            None => PULSE,
            Some(due) if due <= self.last_turn => RECHECK,
            Some(due) => (due - now.monotonic).min(PULSE),
        };
        self.was_slow = now.monotonic - self.last_turn > SLOW;
        self.awake_by = now.monotonic + sleep;
        sleep
    }

    /// Begins a turn. Leases that lapsed while the caller stood still prove nothing about the nodes: all are extended before
    /// any is judged, so that what nodes said meanwhile can still be read.
    pub fn begin<A: Askers>(&mut self, now: Now) -> Turn<A> {
        let gap = now.monotonic - self.last_turn;
        let stood_still = self.was_slow || now.monotonic - self.awake_by > LATE;
        self.last_turn = now.monotonic;
        #[cfg(feature = "planted-bugs")]
        if self.bugs.no_forgiveness {
            return Turn::new(now);
        }
        if stood_still {
            tracing::warn!(elapsed_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX), "the manager stood still");
            self.engine.extend_leases(gap + PULSE);
        }
        Turn::new(now)
    }

    /// Nodes were heard since the last turn.
    pub fn hear<A: Askers>(&mut self, nodes: impl IntoIterator<Item = NodeName>, turn: &mut Turn<A>) {
        for node in nodes {
            self.nodes.confirm(&node);
            self.decide(Input::NodeHeard { node }, turn);
        }
    }

    /// Something happened; whoever said so is told once it is durable.
    pub fn step<A: Askers>(&mut self, input: Input, asker: A::Step, turn: &mut Turn<A>) {
        match self.forgotten(&input) {
            Some(recall) => turn.effects.push(Effect::Recall(recall)),
            None => self.decide(input, turn),
        }
        turn.effects.push(Effect::Done(asker));
    }

    /// A report of an attempt that is over for so long that only the store knows it.
    fn forgotten(&self, input: &Input) -> Option<Recall> {
        let (Input::Succeeded { node, attempt, epoch, .. } | Input::Failed { node, attempt, epoch, .. }) = input else {
            return None;
        };
        let known = self.engine.swarm_of(*attempt).and_then(|swarm| swarm.attempt(*attempt));
        let session = self.session_of(node).filter(|_| known.is_none())?;
        #[cfg(feature = "planted-bugs")]
        if self.bugs.forget_old_verdicts {
            return None;
        }
        Some(Recall { session, node: node.clone(), attempt: *attempt, epoch: *epoch })
    }

    /// A checked swarm is to run, from its beginning.
    pub fn submit<A: Askers>(&mut self, new: NewSwarm, spec: Arc<SwarmSpec>, asker: A::Submit, turn: &mut Turn<A>) {
        let outcome = self.admit(&new, &spec);
        self.begin_swarm(new, spec, None, outcome, asker, turn);
    }

    /// A new swarm is to go on where one that failed stopped.
    pub fn retry<A: Askers>(&mut self, new: NewSwarm, failed: SwarmId, asker: A::Submit, turn: &mut Turn<A>) {
        if let Some(used) = self.used(new.idempotency.as_ref()) {
            turn.effects.push(Effect::Submitted { asker, outcome: Err(used) });
            return;
        }
        let known = self.engine.swarm(failed);
        let checkpoint = known.and_then(|swarm| swarm.checkpoint().map(|at| (Arc::clone(swarm.submitted()), at)));
        match checkpoint {
            #[cfg(feature = "planted-bugs")]
            Some((spec, mut checkpoint)) if self.bugs.retry_from_nothing => {
                checkpoint.closed.clear();
                checkpoint.globals.clear();
                let outcome = self.admit(&new, &spec);
                self.begin_swarm(new, spec, Some(Box::new(checkpoint)), outcome, asker, turn);
            }
            Some((spec, checkpoint)) => {
                let outcome = self.admit(&new, &spec);
                self.begin_swarm(new, spec, Some(Box::new(checkpoint)), outcome, asker, turn);
            }
            None => turn.effects.push(Effect::Submitted { asker, outcome: Err(Refused::NotFailed) }),
        }
    }

    fn begin_swarm<A: Askers>(
        &mut self,
        new: NewSwarm,
        spec: Arc<SwarmSpec>,
        continues: Option<Box<Checkpoint>>,
        outcome: SubmitOutcome,
        asker: A::Submit,
        turn: &mut Turn<A>,
    ) {
        if outcome.is_ok() {
            tracing::info!(swarm = %new.id, name = %new.name, "swarm submitted");
            // The engine's moment, so that what is shown is the same after a restart, and what keys are kept, too.
            let new = NewSwarm { created_ms: turn.now.wall_ms, ..new };
            self.keys.extend(KeyRecord::of(&new).map(|record| (record.key.clone(), record)));
            let id = new.id;
            turn.transaction.swarms.push(new);
            self.decide(Input::Submit(Submit { id, spec, continues }), turn);
        }
        turn.effects.push(Effect::Submitted { asker, outcome });
    }

    fn admit(&self, new: &NewSwarm, spec: &SwarmSpec) -> SubmitOutcome {
        match self.used(new.idempotency.as_ref()) {
            Some(used) => Err(used),
            None => self.engine.validate(spec).map_err(Refused::Placement).map(|()| new.id),
        }
    }

    /// A user asks for a change. Under a key it is made once: the key becomes durable with it, and the same request is
    /// answered alike from then on. What is refused leaves its key unused.
    pub fn change<A: Askers>(
        &mut self,
        change: Change,
        idempotency: Option<(String, String)>,
        asker: A::Change,
        turn: &mut Turn<A>,
    ) {
        let outcome = match self.used(idempotency.as_ref()) {
            Some(Refused::KeyUsed { same_request: true, .. }) => Ok(()),
            Some(used) => Err(used),
            None => self.make(change, idempotency, turn),
        };
        turn.effects.push(Effect::Changed { asker, outcome });
    }

    fn make<A: Askers>(
        &mut self,
        change: Change,
        idempotency: Option<(String, String)>,
        turn: &mut Turn<A>,
    ) -> ChangeOutcome {
        if let Change::Revoke(name, enrolled) = &change {
            self.make_known(name, enrolled.as_deref(), turn.now);
        }
        if !change.fits(&self.engine) {
            return Err(Refused::Stays);
        }
        if let Change::Rollout(swarm, task, order) = &change {
            let checked = self.engine.check_rollout(*swarm, *task, order);
            checked.map_err(|refusal| Refused::Rollout(Box::new(refusal)))?;
        }
        if let Change::Module(wanted) = &change {
            let changed = self.modules.make(wanted).map_err(Refused::Registry)?;
            if !changed.is_empty() {
                tracing::info!("{}", wanted.done());
            }
            for record in changed.iter().filter(|record| !record.signatures.is_empty()) {
                let (bundle, signatures) = (record.bundle.digest, signatures(record));
                self.decide(Input::Signed { bundle, signatures }, turn);
            }
            turn.transaction.modules.extend(changed);
        }
        if let Change::Label(name, asked) = &change {
            let record = self.nodes.label(name, asked).map_err(Refused::OwnLabel)?;
            turn.transaction.nodes.extend(record);
            self.nodes.tell(name, turn.now.wall_ms, "a user changed its labels".to_owned());
            self.redescribe(name, turn);
        }
        if let Change::Cluster(wanted) = &change {
            turn.transaction.clusters.push(wanted.clone());
        }
        if let Change::RemoveNode(name) = &change {
            turn.transaction.nodes.extend(self.nodes.remove(name));
        }
        if let Some((key, request)) = idempotency {
            let (swarm, answer, used_ms) = (change.swarm(), change.done(), turn.now.wall_ms);
            let record = KeyRecord { key, request, swarm, answer, used_ms };
            self.keys.insert(record.key.clone(), record.clone());
            turn.transaction.keys.push(record);
        }
        if let Some(input) = change.input() {
            self.decide(input, turn);
        }
        Ok(())
    }

    /// A node that is to be revoked must be known, or its certificate would count on: it may have been let go of, or have
    /// never connected.
    fn make_known(&mut self, name: &NodeName, enrolled: Option<&KnownNode>, now: Now) {
        if self.engine.node(name).is_some() {
            return;
        }
        if let Some(node) = self.nodes.make_known(name, enrolled) {
            self.engine.restore_node(now, node.describe(name), node.duty, None);
        }
    }

    /// What a key was used for since the start.
    fn used(&self, idempotency: Option<&(String, String)>) -> Option<Refused> {
        #[cfg(feature = "planted-bugs")]
        if self.bugs.forget_keys {
            return None;
        }
        let (key, request) = idempotency?;
        let earlier = self.keys.get(key)?;
        Some(Refused::KeyUsed { same_request: earlier.request == *request, earlier: Box::new(earlier.clone()) })
    }

    /// Forgets keys that belong to no swarm and were used before this moment; wall clock, ms since 1970.
    pub fn forget_keys<A: Askers>(&mut self, before_ms: u64, asker: A::Step, turn: &mut Turn<A>) {
        self.keys.retain(|_, record| record.swarm.is_some() || record.used_ms >= before_ms);
        turn.transaction.keys_before_ms = turn.transaction.keys_before_ms.max(before_ms);
        turn.effects.push(Effect::Done(asker));
    }

    /// Lets go of those lines of swarms that have ended and are wholly among these, with all that is stored of them, in one
    /// transaction, and names the swarms; whoever asked is told once they are gone.
    pub fn purge<A: Askers>(
        &mut self,
        swarms: &BTreeSet<SwarmId>,
        asker: A::Step,
        turn: &mut Turn<A>,
    ) -> BTreeSet<SwarmId> {
        let gone = BTreeSet::from_iter(self.engine.forget_lines(swarms));
        self.keys.retain(|_, record| record.swarm.is_none_or(|swarm| !gone.contains(&swarm)));
        turn.transaction.purged.extend(&gone);
        turn.effects.push(Effect::Done(asker));
        gone
    }

    /// Makes swarms known again that ended before the start.
    pub fn remember<A: Askers>(&mut self, ended: Vec<SwarmRun>, turn: &mut Turn<A>) {
        for swarm in ended {
            turn.effects.push(Effect::News { swarm: swarm.id(), seq: swarm.seq() });
            self.engine.remember_swarm(swarm);
        }
    }

    /// A node opens a session, which takes the place of its former one.
    pub fn connect<A: Askers>(&mut self, joining: Joining, asker: A::Connect, turn: &mut Turn<A>) {
        let Joining { name, id, fresh, profile, held, greeting, session } = joining;
        let is_connected = self.sessions.contains_key(&name);
        let admitted = self.nodes.admit(&name, id, is_connected, fresh);
        let id = match admitted.and_then(|id| self.nodes.greet(&name, greeting, is_connected).map(|()| id)) {
            Ok(id) => id,
            Err(refusal) => {
                turn.effects.push(Effect::Connected { asker, outcome: Err(refusal) });
                return;
            }
        };
        let words = format!("it connected: manta {}, tier {}", profile.agent_version, profile.tier);
        turn.transaction.nodes.extend(self.nodes.update(&name, id, profile, turn.now.wall_ms));
        self.nodes.tell(&name, turn.now.wall_ms, words);
        let node = self.nodes.known[&name].describe(&name);
        turn.effects.push(Effect::Connected { asker, outcome: Ok(id) });
        if let Some(former) = self.sessions.insert(name.clone(), session) {
            tracing::warn!(node = %name, "a new session under its id took the place of one that had not ended");
            turn.effects.push(Effect::End { session: former, why: REPLACED });
        }
        self.decide(Input::NodeConnected { node, held }, turn);
    }

    /// What a node that joined has to say of itself is this now.
    pub fn note<A: Askers>(&mut self, node: &NodeName, notes: Vec<String>, turn: &mut Turn<A>) {
        let Some(known) = self.nodes.known.get(node) else { return };
        let (id, profile) = (known.id, NodeProfile { notes, ..known.profile.clone() });
        turn.transaction.nodes.extend(self.nodes.update(node, id, profile, turn.now.wall_ms));
    }

    /// Something happened to a node that joined.
    pub fn tell<A: Askers>(&mut self, node: &NodeName, words: String, turn: &Turn<A>) {
        if self.nodes.known.contains_key(node) {
            self.nodes.tell(node, turn.now.wall_ms, words);
        }
    }

    /// What a node offers, and what its site allows there, is this now.
    pub fn offer<A: Askers>(&mut self, node: &NodeName, offering: Offering, turn: &mut Turn<A>) {
        let Some(known) = self.nodes.known.get(node) else { return };
        let Offering { datasets, dataset_views, policy } = offering;
        let mut news = Vec::new();
        if known.profile.dataset_views != dataset_views {
            let names: Vec<&str> = datasets.keys().map(String::as_str).collect();
            news.push(format!(
                "it offers these datasets now: {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ));
        }
        if known.profile.policy != policy {
            news.push("its site's policy changed".to_owned());
        }
        let profile = NodeProfile { datasets, dataset_views, policy, ..known.profile.clone() };
        let id = known.id;
        turn.transaction.nodes.extend(self.nodes.update(node, id, profile, turn.now.wall_ms));
        news.into_iter().for_each(|words| self.nodes.tell(node, turn.now.wall_ms, words));
        self.redescribe(node, turn);
    }

    /// Lets decisions see a node as it is now.
    fn redescribe<A: Askers>(&mut self, name: &NodeName, turn: &mut Turn<A>) {
        let node = self.nodes.known.get(name).map(|known| known.describe(name));
        if let Some(node) = node {
            self.decide(Input::NodeDescribed { node }, turn);
        }
    }

    /// A session ended; whatever replaced it stays. Answers whether nothing had.
    pub fn disconnect<A: Askers>(&mut self, node: NodeName, session: SessionId, turn: &mut Turn<A>) -> bool {
        let was_open = self.close(&node, session);
        if was_open {
            self.nodes.tell(&node, turn.now.wall_ms, "its connection ended".to_owned());
            self.decide(Input::NodeDisconnected { node }, turn);
        }
        was_open
    }

    /// A node said goodbye in this session: its lease ends with it. Answers whether the session was the newest.
    pub fn leave<A: Askers>(&mut self, node: NodeName, session: SessionId, reason: String, turn: &mut Turn<A>) -> bool {
        let was_open = self.close(&node, session);
        if was_open {
            self.nodes.tell(&node, turn.now.wall_ms, format!("it left: {reason}"));
            self.decide(Input::NodeLeft { node, reason }, turn);
        }
        was_open
    }

    /// The newest session of a node.
    pub fn session_of(&self, node: &NodeName) -> Option<SessionId> {
        self.sessions.get(node).copied()
    }

    /// Forgets a session that cannot be spoken through any more, unless another took its place; whether it was there.
    pub fn close(&mut self, node: &NodeName, session: SessionId) -> bool {
        let is_newest = self.session_of(node) == Some(session);
        if is_newest {
            self.sessions.remove(node);
        }
        is_newest
    }

    /// Ends a turn: what is due by now is decided, and the result is to be made durable.
    pub fn seal<A: Askers>(&mut self, mut turn: Turn<A>) -> Sealed<A> {
        if self.engine.next_wake().is_some_and(|due| due <= turn.now.monotonic) {
            self.decide(Input::Tick, &mut turn);
        }
        turn.seal()
    }

    fn decide<A: Askers>(&mut self, input: Input, turn: &mut Turn<A>) {
        let step = self.engine.step(turn.now, input);
        for event in step.events.iter().filter(|event| event.what.is_final()) {
            if let Some(swarm) = self.engine.swarm(event.swarm) {
                let outcome = describe(swarm.spec(), event).message;
                tracing::info!(swarm = %event.swarm, name = %swarm.spec().name, outcome, "a swarm is over");
            }
        }
        turn.transaction.events.extend(step.events);
        for changed in step.duties {
            let DutyChanged { node, duty, drain_left, reason } = changed;
            tracing::info!(%node, %duty, reason, "a node's duty changed");
            turn.transaction.nodes.extend(self.nodes.change_duty(&node, duty, drain_left));
            self.nodes.tell(&node, turn.now.wall_ms, format!("it is {duty}: {reason}"));
            if duty == NodeDuty::Revoked
                && let Some(session) = self.sessions.remove(&node)
            {
                turn.effects.push(Effect::End { session, why: REVOKED });
            }
        }
        for command in step.commands {
            // A node without a session is told again when it connects.
            if let Some(session) = self.session_of(command.node()) {
                turn.effects.push(Effect::Send { session, command });
            }
        }
    }
}
