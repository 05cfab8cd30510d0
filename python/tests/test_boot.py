"""A whole task process: the bundle is loaded by path, run, and its end told to the agent."""

from __future__ import annotations

import ast
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import manta
from manta._testing_agent import Agent, GivenResults
from manta.light import _attempt, _boot
from manta.light._traceback import user_location
from manta.testing import TaskOutcome

BOOT = """
import sys
sys.path.insert(0, __file__.rpartition("/")[0])
from manta.light._boot import main
main()
"""

ON_THREE = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"


class Ended(Agent):
    """An agent that also hears how the task ended."""

    def __init__(self, sock: socket.socket, directory: Path, outcome: TaskOutcome, entry: dict[str, Any]) -> None:
        super().__init__(sock, directory, outcome, GivenResults({}, {}))
        self.told: list[str] = []
        self.end: dict[str, Any] = {}
        self._entry = entry
        self._code = directory / "code"
        self.describe("node-0", {}, 0, 11)

    def _on_hello(self, body: dict[str, Any], fds: list[int]) -> Any:
        module = {"name": self._entry.get("name", "worker"), "version": "1.0.0", "entry": self._entry}
        return {**self._info, "module": module, "code": str(self._code)}, []

    def _note(self, body: dict[str, Any]) -> None:
        self.told.append(body["op"])
        super()._note(body)

    def _on_finished(self, body: dict[str, Any], fds: list[int]) -> Any:
        self.end = body
        return {}, []


