"""Forks tasks from a process that has imported an image's packages already.

The launcher makes the namespaces of each task and this process forks into them. The child locks
itself up, all but for what it is to run, and waits. When it has a task it makes ready for it, while
the task's own mounts are made; once the launcher lets it go it runs that task and ends. Nothing of
a user's runs here, and nothing secret is here: what a child finds in its memory, all have.
"""

import array
import contextlib
import ctypes
import errno
import functools
import gc
import importlib
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

CONTROL_FD = 3
"""The socket to the launcher; in a child that of its own to the launcher, and then that to the agent."""

LEASH_FD = 4
"""The socket to the launcher in a child that has its task, until it is let go."""

MESSAGE_BYTES_MAX = 128 * 1024
TASK_ID = 1000
"""The uid and gid of every task, as its own user namespace numbers them."""

_NAMESPACES = (0x1000_0000, 0x2_0000, 0x4000_0000, 0x0800_0000, 0x0400_0000, 0x0200_0000)
"""User, mount, network, IPC, host name, control group: in the order in which they are entered."""
_CLONE_NEWPID = 0x2000_0000
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x2008_0522
_LANDLOCK_RESTRICT_SELF = 446

_PARTS = {"numpy": ("numpy.random", "numpy.linalg", "numpy.fft")}
"""Modules that a package imports on first use only."""

_THREAD_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)

_libc = ctypes.CDLL(None, use_errno=True)

