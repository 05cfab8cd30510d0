//! What warm starts are made from ([`Template`]), and what became of one ([`Start`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::spec::{check_links, check_mounts, is_id};
use crate::{Link, Mount, StartError};

/// Sandboxes of one image and owner that can be forked from a process which has imported the image's packages.
///
/// The program named here is the *zygote*: it speaks with the launcher on descriptor 3 as `manta/light/_zygote.py` does, holds no
/// secret, reads nothing but its mounts and runs no user's code. It is contained as a task is, but for the one capability to enter
/// the namespaces that the launcher makes for its children. Sandboxes of two templates share no zygote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Names image and owner; 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// The zygote: absolute path, then arguments.
    pub argv: Vec<String>,
    /// The zygote's whole environment.
    pub env: Vec<(String, String)>,
    /// What every sandbox of the template may read; a spec that lacks one of them is started cold.
    pub mounts: Vec<Mount>,
    /// Links in the root of every sandbox of the template.
    pub links: Vec<Link>,
    /// Host name of every sandbox of the template.
    pub hostname: String,
    /// Memory of the zygote itself; what its children use is theirs.
    pub memory_bytes: u64,
    /// Sandboxes kept ready, each for one task: 0 forks one when it is asked for.
    pub standbys: u32,
    /// Children after which another zygote takes its place; what one forks shares its layout.
    pub forks_max: u32,
    /// Milliseconds after which another zygote takes its place.
    pub age_ms_max: u64,
    /// Milliseconds after which a zygote that nobody used ends; it comes back when a sandbox of its template was asked for.
    pub idle_ms_max: u64,
    /// Memory of the host that stays free: with less no sandbox waits, with less than half the zygote ends once nothing runs in it.
    pub reserve_bytes: u64,
}

/// What a launcher has of one template at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warmth {
    /// The template's name.
    pub name: String,
    /// Whether the zygote can fork; if not, why.
    pub zygote: Result<(), String>,
    /// Why fewer wait than the template asks for.
    pub trouble: Option<String>,
    /// Sandboxes that wait for a task.
    pub waiting: u32,
    /// Sandboxes that run a task.
    pub running: u32,
}

/// How a sandbox was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The way it was started.
    pub way: StartWay,
    /// Why it was started no quicker, in words; `None` where nothing quicker was permitted or there is nothing quicker.
    pub instead: Option<String>,
}

/// The ways to start a sandbox, quickest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartWay {
    /// It waited, locked up, for a task.
    Standby,
    /// It was forked from a zygote when it was asked for.
    Fork,
    /// Its program was started anew.
    Cold,
}

impl StartWay {
    /// The way's name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Fork => "fork",
            Self::Cold => "cold",
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instead {
            Some(why) => write!(f, "{} ({why})", self.way.name()),
            None => f.write_str(self.way.name()),
        }
    }
}

impl Template {
    /// Refuses a template that no zygote can be made from.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let refuse = |problem: String| Err(StartError::Spec { problem });
        if !is_id(&self.name) {
            return refuse(format!("the template's name `{}` is not 1 to 64 letters, digits, `_` or `-`", self.name));
        }
        if !self.argv.first().is_some_and(|program| program.starts_with('/')) {
            return refuse("the zygote's program is not an absolute path".to_owned());
        }
        check_mounts(&self.mounts)?;
        check_links(&self.links)
    }
}
