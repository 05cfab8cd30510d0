//! Landlock rules: a second fence around files, TCP ports, abstract sockets and signals, where the kernel has it.

use std::os::fd::{AsFd, OwnedFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, Scope,
};

/// The newest interface whose rights we know; the library leaves out what an older kernel lacks.
const NEWEST: ABI = ABI::V6;

/// First interface version that keeps signals and abstract sockets inside.
pub(crate) const ABI_SCOPES: u32 = 6;

/// What a rule grants below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Read, list and execute.
    Read,
    /// Everything.
    Write,
    /// Write into files that are there.
    Overwrite,
    /// Read and write one device node.
    Device,
}

/// Rules being collected for the calling process.
pub(crate) struct Fence(RulesetCreated);

impl Fence {
    /// A fence that refuses everything so far.
    pub(crate) fn new() -> Result<Self, RulesetError> {
        Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()
            .map(Self)
    }

    /// Grants access below an open path; directories and files alike.
    pub(crate) fn grant(self, path: &OwnedFd, is_dir: bool, grant: Grant) -> Result<Self, RulesetError> {
        let rights: BitFlags<AccessFs> = match grant {
            Grant::Read => AccessFs::from_read(NEWEST),
            Grant::Write => AccessFs::from_all(NEWEST),
            Grant::Overwrite => AccessFs::WriteFile | AccessFs::Truncate,
            Grant::Device => AccessFs::from_file(NEWEST) & !AccessFs::Execute,
        };
        let rights = if is_dir { rights } else { rights & AccessFs::from_file(NEWEST) };
        self.0.add_rule(PathBeneath::new(path.as_fd(), rights)).map(Self)
    }

    /// The fence as a descriptor, for another process to put around itself; `None` where the kernel has no Landlock.
    pub(crate) fn into_fd(self) -> Option<OwnedFd> {
        self.0.into()
    }

    /// Puts the fence around the calling thread and all it starts; needs no-new-privileges.
    pub(crate) fn close(self) -> Result<(), RulesetError> {
        self.0.restrict_self().map(|_status| ())
    }
}