_CLONE_VM = 0x100
_CLONE_VFORK = 0x4000
_STACK_GAP = 16 * 1024
"""Bytes between this process's part of its stack and that of the process which borrows it."""
_CloneCall = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_clone = ctypes.PyDLL(None, use_errno=True).clone
_clone.argtypes = [_CloneCall, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
_clone.restype = ctypes.c_int

Run = Callable[[List[str], Callable[[], None]], None]


def serve(
    run: Run,
    preload: Sequence[str],
    *,
    rehearse: Callable[[], None] = lambda: None,
) -> None:
    """Import ``preload``, then fork a child for each request of the launcher until it hangs up.

    Parameters
    ----------
    run : callable
        What a child does with the arguments that its task is given; it need not return. Its second argument
        waits until the child's task may begin: nothing of the task may be read or run before.
    preload : sequence of str
        Modules to import. One that is missing, or starts a thread, ends the zygote with a word; one
        whose name ends in ``?`` may be missing.
    rehearse : callable, optional
        What a child that nobody waits for yet does beforehand: memory that it writes is copied then, and not
        when its task has come.
    """
    control = socket.socket(fileno=CONTROL_FD)
    _, fds = _receive(control)
    filter_ = _read_all(fds[0])
    os.close(fds[0])
    try:
        _import(preload)
        _thread_setters()  # searched for here, once for all children
        _free_stack()
    except BaseException as error:
        _tell(control, {"failed": _describe(error)})
        os._exit(1)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    gc.collect()
    gc.freeze()
    gc.disable()
    _tell(control, "ready")
    while True:
        request, fds = _receive(control)
        if request is None:
            os._exit(0)
        _fork(own, fds, bool(request["fence"]), filter_, run, rehearse if request["ahead"] else None)
        for fd in fds:
            os.close(fd)


def _import(names: Sequence[str]) -> None:
    imported = [name for name in (_import_one(name) for name in names) if name]
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise RuntimeError(f"importing {', '.join(imported)} started {threads - 1} threads, which a fork would lose")


def _import_one(wanted: str) -> Optional[str]:
    """Import a module and what it imports late; return its name, or ``None`` if it may be missing and is."""
    name = wanted.rstrip("?")
    try:
        importlib.import_module(name)
    except Exception:
        if name == wanted:
            raise
        return None  # a task that needs it is told why
    for part in _PARTS.get(name, ()):
        importlib.import_module(part)
    return name


def _fork(
    own: int,
    fds: List[int],
    fence: bool,
    filter_: bytes,
    run: Run,
    rehearse: Optional[Callable[[], None]],
) -> None:
    """Fork in a process between, so that the child belongs to the first process of its namespace, not to this one."""
    leash = socket.socket(fileno=os.dup(fds[0]))

    def fork() -> None:
        if os.fork() == 0:
            rest = fds[8:]
            _child(leash, fds[2:8], rest.pop(0) if fence else None, rest, filter_, run, rehearse)

    try:
        _setns(fds[1], _CLONE_NEWPID)
        _in_between(fork)
    except OSError as error:
        with contextlib.suppress(OSError):  # the launcher may have given it up
            _tell(leash, {"failed": _describe(error)})
    finally:
        leash.close()
        _setns(own, _CLONE_NEWPID)


def _in_between(fork: Callable[[], None]) -> None:
    """Call ``fork`` in a process of its own, which has ended when this returns.

    It borrows the memory of this one, which waits, as that of ``vfork`` does (clone(2): ``CLONE_VM``,
    ``CLONE_VFORK``): to copy large page tables takes milliseconds, and for a process that only forks it is in vain.
    It returns from all that it calls, so that it leaves this interpreter as it was. Its stack, and that of what it
    forks, is the free part of this one's.
    """

    def call(_argument: Optional[int]) -> int:
        try:
            fork()
        except OSError as error:
            return error.errno or errno.EAGAIN
        return 0

    top = _free_stack()
    if top is not None:
        between = int(_clone(_CloneCall(call), top, _CLONE_VM | _CLONE_VFORK | signal.SIGCHLD, None))
        _check("clone", between)
    else:
        between = os.fork()
        if between == 0:
            os._exit(call(None))
    code = os.waitstatus_to_exitcode(os.waitpid(between, 0)[1])
    if code < 0 and top is not None:
        os._exit(1)  # killed in the middle of this interpreter's work
    if code != 0:
        raise OSError(code, f"fork: {os.strerror(code)}")


@functools.cache
def _free_stack() -> Optional[int]:
    """Return an address below all that this thread's stack holds; ``None`` where it may not be lent for all we know."""
    is_glibc = "CS_GNU_LIBC_VERSION" in os.confstr_names and bool(os.confstr("CS_GNU_LIBC_VERSION"))
    if not is_glibc or sys.version_info >= (3, 14):
        return None
    with open("/proc/self/maps", encoding="utf-8") as maps:
        starts = [int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith("[stack]")]
    return starts[0] - _STACK_GAP if starts else None


def _child(
    leash: socket.socket,
    namespaces: Sequence[int],
    fence: Optional[int],
    doors: Sequence[int],
    filter_: bytes,
    run: Run,
    rehearse: Optional[Callable[[], None]],
) -> None:
    """Lock up, wait, run one task; never return."""
    code = 1
    try:
        try:
            for door in doors:  # of its control groups: nobody waits for a process that moves itself
                os.write(door, b"0")
            _enter(namespaces)
            if rehearse is not None:
                _set_environment(list(os.environ.items()))
                rehearse()
            _reseed()
            _lock(fence, filter_)
            leash = _keep_only(leash)
        except BaseException as error:
            _tell(leash, {"failed": _describe(error)})
            os._exit(1)
        gc.enable()
        _tell(leash, {"ready": os.getpid()})
        message, fds = _receive(leash)
        if message is None:
            os._exit(0)
        leash.detach()
        _become(message["env"], fds)
        run([str(argument) for argument in message["argv"]], _wait_to_be_let_go)
        code = 0
    except SystemExit as exit_:
        code = _exit_code(exit_)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _enter(namespaces: Sequence[int]) -> None:
    """Enter the task's namespaces and become its user, who owns nothing outside."""
    for fd, kind in zip(namespaces, _NAMESPACES):
        _setns(fd, kind)
    os.chdir("/tmp")
    os.setsid()
    os.umask(0o022)
    os.setgroups([])
    os.setresgid(TASK_ID, TASK_ID, TASK_ID)
    os.setresuid(TASK_ID, TASK_ID, TASK_ID)


def _lock(fence: Optional[int], filter_: bytes) -> None:
    """Give up every privilege, for good."""
    for capability in range(64):
        dropped = _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), *_zeros(3))
        if dropped < 0 and capability > 0 and ctypes.get_errno() == errno.EINVAL:
            break  # the kernel has none of this number: the ones before it were all
        _check("bounding set", dropped)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check("capset", _libc.capset(header, (ctypes.c_uint32 * 6)()))
    _check("no_new_privs", _libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *_zeros(3)))
    if fence is not None:
        _check("landlock", _libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT_SELF), ctypes.c_int(fence), *_zeros(1)))
    # Without it a task could not read its own /proc/self; exec would have set it.
    _check("dumpable", _libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(1), *_zeros(3)))
    program = ctypes.create_string_buffer(filter_, len(filter_))
    header_ = _Program(len(filter_) // 8, ctypes.addressof(program))
    _check("filter", _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(header_)))


