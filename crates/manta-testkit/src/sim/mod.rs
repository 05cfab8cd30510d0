//! A whole cluster on virtual time, drawn from a seed: the real engine, the real core of the manager, the real rules of the
//! store and the real desk of the node, in simulated processes on simulated disks, clocks and networks.
//!
//! ```text
//! seed ─► options (printed) ─► world: what happens next ─► what that changes ─► checker, after every step
//! ```
//! First all goes wrong that the options name; then all is healed, and everything has to end within a stated time. The
//! same seed gives the same run, so what fails once fails again: see [`run`] and [`Failure`].
mod agenda;
mod bug;
mod chance;
mod checker;
mod disk;
mod gateway;
mod happening;
mod kept;
mod manager;
mod network;
mod node;
mod operator;
mod options;
mod outcome;
mod rollouts;
mod trace;
mod trouble;
mod user;
mod work;
mod workload;
mod world;

pub use bug::Bug;
pub use chance::Chance;
pub use kept::{KEPT_SEEDS, KeptSeed};
pub use options::Options;
pub use outcome::{Crashes, Failure, Outcome};
pub use world::run;

pub(crate) use world::World;
