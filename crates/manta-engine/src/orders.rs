//! What people ask of rollouts, and why some of it is refused.
use std::fmt;

use manta_types::event::{SwarmEvent as E, UnfitNode};
use manta_types::{
    Cause, Holder, Method, NodeLimit, Pin, RolloutPlan, RolloutState, SwarmId, SwarmState, TaskIndex, TaskSpec, limits,
};

use crate::engine::Work;
use crate::rollout::{end, unfit_nodes};
use crate::swarm::{Rollout, SwarmRun};
use crate::{Engine, Refusal};

/// Something that a person asks of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub enum RolloutOrder {
    /// A task is to run another version.
    Start {
        /// Which.
        to: Box<Pin>,
        /// How.
        plan: Box<RolloutPlan>,
    },
    /// A task is to run the version again that it ran before its last rollout that completed.
    Back,
    /// It is to stay at its step.
    Hold,
    /// It may go on as its gates say.
    Resume,
    /// It is to take its next step, or its last, whatever its gates say.
    Promote {
        /// Whether its last.
        full: bool,
    },
    /// It is to be taken back.
    Revert,
}

impl RolloutOrder {
    /// The verb, as causes name it.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Start { .. } => "rollout",
            Self::Back => "rollback",
            Self::Hold => "rollout hold",
            Self::Resume => "rollout resume",
            Self::Promote { .. } => "rollout promote",
            Self::Revert => "rollout revert",
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        Cause::User { action: self.verb().to_owned() }
    }
}

/// Why an order is refused.
#[derive(Debug, Clone, PartialEq)]
pub enum RolloutRefusal {
    /// There is no such swarm or task.
    Unknown,
    /// The swarm is over, in this state.
    Over(SwarmState),
    /// The task has a rollout that goes on: its number.
    Going(u32),
    /// The task has none.
    NotGoing,
    /// The task runs that version already.
    Same(String),
    /// No rollout of the task, or of any, has completed that could be taken back.
    NoWayBack,
    /// The swarm has had as many as it may.
    TooMany,
    /// Its plan breaks a rule.
    Plan(String),
    /// No node could run the new version.
    Placement(Refusal),
}

impl fmt::Display for RolloutRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is no such task"),
            Self::Over(state) => write!(f, "the swarm is {state}, so nothing of it can change any more"),
            Self::Going(number) => write!(f, "rollout {number} of this task goes on"),
            Self::NotGoing => f.write_str("no rollout of this task goes on"),
            Self::Same(version) => write!(f, "the task runs version {version} already"),
            Self::NoWayBack => f.write_str("no rollout has completed that could be taken back"),
            Self::TooMany => {
                write!(f, "the swarm has had {} rollouts, which is the limit", limits::ROLLOUTS_PER_SWARM_MAX)
            }
            Self::Plan(problem) => write!(f, "the plan cannot be carried out: {problem}"),
            Self::Placement(refusal) => f.write_str(&refusal.message),
        }
    }
}

impl Engine {
    /// Whether an order can be carried out, or has been.
    ///
    /// # Errors
    /// Why not.
    pub fn check_rollout(&self, id: SwarmId, task: TaskIndex, order: &RolloutOrder) -> Result<(), RolloutRefusal> {
        use RolloutRefusal as R;
        let swarm = self.swarms.get(&id).filter(|swarm| task < swarm.spec.tasks.len()).ok_or(R::Unknown)?;
        if swarm.is_over() {
            return Err(R::Over(swarm.state));
        }
        match (order, swarm.rollout_of(task)) {
            (RolloutOrder::Start { .. } | RolloutOrder::Back, Some(going)) => Err(R::Going(going.number)),
            (RolloutOrder::Start { .. } | RolloutOrder::Back, None) => self.check_start(swarm, task, order),
            (_, Some(_)) => Ok(()),
            (_, None) => Err(R::NotGoing),
        }
    }

    fn check_start(&self, swarm: &SwarmRun, task: TaskIndex, order: &RolloutOrder) -> Result<(), RolloutRefusal> {
        use RolloutRefusal as R;
        if swarm.rollouts.len() >= limits::ROLLOUTS_PER_SWARM_MAX {
            return Err(R::TooMany);
        }
        let to = match order {
            RolloutOrder::Start { to, plan } => {
                plan.check().map_err(|problem| R::Plan(problem.to_string()))?;
                to.as_ref()
            }
            _ => &swarm.way_back(Some(task)).ok_or(R::NoWayBack)?.pin,
        };
        if to.bundle == swarm.spec.tasks[task].bundle {
            return Err(R::Same(to.version.clone()));
        }
        self.refuse(&swarm.spec.pinned(task, to).tasks[task]).map_or(Ok(()), |refusal| Err(R::Placement(refusal)))
    }

