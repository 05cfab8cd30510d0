//! What users ask of swarms, nodes and modules: changes that may have been made already, each once under its idempotency key.
use std::time::Duration;

use manta_api::LabelRequest;
use manta_engine::{Engine, Input, Node, RolloutOrder};
use manta_store::{ClusterChange, ClusterRecord};
use manta_types::state::{DutyChange, SwarmChange};
use manta_types::{NodeDuty, NodeName, SwarmId, SwarmState, TaskIndex};

use super::nodes::KnownNode;
use super::registry::ModuleChange;

/// A change that a user asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A swarm is to end.
    Stop(SwarmId),
    /// A swarm is to be held.
    Pause(SwarmId),
    /// A held swarm is to go on.
    Resume(SwarmId),
    /// A rollout of a swarm's task is to begin or to change.
    Rollout(SwarmId, TaskIndex, RolloutOrder),
    /// A node is to get nothing new; what runs there may go on for so long, or as long as it takes.
    Drain(NodeName, Option<Duration>),
    /// A node is to be used again.
    ResumeNode(NodeName),
    /// A node's identity is to be taken away, for good; of one that joined and never connected, it is said what it is.
    Revoke(NodeName, Option<Box<KnownNode>>),
    /// A node is to get labels, and to lose others.
    Label(NodeName, LabelRequest),
    /// A node that is gone or revoked is to be let go of.
    RemoveNode(NodeName),
    /// The registry of modules is to change.
    Module(ModuleChange),
    /// A cluster beyond the first is to exist, or to go; asked of the first, whose keys its keys are.
    Cluster(ClusterChange),
}

impl Change {
    /// The swarm that it changes.
    pub const fn swarm(&self) -> Option<SwarmId> {
        match self {
            Self::Stop(swarm) | Self::Pause(swarm) | Self::Resume(swarm) | Self::Rollout(swarm, ..) => Some(*swarm),
            Self::Drain(..) | Self::ResumeNode(_) | Self::Revoke(..) => None,
            Self::Label(..) | Self::RemoveNode(_) | Self::Module(_) | Self::Cluster(_) => None,
        }
    }

    /// What was done, as it is told to whoever uses the same key for something else.
    pub fn done(&self) -> String {
        match self {
            Self::Stop(swarm) => format!("stopped swarm `{swarm}`"),
            Self::Pause(swarm) => format!("paused swarm `{swarm}`"),
            Self::Resume(swarm) => format!("resumed swarm `{swarm}`"),
            Self::Rollout(swarm, _, order) => format!("did a {} of swarm `{swarm}`", order.verb()),
            Self::Drain(node, _) => format!("drained node `{node}`"),
            Self::ResumeNode(node) => format!("took node `{node}` into use"),
            Self::Revoke(node, _) => format!("revoked node `{node}`"),
            Self::Label(node, _) => format!("labelled node `{node}`"),
            Self::RemoveNode(node) => format!("removed node `{node}`"),
            Self::Module(change) => change.done(),
            Self::Cluster(ClusterChange::Put(cluster)) if !cluster.is_removing => {
                format!("added the cluster `{}`", cluster.name)
            }
            Self::Cluster(ClusterChange::Put(ClusterRecord { name, .. }) | ClusterChange::Gone(name)) => {
                format!("removed the cluster `{name}`")
            }
        }
    }

    /// Whether it can be made, or has been: a swarm that is over stays so, and so does a node that was revoked.
    pub(super) fn fits(&self, engine: &Engine) -> bool {
        let swarm = |id, change, wanted| {
            let state = engine.swarm(id).map(manta_engine::SwarmRun::state);
            state.is_some_and(|state: SwarmState| state == wanted || state.next(change).is_ok())
        };
        let node = |name, change, is_so: fn(NodeDuty) -> bool| {
            let duty = engine.node(name).map(manta_engine::Node::duty);
            duty.is_some_and(|duty: NodeDuty| is_so(duty) || duty.next(change).is_ok())
        };
        match self {
            Self::Stop(id) => swarm(*id, SwarmChange::Stop, SwarmState::Stopped),
            Self::Pause(id) => swarm(*id, SwarmChange::Pause, SwarmState::Paused),
            Self::Resume(id) => swarm(*id, SwarmChange::Resume, SwarmState::Running),
            Self::Drain(name, _) => {
                node(name, DutyChange::Drain, |duty| matches!(duty, NodeDuty::Draining | NodeDuty::Drained))
            }
            Self::ResumeNode(name) => node(name, DutyChange::Resume, |duty| duty == NodeDuty::Active),
            Self::Revoke(name, _) => node(name, DutyChange::Revoke, |duty| duty == NodeDuty::Revoked),
            Self::Label(name, _) => engine.node(name).is_some(),
            Self::RemoveNode(name) => engine.node(name).is_some_and(Node::is_removable),
            // The registry and the engine say why not.
            Self::Module(_) | Self::Rollout(..) => true,
            // Which there are is known outside of any cluster's loop.
            Self::Cluster(_) => true,
        }
    }

    /// What happens to swarms and nodes, where something does.
    pub(super) fn input(self) -> Option<Input> {
        Some(match self {
            Self::Stop(swarm) => Input::Stop { swarm, reason: "stopped by a user".to_owned() },
            Self::Pause(swarm) => Input::Pause { swarm, reason: "paused by a user".to_owned() },
            Self::Resume(swarm) => Input::Resume { swarm, reason: "resumed by a user".to_owned() },
            Self::Rollout(swarm, task, order) => Input::Rollout { swarm, task, order },
            Self::Drain(node, deadline) => Input::Drain { node, deadline, reason: "drained by a user".to_owned() },
            Self::ResumeNode(node) => Input::ResumeNode { node, reason: "taken into use by a user".to_owned() },
            Self::Revoke(node, _) => Input::Revoke { node, reason: "revoked by a user".to_owned() },
            Self::RemoveNode(node) => Input::NodeRemoved { node },
            // Which labels a node has then, its table says.
            Self::Label(..) | Self::Module(_) | Self::Cluster(_) => return None,
        })
    }
}
