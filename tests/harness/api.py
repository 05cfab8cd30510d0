"""A plain client of the public API, so that tests need no client of ours to see what a manager holds."""

import io
import json
import urllib.error
import urllib.request

from manta.light.utils import bytes_to_numpy

TERMINAL = ("succeeded", "failed", "stopped")


class Api:
    """One cluster of the manager at ``url``, spoken to with ``token``."""

    def __init__(self, url, token, cluster="default"):
        self._base = f"{url}/v1/clusters/{cluster}"
        self._token = token

    def get(self, path):
        """Return the JSON answer to a request."""
        return json.loads(self._ask("GET", path))

    def swarm(self, name):
        """Return a swarm as shown."""
        return self.get(f"/swarms/{name}")

    def swarms(self):
        """Return all swarms."""
        return self.get("/swarms")

    def nodes(self):
        """Return the nodes by name."""
        return {node["name"]: node for node in self.get("/nodes")}

    def events(self, swarm):
        """Return the whole history of a swarm."""
        return self._pages(f"/swarms/{swarm}/events")

    def logs(self, swarm):
        """Return every log line of a swarm."""
        return self._pages(f"/swarms/{swarm}/logs")

    def results(self, swarm):
        """Return what was published, without the values."""
        return self.get(f"/swarms/{swarm}/results")

    def globals(self, swarm):
        """Return the globals' values by name."""
        return {entry["name"]: self.value(entry["blob"]) for entry in self.get(f"/swarms/{swarm}/globals")}

    def value(self, blob):
        """Return the value that a blob holds."""
        return bytes_to_numpy(self._ask("GET", f"/blobs/{blob['digest']}"))

    def lacks_state(self, swarm, *wanted):
        """Return None if the swarm is in a wanted state, else what it is doing instead; for ``wait_until``."""
        try:
            view = self.swarm(swarm)
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            return f"the manager does not answer: {error}"
        if view["state"] in wanted:
            return None
        assert view["state"] not in TERMINAL, f"the swarm is {view['state']}: {view['reason']}"
        return f"the swarm is {view['state']} ({view['reason']}), waiting: {view['waiting']}, {view['task_runs']}"

    def _pages(self, path):
        found = []
        while page := self.get(f"{path}?after={found[-1]['seq'] if found else 0}"):
            found += page
        return found

    def _ask(self, method, path):
        request = urllib.request.Request(self._base + path, method=method)
        request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                body = io.BytesIO(refusal.read())
            raise urllib.error.HTTPError(refusal.url, refusal.code, refusal.reason, refusal.headers, body) from None


def of_kind(events, kind):
    """Return the events of one kind, without their envelopes."""
    return [entry["event"] for entry in events if entry["event"]["kind"] == kind]


def assert_accepted_once(events):
    """Check that no assignment was accepted twice, that nothing follows an end, and that the sequence has no gap."""
    assert [entry["seq"] for entry in events] == list(range(1, len(events) + 1)), "the sequence has gaps"
    offered = {event["attempt"]: event for event in of_kind(events, "attempt_offered")}
    accepted = [event["attempt"] for event in of_kind(events, "attempt_accepted")]
    slots = [(offered[name]["iteration"], offered[name]["task"], offered[name]["slot"]) for name in accepted]
    assert len(slots) == len(set(slots)), f"accepted twice: {sorted(slot for slot in slots if slots.count(slot) > 1)}"
    ends = [entry["seq"] for entry in events if entry["event"]["kind"].removeprefix("swarm_") in TERMINAL]
    assert ends == [len(events)], f"ended at {ends} of {len(events)} events"
