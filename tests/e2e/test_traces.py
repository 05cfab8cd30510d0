"""One trace for each swarm, at a collector that records what it is sent."""

import gzip
import json
import runpy
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.cluster import Cluster
from harness.clusters import Two
from harness.manta import binary
from harness.waiting import wait_until
from manta.apis import UserAPI

CHAIN = """
    class Chain(Swarm):
        def __init__(self):
            super().__init__()
            self.ok = Task(Module("modules/ok.py"))
            self.collect = Task(Module("modules/collect.py"), method="any", maximum=1)

        def execute(self):
            return self.collect(self.ok())
"""


class Collector:
    """A receiver of OTLP over HTTP that keeps all it is sent."""

    def __init__(self):
        self.requests, self.status = [], 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.requests.append((self.path, dict(self.headers), json.loads(body)))
                self.send_response(collector.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def resource(self, swarm):
        """Return what a swarm's trace says of where it is from."""
        for _, _, body in list(self.requests):
            for resource in body["resourceSpans"]:
                if any(names(span, swarm) for scope in resource["scopeSpans"] for span in scope["spans"]):
                    return {entry["key"]: entry["value"] for entry in resource["resource"]["attributes"]}
        return None

    def spans(self, swarm):
        """Return the spans of a swarm."""
        found = []
        for _, _, body in list(self.requests):
            for resource in body["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    found += scope["spans"]
        return [span for span in found if span["traceId"] in {one["traceId"] for one in found if names(one, swarm)}]

    def close(self):
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def names(span, swarm):
    """Whether a span is the root of a swarm's trace."""
    return {"key": "manta.swarm", "value": {"stringValue": swarm}} in span["attributes"]


@pytest.fixture
def collector():
    """A collector that records."""
    collector = Collector()
    yield collector
    collector.close()


def start(manta, collector, *nodes):
    manta.environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=site%201,x-other=2",
    }
    return Cluster(manta).start(*nodes)


def test_a_swarm_is_one_trace_down_to_the_phases_of_its_attempts(manta, collector):
    cluster = start(manta, collector, "node-1", "node-2")
    swarm = cluster.deploy(manta.swarm(CHAIN))
    cluster.wait_for(swarm, "succeeded")
    wait_until(20, lambda: None if collector.spans(swarm) else f"no trace came; {len(collector.requests)} requests")
    (path, headers, body) = collector.requests[0]
    assert path == "/v1/traces" and headers["content-type"] == "application/json", (path, headers)
    assert (headers["x-tenant"], headers["x-other"]) == ("site 1", "2"), headers
    resource = {entry["key"]: entry["value"] for entry in body["resourceSpans"][0]["resource"]["attributes"]}
    assert resource["service.name"] == {"stringValue": "manta"}
    spans = collector.spans(swarm)
    by_id = {span["spanId"]: span for span in spans}
    assert len(by_id) == len(spans)
    assert all(len(span["traceId"]) == 32 and len(span["spanId"]) == 16 for span in spans)
    (root,) = (span for span in spans if not span["parentSpanId"])
    assert root["name"] == "swarm Chain" and root["status"]["code"] == 1, root

    def parents(span):
        while span["parentSpanId"]:
            span = by_id[span["parentSpanId"]]
            yield span["name"]

    runs = [span for span in spans if span["name"] == "run"]
    assert len(runs) == 3, [span["name"] for span in spans]
    ways = sorted(list(parents(span)) for span in runs)
    assert [way[2:] for way in ways] == [["iteration 0", "swarm Chain"]] * 3
    assert sorted(way[1] for way in ways) == ["task collect", "task ok", "task ok"]
    for phase in ("queue", "fetch", "environment", "publish"):
        assert sum(span["name"] == phase for span in spans) == 3, phase


def test_a_trace_names_its_cluster(manta, collector):
    manta.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    two = Two(manta)
    two.start_both()
    swarm = two.deploy_in("ulm", manta.swarm(CHAIN))
    wait_until(60, lambda: two.of("ulm").lacks_state(swarm, "succeeded"))
    wait_until(20, lambda: None if collector.spans(swarm) else f"no trace came; {len(collector.requests)} requests")
    assert collector.resource(swarm)["manta.cluster"] == {"stringValue": "ulm"}, collector.resource(swarm)


def test_a_swarm_of_ones_own_machine_is_traced_before_its_manager_is_gone(manta, collector):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    ended = manta("run", manta.swarm(CHAIN), "--nodes", "1", environment=environment)
    assert ended.code == 0, ended.text
    (root,) = (
        span
        for _, _, body in collector.requests
        for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]
        if not span["parentSpanId"]
    )
    assert root["name"] == "swarm Chain", root


