"""Writes to what is shared: code, the platform's own files, datasets, the interpreter, the machine."""

import ctypes
import os
import sys
from pathlib import Path

import manta

MS_REMOUNT, MS_BIND = 32, 4096


def attempts(data, host):
    own = os.path.dirname(__file__)
    for path in (__file__, manta.__file__, os.__file__, str(data / "values.txt"), sys.executable, "/etc/passwd"):
        yield f"appending to {path}", lambda path=path: os.open(path, os.O_WRONLY | os.O_APPEND)
        yield f"removing {path}", lambda path=path: os.unlink(path)
        yield f"opening {path} to others", lambda path=path: os.chmod(path, 0o777)
    for folder in (own, os.path.dirname(manta.__file__), str(data), "/", "/usr", "/etc", "/data", "/dev"):
        yield (
            f"making a file in {folder}",
            lambda folder=folder: os.open(os.path.join(folder, "planted"), os.O_CREAT | os.O_WRONLY),
        )
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/self/oom_score_adj"):
        yield f"writing {path}", lambda path=path: Path(path).write_text("-1000")
    for target in (own, str(data), "/"):
        yield f"remounting {target}", lambda target=target: remount(target)


def remount(target):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(None, target.encode(), None, MS_REMOUNT | MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    return "remounted"
