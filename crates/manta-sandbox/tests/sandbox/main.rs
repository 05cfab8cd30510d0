//! Attacks on the sandbox, and what must go on working in it, through the real launcher in every tier this machine offers.
//!
//! As root all tiers are tried: full, reduced, and by way of an ordinary user rootless and reduced again. A test that needs what the
//! machine lacks says so and passes.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod behaviour;
mod descriptors;
mod files;
mod host;
mod identity;
mod interpreters;
mod kernel;
mod lifetime;
mod limits;
mod pool;
mod probes;
mod processes;
mod support;
mod warm;
