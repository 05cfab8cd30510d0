//! What must hold, whatever happens: checked after every step, over what was said to whom and what is durable.
//!
//! | | |
//! |---|---|
//! | I1 | what was acknowledged (submissions, orders, events, values) stays, unchanged; after a restore, what the backup has |
//! | I2 | a slot has at most one accepted attempt; its results, globals and state are that attempt's, all of them |
//! | I3 | task runs and iterations go on from accepted attempts only |
//! | I4 | nothing runs for an attempt that its node knows to be stale |
//! | I5 | after the troubles, everything ends in time, and nothing is left over |
//! | lease | a node that was well all the time is never taken for lost |
//! | deadline | no task run is open past its deadline, however often the manager was restarted meanwhile |
//! | rollout | nothing but a rollout changes what runs, between two iterations, by its plan; only the way back comes at once |
//! | revoked | nothing is offered to a node that is revoked, and nothing of it accepted |
//! | outbox | an end is said only when its journal is on disk, and never in two ways |
//! | durable | nothing is told before it is durable; what is rebuilt from events is what lived |
mod deadlines;
mod history;
mod keys;
mod rollouts;
mod undone;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use manta_engine::{Command, Engine, Inputs, SwarmRun};
use manta_manager::orchestrator::Core;
use manta_node::desk::{self, Journal, Left};
use manta_store::{StateStore, Transaction};
use manta_types::event::Outputs;
use manta_types::{AttemptId, Blob, Event, NodeDuty, NodeName, SwarmEvent as E, SwarmId, SwarmState, Timestamp};

use self::history::History;
use self::undone::revoked;
use super::disk::Disk;
use super::gateway::outputs;
use super::node::{Lane, SimNode};
use super::options::Options;
use super::work::publisher;

/// Every how many commits a whole rebuild is compared with what lives.
const REBUILD_EVERY: u64 = 40;

