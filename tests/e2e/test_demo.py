"""`manta demo`: the first thing that anybody runs."""

import json

from harness.digits import digits_file
from harness.manta import ROOT

KEYS = {
    "schema_version",
    "swarm",
    "status",
    "nodes",
    "iterations",
    "accuracy",
    "central_accuracy",
    "seconds_to_first_iteration",
    "overhead_ms_per_iteration",
}


def demo(manta, *arguments, code=0):
    """Run the demo with digits that are already on this machine."""
    ended = manta("demo", *arguments, environment={"MANTA_DIGITS": str(digits_file())}, limit_s=180)
    assert ended.code == code, ended.text
    return ended


def test_the_demo_learns_to_read_and_leaves_what_it_learned(manta):
    (document,) = demo(manta, "--json").documents()
    assert set(document) >= KEYS, KEYS - set(document)
    assert document["status"] == "succeeded"
    assert document["accuracy"] >= 0.94 and document["central_accuracy"] >= 0.94
    assert 0 < document["seconds_to_first_iteration"] < 60
    left = {path.relative_to(manta.work / "manta-demo") for path in (manta.work / "manta-demo").rglob("*")}
    names = {path.name for path in left}
    assert {"swarm.py", "prepare.py", "worker", "aggregator.py"} <= names, names
    assert any(name.endswith(".npz") and "model" in name for name in names), names
    again = demo(manta, "--json").documents()[0]
    assert again["status"] == "succeeded" and again["accuracy"] == document["accuracy"], "the seed is fixed"


def test_the_demo_tells_people_what_it_does(manta):
    ended = demo(manta)
    assert "accuracy" in ended.text and "manta-demo" in ended.text, ended.text


def test_the_example_that_the_demo_leaves_is_the_repositorys(manta):
    demo(manta, "--json")
    (swarm,) = (manta.work / "manta-demo").rglob("swarm.py")
    assert swarm.read_text() == (ROOT / "examples" / "digits" / "swarm.py").read_text()


def test_digits_that_are_none_are_refused_with_a_hint(manta):
    wrong = manta.file("digits.csv.gz", "nothing compressed")
    ended = manta("demo", "--json", environment={"MANTA_DIGITS": str(wrong)})
    assert ended.code == 4, ended.text
    error = json.loads(ended.err.strip().splitlines()[-1])
    assert "digits.csv.gz" in error["message"] and error["hint"], error


def test_a_python_without_numpy_is_told_what_to_install(manta):
    manta.file("hidden/numpy.py", "raise ImportError('numpy is hidden')\n")
    environment = {"MANTA_DIGITS": str(digits_file()), "PYTHONPATH": str(manta.work / "hidden")}
    ended = manta("demo", environment=environment)
    assert ended.code == 4 and "numpy" in ended.err and "pip install" in ended.err, ended.text


def test_a_target_out_of_reach_is_no_success(manta):
    ended = demo(manta, "--json", "--target", "0.999", "--max-iteration", "2", code=1)
    (document,) = ended.documents()
    assert document["accuracy"] < 0.999 and len(document["iterations"]) == 2, document


def test_what_the_user_changed_in_the_example_stays(manta):
    demo(manta, "--json")
    swarm = manta.work / "manta-demo" / "swarm.py"
    swarm.write_text(swarm.read_text().replace('"target", 0.94', '"target", 0.5'))
    changed = swarm.read_text()
    demo(manta, "--json")
    assert swarm.read_text() == changed
