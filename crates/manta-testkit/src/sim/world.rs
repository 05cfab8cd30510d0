//! The world: a manager that may crash, nodes that may vanish, messages that may be late, lost or doubled.
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use manta_engine::{Command, Engine, Input, Now, Submit};
use manta_store::{MemoryStore, NewSwarm, StateStore, Transaction};
use manta_types::event::SwarmEvent as E;
use manta_types::{
    AttemptId, ClusterId, Digest, Event, FailurePolicy, Method, NodeDuty, NodeLimit, NodeName, OnFailure, SwarmId,
    SwarmSpec, TaskSpec, Timestamp,
};
use uuid::Uuid;

use super::chance::Chance;
use super::node::SimNode;

/// Which troubles a run meets, and which bug is planted in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Agents crash, partitions come and go, messages are doubled and delayed.
    pub nodes: bool,
    /// The manager is killed and started again on what it had made durable.
    pub manager: bool,
    /// The fencing check is removed.
    pub without_fencing: bool,
}

/// What a run ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The swarm's final state.
    pub state: String,
    /// Events in its history.
    pub events: usize,
    /// Attempts accepted.
    pub accepted: usize,
    /// Virtual milliseconds.
    pub elapsed_ms: u64,
}

impl Letter {
    fn peer(&self) -> Option<&NodeName> {
        self.to_node.as_ref().map(|(node, _)| node).or(self.to_manager.as_ref().map(|(node, _)| node))
    }
}

const STEP_MS: u64 = 50;
const FAULTS_END_MS: u64 = 120_000;
const GIVE_UP_MS: u64 = 900_000;
/// Where virtual time begins, so that instants before the start exist.
const START_MS: u64 = 1 << 20;
const EPOCH_MS: u64 = 1_700_000_000_000;

/// A message on its way: in order within its session, and gone with it.
struct Letter {
    at: u64,
    session: u64,
    to_node: Option<(NodeName, Command)>,
    to_manager: Option<(NodeName, Input)>,
}

struct World {
    now: u64,
    chance: Chance,
    faults: Faults,
    engine: Engine,
    store: MemoryStore,
    cluster: ClusterId,
    swarm: SwarmId,
    spec: Arc<SwarmSpec>,
    nodes: BTreeMap<NodeName, SimNode>,
    letters: Vec<Letter>,
    checker: Checker,
}

