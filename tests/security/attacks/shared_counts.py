"""Uses up what the kernel counts for whoever runs the agent as well, so that nothing is left on the host."""

import ctypes
import os
import signal

LIBC = ctypes.CDLL(None, use_errno=True)


def attempts(data, host):
    yield "a watch for changed files", watch
    yield "as many signals that wait as the host may have", lambda: signals(10_000)


def watch():
    """Make an inotify instance, of which a user has 128."""
    made = LIBC.inotify_init()
    if made < 0:
        raise OSError(ctypes.get_errno(), "inotify_init")
    return made


def signals(count):
    """Send this process signals that it does not take."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
    for sent in range(count):
        if LIBC.sigqueue(os.getpid(), int(signal.SIGRTMIN), None) < 0:
            raise OSError(ctypes.get_errno(), f"sigqueue, after {sent}")
    return count
