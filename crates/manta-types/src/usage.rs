//! What an attempt may use, what it did use, and the limit that it ran into.
use std::fmt;

use serde::{Deserialize, Serialize};

/// A limit that can end an attempt, or refuse it something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptLimit {
    /// Memory, temporary files included.
    Memory,
    /// Bytes in the scratch.
    Scratch,
    /// Files and directories in the scratch.
    ScratchFiles,
    /// Processes and threads.
    Processes,
    /// Files that a process holds open.
    OpenFiles,
    /// Locks on files and parts of them, of all processes together.
    FileLocks,
    /// Time that user code may take.
    Time,
    /// Results.
    Results,
    /// Globals.
    Globals,
    /// Names under which state is kept.
    State,
    /// Bytes published and kept as state.
    Published,
    /// Bytes of the report in which a node names what was published.
    Report,
}

impl AttemptLimit {
    /// Every limit, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::Memory,
        Self::Scratch,
        Self::ScratchFiles,
        Self::Processes,
        Self::OpenFiles,
        Self::FileLocks,
        Self::Time,
        Self::Results,
        Self::Globals,
        Self::State,
        Self::Published,
        Self::Report,
    ];

    /// The limit's stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Scratch => "scratch",
            Self::ScratchFiles => "scratch_files",
            Self::Processes => "processes",
            Self::OpenFiles => "open_files",
            Self::FileLocks => "file_locks",
            Self::Time => "time",
            Self::Results => "results",
            Self::Globals => "globals",
            Self::State => "state",
            Self::Published => "published",
            Self::Report => "report",
        }
    }

    /// What its value and its peak are counted in.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Memory | Self::Scratch | Self::Published | Self::Report => "bytes",
            Self::ScratchFiles | Self::OpenFiles => "files",
            Self::FileLocks => "locks",
            Self::Processes => "processes",
            Self::Time => "ms",
            Self::Results | Self::Globals | Self::State => "names",
        }
    }

    /// The limit of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.name() == name)
    }

    /// The same, reached at this value, with the most that was in use where it was measured.
    pub fn reached(self, value: u64, peak: Option<u64>) -> LimitReached {
        LimitReached { limit: self.name().to_owned(), value, peak, unit: self.unit().to_owned() }
    }
}

/// A limit that an attempt ran into.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LimitReached {
    /// The stable name of an [`AttemptLimit`], or one of a newer release.
    pub limit: String,
    /// Its value.
    pub value: u64,
    /// The most that was in use, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
    /// What value and peak are counted in: `bytes`, `files`, `locks`, `processes`, `ms`, `names`.
    pub unit: String,
}

/// What an attempt may use on its node, the node's defaults included.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Allowance {
    /// Processor cores.
    pub cpu: f64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of scratch.
    pub tmp_bytes: u64,
    /// Files and directories in the scratch.
    pub tmp_files: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Bytes that it may publish and keep as state.
    pub published_bytes: u64,
    /// Bytes of log output.
    pub log_bytes: u64,
    /// Milliseconds that user code may take; absent where nothing bounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// What an attempt used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time of all its processes, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory that it used at one time, in bytes: all its processes together, or the largest of them where the node's
    /// host counts no trees; absent where nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_peak: Option<u64>,
    /// The most processes and threads at one time; absent where nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_peak: Option<u32>,
    /// Bytes that it published and kept as state.
    #[serde(default)]
    pub published_bytes: u64,
}

impl fmt::Display for Usage {
    /// `1.2 s of processor time, at most 130 MiB of memory and 4 processes, 12 bytes published`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} s of processor time", self.cpu_ms / 1000, self.cpu_ms % 1000 / 100)?;
        match (self.memory_bytes_peak, self.pids_peak) {
            (Some(memory), Some(pids)) => write!(f, ", at most {} of memory and {pids} processes", Bytes(memory))?,
            (Some(memory), None) => write!(f, ", at most {} of memory", Bytes(memory))?,
            (None, Some(pids)) => write!(f, ", at most {pids} processes")?,
            (None, None) => {}
        }
        write!(f, ", {} published", Bytes(self.published_bytes))
    }
}

/// A number of bytes as people read it: `2 GiB`, `1.5 GiB`, `12 bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        let Some((unit, one)) = UNITS.into_iter().find(|(_, one)| self.0 >= *one) else {
            return write!(f, "{} bytes", self.0);
        };
        let tenths = u128::from(self.0) * 10 / u128::from(one);
        match tenths % 10 {
            0 => write!(f, "{} {unit}", tenths / 10),
            rest => write!(f, "{}.{rest} {unit}", tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_was_reached_is_told_with_its_unit_and_read_back_though_its_name_is_new() {
        let reached = AttemptLimit::Memory.reached(1 << 20, Some(1 << 20));
        let text = serde_json::to_string(&reached).unwrap();
        assert_eq!(text, r#"{"limit":"memory","value":1048576,"peak":1048576,"unit":"bytes"}"#);
        assert_eq!(serde_json::from_str::<LimitReached>(&text).unwrap(), reached);
        assert_eq!(AttemptLimit::from_name("light"), None);
        let newer: LimitReached = serde_json::from_str(r#"{"limit":"light","value":7,"unit":"lux"}"#).unwrap();
        assert_eq!((newer.limit.as_str(), newer.peak), ("light", None));
    }

    #[test]
    fn a_limit_is_read_by_the_name_under_which_it_is_told() {
        for limit in AttemptLimit::ALL {
            assert_eq!(AttemptLimit::from_name(limit.name()), Some(limit));
        }
    }

    #[test]
    fn a_failure_keeps_its_limits_in_an_event_and_is_read_without_them() {
        let failure = crate::event::Failure {
            reached: Some(Box::new(AttemptLimit::Processes.reached(64, None))),
            limits: Some(Box::new(Allowance { cpu: 0.5, pids: 64, ..Allowance::default() })),
            ..Default::default()
        };
        let text = serde_json::to_string(&failure).unwrap();
        assert_eq!(serde_json::from_str::<crate::event::Failure>(&text).unwrap(), failure);
        let older: crate::event::Failure = serde_json::from_str(r#"{"class":"timeout","message":"late"}"#).unwrap();
        assert_eq!((older.reached, older.limits), (None, None));
    }

    #[test]
    fn what_was_used_is_told_as_far_as_it_was_measured() {
        let usage = Usage { cpu_ms: 1290, memory_bytes_peak: Some(3 << 29), pids_peak: Some(4), published_bytes: 12 };
        let words = "1.2 s of processor time, at most 1.5 GiB of memory and 4 processes, 12 bytes published";
        assert_eq!(usage.to_string(), words);
        assert_eq!(Usage::default().to_string(), "0.0 s of processor time, 0 bytes published");
    }

    #[test]
    fn sizes_are_printed_in_the_unit_that_fits() {
        let printed = [512, 1536, 300 << 20, (5 << 30) / 2].map(|count| Bytes(count).to_string());
        assert_eq!(printed, ["512 bytes", "1.5 KiB", "300 MiB", "2.5 GiB"]);
    }
}
