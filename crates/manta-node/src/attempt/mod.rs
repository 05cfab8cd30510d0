//! One attempt from offer to verdict: prepare → run → upload → journal → answer → state.
//!
//! [`Attempts`] carries out what the desk decides; [`Order`] is what an attempt was asked to do. Clean-up has no step of
//! its own: the sandbox is killed and the cache's pins are released when what holds them is dropped, wherever an attempt
//! ends.
mod deliver;
mod disk;
mod held;
mod order;
mod outcome;
mod prepare;
mod replay;
mod run;
mod upload;
mod watch;

pub(crate) use deliver::LeftAttempt;
pub(crate) use held::{Attempts, Parted};
pub(crate) use order::Order;
pub use outcome::signal_name;
pub(crate) use prepare::{Begins, Prepared, PreparedLeft};
pub(crate) use replay::Replays;
pub(crate) use run::{Output, Since, Underway};
