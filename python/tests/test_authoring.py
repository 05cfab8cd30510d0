"""Modules, tasks and swarms: what is accepted, and the sentence for what is not."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from manta.apis import AuthoringError, Condition, Module, Swarm, Task
from manta.apis import graph as graph_path
from manta.apis import module as module_path
from manta.apis import swarm as swarm_path
from manta.light.errors import ValueNotCarried

Tree = Callable[[Mapping[str, str]], Path]
SAMPLE = Module("published", version="1.0.0")


def refused(code: str, make: Any, *parts: str) -> None:
    with pytest.raises(AuthoringError) as caught:
        make()
    assert caught.value.code == f"MANTA-{code}"
    for part in parts:
        assert part in str(caught.value)


def test_the_import_paths_of_existing_swarms_work() -> None:
    assert module_path.Module is Module and swarm_path.Swarm is Swarm and graph_path.Condition is Condition


def test_positional_arguments_are_program_image_datasets_name_version(tmp_path: Path) -> None:
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "__init__.py").touch()
    made = Module(str(tmp_path / "worker"), "pytorch", ["mnist"], "fl_worker", "1.0.0")
    assert (made.path, made.image) == (tmp_path / "worker", "manta_light:pytorch")
    assert (made.datasets, made.name, made.version) == (("mnist",), "fl_worker", "1.0.0")


def test_a_path_is_found_beside_the_calling_file_then_in_the_working_directory(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(
        {
            "code/swarm.py": "from manta.apis import Module\ndef make(p): return Module(p)\n",
            "code/modules/a.py": "",
            "cwd/modules/a.py": "",
            "cwd/modules/b.py": "",
        }
    )
    monkeypatch.chdir(root / "cwd")
    names: dict[str, Any] = {}
    file = root / "code/swarm.py"
    exec(compile(file.read_text(), str(file), "exec"), names)
    assert names["make"]("modules/a.py").path == root / "code/modules/a.py"
    assert names["make"]("modules/b.py").path == root / "cwd/modules/b.py"
    assert names["make"](Path("modules/b.py")).path == root / "cwd/modules/b.py"
    refused("0101", lambda: names["make"]("modules/c.py"), "code/modules/c.py", "cwd/modules/c.py", "did you mean")


def test_any_file_name_works(tree: Tree) -> None:
    root = tree({"worker_v1.0.py": ""})
    made = Module(root / "worker_v1.0.py", version="1.0.0")
    assert made.name == "worker_v1.0"


def test_a_directory_needs_an_init_file(tree: Tree) -> None:
    root = tree({"worker/task.py": "", "notes.txt": ""})
    refused("0101", lambda: Module(root / "worker"), "__init__.py")
    refused("0101", lambda: Module(root / "notes.txt"), ".py")


def test_a_bare_name_with_a_version_is_the_published_module(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree({"worker/__init__.py": ""}))
    assert Module("other", version="^1.2").path is None
    assert Module("other").path is None
    assert Module("worker").path == Path.cwd() / "worker"
    refused("0110", lambda: Module("worker", version="1.0.0"), "./worker")
    assert Module("./worker", version="1.0.0").path is not None
    refused("0110", lambda: Module("./worker", version=">=1"), "1.0.0")


@pytest.mark.parametrize(
    ("given", "image"),
    [
        ("pytorch", "manta_light:pytorch"),
        ("manta_light:numpy", "manta_light:numpy"),
        ("pytorch:2.0+", "manta_light:pytorch>=2.0"),
        ("acme/tool:2.0+", "acme/tool>=2.0"),
        ("registry.io/acme/tool@sha256:ab", "registry.io/acme/tool@sha256:ab"),
    ],
)
def test_image_names_are_completed(given: str, image: str) -> None:
    assert Module("published", given).image == image


@pytest.mark.parametrize(
    "arguments",
    [
        {"version": "1.0"},
        {"version": "01.0.0"},
        {"datasets": [""]},
        {"datasets": [3]},
        {"datasets": 3},
        {"name": "a\nb"},
        {"image": ""},
        {"entry": "a b"},
        {"isolation": "none"},
        {"requires_manta": "new"},
        {"resources": {"ram": 1}},
        {"resources": {"memory": "2 elephants"}},
        {"resources": {"cpu": 0}},
        {"resources": {"gpu": -1}},
        {"resources": {"pids": True}},
    ],
    ids=str,
)
def test_arguments_of_a_module_that_cannot_be_used_are_refused(tree: Tree, arguments: dict[str, Any]) -> None:
    root = tree({"m.py": ""})
    refused("0110", lambda: Module(root / "m.py", **arguments))


def test_resources_get_their_units() -> None:
    made = Module("p", resources={"cpu": 2, "memory": "2GiB", "gpu": 1, "gpu_memory": "8 GiB", "tmp": 1000, "pids": 9})
    assert made.resources == {
        "cpu": 2.0,
        "memory_bytes": 2**31,
        "gpu": 1,
        "gpu_memory_bytes": 2**33,
        "tmp_bytes": 1000,
        "pids": 9,
    }
    refused("0110", lambda: Module("p", resources={"gpu_mem": 1}), 'did you mean "gpu_memory"?')


def test_an_image_alone_makes_a_module_and_nothing_at_all_does_not() -> None:
    assert Module(image="acme/tool:1").path is None
    named = ["acme/tool:1", "tool", "tool>=2.0", "127.0.0.1:5000/a/tool@sha256:00"]
    assert {Module(image=image).name for image in named} == {"tool"}
    assert Module(None, "tool", name="other", version="1.0.0").name == "other"
    refused("0110", lambda: Module(None), "image")


def test_a_module_that_runs_its_images_program_has_what_only_code_has_refused() -> None:
    refused("0110", lambda: Module(image="pytorch"), "has no program of its own")
    refused("0110", lambda: Module(image="tool", images=["numpy"]), "`manta_light:numpy`")
    refused("0110", lambda: Module(image="tool", entry="Worker"), "has none")
    refused("0110", lambda: Module(image="tool", version="^1.0"), "not a published one")


def test_a_tasks_defaults_are_all_nodes_without_limit() -> None:
    task = Task(SAMPLE)
    assert (task.method, task.maximum, task.gpu, task.fixed, task.retries) == ("all", -1, False, False, 1)
    positional = Task(SAMPLE, "any", 1, True)
    assert (positional.method, positional.maximum, positional.gpu) == ("any", 1, True)


@pytest.mark.parametrize("maximum", [-1, 1, 10_000, 0.2, 1.0, 1e-9])
def test_a_maximum_in_range_is_kept(maximum: float) -> None:
    assert Task(SAMPLE, maximum=maximum).maximum == maximum


@pytest.mark.parametrize("maximum", [0, -2, -1.0, 0.0, 1.5, 2.0, math.nan, math.inf, True, False, "0", "1", None, [1]])
def test_a_maximum_out_of_range_is_refused(maximum: Any) -> None:
    refused("0104", lambda: Task(SAMPLE, maximum=maximum), "-1 for no limit", repr(maximum))


@pytest.mark.parametrize("method", ["all", "any", "random", "best_resources", "tag-done"])
def test_a_known_method_is_kept(method: str) -> None:
    assert Task(SAMPLE, method).method == method


@pytest.mark.parametrize(
    ("method", "hint"),
    [("al", "all"), ("randm", "random"), ("best", "best_resources"), ("tag-", ""), (3, ""), (None, "")],
)
def test_an_unknown_method_is_refused_with_the_nearest(method: Any, hint: str) -> None:
    refused("0105", lambda: Task(SAMPLE, method), "best_resources", f'did you mean "{hint}"?' if hint else "")


def test_further_arguments_of_a_task_are_checked() -> None:
    task = Task(
        SAMPLE, alias="w", labels={"zone": "eu"}, timeout="5m", deadline=90, quorum=0.5, excepted_ids=["a"],
        specified_ids="b", retries=0, on_failure="continue",
    )  # fmt: skip
    assert (task.timeout, task.deadline, task.quorum) == (300.0, 90.0, 0.5)
    assert (task.excepted_ids, task.specified_ids) == (("a",), ("b",))
    for bad in (
        {"gpu": 1},
        {"fixed": "yes"},
        {"retries": -1},
        {"timeout": "soon"},
        {"timeout": 0},
        {"deadline": math.nan},
        {"quorum": 0},
        {"on_failure": "ignore"},
        {"on_disconnect": "panic"},
        {"labels": {"a": 1}},
        {"alias": ""},
    ):
        refused("0110", lambda bad=bad: Task(SAMPLE, **bad))
    refused("0110", lambda: Task("worker.py"), "Module")  # type: ignore[arg-type]


def test_an_argument_that_is_not_there_is_refused_with_the_nearest(tree: Tree) -> None:
    root = tree({"worker.py": ""})
    bad: dict[str, Any] = {"dataset": ["mnist"]}
    refused("0110", lambda: Module(root / "worker.py", **bad), "`Module` has no argument `dataset`", 'mean "datasets"?')
    bad = {"max": 3}
    refused("0110", lambda: Task(SAMPLE, **bad), "`Task` has no argument `max`", 'mean "maximum"?')
    bad = {"qqqq": 3}
    refused("0110", lambda: Task(SAMPLE, **bad), "it takes module, method, maximum")
    assert list(inspect.signature(Module).parameters)[:3] == ["python_program", "image", "datasets"]


def test_a_call_outside_a_trace_gives_a_free_vertex() -> None:
    workers = [Task(SAMPLE, alias=name) for name in "ab"]
    first = Task(SAMPLE, alias="first")()
    gathered = Task(SAMPLE, alias="agg")([worker(first) for worker in workers])
    assert [vertex.task.alias for vertex in gathered.previous] == ["a", "b"]
    swarm = Swarm.from_graph("drawn", gathered, max_iteration=2)
    assert [vertex.task.alias for vertex in swarm._draw()] == ["first", "a", "b", "agg"]
    assert (swarm.name, swarm.max_iteration) == ("drawn", 2)


def test_predecessors_come_in_any_iterable_and_the_condition_is_accepted() -> None:
    worker, after = Task(SAMPLE), Task(SAMPLE)
    one, two = worker(), worker()
    assert after(vertex for vertex in (one, [two, one])).previous == (one, two)
    assert after(one, Condition.FINISHED).previous == (one,)
    assert after(previous=None).previous == ()
    refused("0110", lambda: after(worker), "not called", "task()")
    refused("0110", lambda: after("worker"), "'worker'")


class NoInit(Swarm):
    def __init__(self) -> None:
        self.stable = Task(SAMPLE, method="random", maximum=0.8)
        self.experimental = Task(SAMPLE, method="random", maximum=0.2)


def test_a_swarm_without_super_init_and_execute_runs_all_tasks_side_by_side() -> None:
    swarm = NoInit()
    swarm.set_global("rate", 0.1)
    vertices = swarm._draw()
    assert [vertex.previous for vertex in vertices] == [(), ()]
    assert (swarm.name, swarm.max_iteration, swarm.globals) == ("NoInit", None, {"rate": 0.1})


def test_calling_a_task_twice_makes_two_vertices_and_no_cycle() -> None:
    class Broadcast(Swarm):
        def __init__(self) -> None:
            super().__init__(max_iteration=3)
            self.workers = [Task(SAMPLE), Task(SAMPLE)]
            self.aggregator = Task(SAMPLE)

        def execute(self) -> Any:
            gathered = self.aggregator([worker() for worker in self.workers])
            return [worker(gathered) for worker in self.workers]

    vertices = Broadcast()._draw()
    places = [[vertices.index(before) for before in vertex.previous] for vertex in vertices]
    assert places == [[], [], [0, 1], [2], [2]]


def test_a_call_that_is_not_returned_is_a_vertex_too() -> None:
    class Forgetful(Swarm):
        def __init__(self) -> None:
            self.a, self.b = Task(SAMPLE), Task(SAMPLE)

        def execute(self) -> Any:
            self.b()
            return self.a()

    assert len(Forgetful()._draw()) == 2


@pytest.mark.parametrize("returned", [None, [], "done", 3, [None]], ids=str)
def test_execute_that_returns_something_else_is_refused_with_what_it_returned(returned: Any) -> None:
    class Wrong(Swarm):
        def execute(self) -> Any:
            return returned

    shown = "no tasks" if returned == [] else repr(returned)
    refused("0106", lambda: Wrong()._draw(), shown)


def test_execute_that_returns_an_uncalled_task_is_told_to_call_it() -> None:
    class Wrong(Swarm):
        def __init__(self) -> None:
            self.worker = Task(SAMPLE)

        def execute(self) -> Any:
            return self.worker

    refused("0106", lambda: Wrong()._draw(), "self.worker()")


def test_globals_are_checked_when_they_are_set() -> None:
    swarm = Swarm(name="x", max_iteration=1)
    with pytest.raises(ValueNotCarried, match=r'global "f"\["g"\]'):
        swarm.set_global("f", {"g": print})
    refused("0110", lambda: swarm.set_global("", 1))
    swarm.globals = {"a": 1}
    assert swarm.globals == {"a": 1}


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "3"], ids=str)
def test_a_max_iteration_that_is_no_count_is_refused(count: Any) -> None:
    refused("0110", lambda: Swarm(max_iteration=count), "max_iteration")


def test_networks_are_accepted_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="ignored"):
        Swarm().add_network("ring", "overlay")


def test_a_condition_other_than_the_only_one_is_refused() -> None:
    task = Task(Module("worker", version="1.0.0"))
    with pytest.raises(AuthoringError, match=r"Condition\.FINISHED, the only one"):
        task(None, "started")  # type: ignore[arg-type]


def test_what_a_swarm_declares_as_class_attributes_counts_and_is_checked() -> None:
    class Declared(Swarm):
        name = "declared"  # type: ignore[assignment]
        max_iteration = 3  # type: ignore[assignment]
        globals = {"rate": 0.1}  # type: ignore[assignment]  # noqa: RUF012
        worker = Task(Module("worker", version="1.0.0"))

    class Further(Declared):
        max_iteration = 5  # type: ignore[assignment]

    first, second = Declared(), Further()
    assert (first.name, first.max_iteration, first.globals) == ("declared", 3, {"rate": 0.1})
    assert (second.name, second.max_iteration, Declared().max_iteration) == ("declared", 5, 3)
    second.set_global("rate", 0.2)
    assert first.globals["rate"] == Further().globals["rate"] == 0.1, "each swarm has its own"

    class Wrong(Swarm):
        max_iteration = 0  # type: ignore[assignment]

    with pytest.raises(AuthoringError, match="max_iteration"):
        Wrong()
