"""A manager with two clusters as processes of their own, each with a node and an admin."""

from .api import Api
from .cluster import Cluster
from .waiting import wait_until

NAMES = ("default", "ulm")


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
        arguments = [*ended.out.split()[1:], "--data-dir", self.nodes_dir(cluster)]
        arguments += ["--data", f"gate={self.gates[cluster]}"]
        self.nodes[cluster] = self._manta.start(*arguments)

    def nodes_dir(self, cluster):
        """Return the data directory of a cluster's node."""
        return self._manta.root / f"n-{cluster}"

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