/// Runs one swarm over four nodes to its end, checking every event.
///
/// # Panics
/// When an invariant breaks; the message names it. The seed reproduces the run.
pub fn run(seed: u64, faults: Faults) -> Outcome {
    let mut world = World::new(seed, faults);
    world.submit();
    while !world.swarm_over() {
        if world.now > START_MS + GIVE_UP_MS {
            let waiting = world.engine.waiting(world.clock().monotonic, world.swarm);
            panic!("liveness: the swarm is stuck long after the faults ended: {waiting:?}");
        }
        world.tick();
    }
    world.outcome()
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let nodes = (1..=4).map(SimNode::new).map(|node| (node.name.clone(), node)).collect();
        Self {
            now: START_MS,
            chance: Chance::new(seed),
            faults,
            engine: engine(seed, faults),
            store: MemoryStore::default(),
            cluster: ClusterId::default(),
            swarm: SwarmId::from_uuid(Uuid::from_u128(u128::from(seed) + 1)),
            spec: Arc::new(spec()),
            nodes,
            letters: Vec::new(),
            checker: Checker::default(),
        }
    }

    fn clock(&self) -> Now {
        Now { monotonic: Timestamp::from_ms(self.now), wall_ms: EPOCH_MS + self.now }
    }

    fn submit(&mut self) {
        for name in self.nodes.keys().cloned().collect::<Vec<_>>() {
            self.hello(&name);
        }
        self.now += STEP_MS;
        self.deliver_all();
        let swarm = NewSwarm {
            id: self.swarm,
            name: self.spec.name.clone(),
            submission: String::new(),
            idempotency: None,
            created_ms: self.clock().wall_ms,
        };
        self.decide(
            Input::Submit(Submit { id: self.swarm, spec: Arc::clone(&self.spec), continues: None }),
            vec![swarm],
        );
    }

    fn tick(&mut self) {
        self.now += STEP_MS;
        if self.now < START_MS + FAULTS_END_MS {
            self.trouble();
        }
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        for name in names {
            let node = self.nodes.get_mut(&name).expect("the name is a node's");
            if !node.connected && node.reachable(self.now) {
                self.hello(&name);
                continue;
            }
            let said = node.speak(self.now, &mut self.chance, self.faults.nodes);
            for input in said {
                self.post(None, Some((name.clone(), input)));
            }
        }
        self.deliver_all();
        if self.engine.next_wake().is_some_and(|due| due.ms() <= self.now) {
            self.decide(Input::Tick, Vec::new());
        }
    }

    /// Draws what goes wrong in this step.
    fn trouble(&mut self) {
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        if self.faults.nodes {
            for name in names {
                let (crash, cut) = (self.chance.one_in(400), self.chance.one_in(250));
                let (down, away) = (self.chance.between(100, 30_000), self.chance.between(1_000, 40_000));
                let node = self.nodes.get_mut(&name).expect("the name is a node's");
                if crash {
                    node.crash(self.now + down);
                    self.hang_up(&name);
                } else if cut {
                    (node.cut_until, node.connected) = (self.now + away, false);
                    if self.chance.one_in(2) {
                        self.hang_up(&name);
                    }
                }
            }
        }
        if self.faults.manager && self.chance.one_in(300) {
            self.restart_manager();
        }
    }

    /// The manager notices that a connection ended; after a silent cut it does not.
    fn hang_up(&mut self, name: &NodeName) {
        self.decide(Input::NodeDisconnected { node: name.clone() }, Vec::new());
    }

    fn hello(&mut self, name: &NodeName) {
        let input = self.nodes.get_mut(name).expect("the name is a node's").hello(self.now);
        self.post(None, Some((name.clone(), input)));
    }

    /// Sends over the node's present session: never out of order, perhaps late, perhaps twice.
    fn post(&mut self, to_node: Option<(NodeName, Command)>, to_manager: Option<(NodeName, Input)>) {
        let peer = to_node.as_ref().map_or_else(|| to_manager.as_ref().map(|(node, _)| node), |(node, _)| Some(node));
        let session = peer.map_or(0, |node| self.nodes[node].session);
        let (upward, peer) = (to_manager.is_some(), peer.cloned());
        let same_way = |letter: &&Letter| {
            letter.session == session && letter.to_manager.is_some() == upward && letter.peer() == peer.as_ref()
        };
        let last = self.letters.iter().filter(same_way).map(|letter| letter.at).max().unwrap_or(0);
        let slow = self.faults.nodes && self.chance.one_in(20);
        let doubled = self.faults.nodes && to_manager.is_some() && self.chance.one_in(25);
        let delay = if slow { self.chance.between(500, 8_000) } else { self.chance.between(0, 40) };
        let at = last.max(self.now + delay);
        if doubled {
            self.letters.push(Letter { at, session, to_node: to_node.clone(), to_manager: to_manager.clone() });
        }
        self.letters.push(Letter { at, session, to_node, to_manager });
    }

    fn deliver_all(&mut self) {
        while let Some(index) = self.letters.iter().position(|letter| letter.at <= self.now) {
            let letter = self.letters.remove(index);
            if let Some((from, input)) = letter.to_manager {
                let node = &self.nodes[&from];
                if node.reachable(self.now) && node.session == letter.session {
                    self.decide(input, Vec::new());
                }
            }
            if let Some((to, command)) = letter.to_node {
                let node = self.nodes.get_mut(&to).expect("commands go to known nodes");
                if node.reachable(self.now) && node.connected && node.session == letter.session {
                    let answer = node.take(&command, self.now, &mut self.chance);
                    if let Some(input) = answer {
                        self.post(None, Some((to, input)));
                    }
                }
            }
        }
    }

    /// The manager's whole loop: decide, make durable, and only then act.
    fn decide(&mut self, input: Input, swarms: Vec<NewSwarm>) {
        let step = self.engine.step(self.clock(), input);
        self.checker.check(&step.events);
        let transaction = Transaction { swarms, events: step.events, ..Transaction::default() };
        self.store.commit(&self.cluster, &transaction).expect("the store follows the engine");
        for command in step.commands {
            let to = match &command {
                Command::Offer(offer) => offer.node.clone(),
                Command::Cancel { node, .. } | Command::Verdict { node, .. } => node.clone(),
            };
            self.post(Some((to, command)), None);
        }
    }

    /// Kills the manager and starts it again on what it had made durable; connections and messages are gone.
    fn restart_manager(&mut self) {
        let events = self.store.events(&self.cluster, self.swarm, 0, usize::MAX).expect("the store reads");
        let seed = self.chance.between(0, u64::MAX);
        self.engine = engine(seed, self.faults);
        let created = EPOCH_MS;
        let (now, spec) = (self.clock(), Arc::clone(&self.spec));
        self.engine.restore_swarm(now, self.swarm, spec, created, &events).expect("the history is whole");
        for node in self.nodes.values_mut() {
            self.engine.restore_node(now, node.description(), NodeDuty::Active, None);
            node.connected = false;
        }
        self.letters.clear();
    }

    fn swarm_over(&self) -> bool {
        self.engine.swarm(self.swarm).is_some_and(manta_engine::SwarmRun::is_over)
    }

    fn outcome(&mut self) -> Outcome {
        let events = self.store.events(&self.cluster, self.swarm, 0, usize::MAX).expect("the store reads");
        let mut again = Checker::default();
        again.check(&events);
        Outcome {
            state: self.engine.swarm(self.swarm).map(|swarm| swarm.state().to_string()).unwrap_or_default(),
            events: events.len(),
            accepted: again.accepted.len(),
            elapsed_ms: self.now - START_MS,
        }
    }
}

