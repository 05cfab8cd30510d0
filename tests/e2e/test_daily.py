"""A user's day at a manager: contexts, waiting, watching, logs, results; and every exit code that is documented."""

import json
import os
import signal
import subprocess

import numpy as np
import pytest

from harness.cluster import Cluster
from harness.manta import binary

SUCCESS, FAILED, USAGE, NOT_FOUND, REFUSED, UNREACHABLE, UNAUTHORISED, TIMED_OUT, CONFLICT, INTERRUPTED = (
    *range(9),
    130,
)

WAITS = """
    class Waits(Swarm):
        def __init__(self):
            super().__init__()
            self.gate = Task(Module("modules/gate.py", datasets=["gate"]))

        def execute(self):
            return self.gate()
"""

FAILS = """
    class Fails(Swarm):
        def __init__(self):
            super().__init__()
            self.crash = Task(Module("modules/crash.py"), retries=0)

        def execute(self):
            return self.crash()
"""

PUBLISHES = """
    class Publishes(Swarm):
        def __init__(self):
            super().__init__()
            self.set_global("rate", 0.5)
            self.publish = Task(Module("modules/publish_array.py"))

        def execute(self):
            return self.publish()
"""

PUBLISH_ARRAY = """
    from manta.light.task import Task

    class Publish(Task):
        def run(self):
            self.logger.error("nothing is wrong")
            self.world.results.add("weights", {"layer": [1.0, 2.0], "n": 3})
            self.world.results.add("up to 100 %", 1)
"""


@pytest.fixture
def gate(manta):
    """The dataset directory in which a test opens the gate."""
    directory = manta.work / "gate"
    directory.mkdir()
    return directory


def test_the_exit_code_says_how_it_went(manta, gate):
    cluster = Cluster(manta).start("node-1", datasets={"gate": gate})
    context = ("context", "add", "prod", "--manager", cluster.url, "--token-file", cluster.data_dir / "token")
    assert manta(*context).code == SUCCESS
    assert manta(*context).code == CONFLICT
    assert manta("ls").code == SUCCESS, "the first context is the current one"
    swarm = cluster.deploy(manta.swarm(WAITS))
    cluster.wait_for_log(swarm, "at the gate", ["node-1"])

    ended = manta("wait", swarm, "--timeout", "1s")
    assert ended.code == TIMED_OUT and "MANTA-0211" in ended.err and f"manta stop {swarm}" in ended.err, ended.text
    waiting = manta.start("wait", swarm[:12])
    following = manta.start("logs", swarm, "--follow")
    following.wait_for("at the gate")
    following.signal(signal.SIGINT)
    detached = following.end(15)
    assert detached.code == INTERRUPTED and f"`manta stop {swarm}` ends it" in detached.err, detached.text
    (look,) = manta("top", "--json", "--once").documents()
    assert [(running["node"], running["task"]) for running in look["attempts"]] == [("node-1", "gate")], look
    assert "node-1" in manta("top").out, "one table where nobody watches"
    (gate / "open").touch()
    assert waiting.end(30).code == SUCCESS
    assert manta("wait", swarm).code == SUCCESS, "what is over is not waited for"

    fails = cluster.deploy(manta.swarm(FAILS))
    ended = manta("wait", fails, "--json")
    assert ended.code == FAILED and ended.documents()[0]["swarm"]["state"] == "failed", ended.text
    assert json.loads(ended.err)["docs"] == "docs/reference/errors.md#manta-0207"
    ended = manta("logs", fails, "--task", "crsh")
    assert ended.code == NOT_FOUND and "did you mean `crash`?" in ended.err, ended.text
    ended = manta("logs", fails, "--node", "node-2")
    assert ended.code == NOT_FOUND and "did you mean `node-1`?" in ended.err, ended.text
    assert all("schema_version" in line for line in manta("events", fails, "--json").documents())
    assert manta("stop", fails).code == CONFLICT
    ended = manta("logs", fails, "--first-error")
    assert "crash.py:7: ValueError: the shapes differ" in ended.out and "in compute" in ended.out, ended.text
    assert "manta replay at_" in ended.err and "no line is an error" not in ended.err, ended.text
    (told,) = manta("logs", fails, "--first-error", "--json").documents()
    assert told["attempt"].startswith("at_") and told["failure"]["node"] == "node-1", told
    assert "compute" in told["failure"]["traceback"], told
    ended = manta("logs", fails, "--first-error", "--iteration", "1")
    assert ended.out == "" and "no line is an error" in ended.err, ended.text
    again = cluster.deploy(manta.swarm(FAILS))
    assert manta("wait", "Fails").code == FAILED, "a name that was used before is a name still"
    ended = manta("show", "Fails")
    assert again in ended.out and f"2 swarms are called `Fails`; this is the newest, {again}" in ended.err, ended.text
    assert manta("show", "Fails", "--quiet").err == "" and manta("show", "Fails", "--json").err == ""
    assert manta("rum").code == USAGE
    elsewhere = manta.swarm(WAITS.replace('datasets=["gate"]', 'datasets=["gates"]'), "elsewhere.py")
    assert manta("deploy", elsewhere).code == REFUSED
    assert manta("ls", "--manager", "unix:/nonexistent/s", environment={"MANTA_TOKEN": "t"}).code == UNREACHABLE
    assert manta("ls", "--manager", cluster.url).code == UNAUTHORISED, "a context's token is for its manager alone"
    assert manta("ls", environment={"MANTA_TOKEN": "wrong"}).code == UNAUTHORISED


