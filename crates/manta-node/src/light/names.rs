//! Checks on the names and counts that a task gives.
use manta_types::AttemptLimit;
use manta_types::name::{check_name, nearest};

use super::message::Denied;

/// Accepts a name for a global, a result or a piece of state.
pub(crate) fn usable(what: &'static str, name: &str) -> Result<(), Denied> {
    check_name(what, name).map_err(|error| Denied::new("bad_name", error.to_string()))
}

/// Accepts one more of something, if it is not new or there is room.
pub(crate) fn room(limit: AttemptLimit, is_new: bool, count: usize, most: usize) -> Result<(), Denied> {
    if !is_new || count < most {
        return Ok(());
    }
    let words = match limit {
        AttemptLimit::State => format!("a task may keep {most} names of state on a node; this would be one more"),
        limit => format!("an attempt may have {most} {}; this would be one more", limit.name()),
    };
    Err(Denied::exhausted(limit, words))
}

/// Refuses a name that is not among the known ones, with the nearest that is.
pub(crate) fn known<'a>(
    kind: &'static str,
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), Denied> {
    if names.clone().any(|known| known == name) {
        return Ok(());
    }
    let hint = nearest(name, names).map(|near| format!("did you mean `{near}`?"));
    Err(Denied::new(kind, format!("there is no {what} `{}`", clip(name))).hint(hint))
}

/// A name that a task gave, fit to print.
fn clip(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
