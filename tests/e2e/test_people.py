"""Users, tokens and roles by hand, as an administrator and those whom they let in use them."""

import json
import os
import sqlite3
import stat

import pytest

from harness.cluster import Cluster

NOT_FOUND = 3
CONFLICT = 8
DENIED = 6
DAMAGED = 1
USAGE = 2


@pytest.fixture
def cluster(manta):
    """A manager without nodes."""
    cluster = Cluster(manta)
    cluster.start_manager()
    return cluster


@pytest.fixture
def admin(manta, cluster):
    """Run a command as the administrator."""
    return lambda *arguments: manta(*arguments, environment=cluster.as_user)


@pytest.fixture
def let_in(manta, cluster, admin):
    """Add a user with a token; gives what runs a command as them."""

    def add(name, role):
        file = manta.work / f"{name}.token"
        assert admin("user", "add", name, "--role", role).code == 0
        made = admin("token", "new", "--user", name, "--out", file)
        assert made.code == 0, made.text
        assert made.out == "" and file.read_text().strip() not in made.err, "it is in the file alone"
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
        environment = {"MANTA_MANAGER": cluster.url, "MANTA_TOKEN_FILE": str(file)}
        return lambda *arguments: manta(*arguments, environment=environment)

    return add


def test_each_role_may_what_it_says_and_no_more(admin, let_in):
    viewer, developer, operator = (let_in(role, role) for role in ("viewer", "developer", "operator"))
    second = let_in("second", "admin")
    may = {
        ("ls",): (0, 0, 0, 0),
        ("stop", "nothing"): (DENIED, NOT_FOUND, NOT_FOUND, NOT_FOUND),
        ("node", "drain", "nothing"): (DENIED, DENIED, NOT_FOUND, NOT_FOUND),
        ("user", "ls"): (DENIED, DENIED, DENIED, 0),
        ("audit",): (DENIED, DENIED, DENIED, 0),
        ("user", "add", "eve", "--role", "admin"): (DENIED, DENIED, DENIED, 0),
    }
    for arguments, codes in may.items():
        for who, code in zip((viewer, developer, operator, second), codes, strict=True):
            ended = who(*arguments)
            if code == DENIED and arguments[0] == "stop":
                # Which swarm is meant is looked for first, and that everybody may.
                assert ended.code in (DENIED, NOT_FOUND), ended.text
            else:
                assert ended.code == code, (arguments, ended.text)
    shown = viewer("whoami", "--json")
    who = json.loads(shown.out)["who"]
    assert (who["name"], who["role"], who["cluster"]) == ("viewer", "viewer", "default"), shown.text
    assert "administrator (admin" in admin("whoami").out


def test_nobody_hands_out_more_than_they_have(let_in):
    developer = let_in("ada", "developer")
    own = developer("token", "new", "--expires", "30d")
    assert own.code == 0 and own.out.startswith("mnt_u_"), own.text
    assert developer("token", "new", "--role", "viewer").code == 0
    refused = developer("token", "new", "--role", "admin")
    assert refused.code == DENIED and "`ada` is a developer" in refused.err, refused.text
    refused = developer("token", "new", "--user", "bob")
    assert refused.code == DENIED and "only an admin" in refused.err, refused.text


def test_a_token_ends_when_it_is_told_to(manta, admin, let_in):
    ada = let_in("ada", "developer")
    [token] = json.loads(ada("token", "ls", "--json").out)["tokens"]
    assert (token["state"], token["user"]) == ("active", "ada")
    assert 89 < (token["expires_ms"] - token["created_ms"]) / 86_400_000 <= 90
    file = manta.work / "next.token"
    assert ada("token", "rotate", token["id"][:8], "--out", file).code == 0
    refused = ada("ls")
    assert refused.code == DENIED and f"`{token['id']}` is revoked" in refused.err, refused.text
    again = admin("token", "rotate", token["id"])
    assert again.code == CONFLICT, again.text
    taken = admin("token", "new", "--user", "ada", "--out", file)
    assert taken.code == USAGE and "nothing is overwritten" in taken.err, taken.text
    assert len(json.loads(admin("token", "ls", "--json").out)["tokens"]) == 2, "and no token was made"
    assert admin("user", "rm", "ada").code == 0
    assert json.loads(admin("token", "ls", "--json").out)["tokens"] == []


