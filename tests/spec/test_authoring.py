"""What the author of a swarm writes: modules, tasks, swarms and their graphs. No cluster is needed."""

import importlib
import shutil

import pytest

from manta._trace_document import _tasks, write_trace
from manta.apis import AuthoringError, Module, Swarm, Task
from spec.place import MODULES


def aliases(swarm):
    """Return each alias of a swarm's graph with those that it follows."""
    vertices = swarm._draw()
    modules = list({id(vertex.task.module): vertex.task.module for vertex in vertices}.values())
    tasks = _tasks(swarm, vertices, modules)
    return {task["alias"]: sorted(tasks[before]["alias"] for before in task["after"]) for task in tasks}


def module(path, **options):
    """Return one of the suite's modules."""
    return Module(MODULES / path, **options)


@pytest.mark.claim(1)
def test_names_come_from_manta_apis_and_its_older_paths():
    paths = {"apis": "Module Task Swarm UserAPI AsyncUserAPI Results", "apis.module": "Module", "apis.swarm": "Swarm"}
    paths |= {"apis.graph": "Condition Vertex", "apis.results": "Results", "light": "Task Local World"}
    paths |= {"light.task": "Task", "light.world": "World", "light.local": "Local", "light.globals": "Globals"}
    paths |= {"light.results": "Results", "light.utils": "numpy_to_bytes", "light.errors": "DataCorruptionError"}
    for path, names in paths.items():
        found = importlib.import_module(f"manta.{path}")
        assert all(hasattr(found, name) for name in names.split()), path


@pytest.mark.claim(2, 4, 14)
def test_a_module_and_its_task_are_made_with_keywords():
    worker_module = Module(
        python_program=MODULES / "worker", image="manta_light:pytorch", datasets=["mnist"], name="fl_worker"
    )
    worker_task = Task(module=worker_module, method="all", maximum=-1, gpu=False)
    assert (worker_module.name, worker_module.image) == ("fl_worker", "manta_light:pytorch")
    assert worker_module.datasets == ("mnist",) and worker_task.module is worker_module


@pytest.mark.claim(3, 4, 8)
def test_the_same_arguments_may_stand_in_their_order(monkeypatch):
    monkeypatch.chdir(MODULES.parent)
    short = Module("modules/worker", "pytorch", datasets=["mnist"])
    assert (short.image, short.name, short.datasets) == ("manta_light:pytorch", "worker", ("mnist",))
    assert short.path == MODULES / "worker"


@pytest.mark.claim(8)
def test_a_program_is_found_beside_its_caller_and_refused_with_the_nearest_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Module("modules/aggregator.py").path == MODULES / "aggregator.py"
    with pytest.raises(AuthoringError, match="agregator") as caught:
        Module("modules/agregator.py")
    assert "aggregator.py" in str(caught.value)


@pytest.mark.claim(5, 67)
def test_versions_are_semantic_and_a_range_is_for_published_modules():
    assert module("worker_v1.0.py", version="1.0.0").version == "1.0.0"
    assert Module("fl_worker", version=">=1.1,<2").version == ">=1.1,<2"
    with pytest.raises(AuthoringError, match=r"1\.0"):
        module("worker_v1.0.py", version="1.0")


@pytest.mark.claim(6)
def test_a_bare_name_with_a_version_is_the_published_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    published = Module("worker", version="1.0.0")
    assert published.path is None and (published.name, published.version) == ("worker", "1.0.0")
    shutil.copytree(MODULES / "worker", tmp_path / "worker")
    with pytest.raises(AuthoringError) as caught:
        Module("worker", version="1.0.0")
    assert '"./worker"' in str(caught.value)


@pytest.mark.claim(13)
def test_a_module_says_which_resources_it_needs():
    asked = {"cpu": 2, "memory": "2GiB", "gpu": 1, "gpu_memory": "8GiB", "tmp": "1GiB", "pids": 256}
    found = module("aggregator.py", resources=asked).resources
    assert found["memory_bytes"] == 2 << 30 and found["gpu"] == 1 and found["gpu_memory_bytes"] == 8 << 30
    with pytest.raises(AuthoringError, match="takes cpu, memory"):
        module("aggregator.py", resources={"memori": "2GiB"})


