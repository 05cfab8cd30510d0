//! One attempt from offer to verdict: prepare → run → upload → clean up.
//!
//! [`Attempts`] holds all that this node has; [`Order`] is what it was asked to do. Clean-up has no step of its own: the
//! sandbox is killed and the cache's pins are released when what holds them is dropped, wherever an attempt ends.
mod deliver;
mod held;
mod order;
mod outcome;
mod prepare;
mod queue;
mod run;
mod upload;

pub(crate) use held::Attempts;
pub(crate) use order::Order;