    /// Nodes that run a task of a swarm and could not run another version of it, with the cause.
    pub fn unfit_for(&self, swarm: &SwarmRun, task: TaskIndex, to: &Pin) -> Vec<UnfitNode> {
        let new = swarm.spec.pinned(task, to);
        unfit_nodes(&swarm.spec.tasks[task], &new.tasks[task], &self.fleet).collect()
    }

    /// Carries an order out; one that cannot be carried out changes nothing.
    pub(crate) fn order_rollout(&mut self, id: SwarmId, task: TaskIndex, order: RolloutOrder, work: &mut Work) {
        if self.check_rollout(id, task, &order).is_err() {
            return;
        }
        let swarm = &self.swarms[&id];
        let by = |did: &str| format!("{did} by a user");
        let event = match (order, swarm.rollout_of(task)) {
            (RolloutOrder::Start { to, plan }, _) => Some(start(swarm, task, to, plan, false)),
            (RolloutOrder::Back, _) => swarm
                .way_back(Some(task))
                .map(|way| start(swarm, task, Box::new(way.pin.clone()), Box::new(RolloutPlan::at_once()), true)),
            (_, None) => None,
            (RolloutOrder::Hold, Some(going)) => (going.holder != Some(Holder::User)).then(|| hold(going, by("held"))),
            (RolloutOrder::Resume, Some(going)) => (going.state == RolloutState::Held).then(|| E::RolloutResumed {
                rollout: going.number,
                task,
                reason: by("resumed"),
            }),
            (RolloutOrder::Promote { full }, Some(going)) => (going.promoted != Some(full))
                .then(|| E::RolloutPromoted { rollout: going.number, task, full, reason: by("promoted") }),
            (RolloutOrder::Revert, Some(going)) => {
                Some(end(going, RolloutState::Reverted, going.judge(), by("reverted")))
            }
        };
        if let Some(event) = event {
            self.emit(id, event, work);
        }
        self.mark(id, &work.cause.clone());
    }

    /// Rollouts end with their swarm.
    pub(crate) fn abandon_rollouts(&mut self, id: SwarmId, last: &E, work: &mut Work) {
        let (E::SwarmSucceeded { reason } | E::SwarmFailed { reason, .. } | E::SwarmStopped { reason }) = last else {
            return;
        };
        let swarm = &self.swarms[&id];
        let going = swarm.rolling.values().map(|index| &swarm.rollouts[*index]);
        let told = |rollout: &Rollout| {
            let reason = format!("the swarm ended first: {reason}");
            end(rollout, RolloutState::Abandoned, rollout.judge(), reason)
        };
        let events: Vec<E> = going.map(told).collect();
        events.into_iter().for_each(|event| self.emit(id, event, work));
    }
}

fn start(swarm: &SwarmRun, task: TaskIndex, to: Box<Pin>, mut plan: Box<RolloutPlan>, back: bool) -> E {
    let spec = &swarm.spec.tasks[task];
    // One node is all of them.
    if runs_on_one(spec) {
        plan.steps = vec![1.0];
    }
    let rollout = u32::try_from(swarm.rollouts.len() + 1).unwrap_or(u32::MAX);
    let from = spec.version.clone();
    let verb = if back { "rolled back" } else { "rolled out" };
    let reason = format!("{verb} by a user, {from} to {}", to.version);
    E::RolloutStarted { rollout, task, from, to, plan, back, reason }
}

fn hold(rollout: &Rollout, reason: String) -> E {
    let (holder, figures) = (Holder::User, rollout.judge());
    E::RolloutHeld { rollout: rollout.number, task: rollout.task, holder, figures, reason }
}

fn runs_on_one(spec: &TaskSpec) -> bool {
    let single = matches!(spec.method, Method::Any | Method::BestResources);
    match spec.maximum {
        NodeLimit::Unlimited => single,
        NodeLimit::Count(count) => count.get() == 1,
        NodeLimit::Share(_) => false,
    }
}
