"""What others on the network see of a federation: with TLS nothing of what it is about, without it everything."""

import pytest

from harness.network import MANAGER, Host, captured, need_namespaces, streams, two_hosts
from harness.waiting import wait_until

PORT = 7766
REFUSED = 6
CANARIES = {what: f"canary-{what}-4c1f7e" for what in ("module", "dataset", "result", "log")}

MODULE = f'''
"""Reads, tells and publishes texts that nobody else may see: {CANARIES["module"]}."""

from manta.light.task import Task


class Tells(Task):
    def run(self):
        seen = self.local.get_dataset("secret").path.read_text()
        self.logger.info("{CANARIES["log"]} on %s: %s", self.node, seen)
        self.world.results.add("told", "{CANARIES["result"]}")


def main():
    Tells().run()
'''

SWARM = """
    class Secret(Swarm):
        def __init__(self):
            super().__init__()
            self.tells = Task(Module("modules/tells.py", datasets=["secret"]))

        def execute(self):
            return self.tells()
"""


class Federation:
    """A manager on one host, a node and a user on another."""

    def __init__(self, manta, manager, node):
        need_namespaces()
        self.manta, self.manager, self.node = manta, manager, node
        self.data_dir = manta.root / "m"
        manta.file("modules/tells.py", MODULE)
        manta.file("secret.txt", CANARIES["dataset"])
        self.user = {"MANTA_TOKEN_FILE": str(self.data_dir / "token")}

    def start_manager(self, listen, *options):
        """Start the manager and wait until it has said where it listens."""
        command = ["manager", "run", "--data-dir", self.data_dir, "--listen", listen, *options]
        self.running = self.manta.start(*command, within=self.manager.within)
        self.running.wait_for("listens on")
        self.user["MANTA_MANAGER"] = (self.data_dir / "address").read_text().strip()

    def ask(self, *arguments, host=None):
        """Run a user's command, on the node's host unless told otherwise."""
        return self.manta(*arguments, environment=self.user, within=(host or self.node).within)

    def start_node(self, *arguments):
        """Start the node and wait until the manager has it."""
        data = ["--data", f"secret={self.manta.work / 'secret.txt'}", "--data-dir", self.manta.root / "n"]
        agent = self.manta.start("node", *arguments, *data, within=self.node.within)

        def look():
            assert agent.process.poll() is None, agent.text()
            listed = self.ask("node", "ls", "--json")
            return None if '"online"' in listed.text.replace(" ", "") else listed.text + agent.text()

        wait_until(60, look)

    def run_swarm(self):
        """Deploy the swarm from the node's host and read all that it left there."""
        ended = self.ask("deploy", self.manta.swarm(SWARM), "--json")
        assert ended.code == 0, ended.text
        swarm = ended.documents()[-1]["swarm"]["id"]

        def look():
            shown = self.ask("show", swarm)
            assert "failed" not in shown.text, shown.text
            return None if "succeeded" in shown.text else shown.text

        wait_until(60, look)
        logs = self.ask("logs", swarm)
        assert CANARIES["log"] in logs.text and CANARIES["dataset"] in logs.text, logs.text
        assert self.ask("results", swarm).code == 0

    @property
    def canaries(self):
        """All that must stay unseen, with the user's token."""
        return {**CANARIES, "token": (self.data_dir / "token").read_text().strip()}


@pytest.fixture
def hosts(test_id):
    """Two hosts and the cable between them."""
    need_namespaces()
    with two_hosts(test_id) as hosts:
        yield hosts


def seen(federation, file):
    """Return which canaries went over the wire in the clear."""
    flows = streams(file)
    assert sum(map(len, flows)) > 10_000, "hardly anything was captured"
    return {what for what, text in federation.canaries.items() if any(text.encode() in flow for flow in flows)}


def test_nothing_of_a_run_is_seen_on_the_wire_between_two_hosts(manta, hosts):
    """Three commands: the manager, the line that it prints for the node, and a deployment."""
    manager, node = hosts
    federation = Federation(manta, manager, node)
    federation.user["MANTA_CA_FILE"] = str(federation.data_dir / "ca.pem")
    with captured(node, "eth0", manta.root / "wire"):
        federation.start_manager(f"0.0.0.0:{PORT}", "--public-name", MANAGER)
        assert federation.user["MANTA_MANAGER"] == f"https://{MANAGER}:{PORT}"
        made = federation.ask("node", "token", host=manager)
        assert made.code == 0, made.text
        line = made.out.split()
        federation.start_node(*line[2:], "--name", "far")
        federation.run_swarm()
    assert seen(federation, manta.root / "wire") == set()
    flows = streams(manta.root / "wire")
    secret = line[-1].encode()
    assert not any(secret in flow for flow in flows), "the token to join with went in the clear"


def test_the_same_run_without_tls_is_seen_whole(manta, test_id):
    """The counterproof: on loopback, where nobody else listens, the same canaries go in the clear."""
    need_namespaces()
    host = Host(test_id)
    try:
        federation = Federation(manta, host, host)
        with captured(host, "lo", manta.root / "wire"):
            federation.start_manager(f"127.0.0.1:{PORT}")
            url, token = federation.user["MANTA_MANAGER"], federation.data_dir / "node-token"
            federation.start_node("run", "--manager", url, "--token-file", token, "--name", "near")
            federation.run_swarm()
        assert seen(federation, manta.root / "wire") == set(federation.canaries)
    finally:
        host.close()


def test_an_address_that_others_reach_speaks_tls_alone_and_takes_no_shared_token(manta, hosts):
    manager, node = hosts
    federation = Federation(manta, manager, node)
    federation.start_manager(f"{MANAGER}:{PORT}")
    plain = {**federation.user, "MANTA_MANAGER": f"http://{MANAGER}:{PORT}"}
    ended = manta("node", "ls", environment=plain, within=node.within)
    assert ended.code != 0 and "this port speaks TLS: use `https://`" in ended.err, ended.text
    federation.user["MANTA_CA_FILE"] = str(federation.data_dir / "ca.pem")
    assert federation.ask("node", "ls").code == 0
    shared = (federation.data_dir / "node-token").read_text()
    token = manta.file("node-token", shared)
    token.chmod(0o600)
    ended = federation.ask("node", "ls", "--token-file", token)
    assert ended.code == REFUSED and "the token that all nodes share" in ended.err, ended.text


def test_a_certificate_without_the_name_that_is_called_is_refused_with_the_cure(manta, hosts):
    manager, node = hosts
    federation = Federation(manta, manager, node)
    federation.start_manager(f"0.0.0.0:{PORT}", "--public-name", "manager.example")
    federation.user["MANTA_CA_FILE"] = str(federation.data_dir / "ca.pem")
    federation.user["MANTA_MANAGER"] = f"https://{MANAGER}:{PORT}"
    ended = federation.ask("node", "ls")
    assert ended.code == 4 and f"--public-name {MANAGER}" in ended.err, ended.text
