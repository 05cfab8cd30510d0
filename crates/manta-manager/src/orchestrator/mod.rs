//! The service loop that owns the engine: one order for everything that happens, durable before anyone hears of it.
//!
//! ```text
//! handles ──► inbox ──► step, step, step ──► one transaction ──► replies, commands to nodes, news to subscribers
//! ```
//!
//! [`Core`] decides, [`Orchestrator`] moves: only the latter knows channels, a clock and the way to the store.
mod change;
mod core;
mod ended;
mod handle;
mod message;
mod nodes;
mod profile;
mod publish;
mod recover;
mod registry;
mod service;
#[cfg(test)]
mod tests;
mod turn;

#[cfg(feature = "planted-bugs")]
pub use self::core::Bugs;
pub use self::core::{Core, InUse, Joining, View};
pub use change::Change;
pub use ended::Ended;
pub use nodes::{ConnectRefusal, Greeting, KnownNode};
pub use profile::{Gpu, NodeProfile, Offering};
pub use recover::{Recovered, recover};
pub use registry::{ModuleChange, Registry, RegistryRefusal, allows_this_release};
pub use turn::{Askers, ChangeOutcome, Effect, Recall, Refused, Sealed, SessionId, SubmitOutcome, Turn};

pub(crate) use handle::Handle;
pub(crate) use message::Connect;
pub(crate) use publish::{EndedSwarm, Session, Watches, session_channel};
pub(crate) use service::Orchestrator;
