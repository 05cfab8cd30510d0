"""Another version of a module in a swarm that runs: step by step, judged by gates, and taken back."""

import json

import pytest

from harness.api import assert_accepted_once, of_kind
from harness.cluster import Cluster
from harness.waiting import wait_until

USAGE, NOT_FOUND, NOT_VALID, CONFLICT = 2, 3, 4, 8

ROLLING = """
    class Rolling(Swarm):
        def __init__(self):
            super().__init__(max_iteration=100000)
            self.worker = Task(Module("roller", version="1.0.0"), alias="worker", retries=0)

        def execute(self):
            return self.worker()
"""

WORKER = """
from manta.light.task import Task


class Worker(Task):
    def run(self):
        {body}
        self.metrics.log({{"score": {score}}})
        self.world.results.add("version", "{version}")
        if (self.local.get_dataset("control").path / "stop").exists():
            self.world.stop_swarm()


def main():
    Worker().run()
"""

FINE = {"1.0.0": ("pass", 1.0), "1.1.0": ("pass", 1.0)}
BROKEN = {"1.2.0": ('raise ValueError("broken on purpose")', 1.0), "1.3.0": ("pass", 0.5)}


class Rolling:
    """A cluster on which a swarm runs until it is told to end, and the versions of its module."""

    def __init__(self, manta, *nodes):
        self.manta = manta
        self.control = manta.work / "control"
        self.control.mkdir()
        self.cluster = Cluster(manta).start(*nodes, datasets={"control": self.control})
        for version, (body, score) in {**FINE, **BROKEN}.items():
            self.publish(version, body, score)
        self.swarm = self.cluster.deploy(manta.swarm(ROLLING))
        self.place = "Rolling/worker"

    def publish(self, version, body, score):
        """Publish a version of the module."""
        fields = {"name": "roller", "version": version, "datasets": ["control"]}
        head = ["# /// script", "# [tool.manta.module]", *(f"# {key} = {json.dumps(fields[key])}" for key in fields)]
        code = WORKER.format(body=body, score=score, version=version)
        file = self.manta.file(f"published/roller_{version}.py", "\n".join([*head, "# ///", code]))
        self.ask("module", "publish", file)

    def run(self, *arguments):
        """Run a command against the manager and return how it ended."""
        return self.manta(*arguments, "--json", environment=self.cluster.as_user)

    def ask(self, *arguments):
        """Run a command that must succeed, and return its document."""
        ended = self.run(*arguments)
        assert ended.code == 0, ended.text
        return ended.documents()[-1]

    def rollout(self):
        """Return the task's newest rollout."""
        return self.ask("rollout", "show", self.place)["rollout"]

    def wait_for(self, state, limit_s=60):
        """Wait until the newest rollout is in a state, and return it."""
        seen = {}

        def look():
            seen.update(self.cluster.api.get(f"/swarms/{self.swarm}/rollouts")[-1])
            swarm = self.cluster.api.swarm(self.swarm)
            assert swarm["state"] == "running", f"the swarm is {swarm['state']}: {swarm['reason']}"
            return None if seen["state"] == state else f"the rollout is {seen}"

        wait_until(limit_s, look)
        return seen

    def wait_for_version(self, version, nodes):
        """Wait until the current iteration runs a version on so many nodes."""

        def look():
            (run,) = self.cluster.api.swarm(self.swarm)["task_runs"]
            return None if run["versions"].get(version) == nodes else f"the versions are {run['versions']}"

        wait_until(60, look)

    def finish(self):
        """Let the swarm end well, and check that every attempt ran what its events say; return the history."""
        (self.control / "stop").write_text("")
        self.cluster.wait_for(self.swarm, "succeeded")
        events = self.cluster.api.events(self.swarm)
        assert_accepted_once(events)
        runs = {event["attempt"]: event.get("version", "1.0.0") for event in of_kind(events, "attempt_offered")}
        values = {}
        for result in self.cluster.api.results(self.swarm):
            if (digest := result["blob"]["digest"]) not in values:
                values[digest] = self.cluster.api.value(result["blob"])
            assert values[digest] == runs[result["attempt"]] == result["version"], result
        return events


def by_iteration(events):
    """Return, for each iteration, which versions were accepted."""
    offered = {event["attempt"]: event for event in of_kind(events, "attempt_offered")}
    ran = {}
    for event in of_kind(events, "attempt_accepted"):
        offer = offered[event["attempt"]]
        ran.setdefault(offer["iteration"], []).append(offer.get("version", "1.0.0"))
    return [sorted(ran[iteration]) for iteration in sorted(ran)]


def test_a_version_reaches_every_node_step_by_step_and_is_rolled_back(manta):
    rolling = Rolling(manta, "node-1", "node-2")
    gates = ["--gate", "failures<=0%", "--gate", "metric:score>=-0.01"]
    planned = rolling.ask("rollout", "start", rolling.place, "^1.1, <1.2", "--steps", "50%,100%", *gates, "--dry-run")
    assert (planned["rollout"]["state"], planned["rollout"]["to"]) == ("planned", "1.1.0"), planned
    assert rolling.ask("rollout", "ls")["rollouts"] == [], "a dry run starts nothing"
    started = rolling.ask("rollout", "start", rolling.place, "1.1.0", "--steps", "50%,100%", *gates)["rollout"]
    assert (started["from"], started["to"], started["number"]) == ("1.0.0", "1.1.0", 1), started
    done = rolling.wait_for("completed")
    assert [figure["verdict"] for figure in done["figures"]] == ["passed", "passed"], done
    rolling.wait_for_version("1.1.0", 2)
    back = rolling.ask("rollback", "Rolling")["rollout"]
    assert (back["back"], back["task"], back["from"], back["to"]) == (True, "worker", "1.1.0", "1.0.0"), back
    rolling.wait_for("completed")
    rolling.wait_for_version("1.0.0", 2)
    ran = by_iteration(rolling.finish())
    changes = [one for one, before in zip(ran, [None, *ran], strict=False) if one != before]
    old, new = "1.0.0", "1.1.0"
    assert changes == [[old, old], [old, new], [new, new], [old, old]], changes
    listed = manta("rollout", "ls", environment=rolling.cluster.as_user)
    assert listed.code == 0 and listed.out.count("completed") == 2, listed.text


