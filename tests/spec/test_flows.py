"""Whole swarms on the suite's cluster: what flows between tasks, which nodes run them, when they end."""

import asyncio

import pytest

from manta.apis import AsyncUserAPI, Module, Swarm, Task
from spec.place import MEANS, MODULES, REGIONS


def module(path, *arguments, **options):
    """Return one of the suite's modules."""
    return Module(MODULES / path, *arguments, **options)


class FederatedLearningSwarm(Swarm):
    """Workers, an aggregator and a scheduler that asks for more."""

    def __init__(self):
        super().__init__()
        self.worker = Task(module("worker", datasets=["training_data"]), method="all", maximum=-1)
        self.aggregator = Task(module("aggregator.py"), method="any", maximum=1)
        self.scheduler = Task(module("scheduler.py"), method="any", maximum=1)

    def execute(self):
        results = self.worker()
        aggregated = self.aggregator(results)
        return self.scheduler(aggregated)


@pytest.fixture(scope="module")
def learned(platform):
    """Run the federated swarm once."""
    return platform.run(FederatedLearningSwarm())


@pytest.mark.claim(15, 19, 23, 29)
def test_the_scheduler_decides_whether_there_is_another_iteration(learned):
    assert learned.results.iterations == (0, 1, 2)
    assert learned.results.select("seen", iteration=-1)[0].task == "scheduler"


@pytest.mark.claim(9, 10, 30, 31, 41, 42, 44, 45, 46)
def test_models_flow_from_workers_to_the_global_model(learned):
    weight, rows, total = 0.0, {"node-1": 2, "node-2": 2, "node-3": 4}, 8
    for _ in range(3):
        weight = sum((weight + 0.5 * (MEANS[node] - weight)) * count for node, count in rows.items()) / total
    assert learned.globals["global_model"] == pytest.approx(weight)
    assert learned.values("aggregated", 2) == {learned.results.select("aggregated")[0].node: sorted(MEANS)}
    assert learned.values("sample_weights") == rows
    assert set(learned.results["model_params"]) == {0, 1, 2}


@pytest.mark.claim(58)
def test_results_are_collected_with_their_nodes_and_iterations(learned, platform):
    results = learned.results
    assert results.nodes == ("node-1", "node-2", "node-3")
    assert results.names == ("aggregated", "model_params", "sample_weights", "seen")
    assert len(results.select("model_params")) == 9 and all(entry.accepted for entry in results)
    html = results._repr_html_() + learned.status._repr_html_()
    assert "model_params" in html and "succeeded" in html
    assert [event["seq"] for event in platform.api.watch(learned.status)] == [event["seq"] for event in learned.events]


class DataFlowExample(Swarm):
    """Four stages, looped to at most five times."""

    def __init__(self):
        super().__init__(max_iteration=5)
        self.workers = Task(module("worker", datasets=["training_data"]))
        self.aggregator = Task(module("aggregator.py"), method="any")
        self.validators = Task(module("validator.py", datasets=["training_data"]))
        self.scheduler = Task(module("decider.py"), method="any")

    def execute(self):
        local_results = self.workers()
        global_model = self.aggregator(local_results)
        metrics = self.validators(global_model)
        return self.scheduler(metrics)


@pytest.mark.claim(26, 29)
def test_four_stages_follow_each_other_until_the_swarm_is_stopped(platform):
    outcome = platform.run(DataFlowExample())
    assert outcome.results.iterations == (0, 1), "the decider stops it in its second iteration"
    assert set(outcome.values("metrics")) == set(MEANS)
    model = outcome.globals["global_model"]
    assert outcome.values("decision").popitem()[1] == pytest.approx(max(abs(model - mean) for mean in MEANS.values()))


class ExperimentalSwarm(Swarm):
    """An old and a new version, side by side; neither constructor nor flow is inherited by hand."""

    def __init__(self):
        self.worker_stable = Task(
            module("worker_v1.0.py", name="fl_worker", version="1.0.0"), method="random", maximum=0.8
        )
        self.worker_experimental = Task(
            module("worker_v1.1.py", name="fl_worker", version="1.1.0"), method="random", maximum=0.2
        )


