//! The pure brain: decides what a cluster does next, and never does it.
//!
//! [`Engine::step`] takes one [`Input`] and the time, and gives the [`Event`](manta_types::Event)s that happened (to be
//! made durable first) and the [`Command`]s that follow (to be carried out once they are). The same inputs give the same
//! outputs: no clock, no randomness but the seed, no IO.
#![forbid(unsafe_code)]

#[cfg(feature = "planted-bugs")]
mod bugs;
mod closing;
mod describe;
mod division;
mod engine;
mod explain;
mod fleet;
mod history;
mod input;
mod inputs;
mod node;
mod offers;
mod orders;
mod past;
mod placement;
mod plan;
mod queue;
mod random;
mod record;
mod rollout;
mod rules;
mod seating;
mod settle;
mod swarm;
mod take;
mod timers;
mod turns;
mod validate;

#[cfg(feature = "planted-bugs")]
pub use bugs::Bugs;
pub use describe::{Described, describe};
pub use engine::{Engine, RestoreError};
pub use explain::{Explanation, Link, NodeReason, Try, Waiting};
pub use history::chain;
pub use input::{Command, DutyChanged, Held, Input, NodeDescription, Now, Offer, Step, Submit};
pub use inputs::{InputResult, Inputs, Missing};
pub use node::Node;
pub use orders::{RolloutOrder, RolloutRefusal};
pub use past::{PastAttempt, PastEnd, PastReader};
pub use placement::image_matches;
pub use plan::{Plan, TaskPlan};
pub use swarm::{Attempt, GlobalValue, Globals, Rollout, ShortRun, Slot, SlotOutcome, SwarmRun, TaskRun};
pub use validate::{Refusal, RefusalKind};
