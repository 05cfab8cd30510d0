"""Logs of a manager and of an agent, for programs."""

import json
import signal

import pytest

from harness.cluster import Cluster

CHAIN = """
    class Chain(Swarm):
        def __init__(self):
            super().__init__()
            self.ok = Task(Module("modules/ok.py"))

        def execute(self):
            return self.ok()
"""


@pytest.mark.parametrize("role", ["manager", "node"])
def test_a_log_in_json_is_one_object_a_line(manta, role):
    cluster = Cluster(manta)
    if role == "manager":
        cluster.start_manager(options=("--log-format", "json"))
        cluster.start_node("node-1")
    else:
        cluster.start_manager()
        cluster.start_node("node-1", options=("--log-format", "json"))
    cluster.wait_for_nodes("node-1")
    swarm = cluster.deploy(manta.swarm(CHAIN))
    cluster.wait_for(swarm, "succeeded")
    command = cluster.manager if role == "manager" else cluster.nodes["node-1"]
    command.signal(signal.SIGTERM)
    text = command.end(20).err
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert lines, text
    for line in lines:
        assert {"time", "level", "target", "message"} <= line.keys(), line
        assert line["level"] in ("trace", "debug", "info", "warn", "error"), line
        assert line["time"].endswith("Z") and line["target"].startswith("manta"), line
    if role == "manager":
        assert any(line.get("swarm") == swarm for line in lines), text
    else:
        assert all(line["node"] == "node-1" for line in lines), text
