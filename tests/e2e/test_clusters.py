"""Two clusters under one manager: the same names in both, nothing of one visible in the other, and one that goes."""

import json
import urllib.error

import pytest

from harness.api import Api, assert_accepted_once
from harness.cluster import Cluster
from harness.waiting import wait_until
from manta.apis import UserAPI

NOT_FOUND, DENIED, CONFLICT = 3, 6, 8
NAMES = ("default", "ulm")

GATED = """
    class Same(Swarm):
        def __init__(self):
            super().__init__()
            self.gate = Task(Module("modules/gate.py", datasets=["gate"]))

        def execute(self):
            return self.gate()
"""


class Two(Cluster):
    """A manager with two clusters, a node and a user of each; both nodes have one name."""

    def __init__(self, manta):
        super().__init__(manta)
        self.gates = {}

    def run(self, *arguments, cluster="default", user=None):
        """Run a command against a cluster, as the administrator or one of its users."""
        environment = {**self.as_user, "MANTA_CLUSTER": cluster}
        if user is not None:
            environment["MANTA_TOKEN_FILE"] = str(self._manta.work / f"{user}.token")
        return self._manta(*arguments, environment=environment)

    def start_both(self):
        """Start the manager, add a cluster, and let a node and an admin into each."""
        self.start_manager()
        assert self.run("cluster", "add", "ulm").code == 0
        for name in NAMES:
            self.gates[name] = self._manta.work / f"gate-{name}"
            self.gates[name].mkdir()
            self.join(name)
            file = self._manta.work / f"admin-{name}.token"
            assert self.run("user", "add", f"admin-{name}", "--role", "admin", cluster=name).code == 0
            made = self.run("token", "new", "--user", f"admin-{name}", "--out", file, cluster=name)
            assert made.code == 0, made.text
        self.wait_for_both()

    def join(self, cluster):
        """Let a node called ``n1`` into a cluster by the command that the manager prints."""
        ended = self.run("node", "token", "--name", "n1", "--cluster", cluster)
        assert ended.code == 0, ended.text
        arguments = [*ended.out.split()[1:], "--data-dir", self._manta.root / f"n-{cluster}"]
        arguments += ["--data", f"gate={self.gates[cluster]}"]
        self.nodes[cluster] = self._manta.start(*arguments)

    def of(self, cluster):
        """Return the plain client of a cluster, as the administrator."""
        return Api(self.url, (self.data_dir / "token").read_text().strip(), cluster)

    def as_admin_of(self, cluster, asked):
        """Return the plain client of a cluster, as the admin of another."""
        return Api(self.url, (self._manta.work / f"admin-{cluster}.token").read_text().strip(), asked)

    def wait_for_both(self):
        """Wait until each cluster has its node."""

        def look():
            seen = {name: self.of(name).nodes() for name in NAMES}
            lacking = [name for name, nodes in seen.items() if nodes.get("n1", {}).get("state") != "online"]
            return f"not online in {lacking}: {seen}" if lacking else None

        wait_until(40, look)

    def deploy_in(self, cluster, swarm):
        """Deploy a swarm into a cluster and return its id."""
        ended = self.run("deploy", swarm, "--json", cluster=cluster, user=f"admin-{cluster}")
        assert ended.code == 0, ended.text
        return ended.documents()[-1]["swarm"]["id"]

    def wait_at_gate(self, cluster, swarm):
        """Wait until a cluster's swarm stands at its gate."""
        api = self.of(cluster)

        def look():
            lines = api.logs(swarm)
            return None if any("at the gate" in line["text"] for line in lines) else f"no line says so: {lines}"

        wait_until(60, look)


@pytest.fixture
def two(manta):
    """Two clusters that are up."""
    two = Two(manta)
    two.start_both()
    return two


def worker(manta, cluster):
    """Write a module that has the same name and version for each cluster, and other code."""
    root = manta.work / f"worker-{cluster}"
    root.mkdir()
    (root / "__init__.py").write_text(f'def main():\n    print("of {cluster}")\n')
    (root / "pyproject.toml").write_text('[tool.manta.module]\nname = "worker"\nversion = "1.0.0"\n')
    return root