class _Program(ctypes.Structure):
    """``struct sock_fprog``: how many instructions, and where."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _keep_only(leash: socket.socket) -> socket.socket:
    """Close all but standard streams and the leash, which gets the agent socket's number."""
    os.dup2(leash.detach(), CONTROL_FD, inheritable=False)
    os.closerange(CONTROL_FD + 1, os.sysconf("SC_OPEN_MAX"))
    return socket.socket(fileno=CONTROL_FD)


def _become(env: Sequence[Tuple[str, str]], fds: Sequence[int]) -> None:
    """Take over environment and descriptors of the task; the leash stays, as ``LEASH_FD``."""
    light, stdout, stderr = fds
    leash = os.dup(CONTROL_FD)
    for fd, target in ((stdout, 1), (stderr, 2), (light, CONTROL_FD), (leash, LEASH_FD)):
        os.dup2(fd, target)
    os.closerange(LEASH_FD + 1, leash + 1)
    _set_environment(env)
    _set_threads(os.environ)


def _set_environment(env: Sequence[Tuple[str, str]]) -> None:
    os.environ.clear()
    os.environ.update(dict(env))
    time.tzset()


def _wait_to_be_let_go() -> None:
    """Wait until the task's mounts are there and its first process has no privileges; end where nobody wants it."""
    if not os.read(LEASH_FD, MESSAGE_BYTES_MAX):
        os._exit(0)
    os.close(LEASH_FD)


def _reseed() -> None:
    """Give the random modules that are there a state that no sibling has."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        # Generators of devices are not there yet: a task that has a device starts cold.
        sys.modules["torch"].default_generator.seed()


def _set_threads(env: Mapping[str, str]) -> None:
    """Let numerical libraries, which were loaded with one thread, use as many as the task has cores."""
    count = int(env.get("OPENBLAS_NUM_THREADS", "1"))
    if count > 1:
        for set_ in _thread_setters():
            set_(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


@functools.cache
def _thread_setters() -> Tuple[Callable[[int], Any], ...]:
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = {line.split(maxsplit=5)[5].strip() for line in maps if "openblas" in line}
    found = []
    for path in paths:
        library = ctypes.CDLL(path)
        name = next((name for name in _THREAD_SETTERS if hasattr(library, name)), None)
        if name is not None:
            found.append(getattr(library, name))
    return tuple(found)


def _receive(sock: socket.socket) -> "Tuple[Optional[Dict[str, Any]], List[int]]":
    """Return a message and its descriptors, or ``None`` when the launcher has hung up."""
    size = array.array("i").itemsize
    data, ancillary, _, _ = sock.recvmsg(MESSAGE_BYTES_MAX, socket.CMSG_SPACE(16 * size), socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, carried in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(carried[: len(carried) - len(carried) % size])
    return (json.loads(data) if data else None), list(fds)


def _tell(sock: socket.socket, message: Any) -> None:
    sock.send(json.dumps(message).encode())


def _read_all(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:2000]


def _exit_code(exit_: SystemExit) -> int:
    if exit_.code is None or isinstance(exit_.code, int):
        return (exit_.code or 0) & 0xFF
    print(exit_.code, file=sys.stderr)
    return 1


def _setns(fd: int, kind: int) -> None:
    _check("setns", _libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)))


def _zeros(count: int) -> List[Any]:
    return [ctypes.c_ulong(0)] * count


def _check(what: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