fn engine(seed: u64, faults: Faults) -> Engine {
    let mut engine = Engine::new(seed);
    engine.accept_stale_attempts = faults.without_fencing;
    engine
}

fn spec() -> SwarmSpec {
    let task = |alias: &str, after: &[usize], method: Method| TaskSpec {
        alias: alias.to_owned(),
        bundle: Digest::from_bytes([1; 32]),
        module: alias.to_owned(),
        version: "1.0.0".to_owned(),
        image: "latest".to_owned(),
        datasets: vec!["digits".to_owned()],
        resources: Default::default(),
        after: after.to_vec(),
        method,
        maximum: NodeLimit::Unlimited,
        fixed: false,
        excepted: Vec::new(),
        specified: None,
        labels: BTreeMap::new(),
        policy: FailurePolicy { retries: 3, on_failure: OnFailure::Continue, ..FailurePolicy::default() },
    };
    SwarmSpec {
        name: "simulated".to_owned(),
        iterations_max: NonZeroU32::new(4),
        priority: 0,
        attempts_max: None,
        tasks: vec![
            task("worker", &[], Method::All),
            task("aggregator", &[0], Method::Any),
            task("evaluate", &[1], Method::All),
            task("scheduler", &[2], Method::Any),
        ],
        globals: BTreeMap::new(),
    }
}

type Place = (u32, usize, usize);

/// Watches the history: what must hold after every event.
#[derive(Debug, Default)]
struct Checker {
    newest: BTreeMap<Place, (AttemptId, u32)>,
    places: BTreeMap<AttemptId, (Place, u32)>,
    accepted: BTreeSet<Place>,
    open: BTreeSet<(u32, usize)>,
    seq: u64,
}

impl Checker {
    fn check(&mut self, events: &[Event]) {
        for event in events {
            assert_eq!(event.seq, self.seq + 1, "history: events follow each other without a gap");
            self.seq = event.seq;
            match &event.what {
                E::TaskRunStarted { iteration, task, .. } => {
                    self.open.insert((*iteration, *task));
                }
                E::AttemptOffered { attempt, iteration, task, slot, epoch, .. } => {
                    let place = (*iteration, *task, *slot);
                    let before = self.newest.insert(place, (*attempt, *epoch));
                    assert!(before.is_none_or(|(_, old)| old < *epoch), "fencing: epochs rise");
                    self.places.insert(*attempt, (place, *epoch));
                }
                E::AttemptAccepted { attempt, .. } => {
                    let (place, _) = self.places[attempt];
                    assert_eq!(self.newest[&place].0, *attempt, "fencing: only the newest attempt is accepted");
                    assert!(self.accepted.insert(place), "acceptance: once per slot");
                    assert!(self.open.contains(&(place.0, place.1)), "acceptance: only while the task run is open");
                }
                E::TaskRunClosed { iteration, task, .. } => {
                    assert!(self.open.remove(&(*iteration, *task)), "a task run closes once");
                }
                _ => {}
            }
        }
    }
}
