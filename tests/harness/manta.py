"""Runs the `manta` command as a user would, each test in its own directories."""

import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

from .leaks import TEST_VARIABLE
from .waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "tests" / "fixtures" / "modules"
LIMIT_S = 60.0


def binary():
    """Return the `manta` binary under test."""
    path = Path(os.environ.get("MANTA_BINARY") or ROOT / "target" / "debug" / "manta")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: build it, or set MANTA_BINARY")
    return path.resolve()


@functools.cache
def interpreter_of(user):
    """Return the path of a Python interpreter that the ordinary user may run."""
    for path in (os.environ.get("MANTA_PYTHON") or sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        command = [path, "-I", "-c", "import sys; sys.exit(sys.version_info < (3, 9))"]
        try:
            if subprocess.run(command, check=False, user=user, group=user, extra_groups=[], cwd="/").returncode == 0:
                return path
        except OSError:
            continue
    raise FileNotFoundError(f"user {user} may run no Python interpreter of this machine: install one in /usr/bin")


@functools.cache
def shared_cache(user):
    """Return a cache that all tests of a user share: this machine's containment is probed once for all of them."""
    path = Path(tempfile.mkdtemp(prefix="mt-cache-", dir="/tmp"))
    if user is not None:
        os.chown(path, user, user)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def text(self):
        """All of it, for looking something up."""
        return self.out + self.err

    def documents(self):
        """Return the JSON documents on standard output, one a line or one in all."""
        return json_documents(self.out)


def json_documents(text):
    """Return the JSON documents that stand in ``text`` one after the other."""
    found, decoder, text = [], json.JSONDecoder(), text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].lstrip()
    return found


class Command:
    """A `manta` command that is running; its output goes to files that are kept when the test fails."""

    def __init__(self, process, out, err):
        self.process = process
        self._out, self._err = out, err

    @property
    def pid(self):
        """Its process id."""
        return self.process.pid

    def text(self):
        """Return what it has written so far."""
        return self._out.read_text(errors="replace") + self._err.read_text(errors="replace")

    def wait_for(self, text, limit_s=LIMIT_S, times=1):
        """Wait until it has written ``text`` that many times."""

        def look():
            written = self.text()
            if written.count(text) >= times:
                return None
            if (code := self.process.poll()) is not None and self.text().count(text) < times:
                raise AssertionError(f"it ended with {code} before it wrote {text!r}:\n{written}")
            return f"{text!r} stands there {written.count(text)} times of {times}:\n{written}"

        wait_until(limit_s, look)

    def end(self, limit_s=LIMIT_S):
        """Wait for its end and return how it was."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs after {limit_s:g} s:\n{self.text()}") from None
        return Ended(code, self._out.read_text(errors="replace"), self._err.read_text(errors="replace"))

    def signal(self, number):
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self):
        """End it in the orderly way if it still runs, and by force if that does not help."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Manta:
    """The command, with a home, a temporary directory and a working directory of the test's own.

    Parameters
    ----------
    root : Path
        Where all of them are made.
    test_id : str
        What the processes carry, so that the leak checker knows them.
    user : int, optional
        The ordinary user to run as; needs root.
    within : sequence of str
        A command that runs the command that follows it, in other circumstances.
    """

    def __init__(self, root, test_id, user=None, within=()):
        self.root = root
        self.work, self.tmp, self.run_dir = root / "w", root / "t", root / "r"
        self.user, self._within = user, within
        self._commands = []
        for path in (self.work, self.tmp, self.run_dir, root / "h", root / "logs"):
            path.mkdir(mode=0o700)
        shutil.copytree(MODULES, self.work / "modules")
        self.environment = {
            **{name: os.environ[name] for name in ("LANG", "MANTA_PYTHON", "MANTA_WARM") if name in os.environ},
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(root / "h"),
            "TMPDIR": str(self.tmp),
            "XDG_RUNTIME_DIR": str(self.run_dir),
            "XDG_CACHE_HOME": str(shared_cache(user)),
            "PYTHONPATH": str(ROOT / "python"),
            "NO_COLOR": "1",
            TEST_VARIABLE: test_id,
        }
        self.environment.setdefault("MANTA_PYTHON", sys.executable)
        if user is not None:
            self.environment["MANTA_PYTHON"] = interpreter_of(user)
        self.give_to_user()

    def give_to_user(self):
        """Make everything below the test's root the ordinary user's, where there is one."""
        if self.user is None:
            return
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, self.user, self.user, follow_symlinks=False)

    def file(self, name, text):
        """Write a file in the working directory and return its path."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def swarm(self, body, name="swarm.py"):
        """Write a swarm file with the usual imports, and return its path."""
        return self.file(name, "from manta.apis import Module, Swarm, Task\n" + textwrap.dedent(body))

    def start(self, *arguments, environment=None, within=()):
        """Start a command, on another host where ``within`` says so, and return it."""
        number = len(self._commands)
        out, err = (self.root / "logs" / f"{number}-{arguments[0]}.{kind}" for kind in ("out", "err"))
        with open(out, "wb") as out_file, open(err, "wb") as err_file:
            process = subprocess.Popen(
                [*within, *self._within, binary(), *map(str, arguments)],
                cwd=self.work,
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                **({} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}),
            )
        self._commands.append(Command(process, out, err))
        return self._commands[-1]

    def __call__(self, *arguments, limit_s=LIMIT_S, environment=None, within=()):
        """Run a command to its end and return how it was."""
        return self.start(*arguments, environment=environment, within=within).end(limit_s)

    def stop_all(self):
        """End what still runs, the newest first."""
        for command in reversed(self._commands):
            command.stop()
