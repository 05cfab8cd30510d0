//! Users: they submit under an idempotency key until they are answered, look at their swarm, and change their minds.
use std::sync::Arc;
use std::time::Duration;

use manta_api::SwarmSubmission;
use manta_manager::orchestrator::{Change, ChangeOutcome, Refused, SubmitOutcome};
use manta_store::{NewSwarm, StateStore};
use manta_types::{NodeDuty, SwarmId, SwarmSpec, SwarmState};
use uuid::Uuid;

use super::World;
use super::bug::Bug;
use super::happening::{Asked, AtManager, Happening, Submitter};
use super::manager::REQUEST;

/// Somebody who wants a swarm run.
#[derive(Debug)]
pub(crate) struct User {
    key: String,
    submission: SwarmSubmission,
    spec: Arc<SwarmSpec>,
    /// The swarm, once it was told.
    pub(crate) swarm: Option<SwarmId>,
    /// Those before it, which failed, in order.
    before: Vec<SwarmId>,
    /// How often it is let go on still, should it fail.
    retries: u64,
}

impl User {
    pub(crate) fn new(number: usize, submission: SwarmSubmission, retries: u64) -> Self {
        let spec = Arc::new(submission.check().expect("drawn submissions are valid"));
        Self { key: format!("key {number}"), submission, spec, swarm: None, before: Vec::new(), retries }
    }
}

impl World {
    /// A user acts, and again later.
    pub(crate) fn user_acts(&mut self, user: usize) {
        let asked = match self.users[user].swarm {
            None => Asked::Submit(Submitter { user, continues: None }),
            Some(swarm) if !self.is_content(user) => Asked::Submit(Submitter { user, continues: Some(swarm) }),
            Some(swarm) => Asked::Look { swarm },
        };
        self.ask_as_user(asked);
        let wait = self.chance.between(2_000, 6_000);
        self.agenda.put(self.now + wait, Happening::User(user));
    }

    /// Whether a user has no more to ask for: their swarm did not fail, or was tried again often enough.
    pub(crate) fn is_content(&self, user: usize) -> bool {
        let User { swarm, retries, .. } = &self.users[user];
        *retries == 0 || swarm.is_some_and(|swarm| !self.checker.can_go_on(swarm))
    }

    /// A user's request reaches the manager, if one runs.
    pub(crate) fn ask_as_user(&mut self, asked: Asked) {
        let at = self.now + self.chance.between(0, 50);
        self.agenda.put(at, Happening::Manager(self.manager.run, AtManager::Asked(asked)));
    }

    /// A submission arrives: its key is looked up, it is checked, and then it goes to the service loop.
    pub(crate) fn take_submission(&mut self, submitter: Submitter) {
        let User { submission, spec, .. } = &self.users[submitter.user];
        let key = self.key(submitter);
        let known = self.disk.read(|store, cluster| store.idempotency(cluster, &key));
        if let Some(swarm) = known.and_then(|record| record.swarm)
            && self.bug != Some(Bug::ForgetKeys)
        {
            return self.accepted(submitter, swarm);
        }
        let id = u128::from(self.now) << 80 | u128::from(self.chance.number());
        let new = NewSwarm {
            id: SwarmId::from_uuid(Uuid::from_u128(id)),
            name: submission.name.clone(),
            submission: serde_json::to_string(submission).expect("a submission is JSON"),
            idempotency: Some((key, REQUEST.to_owned())),
            created_ms: self.clock().wall_ms,
        };
        let (spec, takes) = (Arc::clone(spec), self.chance.between(0, 30));
        let checked = AtManager::Checked(submitter, Box::new(new), spec);
        self.agenda.put(self.now + takes, Happening::Manager(self.manager.run, checked));
    }

    /// The service loop answers a submission.
    pub(crate) fn submitted(&mut self, submitter: Submitter, outcome: SubmitOutcome) {
        match outcome {
            Ok(swarm) => self.accepted(submitter, swarm),
            Err(Refused::KeyUsed { earlier, same_request: true }) => {
                self.accepted(submitter, earlier.swarm.expect("submissions make swarms"));
            }
            // No node is there yet; the user tries again.
            Err(Refused::Placement(_)) => {}
            // It was purged meanwhile.
            Err(Refused::NotFailed) => self.users[submitter.user].retries = 0,
            Err(refused) => self.checker.breaks("I1", || format!("the same request is refused: {refused:?}")),
        }
    }

