"""What a manager tells of itself to those who watch it: metrics, health and readiness."""

import json
import math
import re
import urllib.error
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from harness.cluster import Cluster
from harness.manta import ROOT
from harness.waiting import wait_until

GUIDE = ROOT / "docs" / "guides" / "metrics.md"
CHAIN = """
    class Chain(Swarm):
        def __init__(self):
            super().__init__()
            self.ok = Task(Module("modules/ok.py"))

        def execute(self):
            return self.ok()
"""


def read(cluster, path, token=None):
    """Return the status, the content type and the body of an answer."""
    request = urllib.request.Request(cluster.url + path)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def samples(cluster):
    """Return every sample by name and labels, as a parser that is not ours reads them."""
    status, kind, text = read(cluster, "/metrics", (cluster.data_dir / "token").read_text().strip())
    assert status == 200 and kind.startswith("application/openmetrics-text; version=1.0.0"), (status, kind)
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in found, f"told twice: {key}"
            found[key] = sample.value
    return found


def total(found, name, **labels):
    """Return the sum of the samples of a name that carry these labels."""
    wanted = set(labels.items())
    matching = [value for (sample, *pairs), value in found.items() if sample == name and wanted <= set(pairs)]
    assert matching, f"no {name} with {labels} in {sorted(found)}"
    return math.fsum(matching)


def documented():
    """Return the metrics that the guide lists, each with its labels."""
    rows = re.findall(r"^\| `(manta_\w+)` \| \w+ \|([^|]*)\|", GUIDE.read_text(), re.MULTILINE)
    assert len(rows) > 10
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def told(found):
    """Return the metrics among samples, each with its labels."""
    metrics = {}
    for sample, *pairs in found:
        name = re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", sample)
        metrics.setdefault(name, set()).update({label for label, _ in pairs} - {"le"})
    return metrics


def test_numbers_move_as_a_swarm_runs(manta):
    cluster = Cluster(manta).start("node-1", "node-2")
    before = samples(cluster)
    assert total(before, "manta_build_info") == 1
    assert total(before, "manta_nodes", state="online") == 2
    assert total(before, "manta_swarms", state="succeeded") == 0
    swarm = cluster.deploy(manta.swarm(CHAIN))
    cluster.wait_for(swarm, "succeeded")
    after = samples(cluster)
    assert total(after, "manta_swarms", state="succeeded") == 1
    assert total(after, "manta_attempts_total", outcome="succeeded") == 2
    assert total(after, "manta_task_duration_seconds_count", module="ok", outcome="succeeded") == 2
    assert total(after, "manta_task_queue_seconds_count") == 2
    assert total(after, "manta_round_duration_seconds_count") == 1
    assert total(after, "manta_scheduler_decisions_total", reason="attempt_offered") == 2
    assert total(after, "manta_node_cpu_seconds_total", node="node-1") > 0
    assert total(after, "manta_node_memory_bytes", node="node-2") > 2**20
    for direction in ("in", "out"):
        grown = [total(found, "manta_transfer_bytes_total", direction=direction) for found in (before, after)]
        assert grown[0] < grown[1], (direction, grown)
    assert total(after, "manta_commit_duration_seconds_count") > total(before, "manta_commit_duration_seconds_count")
    for state in ("waiting", "ready", "running", "closing"):
        assert total(after, "manta_tasks", state=state) == 0
    assert told(after) == documented()
    cluster.kill_node("node-2")
    wait_until(30, lambda: None if total(samples(cluster), "manta_nodes", state="online") == 1 else "node-2 is online")


def test_metrics_want_a_users_token_and_health_wants_none(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    assert read(cluster, "/metrics")[0] == 401
    assert read(cluster, "/metrics", (cluster.data_dir / "node-token").read_text().strip())[0] == 403
    assert read(cluster, "/healthz")[::2] == (200, "ok\n")
    status, kind, text = read(cluster, "/readyz")
    assert (status, kind, json.loads(text)) == (
        200,
        "application/json",
        {"schema_version": 1, "ready": True, "obstacles": []},
    )
