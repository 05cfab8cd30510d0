"""Dependencies of modules: resolved when packed, installed on nodes by digest, and never mixed up."""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from harness.api import of_kind
from harness.cluster import Cluster
from harness.containment import FULL, lacking_kernel_feature
from harness.wheels import make_source, make_wheel, tiny_index

CYCLONEDX = Path(__file__).resolve().parents[1] / "fixtures" / "cyclonedx"
SHOW = """
    import tinypkg

    def main():
        print("tinypkg", tinypkg.__version__)
"""
ONE = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            self.one = Task(Module("{module}"{more}))

        def execute(self):
            return self.one()
"""
# A package that takes the place of numpy: with what is seeded before a task, as every numpy has it.
OTHER_NUMPY = {
    "numpy/__init__.py": "from . import random\n\n__version__ = '99.0'\n",
    "numpy/random.py": "def seed(number=None):\n    pass\n",
}


@pytest.fixture
def index(manta):
    """A folder with two versions of a tiny package, which is all that there is in the world."""
    return tiny_index(manta)


def module(manta, name, requirements, body=SHOW):
    """Write a module of a folder with requirements."""
    manta.file(f"{name}/__init__.py", body)
    manta.file(f"{name}/requirements.txt", requirements + "\n")
    return name


def run(manta, name, more="", code=0, command="run"):
    """Run, or plan, a swarm of one task, and check how it ended."""
    ended = manta(command, manta.swarm(ONE.format(module=name, more=more)), "--nodes", 1)
    assert ended.code == code, ended.text
    return ended.text


def test_requirements_are_installed_on_nodes_and_said(manta, index):
    text = run(manta, module(manta, "show", "tinypkg<2"))
    assert "tinypkg 1.0" in text
    assert "installed 1 packages of the module's lock" in text


def test_a_script_and_a_project_say_what_they_need_too(manta, index):
    block = '# /// script\n# dependencies = ["tinypkg==1.0"]\n# ///\n'
    (manta.work / "script.py").write_text(block + manta.file("body.py", SHOW).read_text())
    assert "tinypkg 1.0" in run(manta, "script.py")
    manta.file("project/__init__.py", SHOW)
    manta.file("project/pyproject.toml", '[project]\nname = "project"\nversion = "1"\ndependencies = ["tinypkg"]\n')
    assert "tinypkg 2.0" in run(manta, "project")


def test_modules_with_conflicting_versions_run_side_by_side_on_one_node(manta, index):
    for version in ("1.0", "2.0"):
        module(manta, f"show{version[0]}", f"tinypkg=={version}")
    body = """
        class Two(Swarm):
            def __init__(self):
                super().__init__()
                self.one = Task(Module("show1"))
                self.two = Task(Module("show2"))

            def execute(self):
                return self.two(self.one())
    """
    ended = manta("run", manta.swarm(body), "--nodes", 1)
    assert ended.code == 0, ended.text
    assert "tinypkg 1.0" in ended.text and "tinypkg 2.0" in ended.text


def test_unchanged_requirements_need_neither_index_nor_resolver_again(manta, index):
    name = module(manta, "show", "tinypkg==1.0")
    run(manta, name)
    shutil.rmtree(index)
    shutil.rmtree(manta.root / "uv")
    manta.environment["MANTA_UV"] = "/nonexistent/uv"
    assert "tinypkg 1.0" in run(manta, name)
    (manta.work / name / "requirements.txt").write_text("tinypkg==2.0\n")
    assert "uv cannot be started" in run(manta, name, code=4)


def test_what_does_not_resolve_is_explained_by_the_resolver(manta, index):
    text = run(manta, module(manta, "show", "tinypkg>=3"), code=4)
    assert "module `show`: its dependencies cannot be resolved for Python 3." in text
    assert "tinypkg" in text and "unsatisfiable" in text
    assert "MANTA-0215" in text


def test_source_is_refused_with_the_reason_and_built_where_it_is_allowed(manta, index):
    make_source(index, "onlysource", "1.0")
    body = SHOW.replace("tinypkg", "onlysource")
    name = module(manta, "show", "onlysource", body)
    text = run(manta, name, code=4)
    assert "onlysource" in text and "wheels" in text
    manta.file("show/pyproject.toml", '[tool.manta.module]\nallow_source = ["onlysource"]\n')
    assert "onlysource 1.0" in run(manta, name)


def test_the_authors_own_lock_decides_and_another_wheel_of_that_name_is_refused(manta, index):
    name = module(manta, "show", "tinypkg")
    wheel = index / "tinypkg-1.0-py3-none-any.whl"
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = f"""
        lock-version = "1.0"
        created-by = "somebody"

        [[packages]]
        name = "tinypkg"
        version = "1.0"
        wheels = [{{ name = "{wheel.name}", hashes = {{ sha256 = "{sha256}" }} }}]
    """
    manta.file("show/pylock.toml", lock)
    assert "tinypkg 1.0" in run(manta, name)
    make_wheel(index, "tinypkg", "1.0", {"tinypkg/__init__.py": "__version__ = 'evil'\n"})
    shutil.rmtree(manta.root / "home")
    text = run(manta, name, code=4)
    assert "does not hold `tinypkg` 1.0" in text and "evil" not in text


def test_a_wheel_that_was_changed_in_the_cache_is_refused(manta, index):
    name = module(manta, "show", "tinypkg==1.0")
    run(manta, name)
    (cached,) = (manta.root / "home" / "cache" / "wheels").glob("*.whl")
    content = bytearray(cached.read_bytes())
    content[40] ^= 1
    cached.write_bytes(content)
    ended = manta("run", manta.swarm(ONE.format(module=name, more="")), "--nodes", 1)
    assert ended.code != 0, ended.text
    assert "tinypkg 1.0" not in ended.text


def test_a_lock_for_another_platform_is_refused_by_the_plan_with_the_node_named(manta, index):
    name = module(manta, "show", "tinypkg==1.0")
    manta.file("show/pyproject.toml", '[tool.manta.module]\nplatforms = ["aarch64-manylinux_2_28"]\n')
    if os.uname().machine == "aarch64":
        manta.file("show/pyproject.toml", '[tool.manta.module]\nplatforms = ["x86_64-manylinux_2_28"]\n')
    text = run(manta, name, code=4, command="plan")
    assert "node-1 has Python 3." in text and "are locked for Python 3." in text
    assert "aarch64" in text and "x86_64" in text


def test_a_package_of_the_image_is_replaced_and_that_is_said(manta, index):
    pytest.importorskip("numpy", reason="needs numpy")
    make_wheel(index, "numpy", "99.0", OTHER_NUMPY)
    name = module(manta, "show", "numpy==99.0", SHOW.replace("tinypkg", "numpy"))
    text = run(manta, name, more=', image="numpy"')
    assert "`numpy` 99.0 of the module's lock takes the place of `numpy`" in text
    assert "numpy 99.0" in text


def test_warm_starts_take_packages_along_and_leave_others_none(manta, index):
    if os.geteuid() != 0:
        pytest.skip("needs root: a warm start gives each task a uid of its own")
    if missing := lacking_kernel_feature(FULL):
        pytest.skip(missing)
    cluster = Cluster(manta)
    cluster.start_manager()
    cluster.start_node("node-1", options=("--warm", "on", "--slots", "2"))
    cluster.wait_for_nodes("node-1")
    module(manta, "show", "tinypkg==1.0")
    manta.file(
        "without.py",
        """
        import importlib.util

        def main():
            assert importlib.util.find_spec("tinypkg") is None
        """,
    )
    for name in ("show", "without.py", "show"):
        swarm = cluster.deploy(manta.swarm(ONE.format(module=name, more="")))
        cluster.wait_for(swarm, "succeeded")
        ways = [event["timings"]["start_way"] for event in of_kind(cluster.api.events(swarm), "attempt_accepted")]
        assert set(ways) <= {"standby", "fork"}, (name, ways)
    make_wheel(index, "numpy", "99.0", OTHER_NUMPY)
    module(manta, "contested", "numpy==99.0", SHOW.replace("tinypkg", "numpy"))
    swarm = cluster.deploy(manta.swarm(ONE.format(module="contested", more="")))
    cluster.wait_for(swarm, "succeeded")
    (event,) = of_kind(cluster.api.events(swarm), "attempt_accepted")
    assert event["timings"]["start_way"] == "cold"
    assert "takes the place of the image's" in event["timings"]["start_instead"]


def test_the_bill_of_materials_keeps_to_the_schema_of_its_standard(manta, index):
    ended = manta("module", "sbom", module(manta, "show", "tinypkg<2"))
    assert ended.code == 0, ended.text
    (document,) = ended.documents()
    assert {"file", "library", "container"} <= {component["type"] for component in document["components"]}
    schemas = {path.name: json.loads(path.read_text()) for path in CYCLONEDX.glob("*.schema.json")}
    registry = Registry().with_resources(
        (f"http://cyclonedx.org/schema/{name}", Resource.from_contents(schema)) for name, schema in schemas.items()
    )
    validator = Draft7Validator(
        schemas["bom-1.6.SNAPSHOT.schema.json"], registry=registry, format_checker=Draft7Validator.FORMAT_CHECKER
    )
    assert [error.message for error in validator.iter_errors(document)] == []
    document["components"][0]["type"] = "nothing"
    assert [error.message for error in validator.iter_errors(document)], "the schema refuses what is wrong"


def test_an_archive_takes_the_packages_along(manta, index):
    module(manta, "show", "tinypkg<2")
    packed = manta("module", "package", "show", "--version", "1.0.0", "--output", "show.zip")
    assert packed.code == 0, packed.text
    for gone in (index, manta.root / "home", manta.work / "show"):
        shutil.rmtree(gone)
    with zipfile.ZipFile(manta.work / "show.zip") as old, zipfile.ZipFile(manta.work / "bad.zip", "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info, content + b" " if content.startswith(b"PK") else content)
    ended = manta("module", "inspect", "bad.zip")
    assert ended.code == 4 and "tampered with: `tinypkg-1.0-" in ended.text, ended.text
    registry = manta.work / "registry"
    registry.mkdir()
    manta.give_to_user()
    ended = manta("module", "publish", "show.zip", "--registry", registry)
    assert ended.code == 0, ended.text
    swarm = manta.swarm(ONE.format(module="show", more=', version="^1"'))
    ended = manta("run", swarm, "--nodes", 1, "--registry", registry)
    assert ended.code == 0 and "tinypkg 1.0" in ended.text, ended.text


def test_a_replay_on_this_machine_has_the_packages_of_the_attempt(manta, index):
    cluster = Cluster(manta).start("node-1")
    module(manta, "show", "tinypkg<2")
    swarm = cluster.deploy(manta.swarm(ONE.format(module="show", more="")))
    cluster.wait_for(swarm, "succeeded")
    (offered,) = of_kind(cluster.api.events(swarm), "attempt_offered")
    shutil.rmtree(index)
    ended = manta("replay", offered["attempt"], "--local", environment=cluster.as_user)
    assert ended.code == 0 and "tinypkg 1.0" in ended.text, ended.text


def test_a_modules_own_tests_have_its_packages(manta, index):
    module(manta, "show", "tinypkg<2")
    manta.file(
        "show/test_show.py",
        """
        import tinypkg

        def test_it_runs(run_task, load_module):
            run_task(load_module("show").main)
            assert tinypkg.__version__ == "1.0"
        """,
    )
    ended = manta("module", "test", "show", "--", "-q", "-p", "no:cacheprovider")
    assert ended.code == 0 and "1 passed" in ended.out, ended.text
    manta.file("show/requirements.txt", "tinypkg>=9\n")
    ended = manta("module", "test", "show", "--", "-q", "-p", "no:cacheprovider")
    assert ended.code == 4 and "tinypkg" in ended.err and "passed" not in ended.out, ended.text