@pytest.mark.parametrize(
    ("version", "gate", "told"),
    [
        ("1.2.0", "failures<=1%", "failures<=1% failed (100% of 1 attempts)"),
        ("1.3.0", "metric:score>=-0.01", "metric:score>=-0.01 failed (-0.5 = 0.5 - 1)"),
    ],
)
def test_a_version_that_crashes_or_loses_a_metric_reverts_by_itself(manta, version, gate, told):
    rolling = Rolling(manta, "node-1", "node-2")
    rolling.ask("rollout", "start", rolling.place, version, "--steps", "50%,100%", "--gate", gate)
    reverted = rolling.wait_for("reverted")
    assert reverted["reason"] == told and reverted["share"] == 0.5, reverted
    rolling.wait_for_version("1.0.0", 2)
    ran = by_iteration(rolling.finish())
    assert all(len(versions) == 2 for versions in ran), "every node has its part in every iteration"
    assert [version, version] not in ran and ran[-1] == ["1.0.0", "1.0.0"], ran


def test_a_person_holds_promotes_and_reverts_while_the_manager_dies(manta):
    rolling = Rolling(manta, "node-1", "node-2")
    rolling.ask("rollout", "start", rolling.place, "1.1.0", "--steps", "50%,100%", "--hold-each", "--deadline", "30m")
    held = rolling.wait_for("held")
    assert (held["holder"], held["share"], len(held["nodes"])) == ("plan", 0.5, 1), held
    assert 0 < held["deadline_left_ms"] <= 30 * 60 * 1000, held
    listen = rolling.cluster.url.removeprefix("http://")
    rolling.cluster.kill_manager()
    rolling.cluster.start_manager(listen)
    rolling.cluster.wait_for_nodes("node-1", "node-2")
    again = rolling.rollout()
    assert (again["state"], again["share"], again["nodes"]) == ("held", 0.5, held["nodes"]), again
    rolling.ask("rollout", "resume", rolling.place)
    rolling.wait_for("held")
    rolling.ask("rollout", "promote", rolling.place)
    rolling.wait_for_version("1.1.0", 2)
    rolling.ask("rollout", "hold", rolling.place)
    assert rolling.rollout()["holder"] == "user"
    rolling.ask("rollout", "revert", rolling.place)
    assert rolling.wait_for("reverted")["reason"] == "reverted by a user"
    rolling.wait_for_version("1.0.0", 2)
    rolling.finish()


def test_what_cannot_be_rolled_out_is_refused_in_a_sentence(manta):
    rolling = Rolling(manta, "node-1")
    rolling.ask("module", "yank", "roller@1.3.0", "--reason", "wrong")
    cases = [
        (("start", "None/worker", "1.1.0"), NOT_FOUND, "there is no swarm `None`"),
        (("start", "Rolling/wroker", "1.1.0"), NOT_FOUND, "did you mean `worker`?"),
        (("start", "Rolling", "1.1.0"), USAGE, "names no task"),
        (("start", rolling.place, "9.9.9"), NOT_FOUND, "no version of module `roller` is 9.9.9"),
        (("start", rolling.place, "1.3.0"), CONFLICT, "version 1.3.0 of module `roller` was yanked: wrong"),
        (("start", rolling.place, "1.0.0"), CONFLICT, "runs version 1.0.0 already"),
        (("start", rolling.place, "1.1.0", "--gate", "failures"), USAGE, "compares nothing"),
        (("start", rolling.place, "1.1.0", "--gate", "accuracy>=1"), USAGE, "neither failures nor a metric"),
        (("start", rolling.place, "1.1.0", "--steps", "50%,20%"), USAGE, "step 20% does not exceed step 50%"),
        (("start", rolling.place, "1.1.0", "--steps", "50%,120%"), USAGE, "`120%` is no share"),
        (("start", rolling.place, "1.1.0", "--deadline", "soon"), USAGE, "is no time"),
        (("hold", rolling.place), CONFLICT, "no rollout of this task goes on"),
        (("show", rolling.place), NOT_FOUND, "nothing was rolled out to `Rolling/worker` yet"),
    ]
    for arguments, code, told in cases:
        ended = rolling.run("rollout", *arguments)
        assert (ended.code, told in ended.err) == (code, True), f"{arguments}: {ended.text}"
    ended = rolling.run("rollback", "Rolling")
    assert ended.code == CONFLICT and "no rollout has completed" in ended.err, ended.text
    rolling.ask("rollout", "start", rolling.place, "1.1.0", "--hold-each")
    ended = rolling.run("rollout", "start", rolling.place, "1.2.0")
    assert ended.code == CONFLICT and "rollout 1 of this task goes on" in ended.err, ended.text
    rolling.finish()
    assert rolling.rollout()["state"] in ("abandoned", "completed")
    for arguments in [("rollout", "start", rolling.place, "1.2.0"), ("rollback", rolling.place)]:
        ended = rolling.run(*arguments)
        assert ended.code == CONFLICT and "the swarm is succeeded" in ended.err, ended.text
