"""Metrics on their way to trackers: what is written can be read by others, and what fails is said in one sentence."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from manta._export._event_file import crc32c
from manta._export._points import Point, Series

SWARM = {"id": "sw_1", "name": "Mean", "created_ms": 1_700_000_000_000, "tags": {"swarm": "sw_1"}}

RECORDER = """
import json, os, types

def record(**what):
    with open(os.environ["RECORD"], "a") as file:
        file.write(json.dumps(what) + "\\n")
"""

MLFLOW = """
class Metric:
    def __init__(self, key, value, timestamp, step):
        self.entry = [key, value, timestamp, step]

entities = types.SimpleNamespace(Metric=Metric)

class MlflowClient:
    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        record(experiment=name)
        return "7"

    def create_run(self, place, start_time, run_name, tags):
        record(place=place, start_time=start_time, run_name=run_name, tags=tags)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))

    def log_batch(self, run, metrics):
        if len(metrics) > 1000:
            raise ValueError("too many at once")
        if "REFUSES" in os.environ:
            raise ConnectionError("the tracking server is away")
        record(run=run, metrics=[metric.entry for metric in metrics])

    def set_terminated(self, run, status):
        record(run=run, status=status)

def get_tracking_uri():
    return "file:///somewhere"
"""


def point(**changes):
    whole = {"time_ms": 1_700_000_001_500, "task": "train", "node": "node-1", "iteration": 0, "values": {"loss": 0.5}}
    return {"point": {**whole, "step": None, **changes}}


def export(tmp_path, to, *lines, **environment):
    """Run the exporter as the command line does; return its exit code and answer."""
    ended = subprocess.run(
        [sys.executable, "-m", "manta._export", "--to", to, "--dir", str(tmp_path / "runs")],
        input="".join(json.dumps(line) + "\n" for line in lines),
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[1]}", "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.stdout.count("\n") == 1, ended
    return ended.returncode, json.loads(ended.stdout)


def varint(data, at):
    """Return a number and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return number, at


def fields(message):
    """Return the fields of a Protocol Buffers message by number, strictly."""
    found, at = {}, 0
    while at < len(message):
        key, at = varint(message, at)
        match key & 7:
            case 0:
                value, at = varint(message, at)
            case 1:
                value, at = message[at : at + 8], at + 8
            case 5:
                value, at = message[at : at + 4], at + 4
            case 2:
                length, at = varint(message, at)
                value, at = message[at : at + length], at + length
                assert len(value) == length
            case kind:
                raise AssertionError(f"wire type {kind}")
        assert key >> 3 not in found
        found[key >> 3] = value
    return found


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def records(path):
    """Return the messages of an event file whose every checksum is right."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        (length, of_length) = struct.unpack_from("<QI", data, at)
        assert masked(data[at : at + 8]) == of_length
        body = data[at + 12 : at + 12 + length]
        assert struct.unpack_from("<I", data, at + 12 + length) == (masked(body),)
        yield fields(body)
        at += 16 + length


def scalars(path):
    """Return the scalars of an event file."""
    first, *others = records(path)
    assert first[3] == b"brain.Event:2"
    for event in others:
        value = fields(fields(event[5])[1])
        yield struct.unpack("<d", event[1])[0], event[2], value[1].decode(), struct.unpack("<f", value[2])[0]


@pytest.mark.parametrize(
    ("data", "wanted"), [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)]
)
def test_the_checksum_is_that_of_the_published_vectors(data, wanted):
    assert crc32c(data) == wanted


def test_event_files_hold_a_run_for_each_node_and_are_replaced(tmp_path):
    lines = [
        {"swarm": SWARM},
        point(values={"loss": 0.5, "acc": 0.25}),
        point(values={"loss": 1e300}, iteration=1),
        point(node="../node-2", step=2**40),
        point(step=-1),
        {"end": {"state": "running"}},
    ]
    for _ in range(2):
        code, answer = export(tmp_path, "tensorboard", *lines)
        assert (code, answer["points"], answer["series"]) == (0, 5, 3), answer
    (first,) = (tmp_path / "runs" / "Mean-sw_1" / "node-1").iterdir()
    assert list(scalars(first)) == [
        (1_700_000_001.5, 0, "train/acc", 0.25),
        (1_700_000_001.5, 0, "train/loss", 0.5),
        (1_700_000_001.5, 1, "train/loss", pytest.approx(3.4028234e38)),
        (1_700_000_001.5, 2**64 - 1, "train/loss", 0.5),
    ]
    (other,) = (tmp_path / "runs" / "Mean-sw_1" / "_node-2").iterdir()
    assert [step for _, step, _, _ in scalars(other)] == [2**40]
    assert first.name.startswith("events.out.tfevents.1700000000.")


def test_what_broke_off_is_kept_as_far_as_it_came(tmp_path):
    code, answer = export(tmp_path, "tensorboard", {"swarm": SWARM}, point())
    assert (code, answer["points"]) == (0, 1)


def test_mlflow_gets_a_run_with_steps_times_tags_and_an_end(tmp_path):
    (tmp_path / "mlflow.py").write_text(RECORDER + MLFLOW)
    many = {f"m{number:04}": float(number) for number in range(1200)}
    lines = [{"swarm": SWARM}, point(), point(values=many, step=4), {"end": {"state": "succeeded"}}]
    code, answer = export(tmp_path, "mlflow", *lines, RECORD=str(tmp_path / "record"))
    assert (code, answer["points"]) == (0, 1201) and "run r1" in answer["where"], answer
    told = [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]
    assert told[0] == {"experiment": "manta"}
    tags = {"manta.swarm": "sw_1"}
    assert told[1] == {"place": "7", "start_time": SWARM["created_ms"], "run_name": "Mean", "tags": tags}
    assert told[-1] == {"run": "r1", "status": "FINISHED"}
    sent = [metric for entry in told for metric in entry.get("metrics", ())]
    assert sent[0] == ["train/loss/node-1", 0.5, 1_700_000_001_500, 0] and len(sent) == 1201
    assert sent[-1] == ["train/m1199/node-1", 1199.0, 1_700_000_001_500, 4]


def test_a_tracker_that_fails_is_told_in_one_sentence(tmp_path):
    (tmp_path / "mlflow.py").write_text(RECORDER + MLFLOW)
    lines = [{"swarm": SWARM}, point(), {"end": {"state": "failed"}}]
    code, answer = export(tmp_path, "mlflow", *lines, RECORD=str(tmp_path / "record"), REFUSES="1")
    assert code == 1
    assert answer["error"]["message"].startswith(
        "mlflow did not take the metrics: ConnectionError: the tracking server"
    )


@pytest.mark.parametrize("to", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_named_with_the_cure(tmp_path, to):
    code, answer = export(tmp_path, to, {"swarm": SWARM})
    assert code == 2
    assert f"`{to}` is not installed" in answer["error"]["message"] and "pip install" in answer["error"]["hint"]


def test_points_without_a_step_are_counted_for_each_series():
    series = Series()
    made = [Point(1, "train", "a", iteration, {"x": 1.0}) for iteration in range(3)]
    assert [value.step for point in made for value in series.place(point)] == [0, 1, 2]
    (other,) = series.place(Point(1, "train", "b", 0, {"x": 1.0}, step=9))
    assert other.step == 9 and len(series) == 2
