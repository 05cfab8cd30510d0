//! What tests and benchmarks share: a whole cluster on virtual time ([`sim`]), and the benchmark rows ([`bench`]).
#![forbid(unsafe_code)]

pub mod bench;
pub mod sim;
