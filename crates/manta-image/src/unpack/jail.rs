//! What a process that unpacks gives up before it reads a byte of a layer or a wheel.

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
///
/// # Errors
/// When the system refuses one of these; the process is not to read anything hostile then.
pub fn confine(directory: &OwnedFd) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::ErrorKind;

    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

    use super::*;

    /// Rights are a thread's own, so a thread that gives them up shows what is left.
    #[test]
    fn nothing_but_the_directory_is_in_reach_whatever_the_code_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        let inner = open(dir.path(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let confined = std::thread::spawn({
            let (inside, secret) = (dir.path().to_owned(), outside.path().join("secret"));
            let planted = outside.path().join("planted");
            move || {
                confine(&inner).unwrap();
                fs::write(inside.join("made"), "x").unwrap();
                fs::create_dir(inside.join("d")).unwrap();
                fs::hard_link(inside.join("made"), inside.join("d/linked")).unwrap();
                let device = mknodat(CWD, inside.join("null"), FileType::CharacterDevice, Mode::RUSR, (1 << 8) | 3);
                assert_eq!(device, Err(rustix::io::Errno::PERM), "no capability is left");
                assert!(rustix::thread::no_new_privs().unwrap());
                [
                    File::open(&secret).map(drop).map_err(|error| error.kind()),
                    fs::write(&planted, "x").map_err(|error| error.kind()),
                    fs::remove_file(&secret).map_err(|error| error.kind()),
                ]
            }
        });
        let attempts = confined.join().unwrap();
        if attempts.iter().all(Result::is_ok) {
            eprintln!("skipped: needs Landlock");
            return;
        }
        assert_eq!(attempts, [Err(ErrorKind::PermissionDenied); 3]);
        assert!(outside.path().join("secret").exists() && !outside.path().join("planted").exists());
    }
}
