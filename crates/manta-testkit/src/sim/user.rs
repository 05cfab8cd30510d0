//! Users: they submit under an idempotency key until they are answered, look at their swarm, and change their minds.
use std::sync::Arc;

use manta_api::SwarmSubmission;
use manta_manager::orchestrator::{Refused, SubmitOutcome};
use manta_store::{NewSwarm, StateStore};
use manta_types::{NodeDuty, SwarmId, SwarmSpec, SwarmState};
use uuid::Uuid;

use super::World;
use super::bug::Bug;
use super::happening::{Asked, AtManager, Happening, Order};

/// Somebody who wants a swarm run.
#[derive(Debug)]
pub(crate) struct User {
    key: String,
    submission: SwarmSubmission,
    spec: Arc<SwarmSpec>,
    /// The swarm, once it was told.
    pub(crate) swarm: Option<SwarmId>,
}

impl User {
    pub(crate) fn new(number: usize, submission: SwarmSubmission) -> Self {
        let spec = Arc::new(submission.check().expect("drawn submissions are valid"));
        Self { key: format!("key {number}"), submission, spec, swarm: None }
    }
}

impl World {
    /// A user acts, and again later.
    pub(crate) fn user_acts(&mut self, user: usize) {
        let asked = match self.users[user].swarm {
            None => Asked::Submit { user },
            Some(swarm) => Asked::Look { swarm },
        };
        self.ask_as_user(asked);
        let wait = self.chance.between(2_000, 6_000);
        self.agenda.put(self.now + wait, Happening::User(user));
    }

    /// A user's request reaches the manager, if one runs.
    pub(crate) fn ask_as_user(&mut self, asked: Asked) {
        let at = self.now + self.chance.between(0, 50);
        self.agenda.put(at, Happening::Manager(self.manager.run, AtManager::Asked(asked)));
    }

    /// A submission arrives: its key is looked up, it is checked, and then it goes to the service loop.
    pub(crate) fn take_submission(&mut self, user: usize) {
        let User { key, submission, spec, .. } = &self.users[user];
        let known = self.disk.read(|store, cluster| store.idempotency(cluster, key));
        if let Some(swarm) = known.and_then(|record| record.swarm)
            && self.bug != Some(Bug::ForgetKeys)
        {
            return self.accepted(user, swarm);
        }
        let id = u128::from(self.now) << 80 | u128::from(self.chance.number());
        let new = NewSwarm {
            id: SwarmId::from_uuid(Uuid::from_u128(id)),
            name: submission.name.clone(),
            submission: serde_json::to_string(submission).expect("a submission is JSON"),
            idempotency: Some((key.clone(), "digest of the request".to_owned())),
            created_ms: self.clock().wall_ms,
        };
        let (spec, takes) = (Arc::clone(spec), self.chance.between(0, 30));
        let checked = AtManager::Checked(user, Box::new(new), spec);
        self.agenda.put(self.now + takes, Happening::Manager(self.manager.run, checked));
    }

    /// The service loop answers a submission.
    pub(crate) fn submitted(&mut self, user: usize, outcome: SubmitOutcome) {
        match outcome {
            Ok(swarm) => self.accepted(user, swarm),
            Err(Refused::KeyUsed { earlier, same_request: true }) => {
                self.accepted(user, earlier.swarm.expect("submissions make swarms"));
            }
            // No node is there yet; the user tries again.
            Err(Refused::Placement(_)) => {}
            Err(refused) => self.checker.breaks("I1", || format!("the same request is refused: {refused:?}")),
        }
    }

    fn accepted(&mut self, user: usize, swarm: SwarmId) {
        self.checker.acknowledged(&self.users[user].key, swarm);
        // The answer may be lost on the way.
        if self.is_healed || !self.chance.one_in(4) {
            self.trace.line(self.now, || format!("user {user} has swarm {swarm}"));
            self.users[user].swarm = Some(swarm);
        }
    }

    /// Somebody changes their mind.
    pub(crate) fn meddle(&mut self) {
        let swarms: Vec<SwarmId> = self.users.iter().filter_map(|user| user.swarm).collect();
        let node = self.nodes[self.chance.index(self.nodes.len())].name.clone();
        let order = match self.chance.between(0, 12) {
            0..=2 => Order::Drain(node, self.chance.pick(&[None, Some(3_000), Some(20_000)])),
            3..=5 => Order::ResumeNode(node),
            _ if swarms.is_empty() => return,
            6 if self.chance.one_in(3) => Order::Stop(swarms[self.chance.index(swarms.len())]),
            6..=8 => Order::Pause(swarms[self.chance.index(swarms.len())]),
            _ => Order::Resume(swarms[self.chance.index(swarms.len())]),
        };
        self.trace.line(self.now, || format!("a user orders {order:?}"));
        self.ask_as_user(Asked::Order(order));
    }

    /// After the troubles, users let everything go on that they hold.
    pub(crate) fn let_go_on(&mut self) {
        let Some(core) = &self.manager.core else { return };
        let engine = core.engine();
        let paused = engine.swarms().filter(|swarm| swarm.state() == SwarmState::Paused);
        let held = engine.nodes().filter(|node| matches!(node.duty(), NodeDuty::Draining | NodeDuty::Drained));
        let swarms = paused.map(|swarm| Order::Resume(swarm.id()));
        let orders: Vec<Order> = swarms.chain(held.map(|node| Order::ResumeNode(node.name().clone()))).collect();
        for order in orders {
            self.ask_as_user(Asked::Order(order));
        }
    }
}
