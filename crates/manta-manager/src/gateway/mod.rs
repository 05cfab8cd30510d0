//! The nodes' end of the manager: one bidirectional stream per node, over the same port as the public API.
mod convert;
mod finish;
mod log_intake;
mod replay;
mod service;
mod session;

pub(crate) use convert::{offer_to_wire, to_wire};
pub(crate) use service::Gateway;