/// Everything that was promised.
#[derive(Debug)]
pub(crate) struct Checker {
    /// Whether a node that is taken for lost is taken wrongly.
    nodes_are_well: bool,
    /// Whether the wall clock is right all the time.
    clock_is_right: bool,
    broken: Option<(&'static str, String)>,
    histories: BTreeMap<SwarmId, History>,
    /// Attempts that were offered, durably.
    attempts: BTreeMap<AttemptId, Offered>,
    /// What each attempt of a generation left when it ended.
    ends: BTreeMap<(AttemptId, Option<u64>), End>,
    /// Attempts whose end was said, in which generation.
    said: BTreeSet<(AttemptId, Option<u64>)>,
    /// Which swarm an idempotency key has, as its user was told.
    keys: BTreeMap<String, SwarmId>,
    /// Keys under which a change was made, durably: the swarm that it changed, and in which turn that was.
    made: BTreeMap<String, (Option<SwarmId>, u64)>,
    /// Keys under which a change was made, and which went with its swarm.
    gone: BTreeSet<String>,
    /// Keys under which users were told that their change is made.
    told: BTreeSet<String>,
    /// By whom a lane's state may be, per node: the last accepted attempt that changed it, and after a restore whatever the
    /// node may have kept of the history that was undone.
    lanes: BTreeMap<(NodeName, Lane), BTreeSet<Option<Publisher>>>,
    commits: u64,
    /// Turns of the manager that began.
    pub(crate) turns: u64,
    generation: u64,
    /// Attempts that were accepted in a generation that is over.
    undone: BTreeSet<(AttemptId, Option<u64>)>,
    /// Whether a log is followed that was followed before.
    is_replaying: bool,
    /// The histories of swarms that were purged.
    purged: BTreeMap<SwarmId, History>,
    revoked: BTreeSet<NodeName>,
}

/// An attempt, as its values name it.
type Publisher = [u8; 16];

/// An attempt that was offered.
#[derive(Debug)]
struct Offered {
    node: NodeName,
    epoch: u32,
    swarm: SwarmId,
    is_accepted: bool,
}

/// What an attempt left when it ended, and whose state that changes.
#[derive(Debug)]
struct End {
    left: Left,
    changes: Option<Lane>,
}

impl Checker {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            nodes_are_well: options.nodes_are_well(),
            clock_is_right: options.clock == 0,
            broken: None,
            histories: BTreeMap::new(),
            attempts: BTreeMap::new(),
            ends: BTreeMap::new(),
            said: BTreeSet::new(),
            keys: BTreeMap::new(),
            made: BTreeMap::new(),
            gone: BTreeSet::new(),
            told: BTreeSet::new(),
            lanes: BTreeMap::new(),
            commits: 0,
            turns: 0,
            generation: 1,
            undone: BTreeSet::new(),
            is_replaying: false,
            purged: BTreeMap::new(),
            revoked: BTreeSet::new(),
        }
    }

    /// Notes that something does not hold; the first is what counts.
    pub(crate) fn breaks(&mut self, invariant: &'static str, words: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some((invariant, words()));
        }
    }

    fn must(&mut self, holds: bool, invariant: &'static str, words: impl FnOnce() -> String) {
        if !holds {
            self.breaks(invariant, words);
        }
    }

    pub(crate) const fn holds(&self) -> bool {
        self.broken.is_none()
    }

    pub(crate) fn broken(&self) -> Option<(&'static str, String)> {
        self.broken.clone()
    }

    /// A transaction reached the disk.
    pub(crate) fn durable(&mut self, transaction: &Transaction) {
        self.commits += 1;
        for new in &transaction.swarms {
            self.histories.insert(new.id, History::new(&new.submission));
        }
        for event in &transaction.events {
            let Some(history) = self.histories.get_mut(&event.swarm) else {
                self.breaks("I1", || format!("an event of {}, which nobody submitted", event.swarm));
                return;
            };
            if let Err((invariant, words)) = history.follow(event) {
                self.breaks(invariant, || format!("swarm {}, event {}: {words}", event.swarm, event.seq));
            }
            self.follow(event);
        }
        for record in &transaction.keys {
            let again = self.made.insert(record.key.clone(), (record.swarm, self.turns)).is_some();
            self.must(!again, "I1", || format!("the change under `{}` is made twice", record.key));
        }
        self.revoked.extend(transaction.nodes.iter().filter_map(revoked));
        transaction.purged.iter().for_each(|swarm| self.purge(*swarm));
        transaction.purged.iter().for_each(|swarm| self.purged_whole(*swarm));
    }

    fn follow(&mut self, event: &Event) {
        match &event.what {
            E::AttemptOffered { attempt, node, epoch, .. } => {
                let (node, epoch, swarm) = (node.clone(), *epoch, event.swarm);
                let is_revoked = self.revoked.contains(&node);
                self.must(!is_revoked, "revoked", || format!("{attempt} is offered to {node}, which is revoked"));
                let before = self.attempts.insert(*attempt, Offered { node, epoch, swarm, is_accepted: false });
                self.must(before.is_none(), "I2", || format!("{attempt} is offered twice"));
            }
            E::AttemptAccepted { attempt, outputs: accepted, .. } => {
                let Some(offered) = self.attempts.get_mut(attempt) else {
                    return self.breaks("I2", || format!("{attempt} is accepted, and was never offered"));
                };
                offered.is_accepted = true;
                if !self.is_replaying {
                    let node = offered.node.clone();
                    self.accepted(node, *attempt, accepted);
                }
            }
            E::SwarmContinued { checkpoint } => self.continued(event.swarm, checkpoint),
            E::AttemptLost { attempt, reason } if self.nodes_are_well => {
                self.breaks("lease", || format!("{attempt} is lost, and all nodes are well: {reason}"));
            }
            E::AttemptProgressed { attempt, state: manta_types::event::AttemptStateName::Silent }
                if self.nodes_are_well =>
            {
                self.breaks("lease", || format!("{attempt} is taken for silent, and all nodes are well"));
            }
            E::NodeExcused { node, reason, .. } if self.nodes_are_well => {
                self.breaks("lease", || format!("{node} is excused, and all nodes are well: {reason}"));
            }
            _ => {}
        }
    }

    fn accepted(&mut self, node: NodeName, attempt: AttemptId, accepted: &Outputs) {
        let is_revoked = self.revoked.contains(&node);
        self.must(!is_revoked, "revoked", || format!("{attempt} of {node} is accepted, which is revoked"));
        let Some(end) = self.ends.get(&(attempt, Some(self.generation))) else {
            return self.breaks("I2", || format!("{attempt} is accepted, and never ended in this generation"));
        };
        let (left, changes) = (outputs(&end.left.report), end.changes.clone());
        self.must(left == *accepted, "I2", || format!("{attempt} left {left:?}, accepted is {accepted:?}"));
        if let Some(lane) = changes {
            self.lanes.insert((node, lane), [Some(attempt.bytes())].into());
        }
    }

    /// A swarm's history up to here was shown.
    pub(crate) fn shown(&mut self, swarm: SwarmId, seq: u64) {
        let durable = self.history(swarm).map_or(0, History::seq);
        self.must(durable >= seq, "durable", || {
            format!("event {seq} of swarm {swarm} is shown, and {durable} are durable")
        });
    }

    /// A command goes to a node.
    pub(crate) fn sent(&mut self, command: &Command) {
        let known = |attempt| self.attempts.get(attempt);
        match command {
            Command::Offer(offer) => {
                let is_durable = known(&offer.attempt).is_some_and(|known| known.epoch == offer.epoch);
                self.must(is_durable, "durable", || {
                    format!("the offer of {} goes before it is durable", offer.attempt)
                });
                let code = self.histories.get(&offer.swarm).and_then(|history| history.code_of(offer.attempt));
                let runs = offer.spec.tasks[offer.task].bundle;
                self.must(code == Some(runs), "rollout", || {
                    format!("{} is to run {runs}, and its history says {code:?}", offer.attempt)
                });
                let line = self.histories.get(&offer.swarm).map(|history| history.state_of(offer.swarm));
                self.must(line == Some(offer.state_of), "I2", || {
                    format!("{} keeps its state under {}, and its line is {line:?}", offer.attempt, offer.state_of)
                });
            }
            Command::Verdict { node, attempt, epoch, accepted, reason } => {
                let is_its = |known: &&Offered| known.node == *node && known.epoch == *epoch;
                let is_accepted = known(attempt).filter(is_its).is_some_and(|known| known.is_accepted);
                let invariant = if *accepted { "durable" } else { "I2" };
                // Nobody reads what a purged line of swarms kept.
                let is_gone = !*accepted && known(attempt).is_some_and(|known| self.is_purged(known.swarm));
                self.must(is_accepted == *accepted || is_gone, invariant, || {
                    format!("{node} is told of {attempt}: accepted {accepted} ({reason}); stored is {is_accepted}")
                });
            }
            Command::Cancel { .. } => {}
        }
    }

    /// What an attempt may read was handed out.
    pub(crate) fn handed_out(&mut self, attempt: AttemptId, inputs: &Inputs) {
        let results = inputs.results.iter().map(|result| (&result.name, result.blob));
        let globals = inputs.globals.iter().map(|(name, value)| (name, value.blob));
        for (name, value) in results.chain(globals) {
            let by = publisher(&value);
            let is_accepted = self.attempts.iter().any(|(id, known)| id.bytes() == by && known.is_accepted);
            self.must(is_accepted, "I3", || format!("{attempt} reads `{name}`, whose attempt is not accepted"));
        }
    }

    /// An attempt begins on a node, with the state that it reads.
    pub(crate) fn begins(&mut self, node: &NodeName, attempt: &desk::Attempt, read: Option<Blob>, is_stale: bool) {
        let id = attempt.id;
        self.must(!is_stale, "I4", || format!("{node} starts {id}, of which it knows that it is stale"));
        if self.is_line_purged(attempt.state_of) {
            return;
        }
        let lane = (node.clone(), (attempt.state_of, attempt.task.clone()));
        let nobody = BTreeSet::from([None]);
        let expected = self.lanes.get(&lane).unwrap_or(&nobody).clone();
        let found = read.map(|value| publisher(&value));
        self.must(expected.contains(&found), "I2", || {
            format!("{id} on {node} reads the state of {found:?}; the last accepted there is {expected:?}")
        });
        if attempt.generation == Some(self.generation) {
            self.lanes.insert(lane, [found].into());
        }
    }

    /// An attempt ended on its node.
    pub(crate) fn ended(&mut self, attempt: &desk::Attempt, left: &Left) {
        let lane = || (attempt.state_of, attempt.task.clone());
        let changes = (!left.state.is_empty()).then(lane);
        // What died with its node before it was said may run again, and end otherwise.
        let end = (attempt.id, attempt.generation);
        if !self.said.contains(&end) {
            self.ends.insert(end, End { left: left.clone(), changes });
        }
    }

    /// A node tells the manager that an attempt ended.
    pub(crate) fn said(&mut self, node: &NodeName, journal: &Arc<Journal>, is_on_disk: bool) {
        let (attempt, generation) = (journal.attempt.id, journal.attempt.generation);
        self.must(is_on_disk, "outbox", || format!("{node} says that {attempt} ended before its journal is on disk"));
        self.said.insert((attempt, generation));
        let is_same = self.ends.get(&(attempt, generation)).is_some_and(|end| end.left == journal.left);
        self.must(is_same, "outbox", || format!("{node} says in two ways how {attempt} ended"));
    }

    /// What an attempt kept became its node's state.
    pub(crate) fn state_changed(&mut self, node: &NodeName, journal: &Journal) {
        let attempt = journal.attempt.id;
        let was_accepted = self.undone.contains(&(attempt, journal.attempt.generation));
        let is_current = journal.attempt.generation == Some(self.generation);
        let known = self.attempts.get(&attempt).filter(|known| known.node == *node);
        let is_accepted = was_accepted || is_current && known.is_some_and(|known| known.is_accepted);
        self.must(is_accepted, "I2", || format!("{node} keeps the state of {attempt}, which is not accepted"));
    }

    /// A turn is over and durable: what lives is what is stored, and what a restart would rebuild.
    pub(crate) fn settled(&mut self, core: &Core, disk: &mut Disk) {
        for swarm in core.engine().swarms() {
            let durable = self.histories.get(&swarm.id()).map_or(0, History::seq);
            let (id, seq) = (swarm.id(), swarm.seq());
            self.must(durable == seq, "durable", || format!("swarm {id} lives at {seq}, {durable} are durable"));
        }
        if !self.commits.is_multiple_of(REBUILD_EVERY) {
            return;
        }
        let stored = disk.read(|store, cluster| store.nodes(cluster));
        for node in core.engine().nodes() {
            let kept = stored.iter().find(|record| record.name == *node.name());
            let duty = kept.map_or(NodeDuty::Active, |record| record.duty);
            let (name, lives) = (node.name().clone(), node.duty());
            self.must(duty == lives, "durable", || format!("{name} is {lives}, stored is {duty}"));
        }
        self.rebuild(core);
    }

    /// Rebuilds every swarm from its events and compares it with the one that lives.
    fn rebuild(&mut self, core: &Core) {
        let mut engine = Engine::new(1);
        for swarm in core.engine().swarms() {
            let (id, history) = (swarm.id(), &self.histories[&swarm.id()]);
            let now = manta_engine::Now { monotonic: Timestamp::from_ms(1 << 40), wall_ms: 0 };
            let spec = Arc::clone(swarm.submitted());
            if let Err(error) = engine.restore_swarm(now, id, spec, swarm.created_ms(), history.events()) {
                return self.breaks("durable", || error.to_string());
            }
            let (rebuilt, live) = (engine.swarm(id).map(face).unwrap_or_default(), face(swarm));
            self.must(rebuilt == live, "durable", || format!("rebuilt {rebuilt}\nlives {live}"));
        }
    }

    /// All is over: nothing may be left, and what was accepted is complete.
    pub(crate) fn finished(&mut self, nodes: &[SimNode], core: &Core, disk: &mut Disk) {
        self.commits = 0;
        self.settled(core, disk);
        for ((name, lane), last) in self.lanes.clone() {
            let node = nodes.iter().find(|node| node.name == name).expect("attempts run on known nodes");
            let kept = node.kept(&lane);
            // Whoever is revoked is told of no verdict any more.
            let is_gone = self.is_line_purged(lane.0) || self.is_revoked(&name);
            self.must(is_gone || last.contains(&kept), "I2", || {
                format!("{name} keeps the state of {kept:?} for {lane:?}; the last accepted there is {last:?}")
            });
        }
    }

    /// Whether a node is revoked, durably.
    pub(crate) fn is_revoked(&self, node: &NodeName) -> bool {
        self.revoked.contains(node)
    }

    /// Whether a swarm has ended, durably.
    pub(crate) fn is_over(&self, swarm: SwarmId) -> bool {
        self.history(swarm).is_some_and(History::is_over)
    }

    /// Events, accepted attempts and swarms that ended well.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let histories = || self.histories.values().chain(self.purged.values());
        let events = histories().map(|history| history.events().len()).sum();
        let accepted = self.attempts.values().filter(|attempt| attempt.is_accepted).count();
        let well = |history: &&History| history.ended_as() == Some(SwarmState::Succeeded);
        (events, accepted, histories().filter(well).count())
    }

    /// Changes with every durable event.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.histories.values().fold(0, |sum, history| sum.rotate_left(7) ^ history.fingerprint())
    }
}