def test_a_collector_that_refuses_is_said_once_and_costs_no_swarm(manta, collector):
    collector.status = 503
    cluster = start(manta, collector, "node-1")
    for _ in range(2):
        swarm = cluster.deploy(manta.swarm(CHAIN))
        cluster.wait_for(swarm, "succeeded")
        wait_until(20, lambda swarm=swarm: None if collector.spans(swarm) else "nothing came")
    wait_until(10, lambda: None if "it answered 503" in cluster.manager.text() else cluster.manager.text())
    assert cluster.manager.text().count("was not taken") == 1, cluster.manager.text()


def test_an_endpoint_that_is_none_is_refused_at_the_start(manta):
    ended = manta(
        "manager", "run", "--data-dir", manta.root / "m", environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}
    )
    assert ended.code == 2 and "OTEL_EXPORTER_OTLP_ENDPOINT" in ended.err, ended.text


def test_a_trace_that_others_began_goes_on_to_the_task(manta, collector, monkeypatch):
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    manta.file(
        "modules/traced.py",
        """
        import os

        def main():
            print("traced", os.environ.get("TRACEPARENT"))
        """,
    )
    swarm = manta.swarm(
        CHAIN.replace("modules/ok.py", "modules/traced.py").replace("self.collect(self.ok())", "self.ok()")
    )
    cluster = start(manta, collector, "node-1")
    environment = cluster.as_user | {"TRACEPARENT": f"00-{trace}-{span}-01"}
    deployed = manta("deploy", swarm, "--json", environment=environment)
    assert deployed.code == 0, deployed.text
    name = deployed.documents()[-1]["swarm"]["id"]
    cluster.wait_for(name, "succeeded")
    wait_until(20, lambda: None if collector.spans(name) else "no trace came")
    spans = collector.spans(name)
    assert {one["traceId"] for one in spans} == {trace}
    (root,) = (one for one in spans if one["name"].startswith("swarm"))
    assert root["parentSpanId"] == span
    (attempt,) = (one for one in spans if one["name"].startswith("attempt"))
    told = f"traced 00-{trace}-{attempt['spanId']}-01"
    wait_until(
        10, lambda: None if told in [line["text"] for line in cluster.api.logs(name)] else cluster.api.logs(name)
    )

    api, other = UserAPI(cluster.url, token_file=cluster.as_user["MANTA_TOKEN_FILE"]), "1" * 16
    monkeypatch.setenv("MANTA_BINARY", str(binary()))
    again = api.deploy(runpy.run_path(str(swarm))["Chain"](), traceparent=f"00-{trace}-{other}-01")
    cluster.wait_for(again.id, "succeeded")

    def parents():
        roots = (one for one in collector.spans(again.id) if one["name"].startswith("swarm"))
        return {root["parentSpanId"] for root in roots}

    wait_until(20, lambda: None if other in parents() else f"no trace of it came: {parents()}")

    ignored = manta("deploy", swarm, environment=cluster.as_user | {"TRACEPARENT": "none"})
    assert ignored.code == 0 and "TRACEPARENT is ignored" in ignored.err, ignored.text
