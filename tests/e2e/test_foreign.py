"""Modules in a style unlike ours, written against the documented names alone: they run as they are."""

import shutil

import numpy as np
import pytest

from harness.manta import ROOT
from manta.light.utils import bytes_to_dict, bytes_to_numpy

FOREIGN = ROOT / "tests" / "fixtures" / "foreign"


def run(manta, name, dataset):
    """Run one of the swarms on three nodes and return its document."""
    shutil.copytree(FOREIGN / name, manta.work / name)
    ended = manta("run", f"{name}/swarm.py", "--nodes", "3", "--data", dataset, "--out", "out", "--json")
    assert ended.code == 0, ended.text
    document = ended.documents()[-1]
    assert document["status"] == "succeeded", document
    return document


def decoded(manta, entry):
    """Return a value, decoded from the file that it was saved in."""
    return bytes_to_numpy((manta.work / entry["file"]).read_bytes())


def value_of(manta, document, name):
    """Return a global of a finished run."""
    (found,) = (entry for entry in document["globals"] if entry["name"] == name)
    return decoded(manta, found)


@pytest.fixture
def points(manta):
    """Give each node rows of one line, y = 2 + 3 x, another part of it each."""
    for number in (1, 2, 3):
        x = np.linspace(number - 1, number, 40 * number) / 3
        np.savez(manta.work / f"node-{number}.npz", x=np.stack([np.ones_like(x), x], axis=1), y=2 + 3 * x)
    return "points={node}.npz"


def test_objects_handed_in_and_values_as_bytes(manta, points):
    document = run(manta, "regression", points)
    weights = bytes_to_dict(value_of(manta, document, "weights"))["w"]
    np.testing.assert_allclose(weights, [2, 3], atol=0.2)
    history = value_of(manta, document, "history")
    assert history[0] == ["node-1", "node-2", "node-3"], "all nodes fit at first"
    assert len(history[1]) == 1, "then the one that was worst, and no other"


def test_coroutines_and_a_task_that_runs_where_something_was_published(manta):
    for number, entries in ((1, 1), (2, 3), (3, 5)):
        (manta.work / f"node-{number}.txt").write_text("entry\n" * entries)
    document = run(manta, "election", "ledger={node}.txt")
    terms = value_of(manta, document, "terms")
    assert terms == [("node-2", 0, 1), ("node-3", 0, 1), ("node-2", 0, 2), ("node-3", 0, 2)]


def test_functions_alone_over_a_directory_of_text(manta):
    for number, text in ((1, "The tide, the tide!"), (2, "the ray"), (3, "never read")):
        folder = manta.work / "corpus" / f"node-{number}"
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(text)
        (folder / "b.md").write_text("no text")
    document = run(manta, "words", "corpus=corpus/{node}")
    assert value_of(manta, document, "top") == [("the", 3), ("tide", 2)]
    fresh = [entry for entry in document["results"] if entry["name"] == "fresh_in_all"]
    assert [decoded(manta, entry) for entry in sorted(fresh, key=lambda entry: entry["iteration"])] == [4, 0]
