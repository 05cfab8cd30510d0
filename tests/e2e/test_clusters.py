"""Two clusters under one manager: the same names in both, nothing of one visible in the other, and one that goes."""

import json
import urllib.error

import pytest

from harness.api import assert_accepted_once
from harness.clusters import NAMES, Two
from harness.waiting import wait_until
from manta.apis import UserAPI

FAILED, NOT_FOUND, DENIED, CONFLICT = 1, 3, 6, 8

GATED = """
    class Same(Swarm):
        def __init__(self):
            super().__init__()
            self.gate = Task(Module("modules/gate.py", datasets=["gate"]))

        def execute(self):
            return self.gate()
"""


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


def test_doctor_looks_at_the_cluster_that_is_named(two):
    def looked(*arguments, **run):
        ended = two.run("doctor", "--json", *arguments, **run)
        return {check["name"]: check for check in ended.documents()[0]["site"]}

    for name in NAMES:
        found = looked("--cluster", name, user=f"admin-{name}")
        assert (found["cluster"]["state"], found["versions"]["state"]) == ("good", "good"), found
        assert f"`{name}`, as admin-{name} (admin)" in found["cluster"]["found"], found
        assert "1 node" in found["versions"]["found"], found
        assert (found["nodes"]["state"], found["nodes"]["found"]) == ("good", "1 of 1 node online"), found
    stranger = looked(cluster="ulm", user="admin-default")["cluster"]
    assert stranger["state"] == "bad" and "there is no cluster `ulm` here" in stranger["found"], stranger
    assert "your token is for the cluster `default`" in stranger["fix"], stranger
    near = looked("--cluster", "ulmm")["cluster"]
    assert near["state"] == "bad" and "did you mean `ulm`?" in near["fix"], near
    token = two.data_dir / "other"
    token.write_text("mnt_u_" + "0" * 40 + "\n")
    token.chmod(0o600)
    wrong = looked("--token-file", token)["cluster"]
    assert wrong["state"] == "bad" and "token" in wrong["found"], wrong
    agent = looked("--cluster", "ulm", "--data-dir", two.nodes_dir("ulm"))["agent"]
    assert agent["state"] == "good" and agent["found"].startswith("n1, "), agent


def test_a_damaged_cluster_is_given_up_by_name_and_the_other_goes_on(manta, two):
    swarm = two.deploy_in("default", manta.swarm(GATED))
    two.wait_at_gate("default", swarm)
    where = two.url.removeprefix("http://")
    two.kill_manager()
    (folder,) = (two.data_dir / "clusters").iterdir()
    folder.rename(manta.work / "aside")
    folder.write_text("no folder")
    two.start_manager(listen=where)
    listed = two.run("cluster", "ls")
    assert "damaged" in listed.out and "cluster `ulm` cannot be recovered: " in listed.err, listed.text
    looked = two.run("doctor", "--json", "--cluster", "ulm").documents()[0]["site"]
    (found,) = (check for check in looked if check["name"] == "cluster")
    assert found["state"] == "bad" and "the cluster `ulm` cannot be recovered: " in found["found"], looked
    refused = two.run("cluster", "rm", "ulm")
    assert refused.code == FAILED and "lost with it would be 0 swarms (0 not over), 1 node and 1 user" in refused.err
    assert "manta cluster rm ulm --damaged" in refused.err, refused.text
    removed = two.run("cluster", "rm", "ulm", "--damaged")
    assert removed.code == 0 and "lost with it: 0 swarms (0 not over), 1 node and 1 user" in removed.err, removed.text
    assert "ulm" not in two.run("cluster", "ls").text
    assert list((two.data_dir / "clusters").iterdir()) == []
    (two.gates["default"] / "open").touch()
    wait_until(60, lambda: two.of("default").lacks_state(swarm, "succeeded"))
    assert two.run("cluster", "add", "ulm").code == 0