    fn key(&self, Submitter { user, continues }: Submitter) -> String {
        let key = &self.users[user].key;
        continues.map_or_else(|| key.clone(), |failed| format!("{key} after {failed}"))
    }

    fn accepted(&mut self, submitter: Submitter, swarm: SwarmId) {
        let Submitter { user, continues } = submitter;
        self.checker.acknowledged(&self.key(submitter), swarm, continues);
        // It was answered before.
        if self.users[user].swarm != continues {
            return;
        }
        // The answer may be lost on the way.
        if self.is_healed || !self.chance.one_in(4) {
            self.trace.line(self.now, || format!("user {user} has swarm {swarm}"));
            let known = &mut self.users[user];
            known.retries -= u64::from(continues.is_some()).min(known.retries);
            known.before.extend(continues);
            known.swarm = Some(swarm);
        }
    }

    /// Users find that swarms which a restore undid are not there.
    pub(crate) fn look_again(&mut self) {
        for user in &mut self.users {
            while user.swarm.is_some_and(|swarm| !self.checker.knows(swarm)) {
                user.swarm = user.before.pop();
            }
        }
    }

    /// Somebody changes their mind.
    pub(crate) fn meddle(&mut self) {
        let swarms: Vec<SwarmId> = self.users.iter().filter_map(|user| user.swarm).collect();
        let node = self.nodes[self.chance.index(self.nodes.len())].name.clone();
        let change = match self.chance.between(0, 12) {
            0..=2 => Change::Drain(node, self.chance.pick(&[None, Some(3), Some(20)]).map(Duration::from_secs)),
            3..=5 => Change::ResumeNode(node),
            _ if swarms.is_empty() => return,
            6 if self.chance.one_in(3) => Change::Stop(swarms[self.chance.index(swarms.len())]),
            6..=8 => Change::Pause(swarms[self.chance.index(swarms.len())]),
            _ => Change::Resume(swarms[self.chance.index(swarms.len())]),
        };
        let key = self.ask_for(change.clone());
        // An answer that does not come is asked for again, also long after the change was made.
        for _ in 0..self.chance.between(0, 3) {
            let at = self.now + self.chance.between(50, 30_000);
            self.agenda.put(at, Happening::Again(change.clone(), key.clone()));
        }
    }

    /// Somebody asks for a change, under a key of its own.
    pub(super) fn ask_for(&mut self, change: Change) -> String {
        self.changes += 1;
        let key = format!("change {}", self.changes);
        self.trace.line(self.now, || format!("a user asks under `{key}`: {change:?}"));
        self.ask_as_user(Asked::Change(change, key.clone()));
        key
    }

    /// A change is asked for: its key is looked up, and then it goes to the service loop.
    pub(crate) fn take_change(&mut self, change: Change, key: String) {
        let known = self.disk.read(|store, cluster| store.idempotency(cluster, &key));
        if known.is_some() && self.bug != Some(Bug::ForgetKeys) {
            return self.changed(&change, &key, Ok(()));
        }
        let at = self.now + self.chance.between(0, 30);
        self.agenda.put(at, Happening::Manager(self.manager.run, AtManager::NotMade(change, key)));
    }

    /// The service loop answers whoever asked for a change.
    pub(crate) fn changed(&mut self, change: &Change, key: &str, outcome: ChangeOutcome) {
        self.trace.line(self.now, || format!("a user is answered under `{key}`: {outcome:?}"));
        match outcome {
            Ok(()) => self.checker.changed(key, change),
            Err(Refused::Stays | Refused::Rollout(_)) => self.checker.stays(key),
            Err(refused) => self.checker.breaks("I1", || format!("`{key}` is refused: {refused:?}")),
        }
    }

    /// After the troubles, users let everything go on that they hold.
    pub(crate) fn let_go_on(&mut self) {
        let Some(core) = &self.manager.core else { return };
        let engine = core.engine();
        let paused = engine.swarms().filter(|swarm| swarm.state() == SwarmState::Paused);
        let held = engine.nodes().filter(|node| matches!(node.duty(), NodeDuty::Draining | NodeDuty::Drained));
        let swarms = paused.map(|swarm| Change::Resume(swarm.id()));
        let changes: Vec<Change> = swarms.chain(held.map(|node| Change::ResumeNode(node.name().clone()))).collect();
        for change in changes {
            self.ask_for(change);
        }
    }
}
