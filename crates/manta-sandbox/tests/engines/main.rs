//! One suite for every engine: what each must do with a spec, through the real engines that this machine can start.
//!
//! The builtin one is always there. Docker and Podman are started for the suite, with a root and a socket of their own in a
//! temporary directory; where they are not installed or do not start, the suite says so and tries the others.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod behaviour;
mod bench;
mod containment;
mod daemon;
mod lifetime;
mod limits;