@pytest.mark.claim(15, 16, 18)
def test_a_task_needs_its_module_only():
    plain = Task(module("aggregator.py"))
    assert (plain.method, plain.maximum, plain.gpu) == ("all", -1, False)
    one = Task(module("aggregator.py"), method="any", maximum=1)
    assert (one.method, one.maximum) == ("any", 1)
    assert Task(module("aggregator.py"), method="random", maximum=0.2).maximum == 0.2
    for wrong in (0, -2, 1.5, float("nan"), True):
        with pytest.raises(AuthoringError):
            Task(module("aggregator.py"), maximum=wrong)


class Plain(Swarm):
    """Leaves out both ``super().__init__()`` and ``execute()``."""

    def __init__(self):
        self.worker_stable = Task(module("worker_v1.0.py", name="worker", version="1.0.0"), maximum=0.8)
        self.worker_experimental = Task(module("worker_v1.1.py", name="worker", version="1.1.0"), maximum=0.2)


@pytest.mark.claim(20, 21, 22)
def test_a_swarm_may_leave_out_its_constructor_and_its_flow():
    assert aliases(Plain()) == {"worker_stable": [], "worker_experimental": []}


class Library(Swarm):
    """Two swarms take the same modules out of a dict."""

    modules = {"worker": module("worker"), "aggregator": module("aggregator.py")}  # noqa: RUF012

    def __init__(self, name):
        super().__init__(name=name)
        self.worker = Task(self.modules["worker"])
        self.aggregator = Task(self.modules["aggregator"], method="any")

    def execute(self):
        return self.aggregator(self.worker())


@pytest.mark.claim(19, 23, 27, 28)
def test_a_library_of_modules_serves_several_swarms(tmp_path):
    for name in ("vision", "language"):
        swarm = Library(name)
        write_trace(swarm, tmp_path / name)
        assert aliases(swarm) == {"worker": [], "aggregator": ["worker"]}
    assert Library("a").worker.module is Library("b").worker.module


class Both(Swarm):
    """All to one, then one to all, over the same list of tasks."""

    def __init__(self):
        self.workers = [Task(module("worker")) for _ in range(2)]
        self.aggregator = Task(module("aggregator.py"), method="any")

    def execute(self):
        gathered = self.aggregator([worker() for worker in self.workers])
        return [worker(gathered) for worker in self.workers]


@pytest.mark.claim(24, 25, 71)
def test_gather_and_broadcast_over_one_list_make_no_circle():
    found = aliases(Both())
    assert found["aggregator"] == ["workers[0]", "workers[1]"]
    assert found["workers[0]~2"] == found["workers[1]~2"] == ["aggregator"]
    assert len(found) == 5


@pytest.mark.claim(23, 71)
def test_calls_outside_of_a_trace_make_a_swarm_of_their_own():
    worker, aggregator = Task(module("worker")), Task(module("aggregator.py"), method="any")
    aggregated = aggregator(worker())
    swarm = Swarm.from_graph("drawn", aggregated)
    assert aliases(swarm) == {"worker": [], "aggregator": ["worker"]}
    drawing = swarm._repr_html_()
    assert drawing.count("<rect") == 2 and drawing.count("<line") == 1 and "aggregator" in drawing


@pytest.mark.claim(12, 32)
def test_a_module_of_several_classes_names_its_entry(tmp_path):
    class Trains(Swarm):
        def __init__(self, **options):
            self.trainer = Task(module("several.py", **options))

    write_trace(Trains(entry="ModelTrainer"), tmp_path / "named")
    with pytest.raises(AuthoringError) as caught:
        write_trace(Trains(), tmp_path / "not")
    assert "ModelTrainer" in str(caught.value) and "ModelEvaluator" in str(caught.value)
