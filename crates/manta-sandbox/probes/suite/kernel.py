"""Asks the kernel for what no task may have. Where it succeeds it harms nothing: wrong arguments, or something small.

A filter answers ``EPERM`` before the kernel looks at anything. Any other answer shows that the kernel's own code was
reached, which is what these probes are about.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import signal
import struct
import tempfile
from collections.abc import Callable

from .calls import LIBC, NUMBERS, call, checked, number
from .probe import Group

GROUP = Group("kernel", denied=("EPERM",), traceless=True)

NAMESPACES = {
    "mount": 0x20000,
    "control group": 0x2000000,
    "host name": 0x4000000,
    "message": 0x8000000,
    "user": 0x10000000,
    "process": 0x20000000,
    "network": 0x40000000,
}
ADDR_NO_RANDOMIZE, PER_LINUX32 = 0x0040000, 0x0008
TIOCSTI, TIOCLINUX, TIOCCONS = 0x5412, 0x541C, 0x541D
KEYCTL_JOIN_SESSION_KEYRING, KEY_SPEC_PROCESS_KEYRING = 1, -2
AT_FDCWD = -100
MS_BIND, MNT_DETACH = 0x1000, 2
UFFD_USER_MODE_ONLY = 1
PTRACE_TRACEME, PTRACE_ATTACH, PTRACE_SEIZE, PTRACE_DETACH = 0, 16, 0x4206, 17
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_MM, PR_SET_SECUREBITS, PR_CAP_AMBIENT = 1, 22, 35, 28, 47
X32_BIT = 0x40000000
CAP_SYS_ADMIN = 21

for kind, flag in NAMESPACES.items():
    GROUP.add(f"a {kind} namespace of one's own", lambda stage, flag=flag: call("unshare", flag))
    GROUP.add(f"a child in a {kind} namespace", lambda stage, flag=flag: cloned(flag))
GROUP.add(
    "a namespace of process 1",
    lambda stage: call("setns", os.open("/proc/1/ns/net", os.O_RDONLY), 0),
    denied=("EPERM", "ENOENT", "EACCES"),
)
GROUP.add(
    "a namespace of the parent",
    lambda stage: call("setns", call("pidfd_open", os.getppid(), 0), 0x4000000),
    denied=("EPERM", "EINVAL", "ESRCH"),
)
GROUP.add("namespaces by flags in memory", lambda stage: call("clone3", 0, 0), denied=("ENOSYS",))

GROUP.add("mount a file system", lambda stage: mounted(b"none", b"tmpfs", 0))
GROUP.add("mount a folder elsewhere", lambda stage: mounted(b"/", None, MS_BIND))
GROUP.add("unmount", lambda stage: unmounted())
GROUP.add("change the root", lambda stage: call("pivot_root", b"/nowhere", b"/nowhere"))
GROUP.add("open a file system", lambda stage: call("fsopen", b"tmpfs", 0))
GROUP.add("pick a file system", lambda stage: call("fspick", AT_FDCWD, b"/", 0))
GROUP.add("open a tree of mounts", lambda stage: call("open_tree", AT_FDCWD, b"/", 1))
GROUP.add("move a mount", lambda stage: call("move_mount", AT_FDCWD, b"/nowhere", AT_FDCWD, b"/nowhere", 0))
GROUP.add(
    "change a mount's attributes",
    lambda stage: call("mount_setattr", AT_FDCWD, b"/", 0, struct.pack("4Q", 0, 0, 0, 0), 32),
)

GROUP.add("a key", lambda stage: call("add_key", b"user", b"probe", b"x", 1, KEY_SPEC_PROCESS_KEYRING))
GROUP.add("a session keyring", lambda stage: call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, 0))
GROUP.add("a key by request", lambda stage: call("request_key", b"user", b"probe", 0, KEY_SPEC_PROCESS_KEYRING))
GROUP.add("a ring of calls", lambda stage: call("io_uring_setup", 2, ctypes.create_string_buffer(120)))
GROUP.add("reads in the background", lambda stage: call("io_setup", 1, ctypes.byref(ctypes.c_ulong())))
GROUP.add("a map of programs", lambda stage: call("bpf", 0, struct.pack("5I", 2, 4, 8, 1, 0) + bytes(100), 72))
GROUP.add("a program in the kernel", lambda stage: call("bpf", 5, bytes(120), 72))
GROUP.add(
    "counters of the processor",
    lambda stage: call("perf_event_open", struct.pack("IIQ", 1, 112, 0) + bytes(96), 0, -1, -1, 0),
)
GROUP.add("page faults", lambda stage: call("userfaultfd", 0))
GROUP.add("page faults of user code", lambda stage: call("userfaultfd", UFFD_USER_MODE_ONLY))
GROUP.add("memory hidden from the kernel", lambda stage: call("memfd_secret", 0))
GROUP.add("watch every file", lambda stage: call("fanotify_init", 0, 0))
GROUP.add("a module", lambda stage: call("init_module", 0, 0, b""))
GROUP.add("a module from a file", lambda stage: call("finit_module", -1, b"", 0))
GROUP.add("remove a module", lambda stage: call("delete_module", b"no such module", 0o4000))
GROUP.add("another kernel", lambda stage: call("kexec_load", 0, 0, 0, 0xFFFF))
GROUP.add("another kernel from a file", lambda stage: call("kexec_file_load", -1, -1, 0, 0, 0xFFFF))
GROUP.add("restart the machine", lambda stage: call("reboot", 0, 0, 0, 0))
GROUP.add("swap", lambda stage: call("swapon", b"/nowhere", 0))
GROUP.add("no swap", lambda stage: call("swapoff", b"/nowhere"))
GROUP.add("accounting", lambda stage: call("acct", b"/nowhere"))
GROUP.add("quotas", lambda stage: call("quotactl", 0xFFFF, 0, 0, 0))
GROUP.add("the kernel's log", lambda stage: call("syslog", 10, 0, 0))
GROUP.add("hang up the terminal", lambda stage: call("vhangup"))
GROUP.add("set a clock", lambda stage: call("clock_settime", 99, 0))
GROUP.add("set the time of day", lambda stage: call("settimeofday", 0, 0))
GROUP.add("adjust the clock", lambda stage: call("adjtimex", 0))
GROUP.add("adjust a clock", lambda stage: call("clock_adjtime", 0, 0))
GROUP.add("the machine's name", lambda stage: call("sethostname", *own_name(LIBC.gethostname)))
GROUP.add("the machine's domain", lambda stage: call("setdomainname", *own_name(LIBC.getdomainname)))
GROUP.add("a filter of one's own", lambda stage: call("seccomp", 2, 0, ctypes.byref(ctypes.c_uint(0x7FFF0000))))
GROUP.add("memory on another processor", lambda stage: call("set_mempolicy", 0, 0, 0))
GROUP.add("all memory locked", lambda stage: call("mlockall", 1))
if "ioperm" in NUMBERS:
    GROUP.add("ports of the hardware", lambda stage: call("ioperm", 0, 1, 0))
    GROUP.add("all ports of the hardware", lambda stage: call("iopl", 0))
    GROUP.add("segments of the processor", lambda stage: call("modify_ldt", 0, ctypes.create_string_buffer(64), 64))

GROUP.add("addresses without randomness", lambda stage: call("personality", ADDR_NO_RANDOMIZE))
GROUP.add("the personality of another system", lambda stage: call("personality", PER_LINUX32))
GROUP.add("type for the user", lambda stage: ioctl(TIOCSTI))
GROUP.add("type on the console", lambda stage: ioctl(TIOCLINUX))
GROUP.add("outlive the launcher", lambda stage: prctl(PR_SET_PDEATHSIG, 0))
GROUP.add("a filter by another way", lambda stage: prctl(PR_SET_SECCOMP, 2, 0))
GROUP.add("bits that keep capabilities", lambda stage: prctl(PR_SET_SECUREBITS, 1))
GROUP.add("an ambient capability", lambda stage: ambient())
GROUP.add("other places for one's memory", lambda stage: prctl(PR_SET_MM, 1, 0))
GROUP.add("trace a child", lambda stage: with_child(lambda pid: traced(PTRACE_ATTACH, pid)))
GROUP.add("seize a child", lambda stage: with_child(lambda pid: traced(PTRACE_SEIZE, pid)))
GROUP.add("be traced", lambda stage: call("ptrace", PTRACE_TRACEME, 0, 0, 0))
GROUP.add("read a child's memory", lambda stage: with_child(lambda pid: memory_of("process_vm_readv", pid)))
GROUP.add("write a child's memory", lambda stage: with_child(lambda pid: memory_of("process_vm_writev", pid)))
GROUP.add(
    "take a child's descriptor",
    lambda stage: with_child(lambda pid: call("pidfd_getfd", call("pidfd_open", pid, 0), 0, 0)),
)
GROUP.add("compare with a child", lambda stage: with_child(lambda pid: call("kcmp", os.getpid(), pid, 0, 0, 0)))
GROUP.add("move a child's pages", lambda stage: with_child(lambda pid: call("move_pages", pid, 0, 0, 0, 0, 0)))
GROUP.add(
    "advise on a child's memory",
    lambda stage: with_child(lambda pid: call("process_madvise", call("pidfd_open", pid, 0), 0, 0, 20, 0)),
)
GROUP.add("call by the numbers of x32", lambda stage: number(X32_BIT | 39), denied=("ENOSYS", "SIGSYS"))
if platform.machine() == "x86_64":
    GROUP.add("call as a 32-bit program", lambda stage: int_0x80(), denied=("SIGSYS", "SIGSEGV"))
GROUP.add("memory at address zero", lambda stage: at_zero())


def cloned(flag: int) -> int:
    """Make a child with a namespace of its own."""
    child = call("clone", flag | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return child


def mounted(source: bytes, kind: bytes | None, flags: int) -> str:
    """Mount something on a folder of one's own, and unmount it."""
    with tempfile.TemporaryDirectory() as folder:
        checked(LIBC.mount(source, folder.encode(), kind, flags, None))
        checked(LIBC.umount2(folder.encode(), MNT_DETACH))
        return "mounted"


