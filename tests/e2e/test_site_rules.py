"""What a site rules while its agent runs: hours, containment, budgets of what leaves, and its own record of it."""

from datetime import datetime, timedelta, timezone

import pytest

from harness.cluster import Cluster
from harness.waiting import wait_until

TALKS = """
from manta.light.task import Task


class Talks(Task):
    def run(self):
        print("a line of the dataset")
        self.world.results.add("rows", "x" * {size})


def main():
    Talks().run()
"""
SWARM = """
    class Leaves(Swarm):
        def __init__(self):
            super().__init__()
            self.talks = Task(Module("talks.py", datasets=["rows"]), method="any", maximum=1)

        def execute(self):
            return self.talks()
"""


@pytest.fixture
def cluster(manta):
    """Return a manager and nodes that are yet to start."""
    return Cluster(manta)


def module(manta, size):
    manta.file("talks.py", TALKS.format(size=size))
    return manta.swarm(SWARM)


def start(cluster, manta, policy):
    rows = manta.work / "rows.csv"
    rows.write_text("a,b\n1,2\n")
    path = manta.work / "policy.toml"
    path.write_text(policy)
    cluster.start_manager()
    cluster.start_node("n", {"rows": rows}, options=("--policy", path))
    cluster.wait_for_nodes("n")
    return path


def hours(begin, end):
    now = datetime.now(timezone.utc)
    clock = [(now + timedelta(hours=offset)).strftime("%H:%M") for offset in (begin, end)]
    return f'allow_hours = "{clock[0]}-{clock[1]}"\ntime_zone = "UTC"\n'


def audit(manta, *arguments):
    return manta("node", "audit", "--data-dir", manta.root / "n-n", *arguments)


def test_tasks_wait_for_the_hours_of_the_site_and_begin_when_the_rules_change(cluster, manta):
    policy = start(cluster, manta, hours(2, 3))
    swarm = cluster.deploy(module(manta, 10))

    def waits():
        why = manta("why", swarm, environment=cluster.as_user)
        words = ("lets nothing begin now", "policy.toml:1", "`allow_hours`", "(UTC)")
        return None if all(word in why.out for word in words) else why.text

    wait_until(20, waits)
    policy.write_text("allow_hours = \n")
    noted = "the rules before it stay"
    wait_until(20, lambda: None if noted in str(cluster.api.nodes()["n"]["notes"]) else f"{cluster.api.nodes()}")
    assert cluster.api.swarm(swarm)["state"] == "running", "a broken file opens nothing"
    policy.write_text(hours(-1, 1))
    cluster.wait_for(swarm, "succeeded")
    wait_until(20, lambda: f"{cluster.api.nodes()}" if noted in str(cluster.api.nodes()["n"]["notes"]) else None)
    policy.write_text('isolation_min = "full"\n[datasets.rows]\nmodules = ["other"]\nsigners = []\n')
    cluster.nodes["n"].signal(1)

    def is_refused():
        plan = manta("plan", manta.work / "swarm.py", environment=cluster.as_user)
        return None if "`datasets.rows`" in plan.text or "`isolation_min`" in plan.text else plan.text

    wait_until(20, is_refused)
    assert cluster.nodes["n"].process.poll() is None, "a hangup is no end where there is no terminal"


def test_what_may_leave_of_a_dataset_is_counted_and_bounded(cluster, manta):
    start(cluster, manta, "[datasets.rows]\negress_bytes_per_day = 20_000\n")
    swarm = cluster.deploy(module(manta, 2_000))
    cluster.wait_for(swarm, "succeeded")
    swarm = cluster.deploy(module(manta, 30_000))

    def failures():
        return [event["event"] for event in cluster.api.events(swarm) if event["event"]["kind"] == "attempt_failed"]

    wait_until(60, lambda: None if failures() else "no attempt failed yet")
    (failed, *_) = failures()
    assert failed["failure"]["class"] == "policy", failed
    assert "`datasets.rows.egress_bytes_per_day`" in failed["failure"]["message"], failed
    assert cluster.api.results(swarm) == []
    why = manta("why", swarm, environment=cluster.as_user)
    assert "egress_bytes_per_day" in why.out, why.text
    assert manta("stop", swarm, environment=cluster.as_user).code == 0
    read = audit(manta, "--json")
    assert read.code == 0, read.text
    told = read.documents()[0]
    assert 2_000 < told["egress_bytes"]["rows"] <= 20_000, told["egress_bytes"]
    outcomes = [record["outcome"] for record in told["records"] if record["kind"] == "ended"]
    assert outcomes[0] == "succeeded" and outcomes[1] == "policy", outcomes
    work = next(record["work"] for record in told["records"] if record["kind"] == "began")
    assert (work["module"], work["datasets"]) == ("talks", ["rows"]), work


def test_a_record_that_was_changed_is_found_and_what_was_before_it_is_shown(cluster, manta):
    start(cluster, manta, '[datasets.rows]\nmodules = ["other"]\nsigners = []\n')
    refused = manta("deploy", module(manta, 10), environment=cluster.as_user)
    assert refused.code == 4 and "is for other alone" in refused.err, refused.text
    whole = audit(manta, "--verify")
    assert whole.code == 0 and "none changed" in whole.out, whole.text
    cluster.nodes["n"].signal(15)
    assert cluster.nodes["n"].end().code == 0
    path = manta.root / "n-n" / "audit.log"
    first, second = path.read_text().splitlines()[:2]
    path.write_text(f"{first}\n{second.replace('policy', 'pol1cy')}\n")
    broken = audit(manta)
    assert broken.code != 0 and "broken in line 2" in broken.err, broken.text
    assert "the agent of n started" in broken.out, broken.text