def test_bad_words_are_answered_with_what_to_do(admin):
    wrong = admin("user", "add", "ada", "--role", "owner")
    assert wrong.code == USAGE and "viewer, developer, operator and admin" in wrong.err, wrong.text
    assert "administrator" in admin("user", "add", "administrator", "--role", "viewer").err
    nobody = admin("token", "new")
    assert nobody.code != 0 and "--user NAME" in nobody.err, nobody.text
    for words in (("--expires", "2020-01-01"), ("--expires", "soon"), ("--expires", "400d")):
        assert admin("token", "new", "--user", "ada", *words).code != 0


def test_the_audit_log_tells_what_was_done_and_whether_it_is_whole(cluster, admin, let_in):
    viewer = let_in("ada", "viewer")
    assert viewer("node", "drain", "n1").code == DENIED
    records = json.loads(admin("audit", "--since", "1h", "--json").out)["records"]
    told = [(record["who"], record["outcome"]) for record in records]
    assert told == [("administrator", "done"), ("administrator", "done"), ("ada", "MANTA-0402")], records
    assert all(record["source"].startswith("127.0.0.1:") for record in records)
    table = admin("audit", "--user", "ada")
    assert "/nodes/n1/drain" in table.out and "administrator" not in table.out, table.text
    verified = admin("audit", "verify")
    assert verified.code == 0 and "3 records" in verified.err, verified.text
    head = verified.err.split("the head is ")[1].split(";")[0]
    assert admin("user", "rm", "ada").code == 0
    assert admin("audit", "verify", "--expect", head).code == 0
    forged = f"3:{'0' * 64}"
    assert "written anew" in admin("audit", "verify", "--expect", forged).out

    with sqlite3.connect(cluster.data_dir / "access.db", timeout=10) as database:
        database.execute("UPDATE audit SET who = 'eve' WHERE seq = 3")
    database.close()
    broken = admin("audit", "verify")
    assert broken.code == DAMAGED and "record 3 is not what was written" in broken.out, broken.text
    scrubbed = admin("manager", "scrub", "--data-dir", cluster.data_dir)
    assert scrubbed.code == DAMAGED and "record 3" in scrubbed.out, scrubbed.text


ONE = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            self.ok = Task(Module("modules/ok.py"))

        def execute(self):
            return self.ok()
"""


def test_a_quota_is_refused_with_its_name_and_value(manta, cluster, admin, let_in):
    cluster.start_node("node-1")
    cluster.wait_for_nodes("node-1")
    viewer = let_in("ada", "viewer")
    assert viewer("quota", "show").code == 0
    assert viewer("quota", "set", "nodes", "9").code == DENIED
    assert admin("quota", "set", "swarms-live", "0").code == 0
    refused = admin("deploy", manta.swarm(ONE))
    assert refused.code == CONFLICT and "quota of 0 (swarms-live)" in refused.err, refused.text
    assert admin("quota", "set", "stored-bytes", "1KiB").code == 0
    shown = json.loads(admin("quota", "show", "--json").out)["quotas"]
    limits = {quota["name"]: (quota["limit"], quota["used"]) for quota in shown}
    assert limits["swarms-live"] == (0, 0) and limits["nodes"] == (None, 1), shown
    assert limits["stored-bytes"][0] == 1024 and limits["calls-per-second"] == (None, None), shown
    for quota in ("swarms-live", "stored-bytes"):
        assert admin("quota", "set", quota, "none").code == 0
    swarm = cluster.deploy(manta.swarm(ONE))
    cluster.wait_for(swarm, "succeeded")
    wrong = admin("quota", "set", "cakes", "3")
    assert wrong.code == USAGE and "swarms-live, nodes" in wrong.err, wrong.text


def test_every_limit_is_printed(manta):
    limits = json.loads(manta("limits", "--json").out)["limits"]
    assert {"tasks_per_swarm_max", "token_life_max"} <= {limit["name"] for limit in limits}
    assert "users_per_cluster_max" in manta("limits", "users").out
