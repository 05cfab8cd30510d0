//! A whole platform on this machine for one command: a manager and nodes as children of this process, over a Unix
//! socket in a private folder. The same programs and the same API as a fleet; gone when the command ends, however it ends.
mod child;
mod folder;
mod platform;

pub(crate) use folder::leave;
pub(crate) use platform::{NodePlan, Options, Platform};
