"""Modules as packages: one file of the same bytes everywhere, and what differs between two."""

import io
import json
import os
import shutil
import struct
import zipfile

import pytest

from harness.cluster import Cluster
from harness.waiting import wait_until

WORKER = 'def main():\n    print("one")\n'


def module(manta, name, **files):
    """Make a directory module; keys are paths with `__` for a slash and `_py` for an ending."""
    root = manta.work / name
    for key, text in {"__init___py": WORKER, **files}.items():
        path = root / key.replace("_toml", ".toml").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def about(name, version, **more):
    fields = {"name": name, "version": version, **more}
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    return "[tool.manta.module]\n" + "\n".join(lines) + "\n"


def test_a_package_has_the_same_bytes_wherever_and_whenever_it_is_made(manta):
    first = module(manta, "worker", pyproject_toml=about("worker", "1.0.0"), lib_py="A = 1\n")
    second = manta.work / "elsewhere" / "worker"
    shutil.copytree(first, second)
    for path in second.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    (second / "__pycache__").mkdir()
    (second / "__pycache__" / "x.pyc").write_bytes(b"x")
    one, other = manta.work / "one.zip", manta.work / "other.zip"
    assert manta("module", "package", first, "-o", one).code == 0
    ended = manta("module", "package", second, "-o", other, "--json")
    assert one.read_bytes() == other.read_bytes(), ended.text
    (document,) = ended.documents()
    assert document["version"] == "1.0.0" and document["bytes"] == other.stat().st_size
    with zipfile.ZipFile(one) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["MANTA.json", "__init__.py", "lib.py", "pyproject.toml"]
        assert json.loads(archive.read("MANTA.json"))["name"] == "worker"
    inspected = manta("module", "inspect", one, "--json").documents()[0]
    assert inspected == manta("module", "inspect", first, "--json").documents()[0]
    assert inspected["bundle"] == document["bundle"]
    assert "3 files" in manta("module", "inspect", one).out


def test_what_is_packaged_is_checked_as_what_is_run(manta):
    root = module(manta, "broken", lib_py="def (:\n")
    ended = manta("module", "package", root)
    assert ended.code == 4 and "lib.py" in ended.err and "MANTA-0103" in ended.err, ended.text
    (root / ".gitignore").write_text("lib.py\n")
    ended = manta("module", "inspect", root, "--name", "b", "--version", "2.0.0")
    assert ended.code == 0 and "b 2.0.0" in ended.out and "lib.py" not in ended.out, ended.text
    ended = manta("module", "package", root, "--version", "1.0")
    assert ended.code == 4 and "1.0" in ended.err, ended.text


def test_shared_code_is_included_under_its_own_name(manta):
    module(manta, "common", averaging_py="def mean(): return 1\n")
    root = module(manta, "worker", pyproject_toml=about("worker", "1.0.0", include=["../common"]))
    listed = manta("module", "inspect", root, "--json").documents()[0]["manifest"]["files"]
    assert {"common/__init__.py", "common/averaging.py", "__init__.py"} < set(listed)
    (root / "pyproject.toml").write_text(about("worker", "1.0.0", include=["../nowhere"]))
    ended = manta("module", "inspect", root)
    assert ended.code == 4 and "../nowhere" in ended.err, ended.text


def test_a_difference_shows_code_and_manifest(manta):
    before = module(manta, "before", pyproject_toml=about("worker", "1.0.0"), lib_py="A = 1\nB = 2\n")
    after = module(manta, "after", pyproject_toml=about("worker", "1.1.0", image="numpy"), lib_py="A = 1\nB = 3\n")
    ended = manta("module", "diff", before, after)
    for line in ("-version: 1.0.0", "+version: 1.1.0", "+image: manta_light:numpy", "-B = 2", "+B = 3", " A = 1"):
        assert line in ended.out.splitlines(), ended.text
    same = manta("module", "diff", before, before)
    assert same.code == 0 and same.out == "" and "the same" in same.err


def refused(manta, data, *words):
    path = manta.work / "attack.zip"
    path.write_bytes(data)
    ended = manta("module", "inspect", path)
    assert ended.code == 4 and all(word in ended.err for word in words), ended.text


@pytest.fixture
def package(manta):
    """Return the bytes of a sound package."""
    root = module(manta, "worker", pyproject_toml=about("worker", "1.0.0"))
    assert manta("module", "package", root, "-o", manta.work / "sound.zip").code == 0
    return (manta.work / "sound.zip").read_bytes()


def rewritten(package, change):
    """Return the package as another tool writes it, after a change of its entries."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_what_another_tool_packs_again_is_the_same_module(manta, package):
    path = manta.work / "again.zip"
    path.write_bytes(rewritten(package, lambda entries: None))
    sound = manta("module", "inspect", manta.work / "sound.zip", "--json").documents()
    assert manta("module", "inspect", path, "--json").documents() == sound


def test_an_archive_that_is_not_its_manifest_is_refused(manta, package):
    evil = rewritten(package, lambda files: files.update({"__init__.py": b"evil()"}))
    refused(manta, evil, "__init__.py", "tampered")
    refused(manta, rewritten(package, lambda files: files.update({"evil.py": b""})), "evil.py", "does not name")
    refused(manta, rewritten(package, lambda files: files.pop("__init__.py")), "__init__.py", "lacks")
    refused(manta, rewritten(package, lambda files: files.pop("MANTA.json")), "holds no `MANTA.json`")


def test_archives_that_two_readers_would_see_differently_are_refused(manta, package):
    refused(manta, rewritten(package, lambda files: files.update({"../evil.py": b""})), "../evil.py", "holds")
    refused(manta, rewritten(package, lambda files: files.update({"__INIT__.py": b""})), "__INIT__.py")
    refused(manta, package + b"x", "something behind")
    refused(manta, b"MZ" + package, "before")
    refused(manta, package + package, "before")
    name = package.index(b"PK\x03\x04", 4) + 30
    assert package[name : name + 11] == b"__init__.py"
    refused(manta, package[:name] + b"__evil__.py" + package[name + 11 :], "another name", "__init__.py")
    end = package.rindex(b"PK\x05\x06")
    (count,) = struct.unpack_from("<H", package, end + 10)
    fewer = package[: end + 8] + struct.pack("<HH", count - 1, count - 1) + package[end + 12 :]
    refused(manta, fewer, "between")


SWARM = """
    class Uses(Swarm):
        def execute(self):
            return self.worker()

        def __init__(self):
            super().__init__()
            self.worker = Task(Module("worker", version="{wanted}"))
