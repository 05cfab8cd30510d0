//! The node agent: takes attempts from the manager, runs them contained, and delivers what they publish.
//!
//! [`run`] is the agent; [`Settings`] is what it is told. It only ever dials out: the node protocol's stream for control,
//! HTTP for bytes. How a task is contained is `manta-sandbox`'s matter, what happens next is the manager's.
#![forbid(unsafe_code)]

mod agent;
mod attempt;
mod audit;
mod bundle;
mod cache;
mod clock;
mod containment;
mod control;
mod dataset;
pub mod desk;
mod distribution;
mod engine;
mod error;
mod gpu;
mod handover;
mod home;
mod host;
mod identity;
mod image;
mod journals;
mod layer;
mod light;
mod link;
mod logs;
mod offering;
mod outbox;
mod pace;
mod parting;
mod policy;
mod remote;
mod runner;
mod runtime;
mod session;
mod settings;
mod state;
mod supervisor;
mod tier;
mod upgrade;
mod warm;
mod words;

pub use agent::{Ended, run};
pub use attempt::signal_name;
pub use audit::{AUDIT_FILE, AuditFault, AuditHead, read_audit};
pub use control::ask;
pub use engine::EngineChoice;
pub use error::NodeError;
pub use gpu::GpuSource;
pub use handover::{Handover, Taken};
pub use identity::{Identity, Proof};
pub use policy::{POLICY_FILE, read_policy};
pub use runner::HASH_SEED;
pub use settings::{Bounds, OnAllowedProbe, OwnProgram, Settings};
pub use warm::Warm;

/// The argument with which a program that is to take over is asked what it is: it answers with a [`manta_api::control::Trial`].
pub const TRIAL: &str = "--trial";
