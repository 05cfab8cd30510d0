//! The service loop that owns the engine: one order for everything that happens, durable before anyone hears of it.
//!
//! ```text
//! handles ──► inbox ──► step, step, step ──► one transaction ──► replies, commands to nodes, news to subscribers
//! ```
mod handle;
mod message;
mod nodes;
mod publish;
mod recover;
mod service;
#[cfg(test)]
mod tests;

pub(crate) use handle::Handle;
pub(crate) use message::{Connect, Refused, View};
pub(crate) use nodes::{ConnectRefusal, NodeProfile};
pub(crate) use publish::{Session, Watches, session_channel};
pub(crate) use recover::recover;
pub(crate) use service::Orchestrator;