"""


@pytest.fixture
def cluster(manta):
    """Return a manager and nodes that are yet to start."""
    return Cluster(manta)


def publish(manta, version, text, *options, environment=None):
    root = module(manta, f"v{version}", pyproject_toml=about("worker", version), __init___py=text)
    return manta("module", "publish", root, *options, environment=environment)


def test_a_range_means_the_newest_version_and_a_swarm_pins_it(cluster, manta):
    cluster.start("a")
    env = cluster.as_user
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        ended = publish(manta, version, f'def main():\n    print("this is {version}")\n', environment=env)
        assert ended.code == 0 and ended.out == f"worker@{version}\n", ended.text
    swarm = manta.swarm(SWARM.format(wanted="^1.0"))
    ended = manta("deploy", swarm, "--json", environment=env)
    assert ended.code == 0, ended.text
    swarm_id = ended.documents()[0]["swarm"]["id"]
    wait_until(60, lambda: cluster.api.lacks_state(swarm_id, "succeeded"))
    assert "this is 1.1.0" in manta("logs", swarm_id, environment=env).out
    (user,) = manta("module", "users", "worker", "--json", environment=env).documents()[0]["users"]
    assert (user["swarm"], user["version"], user["tasks"]) == (swarm_id, "1.1.0", ["worker"])
    assert manta("module", "yank", "worker@1.1.0", "--reason", "wrong", environment=env).code == 0
    plan = manta("plan", swarm, environment=env)
    assert plan.code == 0 and "worker 1.0.0" in plan.out, plan.text
    none = manta("deploy", manta.swarm(SWARM.format(wanted="^7")), environment=env)
    assert none.code == 3 and "there are 2.0.0, 1.1.0 (yanked), 1.0.0" in none.err, none.text
    again = publish(manta, "1.0.0", "def main(): ...\n", environment=env)
    assert again.code == 8 and "stays so" in again.err, again.text
    fetched = manta.work / "fetched.zip"
    assert manta("module", "download", "worker@2.0.0", "-o", fetched, environment=env).code == 0
    packed = manta.work / "packed.zip"
    assert manta("module", "package", manta.work / "v2.0.0", "-o", packed).code == 0
    assert fetched.read_bytes() == packed.read_bytes()
    difference = manta("module", "diff", "worker@1.0.0", "worker@2.0.0", environment=env)
    assert '+    print("this is 2.0.0")' in difference.out, difference.text


def test_a_directory_is_a_registry_that_a_team_can_share(manta):
    shared = manta.work / "shared"
    shared.mkdir()
    options = ("--registry", shared)
    for version in ("1.0.0", "1.1.0"):
        assert publish(manta, version, f'def main():\n    print("this is {version}")\n', *options).code == 0
    assert (shared / "worker" / "1.1.0" / "files" / "__init__.py").is_file()
    assert manta("module", "tag", "worker@1.0.0", "stable", *options).code == 0
    listed = manta("module", "ls", *options, "--json").documents()[0]["modules"]
    assert [(one["name"], one["newest"], one["versions"]) for one in listed] == [("worker", "1.1.0", 2)]
    ended = manta("run", manta.swarm(SWARM.format(wanted="^1")), "--nodes", 1, *options)
    assert ended.code == 0 and "this is 1.1.0" in ended.err, ended.text
    refused = manta("run", manta.swarm(SWARM.format(wanted="^1")), "--nodes", 1)
    assert refused.code == 2 and "no registry is named" in refused.err, refused.text
    assert publish(manta, "1.0.0", "def main(): ...\n", *options).code == 8
    (shared / "worker" / "1.1.0" / "files" / "__init__.py").write_text("evil()\n")
    tampered = manta("module", "download", "worker@1.1.0", "-o", manta.work / "x.zip", *options)
    assert tampered.code == 4 and "__init__.py" in tampered.err and not (manta.work / "x.zip").exists(), tampered.text


def test_a_module_is_taken_from_another_registry(cluster, manta):
    cluster.start_manager()
    env = cluster.as_user
    shared = manta.work / "shared"
    shared.mkdir()
    assert publish(manta, "1.0.0", WORKER, "--registry", shared).code == 0
    ended = manta("module", "add", "worker@^1", "--from", shared, environment=env)
    assert ended.code == 0 and ended.out == "worker@1.0.0\n", ended.text
    assert manta("module", "deprecate", "worker@1.0.0", "--message", "use 2", environment=env).code == 0
    shown = manta("module", "compat", "worker", environment=env)
    for word in ("MODULE", "PLATFORM VERSION", "COMPATIBLE IMAGES", "NOTES", "latest", "deprecated: use 2"):
        assert word in shown.out, shown.text
