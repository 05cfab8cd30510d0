"""However a task ends, the run says so: the exit code of the process is not always the truth that it tells."""

import pytest

TASK = """
    import ctypes, os, signal, sys, threading
    from manta.light.task import Task

    class Ending(Task):
        def run(self):
            self.world.results.add("name", "published before the end")
            {line}
"""

SWARM = """
    class Ends(Swarm):
        def __init__(self):
            super().__init__()
            self.ending = Task(Module("modules/ending.py"), method="any", retries=0)

        def execute(self):
            return self.ending()
"""

FAILURES = {
    "sys.exit(3)": "3",
    "sys.exit('not enough data')": "not enough data",
    "os._exit(7)": "7",
    "os._exit(0)": "0",
    "os.abort()": "SIG",
    "signal.raise_signal(signal.SIGSEGV) or os.abort()": "SIG",
    "ctypes.string_at(0)": "SIGSEGV",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "raise BaseException('odd')": "odd",
    "os.close(3)": "",
    "exec('1 +')": "SyntaxError",
    "import nowhere": "nowhere",
    "(lambda f: f(f))(lambda f: f(f))": "RecursionError",
}


def ending(manta, line, *arguments):
    """Run a task that ends with this line."""
    manta.file("modules/ending.py", TASK.format(line=line))
    return manta("run", manta.swarm(SWARM), "--nodes", 1, *arguments)


@pytest.mark.parametrize("line", FAILURES)
def test_a_bad_ending_is_a_failure_that_is_named(manta, line):
    ended = ending(manta, line, "--json")
    assert ended.code == 1, ended.text
    (failure,) = ended.documents()[0]["failures"]
    assert FAILURES[line] in failure["message"] + failure.get("traceback", ""), failure
    assert failure["class"] in ("user_error", "resource_limit"), failure


def test_an_abort_is_told_as_one(manta):
    ended = ending(manta, "os.abort()")
    assert "SIGABRT" in ended.text, ended.text


@pytest.mark.parametrize(
    "line",
    [
        "return 'ignored'",
        "sys.exit(0)",
        "sys.exit()",
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "sys.stdout.close()",
        "print('no newline', end='')",
        "sys.stdout.buffer.write(bytes(range(256)))",
        "print('x' * 5_000_000)",
    ],
)
def test_a_good_ending_is_a_success(manta, line):
    ended = ending(manta, line)
    assert ended.code == 0 and "published before the end" in ended.out, ended.text[:4000]


def test_many_lines_all_arrive_in_order(manta):
    ended = ending(manta, "for number in range(20_000): print(f'line {number}')")
    lines = [int(line.rsplit(" ", 1)[1]) for line in ended.err.splitlines() if "│ line " in line]
    assert ended.code == 0 and lines == list(range(20_000)), (len(lines), ended.text[-2000:])


def test_what_is_printed_cannot_steer_the_terminal(manta):
    ended = ending(manta, r"print('\x1b[2J\x1b]0;owned\x07 and \r over')")
    assert ended.code == 0 and "\x1b" not in ended.text and "\x07" not in ended.text, ended.text


def test_paths_may_hold_spaces_and_letters_of_any_script(manta):
    folder = manta.work / "mein Ordner é 数"
    folder.mkdir()
    (manta.work / "modules").rename(folder / "modules")
    data = folder / "gate 1"
    data.mkdir()
    (data / "open").touch()
    path = manta.swarm(
        SWARM.replace("ending.py", "gate.py").replace('.py")', '.py", datasets=["gate"])'), f"{folder.name}/swarm é.py"
    )
    ended = manta("run", path, "--nodes", 1, "--data", f"gate={data}")
    assert ended.code == 0 and "at the gate" in ended.text, ended.text
