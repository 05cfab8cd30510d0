//! Kernel interfaces that no library wraps safely: the crate's `unsafe` in one place, each block with what it relies on.

use std::ffi::{CStr, c_int};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::process::Pid;

/// A read-only mount (`MOUNT_ATTR_RDONLY`, linux/mount.h).
pub(crate) const ATTR_READ_ONLY: u64 = 0x1;
/// Set-user-id bits have no effect.
pub(crate) const ATTR_NO_SUID: u64 = 0x2;
/// Device nodes have no effect.
pub(crate) const ATTR_NO_DEVICES: u64 = 0x4;
/// Nothing can be executed.
pub(crate) const ATTR_NO_EXEC: u64 = 0x8;
/// Owners are mapped by a user namespace.
pub(crate) const ATTR_ID_MAPPED: u64 = 0x10_0000;

/// A process that is made in a control group (linux/sched.h).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes a descriptor that the program before this one in the same process left open under a number, and closes it to programs that
/// come after.
///
/// # Errors
/// When nothing that is open to programs that come after is open under that number, or it is one of the standard ones.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: it only asks for flags, whatever the number stands for.
    let flags = check(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    if number < 3 || flags & libc::c_long::from(libc::FD_CLOEXEC) != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, and nothing in this program opened it: whatever is opened here is closed to programs that come after, as
    // this is from the next line on.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// A process that this one made.
pub(crate) struct Forked {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

/// Makes a child process with new namespaces given by `flags`; `None` is returned in the child. With `CLONE_PARENT` it is a child of
/// this process's own parent.
///
/// The caller must be single-threaded: the child is a copy of this thread only, and goes on using its allocator.
pub(crate) fn clone_process(flags: c_int) -> io::Result<Option<Forked>> {
    clone_process_into(flags, None)
}

/// [`clone_process`] into the control group, of the unified hierarchy, whose directory `group` is.
pub(crate) fn clone_process_into(flags: c_int, group: Option<BorrowedFd<'_>>) -> io::Result<Option<Forked>> {
    let mut pidfd: RawFd = -1;
    // A sibling's end is told as this process's own is.
    let exit_signal = if flags & libc::CLONE_PARENT == 0 { libc::SIGCHLD } else { 0 };
    let args = libc::clone_args {
        flags: u64::from((flags | libc::CLONE_PIDFD).cast_unsigned()) | group.map_or(0, |_| CLONE_INTO_CGROUP),
        pidfd: (&raw mut pidfd).addr() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(exit_signal.cast_unsigned()),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.map_or(0, |group| u64::from(group.as_raw_fd().cast_unsigned())),
    };
    // SAFETY: `args` is a valid clone_args of the size given, its pidfd points to a live RawFd; no memory is shared with
    // the child (no CLONE_VM) and no stack is given, so both sides continue here as after fork; the process has one thread.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) })?;
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    // SAFETY: the kernel stored a new descriptor there, which nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some(Forked { pid, pidfd }))
}

/// Changes attributes of the mount at `fd`, and of all mounts below it, by `mount_setattr(2)`.
pub(crate) fn set_mount_attributes(
    fd: BorrowedFd<'_>,
    set: u64,
    recursive: bool,
    idmap: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set | if idmap.is_some() { ATTR_ID_MAPPED } else { 0 },
        attr_clr: 0,
        propagation: 0,
        userns_fd: idmap.map_or(0, |namespace| u64::from(namespace.as_raw_fd().cast_unsigned())),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a valid empty C string, `attributes` a valid mount_attr of the size given; both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Starts a session of the calling process's own.
pub(crate) fn start_session() -> io::Result<()> {
    // SAFETY: takes nothing. The answer is not looked at: gVisor's is 0, not the session's id.
    check(unsafe { libc::setsid() }.into())?;
    Ok(())
}

/// Gives a Unix socket an address that nobody knows, if it has none: a socket can be named once (unix(7), autobind).
pub(crate) fn name_socket(fd: BorrowedFd<'_>) -> io::Result<()> {
    let family = libc::sa_family_t::try_from(libc::AF_UNIX).expect("families are small numbers");
    let length = libc::socklen_t::try_from(size_of::<libc::sa_family_t>()).expect("it is two bytes");
    // SAFETY: the kernel reads `length` bytes, which is the family alone.
    let result = check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const family).cast(), length) }.into());
    match result {
        // It has one.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        result => result.map(drop),
    }
}

