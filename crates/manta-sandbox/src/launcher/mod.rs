//! The launcher: a small single-threaded process that alone holds privileges, makes every sandbox and outlives none of them.
//!
//! [`handle`] is the agent's side, [`events`] the launcher's loop, [`protocol`] what they say to each other. The launcher is the same
//! binary started again, so it must be started before the agent makes threads or opens secrets.

mod alarms;
mod events;
mod handle;
mod identity;
mod locks;
mod name;
mod part;
mod plan;
mod probe;
pub(crate) mod protocol;
mod scratch;
mod start;
mod task;
mod warm;

pub use events::launcher_main;
pub use handle::{Launcher, Running};
pub(crate) use name::LauncherName;
pub use part::Parted;
pub(crate) use probe::trial_spec;

use std::time::Duration;

/// Tries `done` for at most a fifth of a second: dying processes leave their groups a moment after they are reaped.
pub(crate) fn retry_briefly(mut done: impl FnMut() -> bool) -> bool {
    for _ in 0..100 {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    done()
}