def refused(api, path):
    """Return the status of an answer that is a refusal."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        api.get(path)
    return raised.value.code


def test_the_same_names_in_both_and_both_go_on_after_the_manager_was_killed(manta, two):
    file = manta.swarm(GATED)
    swarms = {name: two.deploy_in(name, file) for name in NAMES}
    for name, swarm in swarms.items():
        two.wait_at_gate(name, swarm)
        published = two.run("module", "publish", worker(manta, name), cluster=name, user=f"admin-{name}")
        assert published.out == "worker@1.0.0\n", published.text
    for name, other in (NAMES, NAMES[::-1]):
        mine, api = swarms[name], two.of(name)
        assert [swarm["id"] for swarm in api.swarms()] == [mine]
        assert list(api.nodes()) == ["n1"]
        for path in ("", "/events", "/logs", "/results", "/globals"):
            assert refused(api, f"/swarms/{swarms[other]}{path}") == 404
        stranger = two.as_admin_of(other, name)
        for path in ("/swarms", f"/swarms/{mine}", f"/swarms/{mine}/logs", "/modules", "/nodes", "/users", "/audit"):
            assert refused(stranger, path) == 404, path
        (version,) = api.get("/modules/worker")
        assert version["bundle"] not in [found["bundle"] for found in two.of(other).get("/modules/worker")]
        assert refused(two.as_admin_of(other, other), f"/blobs/{version['bundle']}") == 404
        users = {user["name"] for user in api.get("/users")}
        assert users == {f"admin-{name}"}, users
        listed = two.run("ls", "--json", cluster=name, user=f"admin-{name}")
        assert [swarm["id"] for swarm in listed.documents()[-1]["swarms"]] == [mine], listed.text
        outside = two.run("ls", cluster=name, user=f"admin-{other}")
        assert outside.code == NOT_FOUND and f"your token is for the cluster `{other}`" in outside.text, outside.text
    where = two.url.removeprefix("http://")
    two.kill_manager()
    two.start_manager(listen=where)
    two.wait_for_both()
    for name, swarm in swarms.items():
        (two.gates[name] / "open").touch()
        wait_until(60, lambda name=name, swarm=swarm: two.of(name).lacks_state(swarm, "succeeded"))
        assert_accepted_once(two.of(name).events(swarm))
        token = (manta.work / f"admin-{name}.token").read_text().strip()
        api = UserAPI(two.url, token, cluster=name)
        assert [str(shown["name"]) for shown in api.swarms()] == ["Same"]
        assert [node["name"] for node in api.nodes()] == ["n1"]


def test_a_cluster_is_removed_when_nothing_uses_it_and_by_nobody_but_the_administrator(manta, two):
    swarm = two.deploy_in("ulm", manta.swarm(GATED))
    two.wait_at_gate("ulm", swarm)
    for arguments in (("ls",), ("add", "bonn"), ("rm", "default")):
        ended = two.run("cluster", *arguments, user="admin-default")
        assert ended.code in (DENIED, NOT_FOUND), ended.text
    ended = two.run("cluster", "rm", "ulm", cluster="ulm", user="admin-ulm")
    assert ended.code == DENIED and "administrator alone" in ended.text, ended.text
    ended = two.run("cluster", "rm", "ulm")
    assert ended.code == CONFLICT and "`Same " in ended.text and "`n1`" in ended.text, ended.text
    assert two.run("cluster", "rm", "default").code == CONFLICT
    unknown = two.run("cluster", "rm", "ulmm")
    assert unknown.code == NOT_FOUND and "did you mean `ulm`?" in unknown.text, unknown.text
    assert two.run("stop", swarm, cluster="ulm").code == 0
    assert two.run("node", "revoke", "n1", cluster="ulm").code == 0
    removed = two.run("cluster", "rm", "ulm", "--json")
    assert removed.code == 0 and removed.documents()[-1]["removed"] == {"name": "ulm"}, removed.text
    gone = two.run("ls", cluster="ulm")
    assert gone.code == NOT_FOUND and "there is no cluster `ulm` here" in gone.text, gone.text
    listed = two.run("cluster", "ls", "--json")
    assert [cluster["name"] for cluster in listed.documents()[-1]["clusters"]] == ["default"], listed.text
    assert list((two.data_dir / "clusters").iterdir()) == []
    noted = two.run("audit", "--json")
    assert "/v1/clusters/ulm/remove" in noted.out, noted.text
    assert list(two.of("default").nodes()) == ["n1"], json.dumps(two.of("default").nodes())
    scrubbed = manta("manager", "scrub", "--data-dir", two.data_dir)
    assert scrubbed.code == 0, scrubbed.text
