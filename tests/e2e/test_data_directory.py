"""A data directory that is newer, older, cut short, damaged or full is found and named, never served, never removed."""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
from contextlib import contextmanager

import pytest

from harness.cluster import Cluster
from harness.manta import ROOT
from harness.waiting import wait_until

FAILED, CONFLICT = 1, 8
NEWER_FORMAT = 999
FLIPS = 48
PROFILE = {"slots": 2, "cpu_count": 2.0, "memory_bytes": 1 << 30}
MIB = 1 << 20

SWARM = """
    class Two(Swarm):
        def __init__(self):
            super().__init__(max_iteration=3)
            self.set_global("rate", 0.5)
            self.ok = Task(Module("modules/ok.py"))

        def execute(self):
            return self.ok()
"""


@pytest.fixture
def stopped(manta):
    """A cluster whose manager was killed after a swarm had succeeded, and what it showed of that swarm."""
    cluster = Cluster(manta).start("node-1")
    swarm = cluster.deploy(manta.swarm(SWARM))
    cluster.wait_for(swarm, "succeeded")
    shown = everything(cluster.api, swarm)
    cluster.nodes["node-1"].stop()
    cluster.kill_manager()
    return cluster, swarm, shown


def everything(api, swarm):
    """Return all that the API shows of a swarm, values included, but what nodes that are not connected hold of it."""
    results = [(entry, api.value(entry["blob"])) for entry in api.results(swarm)]
    shown = {name: value for name, value in api.swarm(swarm).items() if name != "distribution"}
    return [shown, api.events(swarm), results, api.globals(swarm)]


