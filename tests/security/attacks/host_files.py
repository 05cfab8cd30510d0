"""Reads files of the host."""

import os
import sys
from pathlib import Path


def attempts(data, host):
    for path in (host["secret"], "/etc/shadow", "/etc/machine-id", "/proc/1/root/etc/shadow"):
        yield f"reading {path}", lambda path=path: Path(path).read_bytes()
    for path in ("/root", "/home", "/run", "/boot", "/var/lib", "/sys/fs/cgroup", "/sys/kernel", host["folder"]):
        yield f"listing {path}", lambda path=path: entries(path)
    for name in ("mem", "kmsg", "sda", "vda", "kvm", "fuse", "net/tun"):
        yield f"opening /dev/{name}", lambda name=name: os.open(f"/dev/{name}", os.O_RDONLY)
    yield "opening /proc/kcore", lambda: os.open("/proc/kcore", os.O_RDONLY)
    yield "the folder above the root", lambda: Path("/../../../.." + host["secret"]).read_bytes()


def entries(folder):
    """Return what a folder holds, but for the way to the interpreter that runs this."""
    ours = [Path(path) for path in (sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix))]
    found = [path for path in Path(folder).iterdir() if not any(path == way or path in way.parents for way in ours)]
    if not found:
        raise FileNotFoundError(f"nothing of the host in {folder}")
    return found
