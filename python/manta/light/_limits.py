"""Which limit of the attempt an exception comes from, so that its outcome can say so."""

import errno
import linecache
import os
import tempfile
import traceback
from typing import Optional

from . import _attempt
from .errors import ResourceExhaustionError

MEMORY = "memory"
SCRATCH = "scratch"
SCRATCH_FILES = "scratch_files"
PROCESSES = "processes"
OPEN_FILES = "open_files"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def limit_of(error: BaseException) -> Optional[str]:
    """Return the name of the limit that ``error`` was raised at, or ``None``."""
    if isinstance(error, ResourceExhaustionError):
        return error.limit if isinstance(error.limit, str) else None
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return PROCESSES
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.ENOMEM:
        return MEMORY
    if error.errno == errno.EMFILE:
        return OPEN_FILES
    if error.errno in _FULL:
        return SCRATCH_FILES if _has_no_file_left() else SCRATCH
    if error.errno == errno.EAGAIN and _is_in_fork(error):
        return PROCESSES
    return None


def memory_bytes_max() -> int:
    """Return how many bytes of memory this attempt may use; the machine's, where no attempt says."""
    attempt = _attempt.bound()
    told = attempt.info.get("resources", {}).get("cpu_memory") if attempt is not None else None
    return int(told) if told else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def let_go(error: BaseException) -> None:
    """Free what the frames of a failed call hold, where memory is short: telling of it needs some, too."""
    if limit_of(error) == MEMORY:
        traceback.clear_frames(error.__traceback__)


def _has_no_file_left() -> bool:
    try:
        left = os.statvfs(tempfile.gettempdir())
    except OSError:
        return False
    return left.f_files > 0 and left.f_ffree == 0


def _is_in_fork(error: BaseException) -> bool:
    """Whether the line that raised is one that makes a process: others raise the same error when they would block."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return False
    frame, line = frames[-1]
    return "fork" in linecache.getline(frame.f_code.co_filename, line, frame.f_globals)
