//! The engine: inputs in, events and commands out.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use manta_types::{
    AttemptId, Cause, Digest, Event, NodeDuty, NodeName, SignedBy, SwarmEvent, SwarmId, SwarmSpec, SwarmState,
    TaskIndex, Timestamp, limits,
};

use crate::fleet::Fleet;
use crate::node::Node;
use crate::random::Random;
use crate::swarm::{SlotPlace, SwarmRun};
use crate::timers::{Alarm, Timers};
use crate::turns::Turns;
use crate::{Input, NodeDescription, Now, Step};

/// A stored history that this build cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the history of swarm `{swarm}` cannot be followed: {problem}")]
pub struct RestoreError {
    swarm: SwarmId,
    problem: String,
}

impl RestoreError {
    /// Refuses an event that is not the next of a swarm's history, or carries over what does not fit its graph.
    pub(crate) fn unless_next(swarm: &SwarmRun, event: &Event) -> Result<(), Self> {
        let problem = match &event.what {
            _ if event.swarm != swarm.id || event.seq != swarm.seq + 1 => {
                format!("event {} does not follow event {}", event.seq, swarm.seq)
            }
            SwarmEvent::SwarmContinued { checkpoint } if !checkpoint.fits(swarm.spec.tasks.len()) => {
                format!("what event {} carries over does not fit its {} tasks", event.seq, swarm.spec.tasks.len())
            }
            what if !swarm.knows_rollout(what) => format!("event {} is of a rollout that does not go on", event.seq),
            _ => return Ok(()),
        };
        Err(Self { swarm: swarm.id, problem })
    }
}

/// A step in the making.
pub(crate) struct Work {
    pub(crate) now: Now,
    pub(crate) step: Step,
    /// What the next event of a swarm follows from, where none of its own in this step does.
    pub(crate) cause: Cause,
    /// The last event of each swarm in this step from which others follow.
    pub(crate) links: BTreeMap<SwarmId, u64>,
}

/// All that is decided about a cluster.
#[derive(Debug)]
pub struct Engine {
    pub(crate) fleet: Fleet,
    pub(crate) swarms: BTreeMap<SwarmId, SwarmRun>,
    /// The swarm of each attempt that is remembered.
    pub(crate) attempts: HashMap<AttemptId, SwarmId>,
    pub(crate) timers: Timers,
    pub(crate) turns: Turns,
    /// Swarms to be looked at, and why.
    pub(crate) dirty: BTreeMap<SwarmId, Cause>,
    /// Nodes that may have room for what waits there.
    pub(crate) vacant: BTreeSet<NodeName>,
    /// Nodes that drain.
    pub(crate) draining: BTreeSet<NodeName>,
    /// Task runs that wait for a node, and which one they watch.
    pub(crate) seekers: BTreeMap<(SwarmId, TaskIndex), Option<NodeName>>,
    /// Nodes at which a swarm was passed over because it may not have more attempts at once.
    pub(crate) passed: BTreeMap<SwarmId, BTreeSet<NodeName>>,
    /// Swarms that were taken in again at some of those nodes, and may be due at more.
    pub(crate) spared: BTreeSet<SwarmId>,
    /// Slots that wait at a node and might as well wait at another, by priority and age of their swarms.
    pub(crate) movers: BTreeSet<(Reverse<i32>, SwarmId, SlotPlace)>,
    pub(crate) random: Random,
    /// When the last step was: what was due by then has been looked at.
    pub(crate) stepped: Timestamp,
    #[cfg(feature = "planted-bugs")]
    pub(crate) bugs: crate::Bugs,
}

