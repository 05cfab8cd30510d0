"""Nodes that join over TLS: one line that the manager prints, and what becomes of it when something is wrong."""

import contextlib
import json
import re
import shutil
import signal
import socket
import threading

import pytest

from harness.cluster import Cluster
from harness.waiting import wait_until

USAGE, REFUSED, UNTRUSTED, CONFLICT = 2, 6, 4, 8

SWARM = """
    class Says(Swarm):
        def __init__(self):
            super().__init__()
            self.ok = Task(Module("modules/ok.py"))

        def execute(self):
            return self.ok()
"""


class Joining(Cluster):
    """A manager on loopback that speaks TLS there too, and nodes that join it."""

    def __init__(self, manta, *options, name="m"):
        super().__init__(manta)
        self.data_dir = manta.root / name
        self.options = options

    @property
    def secure_url(self):
        """Where nodes find it."""
        return self.url.replace("http://", "https://")

    @property
    def as_secure_user(self):
        """The environment of a user elsewhere."""
        return {**self.as_user, "MANTA_MANAGER": self.secure_url, "MANTA_CA_FILE": str(self.data_dir / "ca.pem")}

    def token(self, *options):
        """Make a token and return the arguments of the command that was printed."""
        ended = self._manta("node", "token", *options, environment=self.as_secure_user)
        assert ended.code == 0, ended.text
        words = ended.out.split()
        assert words[:3] == ["manta", "node", "join"], ended.text
        return words[3:]

    def join(self, name, *arguments, environment=None):
        """Start what joins and runs a node."""
        command = ["node", "join", *arguments, "--data-dir", self._manta.root / f"n-{name}"]
        self.nodes[name] = self._manta.start(*command, environment=environment)

    def identity(self, name):
        """Return what a node keeps of its identity."""
        return json.loads((self._manta.root / f"n-{name}" / "identity.json").read_text())


@pytest.fixture
def cluster(manta):
    """A manager that is up."""
    cluster = Joining(manta)
    cluster.start_manager()
    return cluster


def test_three_commands_from_nothing_make_a_federation(manta, cluster):
    """A manager, what its `node token` prints, and a deployment; the second start needs no token."""
    cluster.join("a", *cluster.token("--name", "a", "--label", "site=ulm"))
    cluster.wait_for_nodes("a")
    assert cluster.api.nodes()["a"]["labels"] == {"site": "ulm"}
    ended = manta("deploy", manta.swarm(SWARM), "--json", environment=cluster.as_secure_user)
    assert ended.code == 0, ended.text
    swarm = ended.documents()[-1]["swarm"]["id"]
    cluster.wait_for(swarm, "succeeded")
    assert cluster.identity("a")["manager"] == cluster.secure_url
    noted = manta("audit", "--json", environment=cluster.as_secure_user)
    assert all(route in noted.out for route in ("/join-tokens", "/v1/join")), noted.text
    mode = (manta.root / "n-a" / "identity.json").stat().st_mode & 0o777
    assert mode == 0o600, oct(mode)
    cluster.nodes["a"].stop()
    cluster.nodes["a"] = manta.start("node", "run", "--data-dir", manta.root / "n-a")
    cluster.wait_for_nodes("a")


def test_a_token_that_does_not_count_says_what_became_of_it(manta, cluster):
    url, _, token = cluster.token()
    cluster.join("a", url, "--name", "a", "--token", token, "--only-join")
    assert cluster.nodes["a"].end().code == 0

    def refused(name, code, words, *arguments):
        cluster.join(name, *arguments)
        ended = cluster.nodes[name].end()
        assert ended.code == code, ended.text
        assert words in ended.err, ended.text
        assert not (manta.root / f"n-{name}" / "identity.json").exists()

    refused("b", REFUSED, "by node `a`, and each lets one node in", url, "--name", "b", "--token", token)
    refused("c", USAGE, "cut short", url, "--name", "c", "--token", token[:-5])
    refused("c", USAGE, "a whole one is `manta_join_` and 152 digits", url, "--name", "c", "--token", token[:-5])
    refused("d", USAGE, "begin with `manta_join_`", url, "--name", "d", "--token", "s3cret")
    refused("e", USAGE, "not an `https://` address", cluster.url, "--name", "e", "--token", token)
    named = cluster.token("--name", "f")
    refused("g", REFUSED, "is for node `f`", named[0], "--name", "g", *named[3:])
    elsewhere = Joining(manta, name="m2")
    elsewhere.start_manager()
    refused("h", UNTRUSTED, "not trusted here", url, "--name", "h", *elsewhere.token()[1:])


def test_a_node_that_is_revoked_ends_and_does_not_come_back(manta, cluster):
    cluster.join("a", *cluster.token("--name", "a"))
    cluster.wait_for_nodes("a")
    assert manta("node", "revoke", "a", environment=cluster.as_secure_user).code == 0
    ended = cluster.nodes["a"].end(10)
    assert ended.code in (REFUSED, CONFLICT), ended.text
    assert "revoked" in ended.err, ended.text
    cluster.kill_manager()
    cluster.start_manager(cluster.url.removeprefix("http://"))
    again = manta("node", "run", "--data-dir", manta.root / "n-a")
    assert again.code == REFUSED, again.text
    assert "was revoked, and stays so" in again.err, again.text


