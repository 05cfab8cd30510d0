"""Where the kernel gives less, a run says so in one line, a node does not join, and the doctor names the cure."""

import pytest

from harness.cluster import Cluster
from harness.containment import REDUCED, lacking_kernel_feature

REFUSED = 4

ONE_TASK = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            self.ok = Task(Module("modules/ok.py"))

        def execute(self):
            return self.ok()
"""


@pytest.fixture(autouse=True)
def needs_a_namespace_to_take_them_away():
    """Skip where this machine cannot show the situation."""
    if missing := lacking_kernel_feature(REDUCED):
        pytest.skip(missing)


def test_a_run_without_namespaces_works_and_says_so_with_the_cure(manta_without_namespaces):
    manta = manta_without_namespaces
    swarm = manta.swarm(ONE_TASK)
    manta.give_to_user()
    ended = manta("run", swarm, "--nodes", 3)
    assert ended.code == 0 and ended.text.count("ok on node-") == 3, ended.text
    said = [line for line in ended.err.splitlines() if "reduced" in line]
    assert len(said) == 1 and "max_user_namespaces" in said[0], ended.err


def test_a_node_without_namespaces_does_not_join_unless_the_site_wants_it(manta_without_namespaces):
    cluster = Cluster(manta_without_namespaces)
    cluster.start_manager()
    arguments = ["--manager", cluster.url, "--token-file", cluster.data_dir / "node-token", "--name", "node-1"]
    arguments += ["--data-dir", manta_without_namespaces.root / "n"]
    ended = manta_without_namespaces("node", "run", *arguments)
    assert ended.code == REFUSED, ended.text
    assert "reduced" in ended.err and "hint:" in ended.err, ended.err
    cluster.nodes["node-1"] = manta_without_namespaces.start("node", "run", *arguments, "--isolation-min", "reduced")
    cluster.wait_for_nodes("node-1")
    assert cluster.api.nodes()["node-1"]["tier"] == "reduced"


def test_the_doctor_says_what_is_missing_and_what_would_do(manta_without_namespaces):
    manta = manta_without_namespaces
    ended = manta("doctor", "--json", limit_s=120)
    assert ended.code == REFUSED, ended.text
    (found,) = ended.documents()
    assert found["host"]["tier"] == "reduced" and not found["enough"], found
    assert any("max_user_namespaces" in short["cure"] for short in found["host"]["shortcomings"]), found
    assert found["containment"]["holds"] and found["containment"]["allowed"] == [], found
    assert manta("doctor", "--isolation-min", "reduced", limit_s=120).code == 0