def content(directory):
    """Return the digest of every file below a directory, but those that any start rewrites."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    kept = (path for path in files if path.name not in ("address", "manager.lock") and not path.name.endswith("-shm"))
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def start(manta, directory):
    """Start a manager on a directory and return the command."""
    return manta.start("manager", "run", "--data-dir", directory, "--listen", "127.0.0.1:0")


def refused(manta, directory, code, *parts):
    """Check that a manager refuses a directory in one sentence and leaves it as it was."""
    before = content(directory)
    ended = start(manta, directory).end(20)
    assert ended.code == code, ended.text
    errors = [line for line in ended.err.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and "panicked" not in ended.err, ended.err
    for part in (str(directory), *parts):
        assert part in ended.err, f"{part!r} is not in:\n{ended.err}"
    assert content(directory) == before, "it was changed"


def change(directory, sql):
    """Change a stored database in place, as another program would."""
    with sqlite3.connect(directory / "state.db") as database:
        database.execute(sql)
    database.close()


def test_a_newer_directory_is_refused_with_both_formats(manta, stopped):
    directory = stopped[0].data_dir
    change(directory, f"PRAGMA user_version = {NEWER_FORMAT}")
    refused(manta, directory, CONFLICT, f"format {NEWER_FORMAT}", "manta manager restore")


def test_a_directory_of_another_program_is_refused(manta, stopped):
    directory = stopped[0].data_dir
    change(directory, "PRAGMA application_id = 7")
    refused(manta, directory, FAILED, "state.db", "not made by Manta", "manta manager restore")


def test_a_state_file_that_is_text_is_refused(manta, stopped):
    directory = stopped[0].data_dir
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (directory / name).unlink(missing_ok=True)
    (directory / "state.db").write_text("my notes\n" * 1000)
    refused(manta, directory, FAILED, "state.db", "manta manager restore")


def test_an_older_directory_is_brought_up_to_date_and_kept_beside(manta):
    directory = manta.root / "m"
    directory.mkdir(mode=0o700)
    sample = (ROOT / "crates/manta-store/src/sqlite/samples/format-1.sql").read_text()
    with sqlite3.connect(directory / "state.db") as database:
        database.executescript(sample)
        # The sample's submissions are the store's own, which no manager wrote.
        for table in ("swarms", "events", "attempts", "slots", "results", "globals", "idempotency_keys"):
            database.execute(f"DELETE FROM {table}")
        database.execute("UPDATE nodes SET description = ?", (json.dumps(PROFILE),))
    database.close()
    cluster = Cluster(manta)
    cluster.start_manager()
    assert set(cluster.api.nodes()) == {"node-0", "node-1"}, "what was stored in the old format is served"
    assert list(directory.glob("state.db.format-1*")), "the file as it was stays beside it"


def test_a_state_file_that_was_cut_short_is_refused(manta, stopped):
    cluster, _, _ = stopped
    cluster.start_manager()
    cluster.manager.stop()
    whole = (cluster.data_dir / "state.db").read_bytes()
    for kept in (0, 1, 100, 4096, len(whole) // 2, len(whole) - 4096, len(whole) - 1):
        directory = manta.root / f"cut-{kept}"
        shutil.copytree(cluster.data_dir, directory)
        with open(directory / "state.db", "r+b") as file:
            file.truncate(kept)
        refused(manta, directory, FAILED, "state.db", "manta manager restore")


def test_a_flipped_bit_in_the_state_is_found_or_harmless(manta, stopped):
    cluster, swarm, shown = stopped
    cluster.start_manager()
    cluster.manager.stop()
    size = (cluster.data_dir / "state.db").stat().st_size
    chance, found = random.Random(7), 0
    for number in range(FLIPS):
        directory = manta.root / f"flip-{number}"
        shutil.copytree(cluster.data_dir, directory)
        place, bit = chance.randrange(size), 1 << chance.randrange(8)
        with open(directory / "state.db", "r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ bit]))
        found += not serves_all(manta, directory, swarm, shown, f"byte {place}, bit {bit}")
        shutil.rmtree(directory)
    assert found, f"none of {FLIPS} flipped bits was found"


def serves_all(manta, directory, swarm, shown, flip):
    """Return whether the manager serves all as it was; check that it names the damage if not."""
    other = Cluster(manta)
    other.data_dir = directory
    (directory / "address").unlink(missing_ok=True)
    other.manager = start(manta, directory)

    def look():
        if other.manager.process.poll() is not None:
            return None
        address = directory / "address"
        return None if address.exists() and address.read_text().endswith("\n") and answers(other) else "neither"

    wait_until(20, look)
    if other.manager.process.poll() is None:
        try:
            assert everything(other.api, swarm) == shown, f"{flip}: other things are served"
        except OSError as error:
            assert "damaged" in error.read().decode(), f"{flip}: {error}"
            return False
        finally:
            other.manager.stop()
        return True
    ended = other.manager.end(1)
    assert ended.code in (FAILED, CONFLICT), f"{flip}: {ended.text}"
    assert "panicked" not in ended.err and "error" in ended.err, f"{flip}: {ended.err}"
    assert "state.db" in ended.err or "swarm" in ended.err or "node" in ended.err, f"{flip}: {ended.err}"
    return False


def answers(cluster):
    """Return whether a manager answers, or has ended instead."""
    try:
        cluster.api.nodes()
    except OSError:
        return cluster.manager.process.poll() is not None
    return True


def test_a_damaged_blob_is_set_aside_and_never_served(manta, stopped):
    cluster, _, shown = stopped
    digest = shown[2][0][0]["blob"]["digest"]
    (path,) = [path for path in (cluster.data_dir / "blobs").rglob("*") if path.name.endswith(digest[2:])]
    path.chmod(0o600)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    cluster.start_manager()
    with pytest.raises((OSError, EOFError)):
        cluster.api.value({"digest": digest})
    damaged = [path for path in cluster.data_dir.rglob("*") if path.is_file() and path.stat().st_size == len(whole)]
    assert any(path.read_bytes()[:-1] == whole[:-1] for path in damaged), "nothing is removed"
    assert cluster.manager.process.poll() is None, cluster.manager.text()
    assert digest in cluster.manager.text(), "the log names it"


@contextmanager
def small_disk(directory, size):
    """Mount a file system of that size."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "manta-test", str(directory)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_refuses_in_words_and_goes_on_by_itself(manta):
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    with small_disk(manta.root / "small", 24 * MIB) as disk:
        cluster = Cluster(manta)
        cluster.data_dir = disk / "m"
        cluster.start("node-1")
        swarm = manta.swarm(SWARM)
        first = cluster.deploy(swarm)
        cluster.wait_for(first, "succeeded")
        free = os.statvfs(disk)
        (disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - 3 * MIB))
        refusal = {}

        def look():
            ended = manta("deploy", swarm, environment=cluster.as_user)
            refusal["text"] = ended.err
            return None if ended.code == FAILED else f"deploy ended with {ended.code}: {ended.text}"

        wait_until(10, look)
        assert "disk is full" in refusal["text"] and str(cluster.data_dir) in refusal["text"], refusal["text"]
        listed = manta("ls", environment=cluster.as_user)
        assert listed.code == 0 and "succeeded" in listed.text, "reading still works"
        (disk / "filler").unlink()

        def deployed():
            ended = manta("deploy", swarm, "--json", environment=cluster.as_user)
            return None if ended.code == 0 else f"deploy still ends with {ended.code}: {ended.text}"

        wait_until(10, deployed)
        assert cluster.manager.process.poll() is None, "it never stopped"
        cluster.nodes["node-1"].stop()
        cluster.manager.signal(signal.SIGTERM)
        assert cluster.manager.end(20).code == 0, cluster.manager.text()
