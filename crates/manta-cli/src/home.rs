//! Where data, settings and caches of a user lie, by the XDG base directory specification; `MANTA_HOME` moves them all.
use std::path::PathBuf;

use crate::connection::variable;

/// `$MANTA_HOME`, else `$XDG_DATA_HOME/manta`, else `~/.local/share/manta`.
pub(crate) fn data() -> Option<PathBuf> {
    folder("XDG_DATA_HOME", ".local/share")
}

/// `$MANTA_HOME/cache`, else `$XDG_CACHE_HOME/manta`, else `~/.cache/manta`.
pub(crate) fn cache() -> Option<PathBuf> {
    match variable("MANTA_HOME") {
        Some(home) => Some(PathBuf::from(home).join("cache")),
        None => folder("XDG_CACHE_HOME", ".cache"),
    }
}

/// `$MANTA_HOME/config`, else `$XDG_CONFIG_HOME/manta`, else `~/.config/manta`.
pub(crate) fn config() -> Option<PathBuf> {
    match variable("MANTA_HOME") {
        Some(home) => Some(PathBuf::from(home).join("config")),
        None => folder("XDG_CONFIG_HOME", ".config"),
    }
}

fn folder(name: &str, below_home: &str) -> Option<PathBuf> {
    if let Some(home) = variable("MANTA_HOME") {
        return Some(PathBuf::from(home));
    }
    let given = variable(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let base = given.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(below_home)))?;
    Some(base.join("manta"))
}
