//! A whole cluster on virtual time: the real engine, the real store interface, and nodes that follow the node protocol,
//! with crashes, partitions, delays and duplicates drawn from a seed. The same seed gives the same run.
mod chance;
mod node;
mod world;

pub use chance::Chance;
pub use world::{Faults, Outcome, run};
