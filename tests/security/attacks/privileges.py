"""Gains a privilege: another user, a mount, a namespace, a device, a key of the kernel."""

import ctypes
import os
import stat
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET = 0x10000000, 0x20000, 0x40000000
SYSTEM_CALLS = {
    "bpf": 321,
    "keyctl": 250,
    "add_key": 248,
    "init_module": 175,
    "reboot": 169,
    "sethostname": 170,
    "swapon": 167,
    "kexec_load": 246,
    "perf_event_open": 298,
    "userfaultfd": 323,
    "open_by_handle_at": 304,
    "iopl": 172,
    "acct": 163,
    "pivot_root": 155,
    "setns": 308,
    "move_mount": 429,
    "open_tree": 428,
    "fsopen": 430,
    "process_madvise": 440,
}


def attempts(data, host):
    yield "becoming root", lambda: os.setuid(0)
    yield "root's group", lambda: os.setgid(0)
    yield "being root of the host", root_of_the_host
    yield "capabilities", lambda: status("CapEff", lambda value: int(value, 16) != 0)
    yield "capabilities to come", lambda: status("CapBnd", lambda value: int(value, 16) != 0)
    yield "new privileges by exec", lambda: status("NoNewPrivs", lambda value: value != "1")
    yield "system calls without a filter", lambda: status("Seccomp", lambda value: value != "2")
    for name, flag in (("user", CLONE_NEWUSER), ("mount", CLONE_NEWNS), ("network", CLONE_NEWNET)):
        yield f"a {name} namespace", lambda flag=flag: call("unshare", flag)
    yield "a mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None)
    yield "another root", lambda: os.chroot("/tmp")
    yield "a device", lambda: os.mknod("/tmp/device", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    for name, number in SYSTEM_CALLS.items():
        yield name, lambda number=number: call("syscall", number, 0, 0, 0, 0, 0)


def root_of_the_host():
    """Return the lines of the map by which some user inside would be user 0 outside."""
    lines = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    bad = [line for line in lines if int(line[1]) == 0]
    if not bad:
        raise PermissionError(f"no user inside is user 0 outside: {lines}")
    return bad


def status(name, bad):
    lines = Path("/proc/self/status").read_text().splitlines()
    value = dict(line.split(":", 1) for line in lines)[name].strip()
    if not bad(value):
        raise PermissionError(f"{name} is {value}")
    return value


def call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
    return "allowed"