/// Marks every descriptor from `first` on to be closed by exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on, at once.
pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    close_range(first, 0)
}

fn close_range(first: RawFd, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: takes numbers only. Closing descriptors that owners elsewhere in this process still hold is what callers
    // ask for: they never return to code that uses those (a child before exec or exit, a launcher at its start).
    // No descriptor has a higher number than this, which gVisor takes for a signed one.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_int::MAX, flags) })?;
    Ok(())
}

/// Makes descriptor number `target` a copy of `fd`, open across exec.
pub(crate) fn place_fd(fd: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    // SAFETY: takes numbers only; `target` is one of 0 to 3, which no OwnedFd of the calling child refers to.
    check(unsafe { libc::dup2(fd.as_raw_fd(), target) }.into())?;
    Ok(())
}

/// Gives every signal its default action and unblocks all.
pub(crate) fn reset_signals() {
    // Not by way of the C library, which keeps two signals for itself and would leave them as they were inherited.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // SAFETY: the kernel's action is 32 bytes, all zero for the default, and only read; signals that cannot be changed
        // just fail, which is harmless here.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8_usize) };
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that sigprocmask then reads; the old mask is not asked for.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Ignores one signal from now on.
pub(crate) fn ignore_signal(signal: c_int) {
    // SAFETY: SIG_IGN is a valid disposition for any signal that callers name.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Blocks signals so that [`wait_signal`] can take them.
pub(crate) fn block_signals(signals: &[c_int]) {
    let set = signal_set(signals);
    // SAFETY: `set` is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Waits for one of some blocked signals and returns its number; interrupted waits start again.
pub(crate) fn wait_signal(signals: &[c_int]) -> c_int {
    let set = signal_set(signals);
    loop {
        // SAFETY: `set` is initialised; no details are asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) };
        if signal > 0 {
            return signal;
        }
    }
}

/// The same for at most so long; `None` when none came, or the wait was interrupted.
pub(crate) fn wait_signal_for(signals: &[c_int], limit: Duration) -> Option<c_int> {
    let set = signal_set(signals);
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: `set` and `limit` are initialised; no details are asked for.
    let signal = unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const limit) };
    (signal > 0).then_some(signal)
}

fn signal_set(signals: &[c_int]) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the whole set before it is changed and read.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Ends this process by `signal`, as if it had not been handled. Others that are blocked stay so: one of them that waits
/// would end it first.
pub(crate) fn die_by(signal: c_int) -> ! {
    let set = signal_set(&[signal]);
    // SAFETY: the default is a valid disposition, `set` is initialised, and the old mask is not asked for; what follows is
    // reached for signals that do not kill.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::raise(signal);
    }
    exit_now(128 + signal)
}

/// Ends this process at once, running no destructors.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: ends the process; nothing of it is used again.
    unsafe { libc::_exit(code) }
}

/// Whether no exec can bring a capability back.
pub(crate) fn check_bounding_set_is_empty() -> io::Result<()> {
    // SAFETY: takes numbers only; it fails for the first number that the kernel has no capability of.
    let held = (0..64).any(|capability| unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) } == 1);
    if held { Err(io::Error::from_raw_os_error(libc::EPERM)) } else { Ok(()) }
}

/// Makes a child process, as `clone_process` does where that call is refused; answers with its id in the parent.
///
/// The caller must be single-threaded, for the same reason.
pub(crate) fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the process has one thread, so both sides continue with a whole copy of it.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok(i32::try_from(pid).ok().filter(|pid| *pid > 0))
}

/// A descriptor that is readable while one of some blocked signals waits.
pub(crate) fn signal_fd(signals: &[c_int]) -> io::Result<OwnedFd> {
    let set = signal_set(signals);
    // SAFETY: `set` is initialised and only read; a new descriptor is asked for.
    let fd = check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }.into())?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes every signal that waits at a [`signal_fd`].
pub(crate) fn drain(signals: &OwnedFd) {
    let mut buffer = [0; size_of::<libc::signalfd_siginfo>()];
    while rustix::io::read(signals, &mut buffer).is_ok_and(|length| length > 0) {}
}

