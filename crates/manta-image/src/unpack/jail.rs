//! What the unpacking process gives up before it reads a byte of a layer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};

/// The newest Landlock rights we know; older kernels do with fewer.
const NEWEST: ABI = ABI::V6;
/// Memory of the unpacker: a zstd window of 128 MiB, the directories of a million entries, and room.
const MEMORY_BYTES_MAX: u64 = 768 << 20;

/// Leaves this process nothing but its open files and what lies below one directory: no capability, none to win back, no
/// other file and no network (where the kernel has Landlock), little memory, and no core file.
pub(super) fn close(directory: &OwnedFd) -> io::Result<()> {
    let limit = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(Resource::Core, limit(0))?;
    setrlimit(Resource::Data, limit(MEMORY_BYTES_MAX))?;
    rustix::thread::clear_ambient_capability_set()?;
    let none = rustix::thread::CapabilitySets {
        effective: rustix::thread::CapabilitySet::empty(),
        permitted: rustix::thread::CapabilitySet::empty(),
        inheritable: rustix::thread::CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)?;
    rustix::thread::set_no_new_privs(true)?;
    fence(directory).map_err(io::Error::other)
}

fn fence(directory: &OwnedFd) -> Result<(), RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rule(PathBeneath::new(directory.as_fd(), AccessFs::from_all(NEWEST)))?
        .restrict_self()
        .map(drop)
}
