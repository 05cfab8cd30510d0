//! Names of the steps between clone and exec, and how a failed one is told to the launcher.

use std::io;

use serde::{Deserialize, Serialize};

/// A step that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Go,
    Groups,
    /// Enter the namespaces of the zygote that will fork the task.
    Join,
    /// Make the first process of the task's namespaces.
    Clone,
    Identity,
    PrivateMounts,
    Proc,
    OpenMount,
    Root,
    Pivot,
    Attach,
    Tmp,
    Devices,
    Accounts,
    Links,
    MaskProc,
    SealRoot,
    Hostname,
    CgroupNamespace,
    WorkingDirectory,
    Session,
    ResourceLimits,
    Descriptors,
    Capabilities,
    NoNewPrivileges,
    Landlock,
    Filter,
    Keeper,
    /// Become the first process of the task's process namespace.
    Init,
    Exec,
}

/// Every step with what it does, to follow "failed to".
const STEPS: [(Step, &str); 30] = [
    (Step::Go, "follow the launcher"),
    (Step::Groups, "enter its control groups"),
    (Step::Join, "enter its zygote's namespaces"),
    (Step::Clone, "make a process with its own namespaces"),
    (Step::Identity, "take the task's uid"),
    (Step::PrivateMounts, "make its mounts private"),
    (Step::Proc, "mount a `/proc` of its own"),
    (Step::OpenMount, "open a mount"),
    (Step::Root, "make its root directory"),
    (Step::Pivot, "change its root directory"),
    (Step::Attach, "attach a mount"),
    (Step::Tmp, "mount `/tmp`"),
    (Step::Devices, "make `/dev`"),
    (Step::Accounts, "write `/etc/passwd`"),
    (Step::Links, "make a symbolic link"),
    (Step::MaskProc, "mask `/proc`"),
    (Step::SealRoot, "make its root directory read-only"),
    (Step::Hostname, "set its host name"),
    (Step::CgroupNamespace, "make its cgroup namespace"),
    (Step::WorkingDirectory, "enter its working directory"),
    (Step::Session, "start its session"),
    (Step::ResourceLimits, "set its resource limits"),
    (Step::Descriptors, "place its descriptors"),
    (Step::Capabilities, "drop its capabilities"),
    (Step::NoNewPrivileges, "renounce new privileges"),
    (Step::Landlock, "apply Landlock rules"),
    (Step::Filter, "install the system-call filter"),
    (Step::Keeper, "start under its keeper"),
    (Step::Init, "start under its first process"),
    (Step::Exec, "start the program"),
];

impl Step {
    /// What the step does, to follow "failed to".
    pub(crate) fn purpose(self) -> &'static str {
        STEPS.iter().find(|(step, _)| *step == self).expect("every step is in the table, by test").1
    }
}

/// A failed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: i32,
    /// For mounts and links, which one of the plan.
    pub(crate) index: u32,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Length of its wire form.
    pub(crate) const BYTES: usize = 12;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let position =
            STEPS.iter().position(|(step, _)| *step == self.step).expect("every step is in the table, by test");
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&u32::try_from(position).expect("a few dozen steps").to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.index.to_ne_bytes());
        bytes
    }

    /// Reads the wire form; `None` if it is none.
    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let (step, _) = STEPS.get(usize::try_from(u32::from_ne_bytes(word(0))).ok()?)?;
        Some(Self { step: *step, errno: i32::from_ne_bytes(word(4)), index: u32::from_ne_bytes(word(8)) })
    }
}

/// Gives an error the name of the step it happened in.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Outcome<T>;
    fn at_index(self, step: Step, index: usize) -> Outcome<T>;
}

/// An error that has, or has not, a system error number.
pub(crate) trait Errno {
    fn errno(&self) -> i32;
}

impl Errno for io::Error {
    fn errno(&self) -> i32 {
        self.raw_os_error().unwrap_or(0)
    }
}

impl Errno for rustix::io::Errno {
    fn errno(&self) -> i32 {
        self.raw_os_error()
    }
}

impl Errno for ::landlock::RulesetError {
    /// The library hides the number; the call that failed was the last one.
    fn errno(&self) -> i32 {
        io::Error::last_os_error().errno()
    }
}

impl<T, E: Errno> At<T> for Result<T, E> {
    fn at(self, step: Step) -> Outcome<T> {
        self.at_index(step, 0)
    }

    fn at_index(self, step: Step, index: usize) -> Outcome<T> {
        self.map_err(|error| Failure { step, errno: error.errno(), index: u32::try_from(index).unwrap_or(u32::MAX) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_own_place_in_the_table() {
        for (position, (step, _)) in STEPS.iter().enumerate() {
            assert_eq!(*step as usize, position, "{step:?}");
        }
        assert_eq!(Step::Exec as usize + 1, STEPS.len());
    }

    #[test]
    fn failures_survive_their_wire_form() {
        let failure = Failure { step: Step::Attach, errno: libc::EACCES, index: 7 };
        assert_eq!(Failure::from_bytes(failure.to_bytes()), Some(failure));
        assert_eq!(Failure::from_bytes([0xFF; Failure::BYTES]), None);
    }
}
