"""Forks in a process that borrows the memory of the one that asks."""

import errno
import importlib.util
import os
import sys
import textwrap
from pathlib import Path
from subprocess import run

import pytest

PYTHON = Path(__file__).parents[1]

PREAMBLE = """
import ctypes, os, sys
from manta.light import _zygote

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
"""


def told(code: str) -> str:
    """What a new interpreter prints that runs ``code``: this one has threads."""
    environment = {**os.environ, "PYTHONPATH": str(PYTHON)}
    ended = run(
        [sys.executable, "-B", "-c", PREAMBLE + textwrap.dedent(code)], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0 and not ended.stderr, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("lends", [True, False], ids=["borrowed", "copied"])
def test_what_is_forked_in_a_process_between_is_an_orphan_and_leaves_no_trace(lends: bool) -> None:
    code = f"""
        if not {lends}:
            _zygote._free_stack = lambda: None
        elif _zygote._free_stack() is None:
            print("unknown")
            os._exit(0)
        own, before = os.getpid(), sorted(os.listdir("/proc/self/fd"))
        seen = []

        def deep(levels):
            return deep(levels - 1) + 1 if levels else 0

        def fork():
            if os.fork() == 0:
                seen.append(1)
                # When the one between has ended, whoever collects orphans is its parent: here the one that asked.
                while os.getppid() != own:
                    pass
                os._exit(7 if deep(900) == 900 and len(seen) == 1 else 1)

        codes = set()
        for _ in range(200):
            _zygote._in_between(fork)
            codes.add(os.waitstatus_to_exitcode(os.wait()[1]))
        print(codes, seen, sorted(os.listdir("/proc/self/fd")) == before, deep(900))
    """
    assert told(code) in ("{7} [] True 900", "unknown")


@pytest.mark.parametrize("lends", [True, False], ids=["borrowed", "copied"])
def test_a_fork_that_is_refused_in_the_process_between_is_told(lends: bool) -> None:
    code = f"""
        if not {lends}:
            _zygote._free_stack = lambda: None

        def fork():
            raise BlockingIOError({errno.EAGAIN}, "no more processes")

        try:
            _zygote._in_between(fork)
        except OSError as error:
            print(os.getpid() == own, error.errno)
    """
    assert told("\n        own = os.getpid()" + code) == f"True {errno.EAGAIN}"


def test_memory_is_borrowed_where_that_is_known_to_be_borne() -> None:
    known = bool(os.confstr("CS_GNU_LIBC_VERSION")) and sys.version_info < (3, 14)
    assert told("print(_zygote._free_stack() is not None)") == str(known)


@pytest.mark.parametrize("library", ["random", "numpy.random", "torch"])
def test_what_is_forked_draws_numbers_of_its_own(library: str) -> None:
    if importlib.util.find_spec(library.split(".")[0]) is None:
        pytest.skip(f"needs {library}")
    draw = {"random": "random.random()", "numpy.random": "float(numpy.random.rand())", "torch": "float(torch.rand(1))"}
    code = f"""
        import {library}

        def fork():
            if os.fork() == 0:
                _zygote._reseed()
                os.write(1, b"%r " % {draw[library]})
                os._exit(0)

        for _ in range(2):
            _zygote._in_between(fork)
            os.wait()
    """
    first, second = told(code).split()
    assert first != second
