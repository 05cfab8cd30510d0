"""A plan tells before anything runs what each task would do, and ends as the submission would."""

from harness.cluster import Cluster

REFUSED = 4

SWARM = """
    class Planned(Swarm):
        def __init__(self):
            super().__init__(max_iteration=3)
            self.ok = Task(Module("modules/ok.py", datasets=["rows"]))
            self.collect = Task(Module("modules/collect.py"), method="any", maximum=1)

        def execute(self):
            return self.collect(self.ok())
"""


def test_a_plan_on_this_machine_names_nodes_limits_and_bytes_and_runs_nothing(manta):
    rows = manta.file("rows.csv", "a\n1\n")
    arguments = ["--nodes", "3", "--data", f"node-1:rows={rows}", "--data", f"node-2:rows={rows}"]
    ended = manta("plan", manta.swarm(SWARM), *arguments)
    assert ended.code == 0, ended.text
    parts = ("all 2 eligible nodes", "node-1, node-2", "not node-3", "least loaded of 3", "3 iterations", "sends ")
    for part in parts:
        assert part in ended.out, f"{part!r} is not in:\n{ended.out}"
    assert "ok on node-1" not in ended.text
    (plan,) = manta("plan", manta.swarm(SWARM), *arguments, "--json").documents()
    assert plan["possible"] and plan["schema_version"] == 1 and plan["upload"]["blobs"] >= 4, plan


def test_what_is_impossible_ends_with_4_and_the_nearest_name(manta):
    rows = manta.file("rows.csv", "a\n1\n")
    ended = manta("plan", manta.swarm(SWARM), "--nodes", "1", "--data", f"row={rows}")
    assert ended.code == REFUSED, ended.text
    assert "which no node offers" in ended.err and "did you mean `row`?" in ended.err, ended.text
    assert "refused: " in ended.out, ended.text


def test_a_plan_on_a_cluster_stores_nothing_and_refuses_local_nodes(manta):
    cluster = Cluster(manta).start("node-1", datasets={"rows": manta.work})
    ended = manta("plan", manta.swarm(SWARM), environment=cluster.as_user)
    assert ended.code == 0 and "1 node of the cluster" in ended.out, ended.text
    assert cluster.api.swarms() == []
    ended = manta("plan", manta.swarm(SWARM), "--nodes", "2", environment=cluster.as_user)
    assert ended.code == 2, ended.text
