"""Pages whose snippets are run, in order, as a reader would: files written, commands typed."""

import os
import re
import subprocess
import sys

import pytest

from harness.manta import LIMIT_S, binary
from harness.markdown import ROOT, page

FILE = re.compile(r"# (\S+\.(?:py|toml|csv))\n")
# The README says no more than it must; what a reader has by then is made here.
README_DATA = "mkdir data; for node in 1 2 3; do printf 'value\\n1\\n2\\n' > data/node-$node.csv; done\n"


def run(manta, script):
    """Run a snippet in the test's directory, with the `manta` under test first on the path."""
    programs = manta.root / "p"
    programs.mkdir(exist_ok=True)
    for name, target in (("manta", binary()), ("python", sys.executable)):
        if not (programs / name).exists():
            os.symlink(target, programs / name)
    environment = {**manta.environment, "PATH": f"{programs}:{manta.environment['PATH']}"}
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=manta.work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * LIMIT_S,
    )
    assert ended.returncode == 0, f"{script}\n{ended.stdout}{ended.stderr}"
    return ended.stdout + ended.stderr


def write_files(manta, found):
    """Write the files that a page shows: those blocks that begin with their name."""
    written = set()
    for block in found.blocks:
        if block.language in ("python", "toml") and (name := FILE.match(block.text)):
            manta.file(name[1], block.text)
            written.add(name[1])
    return written


def test_the_first_swarm_runs_as_its_page_says(manta):
    found = page(ROOT / "docs" / "first-swarm.md")
    assert write_files(manta, found) == {"measure.py", "combine.py", "swarm.py"}
    said = "".join(run(manta, block.text) for block in found.blocks if block.mark == "run")
    # 1 and 10, 2 and 20, 3 and 30.
    assert "the mean of 6 values is 11.0" in said, said


@pytest.mark.parametrize("command", ["manta plan", "manta run"])
def test_the_swarm_of_the_readme_runs(manta, command):
    found = page(ROOT / "README.md")
    assert write_files(manta, found) == {"measure.py", "combine.py", "swarm.py"}
    lines = [line for block in found.blocks if block.language == "sh" for line in block.text.splitlines()]
    (wanted,) = (line for line in lines if line.startswith("manta run swarm.py"))
    run(manta, README_DATA + wanted.replace("manta run", command))