class Process:
    """How one task process went."""

    def __init__(self, agent: Ended, outcome: TaskOutcome, done: subprocess.CompletedProcess[str]) -> None:
        self.end, self.told, self.outcome = agent.end, agent.told, outcome
        self.exit_code, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr

    @property
    def error(self) -> Any:
        return self.end["error"]


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Run a bundle of the given files in a process of its own."""
    home = tmp_path / "manta-home"
    source = Path(manta.__file__).parent
    shutil.copytree(source / "light", home / "manta" / "light", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "__init__.py", home / "manta")
    (home / "boot.py").write_text(BOOT)

    def run(files: Mapping[str, str], entry: dict[str, Any], **environment: str) -> Process:
        for name, text in files.items():
            path = tmp_path / "code" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        ours, theirs = socket.socketpair()
        outcome = TaskOutcome()
        agent = Ended(ours, tmp_path, outcome, entry)
        child = subprocess.Popen(
            [sys.executable, "-c", ON_THREE, str(theirs.fileno()), sys.executable, "-I", "-B", str(home / "boot.py")],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **environment},
        )
        theirs.close()
        agent.serve()
        stdout, stderr = child.communicate(timeout=60)
        return Process(agent, outcome, subprocess.CompletedProcess([], child.returncode, stdout, stderr))

    return run


MAIN = {"file": "worker.py", "call": "main"}


def test_main_is_called_and_success_told(start: Start) -> None:
    process = start(
        {
            "worker.py": """
                from manta.light.task import Task
                class Worker(Task):
                    def run(self):
                        print("hello")
                        self.world.results.add("x", self.seed)
                def main():
                    Worker().run()
            """
        },
        MAIN,
    )
    assert process.end == {"op": "finished", "id": process.end["id"], "ok": True}, process.stderr
    assert (process.exit_code, process.stdout, process.stderr) == (0, "hello\n", "")
    assert process.told == ["started"] and process.outcome.results == {"x": 11}


def test_a_task_class_of_a_package_is_made_and_run(start: Start) -> None:
    process = start(
        {
            "__init__.py": "from .task import Worker\n",
            "task.py": """
                from manta.light.task import Task
                from .model import SIZE
                import helper
                class Worker(Task):
                    def run(self):
                        self.world.results.add("size", [SIZE, helper.NAME])
            """,
            "model.py": "SIZE = 3\n",
            "helper.py": "NAME = 'sibling'\n",
        },
        {"file": "__init__.py", "class": "Worker"},
    )
    assert process.exit_code == 0, process.stderr
    assert process.outcome.results == {"size": [3, "sibling"]}


@pytest.mark.parametrize("name", ["json", "manta", "1 strange-name.v2", "random"])
def test_a_module_may_have_any_name_and_file_name(start: Start, name: str) -> None:
    code = "import json, random\nfrom manta.light import World\n"
    code += "def main(): World().results.add('n', json.dumps(__name__))\n"
    process = start({"worker_v1.0.py": code}, {"file": "worker_v1.0.py", "call": "main", "name": name})
    assert process.exit_code == 0, process.stderr
    assert process.outcome.results["n"].strip('"') not in sys.stdlib_module_names


def test_a_task_that_needs_no_arrays_imports_no_numpy(start: Start) -> None:
    code = "import sys\nfrom manta.light import World\ndef main(): World().results.add('m', list(sys.modules))\n"
    loaded = start({"worker.py": code}, MAIN).outcome.results["m"]
    assert not {"numpy", "pandas", "asyncio"} & set(loaded)


def test_the_light_package_needs_the_standard_library_only() -> None:
    on_use = {"numpy", "pandas", "pyarrow", "torch", "ml_dtypes"}
    for path in (Path(manta.__file__).parent / "light").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [str(node.module)]
            roots = {name.partition(".")[0] for name in names} - {"manta"}
            top = node.col_offset == 0 if names else False
            assert roots <= (sys.stdlib_module_names if top else sys.stdlib_module_names | on_use), path


def test_an_error_shows_the_users_frames_and_no_others(start: Start) -> None:
    process = start(
        {
            "worker.py": """
                from manta.light import World
                def helper():
                    World().globals["rate"]
                def main():
                    World().results.add("status", "failed_unknown")
                    helper()
            """
        },
        MAIN,
    )
    error = process.error
    assert (process.exit_code, process.end["ok"], process.told) == (1, False, ["started"])
    assert (error["type"], error["where"]) == ("GlobalNotFound", "worker.py:4")
    assert 'the swarm has no global "rate"' in error["message"]
    assert "in helper" in error["traceback"] and "manta/light" not in error["traceback"]
    assert process.outcome.results == {"status": "failed_unknown"}


def test_platform_frames_can_be_asked_for(start: Start) -> None:
    code = "def main():\n    1 / 0\n"
    assert "_boot.py" in start({"worker.py": code}, MAIN, MANTA_TRACEBACK="1").error["traceback"]
    error = start({"worker.py": code}, MAIN).error
    assert (error["type"], error["where"]) == ("ZeroDivisionError", "worker.py:2")
    assert "_boot.py" not in error["traceback"]


def test_the_cause_of_an_error_is_shown_too(start: Start) -> None:
    code = """
        def main():
            try:
                open("/nothing/there")
            except OSError as error:
                raise RuntimeError("no data") from error
    """
    error = start({"worker.py": code}, MAIN).error
    assert "FileNotFoundError" in error["traceback"] and "direct cause" in error["traceback"]
    assert error["where"] == "worker.py:6"


def test_code_that_cannot_be_imported_fails_before_it_is_started(start: Start) -> None:
    process = start({"worker.py": "import no_such_package\ndef main(): pass\n"}, MAIN)
    assert (process.error["type"], process.error["where"]) == ("ModuleNotFoundError", "worker.py:1")
    assert process.told == []
    assert start({"worker.py": "def main(:\n"}, MAIN).error["where"] == "worker.py:1"


def test_a_failure_in_a_library_is_located_where_the_module_called_it(start: Start) -> None:
    process = start(
        {
            "worker.py": """
                import json
                from decode import decoded
                def main():
                    decoded("{")
            """,
            "decode.py": """
                import json
                def decoded(text):
                    return json.loads(text)
            """,
        },
        MAIN,
    )
    assert (process.error["type"], process.error["where"]) == ("JSONDecodeError", "decode.py:4")
    assert "json/decoder.py" in process.error["traceback"], "the frames of libraries are shown, too"


def test_packages_below_the_code_are_no_code_of_the_users(start: Start) -> None:
    files = {
        "worker.py": """
            import os, sys
            sys.path.append(os.path.join(os.path.dirname(__file__), ".venv", "site-packages"))
            import mean
            def main():
                mean.mean([])
        """,
        ".venv/site-packages/mean.py": "def mean(values):\n    return sum(values) / len(values)\n",
    }
    assert start(files, MAIN).error["where"] == "worker.py:6"


def test_where_no_frame_is_of_the_module_the_innermost_is_told(tmp_path: Path) -> None:
    try:
        ast.parse("(")
    except SyntaxError as error:
        error.filename = None
        assert (user_location(error, str(tmp_path)) or "").startswith(ast.__file__)
    assert user_location(ValueError("raised nowhere"), str(tmp_path)) is None


@pytest.mark.parametrize("name", ["<unknown>", "<text>", ""])
@pytest.mark.parametrize("text", ["(", "1 / 0"])
def test_a_failure_in_text_that_was_compiled_is_located_where_the_module_ran_it(
    start: Start, name: str, text: str
) -> None:
    process = start({"worker.py": f"def main():\n    exec(compile({text!r}, {name!r}, 'exec'))\n"}, MAIN)
    assert process.error["type"] in ("SyntaxError", "ZeroDivisionError")
    assert process.error["where"] == "worker.py:2"


def test_a_long_traceback_keeps_the_modules_frames_and_its_last_lines(start: Start) -> None:
    process = start(
        {
            "worker.py": """
                import copy
                class Deep:
                    def __deepcopy__(self, memo):
                        raise ValueError("cannot be copied")
                def nested(depth):
                    value = Deep()
                    for _ in range(depth):
                        value = [value]
                    return value
                class Outer:
                    def __deepcopy__(self, memo):
                        return copy.deepcopy(nested(300), memo)
                def main():
                    copy.deepcopy([[Outer()]])
            """
        },
        MAIN,
    )
    shown = process.error["traceback"]
    assert len(shown) < 61_000 and "frames of libraries left out ...]" in shown
    assert [shown.count(f"in {name}\n") for name in ("main", "__deepcopy__")] == [1, 2]
    assert shown.endswith("ValueError: cannot be copied\n")
    assert process.error["where"] == "worker.py:5"


def test_a_long_traceback_without_libraries_keeps_both_its_ends(start: Start) -> None:
    code = """
        def {name}(n):
            return other(n - 1) if n else ("ä" * 10)[n:] + n
        def other(n):
            return {name}(n)
        def main():
            {name}(300)
    """
    shown = start({"worker.py": code.replace("{name}", "ä" * 100)}, MAIN).error["traceback"]
    assert len(shown.encode()) < 64 << 10 and "bytes left out ...]" in shown
    assert "in main\n" in shown and 'can only concatenate str (not "int") to str' in shown


@pytest.mark.parametrize(
    "body, is_told",
    [
        ("raise socket.gaierror(-3, 'Temporary failure in name resolution')", True),
        ("raise urllib.error.URLError(socket.gaierror(-3, 'no'))", True),
        ("raise ValueError('no such page') from socket.gaierror(-3, 'no')", True),
        ("os.geteuid() or os.seteuid(65534); socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", True),
        ("raise PermissionError(1, 'not permitted', 'data.csv')", False),
        ("raise urllib.error.URLError('unknown url type')", False),
    ],
)
def test_who_wants_a_network_is_told_that_there_is_none(start: Start, body: str, is_told: bool) -> None:
    process = start({"worker.py": f"import os, socket, urllib.error\ndef main():\n    {body}\n"}, MAIN)
    message = process.error["message"]
    sentence = "; a task has no network: datasets, globals and results are what it has"
    assert message.endswith(sentence) is is_told, message


@pytest.mark.parametrize(
    ("statement", "code"), [("sys.exit()", 0), ("sys.exit(0)", 0), ("sys.exit(3)", 1), ("sys.exit('no')", 1)]
)
def test_sys_exit_is_success_only_with_zero(start: Start, statement: str, code: int) -> None:
    process = start({"worker.py": f"import sys\ndef main():\n    {statement}\n"}, MAIN)
    assert process.exit_code == code and process.end["ok"] is (code == 0)
    if code:
        assert process.error["type"] == "SystemExit" and "sys.exit" in process.error["message"]


def test_a_child_process_cannot_speak_for_the_task(start: Start) -> None:
    code = """
        import os
        from manta.light import World
        from manta.light.errors import OutsideSandbox
        def main():
            child = os.fork()
            if child == 0:
                try:
                    World().results.add("x", 1)
                except OutsideSandbox:
                    os._exit(7)
                os._exit(0)
            World().results.add("code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert start({"worker.py": code}, MAIN).outcome.results == {"code": 7}


def test_threads_of_a_task_may_all_publish(start: Start) -> None:
    code = """
        from concurrent.futures import ThreadPoolExecutor
        from manta.light import World
        def publish(n):
            World().results.add(f"r{n}", "x" * 10 * n)
            return len(World().globals)
        def main():
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(publish, range(100)))
    """
    process = start({"worker.py": code}, MAIN)
    assert process.exit_code == 0, process.error
    assert len(process.outcome.results) == 100


@pytest.mark.parametrize(
    "body, limit",
    [
        ("raise MemoryError", "memory"),
        ("raise OSError(errno.ENOMEM, 'no memory')", "memory"),
        ("raise OSError(errno.ENOSPC, 'full')", "scratch"),
        ("raise OSError(errno.EDQUOT, 'full')", "scratch"),
        ("raise OSError(errno.EMFILE, 'no descriptor')", "open_files"),
        ('raise RuntimeError("can\'t start new thread")', "processes"),
        ("fork = OSError(errno.EAGAIN, 'no process'); raise fork", "processes"),
        ("raise OSError(errno.EAGAIN, 'would block')", None),
        ("raise OSError(errno.ENOENT, 'not there')", None),
        ("raise RuntimeError('anything else')", None),
        ("raise ValueError('shapes differ')", None),
    ],
)
def test_a_limit_that_was_run_into_is_named(start: Start, body: str, limit: str | None) -> None:
    process = start({"worker.py": f"import errno\ndef main():\n    {body}\n"}, MAIN)
    assert process.error["limit"] == limit, process.stderr


def test_a_task_at_its_memory_limit_still_tells_so(start: Start) -> None:
    process = start(
        {
            "worker.py": """
                import resource
                def main():
                    resource.setrlimit(resource.RLIMIT_DATA, (200 << 20, 200 << 20))
                    hoard = []
                    step = 16 << 20
                    while step:
                        try:
                            hoard.append(bytearray(step))
                        except MemoryError:
                            if step == 1:
                                raise
                            step //= 2
            """
        },
        MAIN,
    )
    assert (process.error["type"], process.error["limit"]) == ("MemoryError", "memory"), process.stderr


NEAR_ITS_LIMIT = """
    import os, signal, time
    from manta.light.task import Task, ResourceExhaustionError
    class Worker(Task):
        def run(self):
            hoard = [bytearray(1 << 20)]
            os.kill(os.getpid(), signal.SIGPWR)
            time.sleep(60)
    def main():
        {call}
"""


def test_a_task_that_is_told_of_its_memory_limit_fails_at_it(start: Start) -> None:
    process = start({"worker.py": NEAR_ITS_LIMIT.format(call="Worker().run()")}, MAIN)
    assert process.error["type"] == "ResourceExhaustionError", process.stderr
    assert "90% of its memory limit" in process.error["message"]


def test_a_task_may_catch_it_and_go_on(start: Start) -> None:
    call = """
        try:
            Worker().run()
        except ResourceExhaustionError:
            Task().world.results.add("went on", True)
    """
    process = start({"worker.py": NEAR_ITS_LIMIT.format(call=call)}, MAIN)
    assert process.end["ok"] and process.outcome.results == {"went on": True}, process.stderr


def test_a_message_under_way_is_whole_when_the_error_is_raised(start: Start) -> None:
    process = start(
        {
            "worker.py": """
                import os, signal, threading
                from manta.light import _attempt
                from manta.light.task import Task, ResourceExhaustionError
                def main():
                    attempt = _attempt.current("test")
                    send = attempt._send
                    def told_meanwhile(body, fds):
                        os.kill(os.getpid(), signal.SIGPWR)
                        for _ in range(100):
                            pass
                        send(body, fds)
                    attempt._send = told_meanwhile
                    try:
                        Task().world.results.add("x", 1)
                    except ResourceExhaustionError:
                        attempt._send = send
                        Task().world.results.add("caught", True)
            """
        },
        MAIN,
    )
    assert process.end["ok"] and process.outcome.results == {"x": 1, "caught": True}, process.stderr


def test_a_rehearsal_leaves_nothing_that_a_task_could_find() -> None:
    modules, path = set(sys.modules), list(sys.path)
    _boot.rehearse()
    assert (set(sys.modules), sys.path) == (modules, path)
    assert _attempt.bound() is None
