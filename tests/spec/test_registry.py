"""Modules as things of their own: packed, described, published under versions, and shared between swarms."""

import json
import zipfile

import pytest

from harness.waiting import wait_until
from harness.wheels import index_of, make_wheel
from manta.apis import Module, Swarm, Task
from spec.place import MODULES, REGIONS

COMPATIBLE = {"1.0.0": ">=0.1.0", "1.1.0": ">=0.1.0,<2"}


@pytest.fixture(scope="module")
def published(platform):
    """Publish two versions of one module, each from a file that says what it works with."""
    for version, requires in COMPATIBLE.items():
        code = (MODULES / f"worker_v{version[:3]}.py").read_text()
        fields = {"name": "fl_worker", "version": version, "requires_manta": requires}
        block = ["# /// script", "# [tool.manta.module]", *(f"# {key} = {json.dumps(fields[key])}" for key in fields)]
        file = platform.manta.file(f"published/worker_v{version[:3]}.py", "\n".join([*block, "# ///", code]))
        ended = platform.ask("module", "publish", file)
        assert ended.code == 0 and f"fl_worker@{version}" in ended.out, ended.text
    return platform


class ExperimentalSwarm(Swarm):
    """Names published modules only."""

    def __init__(self):
        self.worker_stable = Task(Module("fl_worker", version="1.0.0"), method="random", maximum=0.8)
        self.worker_experimental = Task(Module("fl_worker", version="1.1.0"), method="random", maximum=0.2)


@pytest.mark.claim(6, 17, 22, 69, 70)
def test_published_versions_divide_the_nodes(published):
    outcome = published.run(ExperimentalSwarm())
    versions = {entry.node: entry.value for entry in outcome.results.select("version")}
    assert sorted(versions) == sorted(REGIONS) and sorted(versions.values()) == ["1.0.0", "1.0.0", "1.1.0"]


class Ranged(Swarm):
    """Another swarm that uses the same module, by a range."""

    def __init__(self):
        self.worker = Task(Module("fl_worker", version="^1.0"), method="any")


@pytest.mark.claim(67, 70)
def test_a_range_means_the_newest_version_for_every_swarm(published):
    assert published.run(Ranged()).values("version").popitem()[1] == "1.1.0"
    refused = published.ask("module", "publish", published.manta.work / "published" / "worker_v1.0.py")
    assert refused.code in (0, 8), "a version stays what it is"


@pytest.mark.claim(68)
def test_each_version_says_what_it_works_with(published):
    versions = {one["version"]: one for one in published.api.module("fl_worker")}
    told = {version: json.dumps(one).replace(" ", "") for version, one in versions.items()}
    assert sorted(told) == sorted(COMPATIBLE)
    assert all(COMPATIBLE[version] in told[version] for version in told), told
    shown = published.ask("module", "compat", "fl_worker")
    assert shown.code == 0 and "1.0.0" in shown.out and "1.1.0" in shown.out, shown.text
    assert [one["name"] for one in published.api.modules()] == ["fl_worker"]


@pytest.mark.claim(52)
def test_a_module_is_packed_into_one_file_of_the_same_bytes(platform):
    packed = []
    for name in ("one.zip", "other.zip"):
        ended = platform.ask("module", "package", MODULES / "worker", "-o", platform.manta.work / name)
        assert ended.code == 0, ended.text
        packed.append((platform.manta.work / name).read_bytes())
    assert packed[0] == packed[1]
    with zipfile.ZipFile(platform.manta.work / "one.zip") as archive:
        assert {"__init__.py", "worker_task.py", "model.py", "utils.py"} <= set(archive.namelist())


@pytest.mark.claim(74)
def test_a_module_tells_what_it_reads_and_publishes(platform):
    ended = platform.ask("module", "check", MODULES / "worker", "--json")
    assert ended.code == 0, ended.text
    (document,) = ended.documents()
    assert document["doc"].startswith("A directory module")
    assert document["publishes"] == ["model_params", "sample_weights"] and document["reads"] == ["global_model"]
    assert document["datasets"] == ["training_data"] and document["problems"] == []


class Spread(Swarm):
    """A task that any node may run, and one of them does."""

    def __init__(self, code):
        self.task = Task(Module(code), method="any", maximum=1)


@pytest.mark.claim(75)
def test_modules_are_at_every_node_that_may_run_them_whether_or_not_it_does(platform):
    code = platform.manta.file("spread/nowhere_else.py", (MODULES / "beside.py").read_text())
    outcome = platform.run(Spread(code))
    assert len(outcome.results) == 1, "one node ran it"

    def look():
        told = platform.api.swarm(outcome.status)["distribution"]
        return None if told == {"nodes": 3, "ready": 3, "failed": []} else f"the distribution is {told}"

    wait_until(20, look)
    for node in REGIONS:
        kept = platform.manta.root / f"n-{node}" / "bundles"
        assert list(kept.rglob("nowhere_else.py")), f"{node} has it, whether or not it ran it"
    shown = platform.ask("show", outcome.status.id)
    assert "on 3 of 3 nodes" in shown.out, shown.text


@pytest.mark.claim(11, 53)
def test_what_a_directory_requires_is_resolved_and_brought_along(platform, monkeypatch):
    index = platform.manta.root / "index"
    for version in ("1.0", "2.0"):
        make_wheel(index, "tinypkg", version)
    # The index is all that there is in the world, and nothing was resolved before.
    places = {"MANTA_HOME": index / "home", "UV_CACHE_DIR": index / "cache"}
    for name, value in {**index_of(index), **places}.items():
        monkeypatch.setenv(name, str(value))
    code = platform.manta.file("needs/__init__.py", (MODULES / "needs.py").read_text())
    platform.manta.file("needs/requirements.txt", "tinypkg<2\n")
    assert set(platform.run(Spread(code.parent)).values("required").values()) == {"1.0"}
