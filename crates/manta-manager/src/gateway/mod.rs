//! The nodes' end of the manager: one bidirectional stream per node, over the same port as the public API.
mod convert;
mod finish;
mod log_intake;
mod service;
mod session;

pub(crate) use convert::to_wire;
pub(crate) use service::Gateway;
