"""The main example: its mathematics reaches its target for nearly every seed, and its programs keep their word."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.digits import digits_file
from harness.manta import ROOT

EXAMPLE = ROOT / "examples" / "digits"
PYTHON = os.environ.get("MANTA_PYTHON") or sys.executable
SEEDS = range(10)
TARGET = 0.94
ITERATIONS = 15

SIMULATION = """
import json, sys
from pathlib import Path
example, shards = map(Path, sys.argv[1:3])
seed, target, most = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
sys.path[:0] = [str(example / "modules"), str(example / "modules" / "worker")]
import numpy as np, softmax, aggregator, evaluate
nodes = {path.stem: dict(np.load(path)) for path in sorted(shards.glob("node-*.npz"))}
model, reached = softmax.initial_model(64), []
for iteration in range(most):
    models = [
        softmax.train(model, node["x_train"], node["y_train"], epochs=5, batch_size=32, rate=0.5,
                      rng=softmax.shuffle_rng(seed, iteration, name))
        for name, node in nodes.items()
    ]
    model = aggregator.weighted_average(models, [len(node["y_train"]) for node in nodes.values()])
    correct = sum(evaluate.count_correct(model, node["x_test"], node["y_test"]) for node in nodes.values())
    reached.append(correct / sum(len(node["y_test"]) for node in nodes.values()))
    if reached[-1] >= target:
        break
counts = [np.sort(np.bincount(node["y_train"], minlength=10)) for node in nodes.values()]
own = [float(count[-2:].sum() / count.sum()) for count in counts]
print(json.dumps({"reached": reached, "own": own}))
"""


def program(*arguments, environment=None):
    """Run one of the example's programs and return its exit code and what it printed, all objects in one."""
    paths = {"PYTHONPATH": str(ROOT / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {**os.environ, **paths, **(environment or {})}
    done = subprocess.run([PYTHON, *map(str, arguments)], capture_output=True, text=True, env=environment, check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers, done.stderr
    answer, *more = answers
    for other in more:
        answer |= other
    return done.returncode, answer


def prepare(out, *arguments, digits=None):
    """Run `prepare.py`."""
    return program(EXAMPLE / "prepare.py", "--digits", digits or digits_file(), "--out", out, *arguments)


def test_nine_of_ten_seeds_reach_the_target_in_time(test_root):
    late, shares = [], []
    for seed in SEEDS:
        shards = test_root / f"seed-{seed}"
        assert prepare(shards, "--seed", seed)[0] == 0
        code, answer = program("-c", SIMULATION, EXAMPLE, shards, seed, TARGET, ITERATIONS)
        assert code == 0
        shares += answer["own"]
        if answer["reached"][-1] < TARGET:
            late.append((seed, answer["reached"]))
    assert len(late) <= 1, late
    assert all(0.78 < share < 0.82 for share in shares), f"a node's own two digits make up {shares}"


def test_shards_are_the_same_bytes_for_the_same_seed(test_root):
    contents = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        code, answer = prepare(test_root / name, "--seed", seed)
        assert code == 0
        assert sorted(answer["shards"]) == [f"node-{number}" for number in range(1, 6)]
        assert answer["samples"] == 1797 and answer["central_accuracy"] > TARGET
        contents.append([Path(path).read_bytes() for path in answer["shards"].values()])
    assert contents[0] == contents[1] != contents[2]


def test_the_shards_are_told_before_the_model_for_comparison_is_trained(test_root):
    command = [PYTHON, EXAMPLE / "prepare.py", "--digits", digits_file(), "--out", test_root / "shards"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        first = json.loads(process.stdout.readline())
        assert first.keys() == {"shards", "samples"} and process.poll() is None, first
        assert json.loads(process.stdout.readline()).keys() == {"central_accuracy"}
    assert process.returncode == 0


@pytest.mark.parametrize("nodes", [1, 3, 10])
def test_every_sample_is_on_one_node(test_root, nodes):
    code, answer = prepare(test_root / "shards", "--nodes", nodes)
    assert code == 0
    count = "import json, sys, numpy as np; a = [np.load(p) for p in sys.argv[1:]]; "
    count += "print(json.dumps([sum(len(x[k]) for x in a) for k in ('y_train', 'y_test')]))"
    code, (train, test) = program("-c", count, *answer["shards"].values())
    assert train + test == 1797 and abs(test / 1797 - 0.2) < 0.01


def test_mistakes_are_one_sentence_and_a_hint(test_root):
    text = test_root / "text.csv.gz"
    text.write_text("not compressed")
    cases = [prepare(test_root / "a", digits=test_root / "nowhere.csv.gz"), prepare(test_root / "b", digits=text)]
    cases += [prepare(test_root / "c", "--nodes", "0"), prepare(text)]
    cases.append(program(EXAMPLE / "save.py", text, test_root / "model.npz"))
    for code, answer in cases:
        assert code == 4, answer
        assert set(answer) == {"error", "hint"} and all(answer.values()), answer


def test_the_digits_of_an_installed_scikit_learn_are_found(test_root):
    data = test_root / "packages" / "sklearn" / "datasets" / "data"
    data.mkdir(parents=True)
    (test_root / "packages" / "sklearn" / "__init__.py").touch()
    (data / "digits.csv.gz").symlink_to(digits_file())
    command = (EXAMPLE / "prepare.py", "--out", test_root / "shards")
    code, answer = program(*command, environment={"PYTHONPATH": f"{test_root / 'packages'}"})
    assert code == 0 and answer["samples"] == 1797, answer


def test_a_missing_numpy_is_said_with_its_cure(test_root):
    (test_root / "numpy.py").write_text("raise ImportError('numpy is hidden')")
    hidden = {"PYTHONPATH": f"{test_root}{os.pathsep}{ROOT / 'python'}"}
    commands = [("prepare.py", "--digits", digits_file(), "--out", test_root / "s"), ("save.py", test_root, test_root)]
    for name, *arguments in commands:
        code, answer = program(EXAMPLE / name, *arguments, environment=hidden)
        assert code == 4 and "numpy" in answer["error"] and "pip install numpy" in answer["hint"], answer


def test_a_saved_model_is_an_ordinary_file(test_root):
    write = "import sys, numpy as np; from manta.light.utils import dict_to_bytes; "
    write += "model = {'weights': np.ones((64, 10)), 'bias': np.zeros(10)}; "
    write += "open(sys.argv[1], 'wb').write(dict_to_bytes(model)); print(0)"
    assert program("-c", write, test_root / "model.value") == (0, 0)
    code, answer = program(EXAMPLE / "save.py", test_root / "model.value", test_root / "model.npz")
    assert code == 0 and answer["arrays"] == {"weights": [64, 10], "bias": [10]}, answer
    read = "import json, sys, numpy as np; a = np.load(sys.argv[1]); print(json.dumps(a['weights'].sum()))"
    assert program("-c", read, test_root / "model.npz") == (0, 640.0)