def test_a_node_that_joined_and_was_never_started_is_listed_and_can_be_revoked(manta, cluster):
    cluster.join("a", *cluster.token("--name", "a", "--label", "site=ulm"), "--only-join")
    assert cluster.nodes["a"].end().code == 0
    listed = manta("node", "ls", environment=cluster.as_secure_user)
    assert re.search(r"^a +joining +active +0/0 .* site=ulm", listed.out, re.M), listed.text
    shown = manta("node", "show", "a", environment=cluster.as_secure_user)
    assert "it joined and has never connected" in shown.out and "policy" not in shown.out, shown.text
    drained = manta("node", "drain", "a", environment=cluster.as_secure_user)
    assert drained.code == CONFLICT and "manta node revoke a" in drained.err, drained.text
    revoked = manta("node", "revoke", "a", environment=cluster.as_secure_user)
    assert revoked.code == 0 and "node a is revoked" in revoked.err, revoked.text
    late = manta("node", "run", "--data-dir", manta.root / "n-a")
    assert late.code == REFUSED and "was revoked, and stays so" in late.err, late.text


def test_certificates_are_renewed_by_themselves_on_both_sides(manta):
    cluster = Joining(manta, "--certificate-life", "6s")
    cluster.start_manager()
    cluster.join("a", *cluster.token("--name", "a"))
    cluster.wait_for_nodes("a")
    seen = {cluster.identity("a")["certificate"]}

    def look():
        seen.add(cluster.identity("a")["certificate"])
        return None if len(seen) >= 4 else f"{len(seen)} certificates until now: {cluster.nodes['a'].text()}"

    wait_until(40, look)
    cluster.wait_for_nodes("a")
    swarm = cluster.deploy(manta.swarm(SWARM))
    cluster.wait_for(swarm, "succeeded")


def test_a_copied_directory_is_noticed_and_flagged(manta, cluster):
    cluster.join("a", *cluster.token("--name", "a"))
    cluster.wait_for_nodes("a")
    shutil.copytree(manta.root / "n-a", manta.root / "n-copy", ignore=shutil.ignore_patterns("*.sock"))
    cluster.nodes["copy"] = manta.start("node", "run", "--data-dir", manta.root / "n-copy")

    def look():
        notes = cluster.api.nodes()["a"]["notes"]
        return None if any("its data directory was copied" in note for note in notes) else f"the notes are {notes}"

    wait_until(30, look)
    listed = manta("node", "ls", environment=cluster.as_user)
    assert "its data directory was copied" in listed.text, listed.text


class Proxy:
    """An HTTP proxy that makes tunnels on loopback, and remembers whereto."""

    def __init__(self):
        self.targets = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(4096)
            if not more:
                return
            head += more
        method, target, _ = head.decode().split(" ", 2)
        self.targets.append((method, target))
        host, port = target.rsplit(":", 1)
        with client, socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self._carry, args=(server, client), daemon=True)
            back.start()
            self._carry(client, server)
            back.join()

    @staticmethod
    def _carry(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self):
        """Take no more."""
        self._socket.close()


def test_nodes_and_commands_go_through_the_proxy_that_is_named(manta, cluster):
    proxy = Proxy()
    try:
        through = {"HTTPS_PROXY": proxy.url}
        cluster.join("a", *cluster.token("--name", "a"), environment=through)
        cluster.wait_for_nodes("a")
        target = ("CONNECT", cluster.secure_url.removeprefix("https://"))
        assert proxy.targets and set(proxy.targets) == {target}, proxy.targets
        before = len(proxy.targets)
        assert manta("node", "ls", environment={**cluster.as_secure_user, **through}).code == 0
        assert len(proxy.targets) == before + 1
        around = {**cluster.as_secure_user, **through, "NO_PROXY": "127.0.0.1"}
        assert manta("node", "ls", environment=around).code == 0
        assert len(proxy.targets) == before + 1
        cluster.nodes["a"].signal(signal.SIGTERM)
        assert cluster.nodes["a"].end(20).code == 0
    finally:
        proxy.close()


def test_a_user_who_trusts_another_authority_is_told_which_file_to_give(manta, cluster):
    elsewhere = Joining(manta, name="m2")
    elsewhere.start_manager()
    wrong = {**cluster.as_secure_user, "MANTA_CA_FILE": str(elsewhere.data_dir / "ca.pem")}
    ended = manta("node", "ls", environment=wrong)
    assert (ended.code, "--ca-file" in ended.err) == (UNTRUSTED, True), ended.text
    ended = manta("node", "ls", environment={**wrong, "MANTA_CA_FILE": str(cluster.data_dir / "token")})
    assert (ended.code, "holds no certificate" in ended.err) == (UNTRUSTED, True), ended.text
