"""The example in PyTorch, where the interpreter of tasks has torch: `MANTA_PYTHON` may name one that does."""

import os
import shutil
import subprocess
import sys

import pytest

from harness.digits import digits_file
from harness.manta import ROOT
from manta.light.utils import bytes_to_numpy

EXAMPLES = ROOT / "examples"
PYTHON = os.environ.get("MANTA_PYTHON") or sys.executable


@pytest.fixture
def torch():
    """Skip where tasks have no torch."""
    if subprocess.run([PYTHON, "-c", "import torch"], capture_output=True, check=False).returncode:
        pytest.skip("needs torch")


def test_a_network_is_learned_together(torch, manta):
    shutil.copytree(EXAMPLES / "torch", manta.work / "torch")
    prepare = [PYTHON, EXAMPLES / "digits" / "prepare.py", "--digits", digits_file(), "--out", manta.work / "shards"]
    subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
    data = "digits=shards/{node}.npz"
    ended = manta("run", "torch", "--nodes", "5", "--data", data, "--out", "out", "--json", limit_s=300)
    assert ended.code == 0, ended.text
    document = ended.documents()[-1]
    (accuracy,) = (entry for entry in document["globals"] if entry["name"] == "accuracy")
    assert document["status"] == "succeeded" and bytes_to_numpy((manta.work / accuracy["file"]).read_bytes()) > 0.8
