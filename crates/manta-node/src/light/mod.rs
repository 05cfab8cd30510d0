//! The light protocol: what a task may ask of its agent, over the one socket that leads out of its sandbox.
//!
//! Everything that comes from the task is hostile until checked. [`Server`] answers one attempt; what the task publishes
//! is staged in [`Staged`] and counts only once the manager says so.
mod frame;
mod kept;
mod message;
mod names;
mod publish;
mod read;
mod select;
mod serve;
mod staged;
mod values;

pub(crate) use frame::Channel;
pub(crate) use message::TaskError;
pub(crate) use serve::{Ending, Grant, Said, Server};
pub(crate) use staged::{Staged, StagedLeft};
pub(crate) use values::Values;
