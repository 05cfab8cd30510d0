"""Fixtures of the tests over real processes: a `manta` of each test's own, and the proof that it left nothing."""

import os
import shutil
import tempfile
import uuid
from pathlib import Path

import pytest

from harness.containment import ORDINARY_USER, WITHOUT_NAMESPACES
from harness.leaks import LeakChecker
from harness.manta import Manta, shared_cache
from harness.processes import adopt_orphans

SHARED_PLACES = ("/tmp", "/var/tmp", "/run", "/dev/shm")
FAILED = pytest.StashKey()


def pytest_configure(config):
    """Keep every descendant in sight, and make what outlives single tests before the first one looks for leaks."""
    adopt_orphans()
    for user in (None, ORDINARY_USER) if os.geteuid() == 0 else (None,):
        shared_cache(user)
    if os.geteuid() == 0:
        # Where all agents of a machine note which uids are taken.
        Path("/run/manta").mkdir(exist_ok=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Remember whether a test failed, for the fixtures that keep its files."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(autouse=True)
def test_id():
    """What this test's processes carry in their environment."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def leak_checker(request, test_id, test_root):
    """Fail the test if it leaves a process, mount, namespace, control group or file behind."""
    runtime = [Path(place) for place in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{os.getuid()}") if place]
    shared = [*map(Path, SHARED_PLACES), *runtime]
    checker = LeakChecker(test_id, [test_root / "t", test_root / "r"], shared)
    yield checker
    try:
        checker.check()
    except AssertionError:
        request.node.stash[FAILED] = True
        checker.clean()
        raise


@pytest.fixture(autouse=True)
def test_root(request):
    """The directory that holds everything of one test; kept, and named, when the test fails."""
    # Short and directly below /tmp: the path of a Unix socket may have 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
    root.chmod(0o711)
    yield root
    if request.node.stash.get(FAILED, False):
        print(f"\nlogs and files of this test are kept in {root}")
    else:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def manta(test_root, test_id, leak_checker):
    """The `manta` command with a home of its own."""
    manta = Manta(test_root, test_id)
    yield manta
    manta.stop_all()


@pytest.fixture
def manta_as_user(test_root, test_id, leak_checker):
    """The `manta` command as an ordinary user runs it."""
    manta = Manta(test_root, test_id, user=ORDINARY_USER if os.geteuid() == 0 else None)
    yield manta
    manta.stop_all()


@pytest.fixture
def manta_without_namespaces(test_root, test_id, leak_checker):
    """The `manta` command as run by an ordinary user whom the kernel gives no namespaces, as in many containers."""
    user = ORDINARY_USER if os.geteuid() == 0 else None
    manta = Manta(test_root, test_id, user=user, within=WITHOUT_NAMESPACES)
    yield manta
    manta.stop_all()