/// What of a swarm does not hang on when it was rebuilt.
fn face(swarm: &SwarmRun) -> String {
    let runs = swarm.task_runs().iter().map(|run| {
        let slots = run.slots.iter().map(|slot| {
            format!("{} {} {} {} {:?} {:?}", slot.node, slot.epoch, slot.tries, slot.lost, slot.outcome, slot.attempts)
        });
        format!("{:?} {} {} {:?} {:?}", run.state, run.reason, run.movable, slots.collect::<Vec<_>>(), run.globals)
    });
    let runs: Vec<_> = runs.collect();
    let rollouts = swarm.rollouts().iter().map(|rollout| {
        let (number, state, reason, holder) = (rollout.number, rollout.state, &rollout.reason, rollout.holder);
        let (step, figures, iterations, nodes) = (rollout.step, &rollout.figures, rollout.iterations, &rollout.nodes);
        format!("{number} {state:?} {reason} {holder:?} {step:?} {figures:?} {iterations} {nodes:?} {:?}", rollout.to)
    });
    let rollouts: Vec<_> = rollouts.chain(swarm.spec().tasks.iter().map(|task| task.bundle.to_string())).collect();
    let (state, reason, seq) = (swarm.state(), swarm.reason(), swarm.seq());
    let (iteration, finished, globals) = (swarm.iteration(), swarm.finished_ms(), swarm.globals());
    format!("{state} {reason} {seq} {iteration:?} {finished:?} {globals:?} {runs:?} {rollouts:?}")
}