impl Engine {
    /// An engine that knows nothing; ids and ties come from the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            fleet: Fleet::default(),
            swarms: BTreeMap::new(),
            attempts: HashMap::new(),
            timers: Timers::default(),
            turns: Turns::new(limits::SWARMS_RUNNING_MAX),
            dirty: BTreeMap::new(),
            vacant: BTreeSet::new(),
            draining: BTreeSet::new(),
            seekers: BTreeMap::new(),
            passed: BTreeMap::new(),
            spared: BTreeSet::new(),
            movers: BTreeSet::new(),
            random: Random::new(seed),
            stepped: Timestamp::default(),
            #[cfg(feature = "planted-bugs")]
            bugs: crate::Bugs::default(),
        }
    }

    /// Sets how many swarms may run at once, in place of [`limits::SWARMS_RUNNING_MAX`]; at least one.
    #[must_use]
    pub fn with_swarms_running_max(mut self, swarms: usize) -> Self {
        self.turns.running_max = swarms.max(1);
        self
    }

    /// Rebuilds a swarm from its history. Its waits began when the history says: nothing but the wall clock goes on across a
    /// restart, so that tells how long ago that was, and never less than the history itself took. A deadline is judged no
    /// sooner than nodes had the time to say what they have done meanwhile.
    ///
    /// # Errors
    /// When events are missing, out of order or of another swarm.
    pub fn restore_swarm(
        &mut self,
        now: Now,
        id: SwarmId,
        spec: Arc<SwarmSpec>,
        created_ms: u64,
        events: &[Event],
    ) -> Result<(), RestoreError> {
        let mut swarm = SwarmRun::new(id, spec, created_ms);
        let last_ms = events.last().map_or(created_ms, |event| event.time_ms);
        let (since_last, mut at) = (now.wall_ms.saturating_sub(last_ms), Timestamp::default());
        for event in events {
            RestoreError::unless_next(&swarm, event)?;
            let age = since_last.saturating_add(last_ms.saturating_sub(event.time_ms));
            // In the order of the history, whatever the wall clock did meanwhile.
            at = at.max(now.monotonic - Duration::from_millis(age));
            swarm.apply(event, at);
        }
        swarm.put_off_deadlines(now.monotonic, limits::LEASE + limits::HEARTBEAT);
        swarm.look_at_everything();
        self.attempts.extend(swarm.attempts.keys().map(|attempt| (*attempt, id)));
        for attempt in swarm.live_attempts() {
            self.fleet.change(&attempt.node, |node| node.live.insert(attempt.id, id));
        }
        match swarm.state {
            SwarmState::Pending => self.turns.wait(&swarm),
            SwarmState::Running => self.turns.running += 1,
            _ => {}
        }
        if !swarm.is_over() {
            self.dirty.insert(id, Cause::Time);
        }
        self.swarms.insert(id, swarm);
        Ok(())
    }

    /// Makes a swarm known again that ended before a restart, rebuilt from its history; it takes no part in any decision.
    pub fn remember_swarm(&mut self, swarm: SwarmRun) {
        assert!(swarm.is_over(), "what goes on is restored with its waits");
        self.attempts.extend(swarm.attempts.keys().map(|attempt| (*attempt, swarm.id)));
        self.swarms.insert(swarm.id, swarm);
    }

    /// Makes a node known that joined before a restart; its lease, and what is left of its drain, start in full.
    pub fn restore_node(
        &mut self,
        now: Now,
        description: NodeDescription,
        duty: NodeDuty,
        drain_left: Option<Duration>,
    ) {
        let name = description.name.clone();
        let mut node = Node::joining(description, now.monotonic);
        (node.duty, node.drain_deadline) = (duty, drain_left.map(|left| now.monotonic + left));
        for swarm in self.swarms.values() {
            let here = swarm.live_attempts().filter(|attempt| attempt.node == name);
            node.live.extend(here.map(|attempt| (attempt.id, swarm.id)));
        }
        if duty == NodeDuty::Draining {
            self.draining.insert(name.clone());
        }
        if let Some(due) = node.drain_deadline {
            self.timers.set(due, Alarm::Drain(name.clone()));
        }
        self.fleet.insert(node);
        self.watch_lease(&name);
    }

    /// Makes known who signed a bundle before a restart.
    pub fn restore_signatures(&mut self, bundle: Digest, signatures: Vec<SignedBy>) {
        self.fleet.note_signed(bundle, signatures);
    }

    /// Forgets swarms, in whole lines, and names those that are gone: a line, which is a swarm and all that go on after it,
    /// goes where all of it has ended, is known and is among these swarms. Reports of its attempts are then refused as
    /// unknown, and nodes keep the state of a line under its first: a report that counted must not be refused while another
    /// swarm can yet read what it left.
    pub fn forget_lines(&mut self, swarms: &BTreeSet<SwarmId>) -> Vec<SwarmId> {
        let may_go = |swarm: &SwarmRun| {
            let is_known = |before| self.swarms.contains_key(&before);
            swarms.contains(&swarm.id) && swarm.is_over() && swarm.continues.is_none_or(is_known)
        };
        #[cfg(feature = "planted-bugs")]
        let may_go = |swarm: &SwarmRun| may_go(swarm) || self.bugs.forget_parts;
        let staying: HashSet<SwarmId> =
            self.swarms.values().filter(|swarm| !may_go(swarm)).map(SwarmRun::state_of).collect();
        let goes = |swarm: &&SwarmRun| swarm.is_over() && !staying.contains(&swarm.state_of);
        let known = swarms.iter().filter_map(|id| self.swarms.get(id));
        let gone: Vec<SwarmId> = known.filter(goes).map(SwarmRun::id).collect();
        for swarm in gone.iter().filter_map(|id| self.swarms.remove(id)) {
            for attempt in swarm.attempts.keys() {
                self.attempts.remove(attempt);
            }
        }
        gone
    }

    /// Those of the swarms under whose names no attempt will read state again: nothing that runs, or that can be continued,
    /// keeps it there.
    pub fn unneeded_state(&self, swarms: &[SwarmId]) -> Vec<SwarmId> {
        let needed: HashSet<SwarmId> =
            self.swarms.values().filter(|swarm| swarm.needs_state()).map(SwarmRun::state_of).collect();
        swarms.iter().filter(|swarm| !needed.contains(swarm)).copied().collect()
    }

    /// After the caller itself stood still: leases that lapsed meanwhile prove nothing, so all are extended.
    pub fn extend_leases(&mut self, pause: Duration) {
        self.fleet.for_each(|node| node.last_heard = node.last_heard + pause);
    }

    /// Takes one input at one time.
    pub fn step(&mut self, now: Now, input: Input) -> Step {
        let mut work = Work { now, step: Step::default(), cause: Cause::Time, links: BTreeMap::new() };
        self.stepped = now.monotonic;
        self.hear(&input, now.monotonic);
        self.ring(now.monotonic);
        work.cause = input.cause();
        self.take(input, &mut work);
        self.settle(&mut work);
        work.step
    }

    /// When an [`Input::Tick`] is due at the latest.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let waits = !(self.dirty.is_empty() && self.vacant.is_empty());
        if waits { Some(self.stepped) } else { self.timers.next() }
    }

    /// A swarm by id.
    pub fn swarm(&self, id: SwarmId) -> Option<&SwarmRun> {
        self.swarms.get(&id)
    }

    /// All swarms, oldest first.
    pub fn swarms(&self) -> impl Iterator<Item = &SwarmRun> {
        self.swarms.values()
    }

    /// A node by name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.fleet.get(name)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.fleet.iter()
    }

    /// The swarm that an attempt belongs to, while the attempt is remembered.
    pub fn swarm_of(&self, attempt: AttemptId) -> Option<&SwarmRun> {
        self.swarms.get(self.attempts.get(&attempt)?)
    }

    /// Sees to it that a node's lease is judged in time.
    pub(crate) fn watch_lease(&mut self, name: &NodeName) {
        let alarms = self.fleet.change(name, |node| {
            let due = node.next_judgement().filter(|due| node.alarm.is_none_or(|set| *due < set))?;
            Some((node.alarm.replace(due), due))
        });
        if let Some((before, due)) = alarms.flatten() {
            if let Some(before) = before {
                self.timers.cancel(before, Alarm::Lease(name.clone()));
            }
            self.timers.set(due, Alarm::Lease(name.clone()));
        }
    }
}