@pytest.mark.claim(7, 17, 18, 20, 21, 22, 69)
def test_an_old_and_a_new_version_divide_the_nodes(platform):
    outcome = platform.run(ExperimentalSwarm())
    versions = {entry.node: entry.value for entry in outcome.results.select("version")}
    assert sorted(versions) == sorted(REGIONS), "every node runs one version, and only one"
    assert sorted(versions.values()) == ["1.0.0", "1.0.0", "1.1.0"]
    assert {entry.task for entry in outcome.results} == {"worker_stable", "worker_experimental"}


class Gather(Swarm):
    """Several tasks over one module, gathered and told again."""

    def __init__(self):
        code = module("worker", datasets=["training_data"])
        self.worker_tasks = [Task(code, specified_ids=[node]) for node in ("node-1", "node-3")]
        self.aggregator = Task(module("aggregator.py"), method="any")

    def execute(self):
        gathered = self.aggregator([worker() for worker in self.worker_tasks])
        return [worker(gathered) for worker in self.worker_tasks]


@pytest.mark.claim(24, 25, 27, 71)
def test_all_to_one_and_one_to_all_in_one_flow(platform):
    outcome = platform.run(Gather())
    assert outcome.values("aggregated").popitem()[1] == ["node-1", "node-3"]
    models = {entry.task: entry.value for entry in outcome.results.select("model_params")}
    mean = (0.5 * 1 * 2 + 0.5 * 8 * 4) / 6
    assert models["worker_tasks[0]~2"] == pytest.approx(mean + 0.5 * (1 - mean))
    assert models["worker_tasks[1]~2"] == pytest.approx(mean + 0.5 * (8 - mean))


class Hierarchical(Swarm):
    """Aggregates by region first."""

    def __init__(self):
        self.worker = Task(module("worker", datasets=["training_data"]))
        self.aggregator = Task(module("regions.py"), method="any", maximum=1)

    def execute(self):
        return self.aggregator(self.worker())


@pytest.mark.claim(49)
def test_results_are_grouped_by_a_label_of_their_nodes(platform):
    outcome = platform.run(Hierarchical())
    regional = outcome.values("regional").popitem()[1]
    assert regional == {"north": pytest.approx(1.0), "south": pytest.approx(4.0)}
    assert outcome.globals["global_model"] == pytest.approx(2.5)


class Several(Swarm):
    """One module of two classes, each the entry of a task."""

    def __init__(self):
        self.train = Task(module("several.py", entry="ModelTrainer", name="train"), method="any")
        self.evaluate = Task(module("several.py", entry="ModelEvaluator", name="evaluate"), method="any")


@pytest.mark.claim(12, 32)
def test_the_platform_makes_the_class_that_is_named(platform):
    outcome = platform.run(Several())
    assert {entry.task: entry.value for entry in outcome.results} == {"train": "trainer", "evaluate": "evaluator"}


@pytest.mark.claim(55, 56)
def test_what_a_node_prepares_is_told_in_the_history(platform, learned):
    accepted = [event["event"] for event in learned.events if event["event"]["kind"] == "attempt_accepted"]
    assert len(accepted) == 15
    for event in accepted:
        timings = platform.api._connection.get(f"/attempts/{event['attempt']}")["outcome"]["timings"]
        assert timings["prepare_ms"] >= 0 and timings["run_ms"] >= 0


@pytest.mark.claim(54, 55)
def test_a_module_is_sent_once_and_named_by_its_contents(platform, learned):
    again = platform.run(FederatedLearningSwarm())
    digests = []
    for outcome in (learned, again):
        offered = next(event["event"] for event in outcome.events if event["event"]["kind"] == "attempt_offered")
        digests.append(platform.api._connection.get(f"/attempts/{offered['attempt']}")["bundle"])
    assert digests[0] == digests[1] and len(digests[0]) >= 64
    assert platform.api._connection.bytes_of(digests[0])


def test_the_same_calls_can_be_awaited_while_a_loop_runs(platform):
    async def main():
        api = AsyncUserAPI(platform.cluster.url, token_file=platform.token_file)
        deployed = await api.deploy(Several())
        seen = [event["seq"] async for event in api.watch(deployed)]
        ended = await api.wait(deployed, timeout=60)
        assert platform.api.swarm(deployed).is_over, "the calls that wait may be made in a running loop, too"
        return seen, ended, await api.results(ended)

    seen, ended, results = asyncio.run(main())
    assert ended.state == "succeeded" and seen == list(range(1, len(seen) + 1))
    assert sorted(entry.value for entry in results) == ["evaluator", "trainer"]
