"""A manager and nodes as processes of their own, as on a fleet."""

import signal

from .api import Api
from .waiting import wait_until


class Cluster:
    """A manager with its data directory, and the nodes that joined it."""

    def __init__(self, manta):
        self._manta = manta
        self.data_dir = manta.root / "m"
        self.manager = None
        self.nodes = {}
        self.options = ()

    @property
    def url(self):
        """Where the manager listens."""
        return (self.data_dir / "address").read_text().strip()

    @property
    def api(self):
        """The manager's API, with the user's token."""
        return Api(self.url, (self.data_dir / "token").read_text().strip())

    @property
    def as_user(self):
        """The environment that makes `manta` commands speak to this manager."""
        return {"MANTA_MANAGER": self.url, "MANTA_TOKEN_FILE": str(self.data_dir / "token")}

    def start_manager(self, listen="127.0.0.1:0", options=()):
        """Start the manager and wait until it answers."""
        address = self.data_dir / "address"
        address.unlink(missing_ok=True)
        arguments = ["--data-dir", self.data_dir, "--listen", listen, *self.options, *options]
        self.manager = self._manta.start("manager", "run", *arguments)

        def look():
            assert self.manager.process.poll() is None, f"the manager ended:\n{self.manager.text()}"
            if not address.exists() or not address.read_text().endswith("\n"):
                return f"the manager has written no address:\n{self.manager.text()}"
            try:
                self.api.nodes()
            except OSError as error:
                return f"the manager does not answer: {error}"
            return None

        wait_until(20, look)

    def start_node(self, name, datasets=None, labels=None, options=()):
        """Start a node; it joins when it can."""
        arguments = ["--manager", self.url, "--token-file", self.data_dir / "node-token"]
        arguments += ["--name", name, "--data-dir", self._manta.root / f"n-{name}"]
        for dataset, path in (datasets or {}).items():
            arguments += ["--dataset", f"{dataset}={path}"]
        for label, value in (labels or {}).items():
            arguments += ["--label", f"{label}={value}"]
        self.nodes[name] = self._manta.start("node", "run", *arguments, *options)

    def wait_for_nodes(self, *names):
        """Wait until these nodes are online."""

        def look():
            for name in names:
                command = self.nodes[name]
                assert command.process.poll() is None, f"{name} ended:\n{command.text()}"
            nodes = self.api.nodes()
            lacking = [name for name in names if nodes.get(name, {}).get("state") != "online"]
            return f"not online: {lacking}; {nodes}" if lacking else None

        wait_until(30, look)

    def start(self, *names, datasets=None):
        """Start the manager and nodes, each with the same datasets, and wait for them."""
        self.start_manager()
        for name in names:
            self.start_node(name, datasets)
        self.wait_for_nodes(*names)
        return self

    def deploy(self, swarm, *arguments):
        """Deploy a swarm and return its id."""
        ended = self._manta("deploy", swarm, *arguments, "--json", environment=self.as_user)
        assert ended.code == 0, ended.text
        return ended.documents()[-1]["swarm"]["id"]

    def wait_for(self, swarm, *states, limit_s=60):
        """Wait until the swarm is in one of the states."""
        wait_until(limit_s, lambda: self.api.lacks_state(swarm, *states))

    def wait_for_log(self, swarm, text, nodes, limit_s=60):
        """Wait until each of the nodes has logged the text."""

        def look():
            said = {line["node"] for line in self.api.logs(swarm) if text in line["text"]}
            return f"{text!r} was logged by {sorted(said)}; {self.api.swarm(swarm)}" if not said >= set(nodes) else None

        wait_until(limit_s, look)

    def kill_manager(self):
        """Kill the manager without a warning."""
        self._kill(self.manager)

    def kill_node(self, name):
        """Kill a node's agent without a warning."""
        self._kill(self.nodes.pop(name))

    @staticmethod
    def _kill(command):
        command.signal(signal.SIGKILL)
        command.end(10)