/// Kills every process of this process namespace but the calling one, which must be its first.
pub(crate) fn kill_all_others() {
    assert_eq!(std::process::id(), 1, "anywhere else it would kill a user's every process");
    // SAFETY: takes numbers only. There may be no other process.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// What all children used that have ended and were waited for.
pub(crate) fn usage_of_children() -> Reaped {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: rusage is plain numbers, zeroed above, which the call fills where it succeeds.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    Reaped::of(0, &usage)
}

/// Replaces the program; returns only the reason why it could not.
pub(crate) fn exec(program: &CStr, argv: &[*const libc::c_char], env: &[*const libc::c_char]) -> io::Error {
    let terminated = |list: &[*const libc::c_char]| list.last().is_some_and(|last| last.is_null());
    assert!(terminated(argv), "argv ends with a null pointer");
    assert!(terminated(env), "env ends with a null pointer");
    // SAFETY: `program` is a C string; both lists end with null (checked above) and their pointers come from CStrings that
    // the caller's plan keeps alive.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Drops every capability from the bounding set, so that no exec can bring one back.
pub(crate) fn clear_bounding_set() -> io::Result<()> {
    clear_bounding_set_but(None)
}

/// Drops every capability but one from the bounding set.
pub(crate) fn clear_bounding_set_but(kept: Option<libc::c_int>) -> io::Result<()> {
    for capability in (0..64).filter(|capability| Some(*capability) != kept) {
        // SAFETY: takes numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0 {
            let error = io::Error::last_os_error();
            // The kernel has no capability of this number: the ones before it were all.
            return if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Makes the calling process's control group the root of what it sees of control groups.
pub(crate) fn new_cgroup_namespace() -> io::Result<()> {
    // SAFETY: takes a number only; this flag changes no memory or descriptors that are shared with anybody.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }.into())?;
    Ok(())
}

/// Installs a system-call filter for this thread and all it starts; needs no-new-privileges.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = libc::c_ushort::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` points to `len` instructions that outlive the call; the kernel only reads them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })?;
    Ok(())
}

/// Whether the kernel can install system-call filters.
pub(crate) fn has_filters() -> bool {
    let action = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the action is a live u32, which the kernel only reads.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

/// Version of the Landlock interface; 0 where there is none.
pub(crate) fn landlock_abi() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call takes a null pointer and size 0 and only returns a number.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) };
    u32::try_from(abi).unwrap_or(0)
}

/// How a child ended, with the resources that it and the descendants it waited for used.
pub(crate) struct Reaped {
    pub(crate) status: c_int,
    pub(crate) cpu: Duration,
    pub(crate) peak_memory_bytes: u64,
}

/// Takes the status of a child that has ended; `None` if it still runs.
pub(crate) fn reap(pid: Pid) -> io::Result<Option<Reaped>> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are live and of the types the call fills.
    let taken = check(
        unsafe { libc::wait4(pid.as_raw_nonzero().get(), &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) }.into(),
    )?;
    if taken == 0 {
        return Ok(None);
    }
    // SAFETY: rusage is plain numbers, zeroed above and filled by the call.
    let usage = unsafe { usage.assume_init() };
    Ok(Some(Reaped::of(status, &usage)))
}

impl Reaped {
    fn of(status: c_int, usage: &libc::rusage) -> Self {
        let part = |time: libc::timeval| {
            Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
        };
        Self {
            status,
            cpu: part(usage.ru_utime) + part(usage.ru_stime),
            peak_memory_bytes: usage.ru_maxrss.unsigned_abs() * 1024,
        }
    }
}

/// Takes the status of any child that has ended, as (pid, status); `None` if none has, an error if there is no child.
pub(crate) fn reap_any() -> io::Result<Option<(i32, c_int)>> {
    let mut status = 0;
    // SAFETY: the status pointer is live.
    let pid = check(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }.into())?;
    Ok(i32::try_from(pid).ok().filter(|pid| *pid > 0).map(|pid| (pid, status)))
}

/// Locks or unlocks one byte of a file for this open file; false if another open file holds it.
pub(crate) fn lock_byte(file: BorrowedFd<'_>, offset: u32, locked: bool) -> io::Result<bool> {
    let kind = if locked { libc::F_WRLCK } else { libc::F_UNLCK };
    let lock = libc::flock {
        l_type: libc::c_short::try_from(kind).expect("lock kinds are single digits"),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).expect("SEEK_SET is zero"),
        l_start: i64::from(offset),
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: `lock` is a valid flock that outlives the call; l_pid is 0 as open-file locks need.
    match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }.into()) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}