def test_results_are_brought_as_files_of_other_programs(manta):
    manta.file("modules/publish_array.py", PUBLISH_ARRAY)
    cluster = Cluster(manta).start("node-1")
    swarm = cluster.deploy(manta.swarm(PUBLISHES))
    cluster.wait_for(swarm, "succeeded")
    out = manta.work / "out"
    ended = manta("results", "pull", swarm, "--out", out, environment=cluster.as_user)
    assert ended.code == SUCCESS and "1 global and 2 results" in ended.err, ended.text
    index = json.loads((out / "index.json").read_text())
    files = {entry["name"]: out / entry["file"] for entry in index["globals"] + index["results"]}
    with np.load(files["weights"], allow_pickle=False) as read:
        assert read["layer"].tolist() == [1.0, 2.0] and read["n"].item() == 3
    assert all(file.resolve().is_relative_to(out.resolve()) for file in files.values()), "names do not lead out"
    assert {path.suffix for path in out.rglob("*") if path.is_file()} == {".npz", ".json"}, "nothing else is left"

    ended = manta(
        "results", "pull", swarm, "--format", "csv", "--name", "rate", "--out", out, environment=cluster.as_user
    )
    assert ended.code == SUCCESS and (out / "globals/rate.csv").read_text() == "value\n0.5\n", ended.text
    before = sorted(out.rglob("*"))
    ended = manta("results", "pull", swarm, "--format", "csv", "--out", out, environment=cluster.as_user)
    assert ended.code == REFUSED and "`weights` cannot be written as csv" in ended.err, ended.text
    assert sorted(out.rglob("*")) == before, "all of it, or nothing"
    ended = manta("results", "pull", swarm, "--name", "wights", "--out", out, environment=cluster.as_user)
    assert ended.code == NOT_FOUND, ended.text
    ended = manta("logs", swarm, "--first-error", environment=cluster.as_user)
    assert "nothing is wrong" in ended.out and "manta replay at_" in ended.err, ended.text
    for verb in ("show", "why", "events", "logs", "results", "wait"):
        documents = manta(verb, swarm, "--json", environment=cluster.as_user).documents()
        assert documents and all(document["schema_version"] == 1 for document in documents), verb
    for listed in (["results", swarm], ["results", "ls", swarm]):
        ended = manta(*listed, environment=cluster.as_user)
        assert ended.code == SUCCESS and "weights" in ended.out, ended.text


def test_a_file_of_settings_that_cannot_be_used_is_told_with_its_line(manta):
    manta.file("../h/.config/manta/config.toml", '[contexts.prod]\nmanagr = "unix:/s"\n')
    for command in (["ls"], ["config", "show"], ["context", "ls"], ["run", "swarm.py"]):
        environment = {"MANTA_PYTHON": ""}
        ended = manta(*command, environment=environment)
        assert ended.code == USAGE, f"{command}: {ended.text}"
        assert "config.toml:2: `managr` is no key" in ended.err and "did you mean `manager`?" in ended.err, ended.text


@pytest.mark.parametrize("command", [["explain"], ["completions", "bash"], ["explain", "107"], ["explain", "--json"]])
def test_a_reader_that_goes_away_ends_any_command_quietly(manta, command):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [binary(), *command], env=manta.environment, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert done.returncode == SUCCESS and done.stderr == "", done.stderr
