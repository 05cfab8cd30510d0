"""Task code in this process, over the real protocol: data, globals, results, state, logs."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manta.light import Local, Task, World
from manta.light.errors import (
    DataCorruptionError,
    DatasetNotAuthorized,
    DatasetUnavailable,
    GlobalNotFound,
    InvalidArgument,
    OutsideSandbox,
    ResultNotFound,
    ValueNotCarried,
)
from manta.light.globals import Globals
from manta.light.results import Results
from manta.light.utils import bytes_to_dict, bytes_to_numpy, dict_to_bytes, numpy_to_bytes
from manta.testing import LogLine, TaskOutcome, load_module, run_task


def run(body: Any, **given: Any) -> TaskOutcome:
    """Run a function of the task as its ``run``."""
    return run_task(type("Body", (Task,), {"run": body}), **given)


def value_of(body: Any, **given: Any) -> Any:
    """Return what a function of the task returned."""
    kept: list[Any] = []
    run(lambda self: kept.append(body(self)), **given)
    return kept[0]


def test_a_task_reads_its_data_and_publishes_a_result() -> None:
    def body(self: Task) -> None:
        data = self.local.get_dataset("heights")
        assert (data.name, data.shape) == ("heights", (4,))
        self.world.results.add("mean", data.mean() * self.world.globals["scale"])

    outcome = run(body, datasets={"heights": [1.0, 2.0, 3.0, 6.0]}, globals={"scale": 10})
    assert outcome.results == {"mean": 30.0}


def test_a_class_without_super_init_is_bound_to_the_attempt() -> None:
    class Bare(Task):
        def __init__(self) -> None:
            self.early = self.world.globals["x"]

        def run(self) -> None:
            Other().publish(self.early)

    class Other(Task):
        def publish(self, value: int) -> None:
            self.world.results.add("x", value + World().globals["x"])

    assert run_task(Bare, globals={"x": 2}).results == {"x": 4}


def test_a_main_function_can_be_run() -> None:
    def main() -> None:
        World().results.add("cpu", Local().get_resources().cpu_count)

    assert run_task(main).results["cpu"] >= 1


def test_a_subclass_may_use_our_newer_names_for_its_own() -> None:
    class Older(Task):
        def run(self) -> None:
            self.metrics = {"loss": 1.0}  # type: ignore[assignment]
            self.seed = 42  # type: ignore[assignment]
            self.world.results.add("kept", [self.metrics, self.seed])

    assert run_task(Older).results == {"kept": [{"loss": 1.0}, 42]}


def test_a_task_knows_who_and_where_it_is() -> None:
    def body(self: Task) -> list[Any]:
        assert self.task_id and self.swarm_id
        return [self.node, self.node.labels, self.iteration, self.attempt, self.seed]

    found = value_of(body, node="paris", labels={"paris": {"zone": "eu"}}, iteration=3, seed=7)
    assert found == ["paris", {"zone": "eu"}, 3, 0, 7]


def test_random_numbers_follow_the_seed() -> None:
    import random

    def body(self: Task) -> list[float]:
        return [random.random(), float(np.random.rand())]

    assert value_of(body, seed=5) == value_of(body, seed=5) != value_of(body, seed=6)


def test_outside_a_task_one_error_names_the_way_to_try_it() -> None:
    task = Task()
    task.logger.info("still works")
    for touch in (lambda: task.local.get_dataset("x"), lambda: task.world.globals["x"], lambda: task.node):
        with pytest.raises(OutsideSandbox, match=r"manta\.testing\.run_task"):
            touch()


def test_globals_read_own_writes_and_leave_the_rest_alone() -> None:
    def body(self: Task) -> None:
        shared = self.world.globals
        shared["count"] = shared["count"] + 1
        assert shared["count"] == 2
        assert "count" in shared and "none" not in shared
        assert shared.get("none", "average") == "average"
        assert shared.get("none") is None
        shared.update({"a": 1}, b=2)
        assert sorted(shared.keys()) == ["a", "b", "count", "other"]
        model = shared["other"]
        model += 1
        assert shared["other"].sum() == 3

    assert run(body, globals={"count": 1, "other": np.ones(3)}).globals == {"count": 2, "a": 1, "b": 2}


def test_a_missing_global_is_a_key_error_with_the_nearest_name() -> None:
    def body(self: Task) -> None:
        with pytest.raises(KeyError) as caught:
            self.world.globals["learning_rat"]
        assert isinstance(caught.value, GlobalNotFound)
        assert 'did you mean "learning_rate"?' in str(caught.value)

    run(body, globals={"learning_rate": 1, "model": 2})


def test_select_gives_an_ordered_mapping_of_nodes() -> None:
    def body(self: Task) -> None:
        models = self.world.results.select("model")
        weights = self.world.results.select("weight")
        assert isinstance(models, Mapping) and list(models) == ["b", "a"]
        assert [key.node for key in models] == ["b", "a"]
        assert models["a"].tolist() == [1.0]
        assert [(m.item(), w) for m, w in zip(models.values(), weights.values(), strict=True)] == [(2.0, 20), (1.0, 10)]
        assert len(list(models.values())) == len(models.values()) == 2
        groups = models.group_by("zone")
        assert {zone: list(group) for zone, group in groups.items()} == {"eu": ["b"], None: ["a"]}
        assert models.missing == {}

    given = {"model": {"b": np.array([2.0]), "a": np.array([1.0])}, "weight": [20, 10]}
    run(body, results=given, labels={"b": {"zone": "eu"}})


def test_values_are_fetched_when_asked_for_and_not_kept() -> None:
    def body(self: Task) -> None:
        models = self.world.results.select("model")
        first = next(iter(models.values()))
        first += 1
        assert next(iter(models.values())).sum() == 3

    run(body, results={"model": [np.ones(3), np.ones(3)]})


def test_a_missing_result_names_what_was_published() -> None:
    def body(self: Task) -> None:
        with pytest.raises(KeyError) as caught:
            self.world.results.select("gradient")
        assert isinstance(caught.value, ResultNotFound)
        assert '"gradients" by predecessor' in str(caught.value)
        assert 'did you mean "gradients"?' in str(caught.value)
        assert self.world.results.select("gradient", default=None) is None
        with pytest.raises(ResultNotFound, match='nothing from "node-7"'):
            self.world.results.select("gradients")["node-7"]

    run(body, results={"gradients": [1, 2]})


def test_a_second_add_replaces_the_first() -> None:
    def body(self: Task) -> None:
        self.world.results.add("x", 1)
        self.world.results.add("x", 2)

    assert run(body).results == {"x": 2}


def test_what_cannot_be_carried_is_refused_where_it_is_published() -> None:
    def body(self: Task) -> None:
        with pytest.raises(ValueNotCarried, match=r'result "model"\["layers"\]\[2\]'):
            self.world.results.add("model", {"layers": [1, 2, print]})
        with pytest.raises(ValueNotCarried, match='global "f"'):
            self.world.globals["f"] = print

    assert run(body).results == {}


def test_what_was_published_before_a_raise_is_kept() -> None:
    def body(self: Task) -> None:
        try:
            raise DataCorruptionError("row 3 is short")
        except DataCorruptionError as error:
            self.logger.error(f"corrupt: {error}")
            self.world.results.add("status", "failed_data_corruption")
            raise

    outcome = run(body, check=False)
    assert outcome.results == {"status": "failed_data_corruption"}
    assert outcome.logs == [LogLine("error", "corrupt: row 3 is short")]
    assert isinstance(outcome.error, DataCorruptionError)
    with pytest.raises(DataCorruptionError):
        run(body)


def test_state_is_kept_between_attempts() -> None:
    def body(self: Task) -> None:
        momentum = self.local.get_state("momentum", default={})
        momentum["step"] = momentum.get("step", 0) + 1
        self.local.set_state("momentum", momentum)

    first = run(body)
    assert run(body, state=first.state).state == {"momentum": {"step": 2}}


def test_every_log_level_arrives_with_its_arguments_filled_in() -> None:
    def body(self: Task) -> None:
        self.logger.debug("%d of %d", 1, 2)
        self.logger.info("plain 100%")
        self.logger.warning("w")
        self.logger.error("e")
        self.logger.critical("c")
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            self.logger.exception("failed")

    logs = run(body).logs
    assert [(line.level, line.message.partition("\n")[0]) for line in logs] == [
        ("debug", "1 of 2"),
        ("info", "plain 100%"),
        ("warning", "w"),
        ("error", "e"),
        ("error", "c"),
        ("error", "failed"),
    ]
    assert "ZeroDivisionError" in logs[-1].message
    assert logging.getLogger("manta.task").propagate is False


def test_metrics_take_finite_numbers_of_every_kind() -> None:
    def body(self: Task) -> None:
        self.metrics.log({"loss": np.float32(0.5), "rows": 3, "one": np.array([2])}, step=np.int64(4))  # type: ignore
        self.metrics.log({"loss": 0.25})
        self.progress(3, 10)
        for bad in ({"loss": float("nan")}, {"loss": "0.1"}, {"loss": True}, {"": 1}, {"x": np.ones(2)}, [1]):
            with pytest.raises(InvalidArgument):
                self.metrics.log(bad)  # type: ignore[arg-type]

    outcome = run(body)
    assert outcome.metrics == [({"loss": 0.5, "rows": 3.0, "one": 2.0}, 4), ({"loss": 0.25}, None)]
    assert outcome.progress == [(3.0, 10.0)]


def test_iteration_wishes_are_noted() -> None:
    def body(self: Task) -> None:
        self.world.schedule_next_iter()
        self.world.schedule_next_iter(["a", "b"], "worker")
        self.world.schedule_next_iter(node_ids="a", task_to_schedule_alias="worker")
        with pytest.raises(InvalidArgument, match="empty"):
            self.world.schedule_next_iter([], "worker")
        self.world.stop_swarm()

    outcome = run(body)
    assert outcome.next_iteration == [
        {"node_ids": None, "task": None},
        {"node_ids": ["a", "b"], "task": "worker"},
        {"node_ids": ["a"], "task": "worker"},
    ]
    assert outcome.stopped


def test_the_node_tells_its_resources_and_load() -> None:
    def body(self: Task) -> None:
        resources = self.local.get_resources()
        assert resources.gpu_available is False and resources.gpu_memory == 0
        assert resources.cpu_memory > 0
        assert 0 <= self.local.get_performance_metrics()["cpu_usage"] <= 1
        assert set(self.local.get_performance_metrics()) == {"cpu_usage", "memory_usage", "gpu_usage", "load"}
        assert self.local.get_network_quality() == 1.0

    run(body)


def test_names_that_cannot_name_anything_are_refused() -> None:
    def body(self: Task) -> None:
        for bad in ("", "a\nb", "x" * 256, 3, None):
            with pytest.raises(InvalidArgument):
                self.world.results.add(bad, 1)  # type: ignore[arg-type]

    run(body)


def test_utils_turn_values_into_bytes_and_back() -> None:
    weights = {"w": np.arange(3.0), "b": [np.float32(1)]}
    back = bytes_to_numpy(numpy_to_bytes(weights))
    back["w"] += 1
    assert back["w"].tolist() == [1.0, 2.0, 3.0]
    assert bytes_to_dict(dict_to_bytes({"a": (1,)})) == {"a": (1,)}
    with pytest.raises(DataCorruptionError):
        bytes_to_numpy(b"garbage")
    with pytest.raises(DataCorruptionError):
        bytes_to_dict(numpy_to_bytes([1]))
    with pytest.raises(InvalidArgument):
        dict_to_bytes([1])  # type: ignore[arg-type]


def test_published_bytes_of_a_selection_decode_together() -> None:
    def body(self: Task) -> None:
        models = bytes_to_numpy(self.world.results.select("model_params"))
        assert [model["w"].sum() for model in models.values()] == [2.0, 4.0]

    given = [numpy_to_bytes({"w": np.full(2, n)}) for n in (1.0, 2.0)]
    run(body, results={"model_params": given})


def test_a_coroutine_run_is_awaited() -> None:
    class Later(Task):
        async def run(self) -> None:
            self.world.results.add("x", 1)

    assert run_task(Later).results == {"x": 1}


def test_a_path_is_used_in_place(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\nworld\n")

    def body(self: Task) -> None:
        assert list(self.local.read_file_lines("notes")) == ["hello", "world"]

    run(body, datasets={"notes": tmp_path / "notes.txt"})
    with pytest.raises(DatasetUnavailable):
        run(body, datasets={"notes": tmp_path / "nothing"})
    with pytest.raises(DatasetNotAuthorized, match="Module"):
        run(body)


class Awaiting(Task):
    async def run(self) -> None:
        self.seen: list[Any] = []
        rate, data = await asyncio.gather(self.world.globals.async_get("rate"), self.local.async_get_dataset("x"))
        await self.world.globals.async_set("rate", rate * 2)
        await self.world.globals.async_update(more=1)
        given = await self.world.results.async_select("g")
        pairs = [(str(key), value) async for key, value in given.async_items()]
        values = [value async for value in given.async_values()]
        nothing = await self.world.results.async_select("nothing", default=None)
        await self.local.async_set_state("s", await self.local.async_get_state("s", default=0) + 1)
        quality = await self.local.async_get_network_quality()
        names = sorted(await self.world.globals.async_keys())
        await self.world.results.async_add("out", [data.shape, pairs, values, nothing, quality, names])
        await self.world.async_schedule_next_iter()
        await self.world.async_stop_swarm()


def test_every_call_that_waits_has_a_twin_to_await() -> None:
    outcome = run_task(
        Awaiting, datasets={"x": np.zeros((2, 3))}, globals={"rate": 1.5}, results={"g": [1, 2]}, state={"s": 4}
    )
    pairs = [("node-0", 1), ("node-1", 2)]
    assert outcome.results["out"] == [(2, 3), pairs, [1, 2], None, 1.0, ["more", "rate"]]
    assert outcome.globals == {"rate": 3.0, "more": 1} and outcome.state == {"s": 5}
    assert outcome.stopped and len(outcome.next_iteration) == 1
    for kind in (Local, World, Globals, Results):
        waiting = {name for name in vars(kind) if not name.startswith("_") and callable(vars(kind)[name])}
        plain = {name for name in waiting if not name.startswith("async_")}
        assert {f"async_{name}" for name in plain} <= waiting


def test_select_by_task_and_iteration_takes_names_and_counts_only() -> None:
    class Selects(Task):
        def run(self) -> None:
            (key,) = self.world.results.select("loss", task="worker")
            self.world.results.add("by", key.task)
            for wrong in ({"iteration": -1}, {"iteration": True}, {"iteration": "1"}, {"task": ""}):
                with pytest.raises(InvalidArgument):
                    self.world.results.select("loss", **wrong)  # type: ignore[call-overload]

    assert run_task(Selects, results={"loss": [0.5]}).results == {"by": "worker"}


def test_names_that_the_platform_hands_out_are_published_as_the_text_that_they_are() -> None:
    class Publishes(Task):
        def run(self) -> None:
            losses = self.world.results.select("loss")
            self.world.results.add("best", min(losses, key=lambda node: losses[node]))
            self.world.results.add("all", [dict(losses), {*losses}, OrderedDict(losses), {self.node: 1, 2: self.node}])

    found = run_task(Publishes, node="c", results={"loss": {"a": 0.5, "b": 0.25}}).results
    assert found == {"best": "b", "all": [{"a": 0.5, "b": 0.25}, {"a", "b"}, {"a": 0.5, "b": 0.25}, {"c": 1, 2: "c"}]}
    assert type(found["best"]) is str and type(found["all"][2]) is OrderedDict
    assert {type(key) for part in found["all"][:3] for key in part} == {str}


def test_a_package_that_is_not_here_is_named_with_the_command_that_brings_it(tmp_path: Path) -> None:
    module = tmp_path / "needy"
    module.mkdir()
    (module / "__init__.py").write_text("import nowhere_to_be_found\n")
    with pytest.raises(ModuleNotFoundError, match=r"`needy` imports `nowhere_to_be_found`.*name it in a requirements"):
        load_module(module)
    (module / "__init__.py").write_text("def main():\n    import nowhere_to_be_found.inside\n")
    (module / "requirements.txt").write_text("nowhere-to-be-found\n")
    outcome = run_task(load_module(module).main, check=False)
    assert isinstance(outcome.error, ModuleNotFoundError) and isinstance(outcome.error.__cause__, ModuleNotFoundError)
    assert f"`manta module test {module}`" in str(outcome.error) and outcome.error.name == "nowhere_to_be_found"
