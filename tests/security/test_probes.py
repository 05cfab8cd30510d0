"""Every probe of containment from inside a task, through the whole product, in every tier."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from harness.containment import FIXTURES, FULL, ORDINARY_USER, REDUCED, USERS, lacking_kernel_feature
from harness.manta import ROOT

SUITE = ROOT / "crates" / "manta-sandbox" / "probes"
POLICY = ROOT / "crates" / "manta-sandbox" / "src" / "seccomp"
TIERS = dict(zip((FULL, "as an ordinary user", REDUCED), ("full", "rootless", "reduced")))
DENIED_MIN = 300
"""Probes of which a run must tell that they were denied: one that tries nothing would find nothing."""

SWARM = """
    class Probed(Swarm):
        def __init__(self):
            super().__init__()
            self.set_global("tier", {tier!r})
            self.set_global("stage", {stage!r})
            self.probed = Task(Module("probed", datasets=["mine"]), retries=0)

        def execute(self):
            return self.probed()
"""

TASK = '''
"""Tries every probe, and tells those that were not denied."""

import json

from manta.light.task import Task


class Probed(Task):
    def run(self):
        from .suite.probe import Stage
        from .suite.run import probes, reports

        mine = str(self.local.get_dataset("mine").path)
        stage = Stage(self.world.globals["tier"], {**self.world.globals["stage"], "mine": mine})
        states = []
        for report in reports(stage, probes()):
            states.append(report["state"])
            if report["state"] not in ("denied", "works", "unstaged", "unclaimed"):
                self.logger.error("WRONG %s", json.dumps(report))
        self.logger.info("denied=%d", states.count("denied"))


def main():
    Probed().run()
'''


@pytest.fixture
def suite(test_root):
    """The suite as it is installed: beside its lists of calls."""
    shutil.copytree(SUITE, test_root / "probes", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("allowed.txt", "refused.txt"):
        shutil.copy(POLICY / name, test_root / "probes" / "suite" / name)
    return test_root / "probes"


@pytest.fixture
def stage(suite):
    """What probes aim at, and a function that tells what of it heard something."""
    command = [sys.executable, "-I", "-B", suite, "stage", "--user", str(ORDINARY_USER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def heard():
            process.stdin.write("\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield json.loads(process.stdout.readline()), heard
        process.stdin.close()


@pytest.mark.parametrize("user", USERS)
def test_no_probe_is_allowed_in_a_task(request, suite, user):
    if missing := lacking_kernel_feature(user):
        pytest.skip(missing)
    manta = request.getfixturevalue(FIXTURES[user])
    targets, heard = request.getfixturevalue("stage")
    secret = "sentinel-of-the-probes"
    (manta.work / "probed").mkdir()
    (manta.work / "probed" / "__init__.py").write_text(TASK)
    shutil.copytree(suite / "suite", manta.work / "probed" / "suite")
    targets = {**targets, "agent": os.getpid(), "variable": "SECRET_OF_THE_USER", "sentinel": secret}
    mine = targets.pop("mine")
    swarm = manta.swarm(SWARM.format(tier=TIERS[user], stage=targets))
    manta.give_to_user()
    data = ["--data", f"mine={mine}", "--data", f"other={targets['other']}"]
    ended = manta("run", swarm, "--nodes", 1, *data, environment={"SECRET_OF_THE_USER": secret}, limit_s=180)
    wrong = [line for line in ended.text.splitlines() if "WRONG" in line]
    assert not wrong, "\n".join(wrong)
    assert ended.code == 0 and "denied=" in ended.text, ended.text
    denied = int(ended.text.split("denied=")[1].split()[0])
    assert denied >= DENIED_MIN, ended.text
    assert heard() == []