def unmounted() -> int:
    """Unmount a folder on which nothing is mounted."""
    with tempfile.TemporaryDirectory() as folder:
        return checked(LIBC.umount2(folder.encode(), MNT_DETACH))


def own_name(told: Callable[..., int]) -> tuple[bytes, int]:
    """Return the name that the machine has already, and its length."""
    name = ctypes.create_string_buffer(65)
    checked(told(name, 65))
    return name.value, len(name.value)


def ioctl(request: int) -> int:
    """Ask something of standard input."""
    return checked(LIBC.ioctl(0, ctypes.c_ulong(request), b"x"))


def prctl(*arguments: int) -> int:
    """Set something of one's own process."""
    return call("prctl", *arguments, *[0] * (5 - len(arguments)))


def ambient() -> int:
    """Take a capability that programs would keep."""
    bits = 1 << CAP_SYS_ADMIN
    call("capset", struct.pack("Ii", 0x20080522, 0), struct.pack("6I", bits, bits, bits, 0, 0, 0))
    return prctl(PR_CAP_AMBIENT, 2, CAP_SYS_ADMIN)


def with_child(attempt: Callable[[int], object]) -> object:
    """Try something on a child that waits."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        return attempt(child)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def traced(request: int, pid: int) -> str:
    """Attach to a process and let go of it."""
    call("ptrace", request, pid, 0, 0)
    LIBC.ptrace(PTRACE_DETACH, pid, 0, 0)
    return "attached"


def memory_of(name: str, pid: int) -> int:
    """Read or write a word of a process: it has the same layout as this one."""
    own = ctypes.create_string_buffer(8)
    part = struct.pack("2Q", ctypes.addressof(own), 8)
    return call(name, pid, part, 1, part, 1, 0)


def int_0x80() -> int:
    """Call getpid by the convention of i386, as code that is made here."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))  # mov eax, 20; int 0x80; ret
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())


def at_zero() -> int:
    """Map the page that null pointers of the kernel would lead to."""
    map_fixed, map_private_anonymous = 0x10, 0x22
    LIBC.mmap.restype = ctypes.c_ssize_t
    flags = map_fixed | map_private_anonymous
    return checked(LIBC.mmap(ctypes.c_void_p(0), ctypes.c_size_t(mmap.PAGESIZE), 3, flags, -1, ctypes.c_long(0)))
