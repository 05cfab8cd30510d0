"""One cluster for the whole suite: a manager and three nodes, spoken to by ``manta.apis.UserAPI``."""

import os
import shutil
import tempfile
import uuid
from pathlib import Path

import pytest

from harness.cluster import Cluster
from harness.leaks import LeakChecker
from harness.manta import Manta, binary
from spec.place import REGIONS, Platform, write_data


@pytest.fixture(autouse=True)
def leak_checker():
    """Nothing for a single test: the cluster outlives it, and is looked over at its own end."""


@pytest.fixture(scope="session")
def platform():
    """Start the cluster once, and see at the end that it left nothing behind."""
    test_id = f"t{uuid.uuid4().hex[:12]}"
    root = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
    root.chmod(0o711)
    manta = Manta(root, test_id)
    checker = LeakChecker(test_id, [root / "t", root / "r"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANTA_BINARY", str(binary()))
        package = os.environ.get("MANTA_SPEC_PACKAGE")
        if package:
            manta.environment["PYTHONPATH"] = package
        cluster = Cluster(manta)
        try:
            cluster.start_manager()
            for node, region in REGIONS.items():
                cluster.start_node(node, write_data(root, node), {"region": region})
            cluster.wait_for_nodes(*REGIONS)
            if package:
                replace_light(root, Path(package) / "manta")
            yield Platform(manta, cluster)
        finally:
            manta.stop_all()
    checker.check()


def replace_light(root, package):
    """Let sandboxes import another `manta.light` than the agents carry: the one that `mutate.py` broke."""
    for light in root.glob("n-*/light/*/manta/light"):
        shutil.rmtree(light)
        shutil.copytree(package / "light", light)
