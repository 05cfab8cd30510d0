"""Breaks the product on purpose, and sees that the suite of the specification turns red.

    .venv/bin/python tests/spec/mutate.py [FAMILY ...] [--without-cluster] [--report FILE]

Each mutant of `mutants.py` is an edit in a copy of the Python package, or of one of the suite's modules; the tests that
are marked with its claims then run against the copy, with sandboxes whose `manta.light` is the copy's. The exit code is
1 where a claim lost no test.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent)]

from spec.mutants import MUTANTS, Mutant  # noqa: E402
from spec.table import tests_by_claim  # noqa: E402


@dataclass(frozen=True)
class Seen:
    """What the suite made of a mutant."""

    mutant: Mutant
    red: dict[int, list[str]]
    seconds: float
    output: str

    @property
    def survived(self):
        """The claims that lost no test."""
        return [claim for claim in self.mutant.claims if not self.red.get(claim)]


def applied(mutant, folder):
    """Copy package and suite into a folder, and make the edit there; return the edited file."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "python" / "manta", folder / "python" / "manta", ignore=ignored)
    for part in ("spec", "harness"):
        shutil.copytree(ROOT / "tests" / part, folder / "tests" / part, ignore=ignored)
    shutil.copytree(ROOT / "tests" / "fixtures" / "modules", folder / "tests" / "fixtures" / "modules", ignore=ignored)
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
    shutil.copy(ROOT / "pyproject.toml", folder)
    kind, _, inner = mutant.where.rpartition(":")
    path = folder / "tests" / "spec" / inner if kind else folder / "python" / "manta" / inner
    text = path.read_text()
    if text.count(mutant.before) != 1:
        raise SystemExit(f"{mutant.where} holds {mutant.before!r} {text.count(mutant.before)} times, not once")
    path.write_text(text.replace(mutant.before, mutant.after))
    return path


def tests_of(mutant):
    """Return the tests that are marked with each claim of a mutant, as `file::name`; those that it can turn red."""
    found = tests_by_claim()

    def fits(node):
        return mutant.needs_cluster or {one.arg for one in node.args.args} <= {"tmp_path", "monkeypatch"}

    return {
        claim: [f"{path.name}::{node.name}" for path, node in found[claim] if fits(node)] for claim in mutant.claims
    }


def run(mutant):
    """Apply one mutant and run its tests."""
    begun, tests = time.monotonic(), tests_of(mutant)
    with tempfile.TemporaryDirectory(prefix="mt-mutant-", dir="/tmp") as name:
        folder = Path(name)
        applied(mutant, folder)
        chosen = sorted({test for listed in tests.values() for test in listed})
        report = folder / "report.xml"
        # The copy is found by the variable alone: nothing of the suite tells a mutant from the product.
        environment = {**os.environ, "MANTA_SPEC_PACKAGE": str(folder / "python"), "MANTA_WARM": "off"}
        environment.setdefault("MANTA_BINARY", str(ROOT / "target" / "debug" / "manta"))
        environment.setdefault("MANTA_PYTHON", sys.executable)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
        command += [str(folder / "tests" / "spec" / test) for test in chosen]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if not report.is_file():
            raise SystemExit(f"{mutant.family}: pytest wrote no report:\n{done.stdout}{done.stderr}")
        failed = failures(report)
    red = {claim: [test for test in listed if test in failed] for claim, listed in tests.items()}
    return Seen(mutant, red, time.monotonic() - begun, done.stdout)


def failures(report):
    """Return the tests that failed, or could not be set up; all of a file that could not be imported."""
    failed = set()
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(f"{case.get('classname', '').rpartition('.')[2]}.py::{case.get('name', '').partition('[')[0]}")
    return failed


def line(seen):
    """Return a row of the report."""
    mutant, tests = seen.mutant, sorted({test for listed in seen.red.values() for test in listed})
    state = f"survived for {', '.join(map(str, seen.survived))}" if seen.survived else "seen"
    claims = ", ".join(map(str, mutant.claims))
    names = "<br>".join(f"`{test.replace('.py', '')}`" for test in tests) or "none"
    where = mutant.where.replace("tests:", "tests/spec/")
    return f"| {mutant.family} | {claims} | `{where}` | {names} | {state} |"


def main():
    """Run the mutants that are asked for, and say which were seen."""
    parser = argparse.ArgumentParser(prog="tests/spec/mutate.py")
    parser.add_argument("family", nargs="*", help="only these")
    parser.add_argument("--without-cluster", action="store_true", help="only those whose tests need no cluster")
    parser.add_argument("--report", type=Path, help="where to write the table")
    options = parser.parse_args()
    unknown = set(options.family) - {mutant.family for mutant in MUTANTS}
    if unknown:
        parser.error(
            f"there is no family {', '.join(sorted(unknown))}; there are {', '.join(m.family for m in MUTANTS)}"
        )
    chosen = [mutant for mutant in MUTANTS if not options.family or mutant.family in options.family]
    chosen = [mutant for mutant in chosen if not (options.without_cluster and mutant.needs_cluster)]
    rows = []
    for mutant in chosen:
        seen = run(mutant)
        rows.append(seen)
        print(f"{line(seen)} {seen.seconds:.0f} s", flush=True)
        if seen.survived:
            print("\n".join(seen.output.splitlines()[-15:]), file=sys.stderr, flush=True)
    survivors = [seen for seen in rows if seen.survived]
    told = f"{len(rows) - len(survivors)} of {len(rows)} mutants were seen"
    print(told)
    if options.report:
        head = f"# Mutants of the specification's suite\n\nMade by `tests/spec/mutate.py --report`: {told}.\n\n"
        head += "| family | claims | broken in | tests that turned red | state |\n|---|---|---|---|---|\n"
        options.report.write_text(head + "\n".join(line(seen) for seen in rows) + "\n")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
