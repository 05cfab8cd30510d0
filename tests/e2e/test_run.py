"""`manta run`: what a swarm can do, seen from outside."""

import shutil
import statistics

from harness.api import assert_accepted_once
from harness.manta import ROOT

SUCCEEDED, FAILED = 0, 1


def run(manta, body, *arguments, nodes=2, code=SUCCEEDED):
    """Run a swarm and check how it ended."""
    ended = manta("run", manta.swarm(body), "--nodes", nodes, *arguments)
    assert ended.code == code, ended.text
    return ended


def one_task(module, max_iteration=None, options="", settings=""):
    """Return the text of a swarm with one task."""
    return f"""
        class One(Swarm):
            def __init__(self):
                super().__init__(max_iteration={max_iteration})
                {settings}
                self.one = Task(Module("modules/{module}"){options})

            def execute(self):
                return self.one()
    """


def test_a_task_runs_on_every_node(manta):
    ended = run(manta, one_task("ok.py"), nodes=3)
    for node in ("node-1", "node-2", "node-3"):
        assert f"ok on {node} in iteration 0" in ended.text


def test_any_runs_on_one_node(manta):
    ended = run(manta, one_task("ok.py", options=', method="any"'), nodes=3)
    assert ended.text.count("ok on node-") == 1, ended.text


def test_a_chain_passes_results_on(manta):
    body = """
        class Chain(Swarm):
            def __init__(self):
                super().__init__()
                self.ok = Task(Module("modules/ok.py"))
                self.collect = Task(Module("modules/collect.py"), method="any", maximum=1)

            def execute(self):
                return self.collect(self.ok())
    """
    assert "collected node-1,node-2,node-3 in iteration 0" in run(manta, body, nodes=3).text


def test_gather_sees_the_results_of_all_predecessors_unmerged(manta):
    body = """
        class Gather(Swarm):
            def __init__(self):
                super().__init__()
                self.workers = [Task(Module("modules/ok.py")) for _ in range(2)]
                self.gather = Task(Module("modules/gather.py"), method="any")

            def execute(self):
                return self.gather([worker() for worker in self.workers])
    """
    manta.file(
        "modules/gather.py",
        """
        from manta.light.task import Task

        class Gather(Task):
            def run(self):
                names = self.world.results.select("name")
                self.logger.info("gathered %s", sorted(names))
                assert {(key.node, key.task) for key in names} == {
                    (node, task) for node in ("node-1", "node-2") for task in ("workers[0]", "workers[1]")
                }
        """,
    )
    assert "gathered ['node-1/workers[0]', 'node-1/workers[1]', 'node-2/workers[0]'" in run(manta, body).text


def test_broadcast_after_gather_over_the_same_tasks_is_no_cycle(manta):
    body = """
        class Broadcast(Swarm):
            def __init__(self):
                super().__init__()
                self.workers = [Task(Module("modules/ok.py")) for _ in range(2)]
                self.collect = Task(Module("modules/one_class.py"), method="any")

            def execute(self):
                first = [worker() for worker in self.workers]
                middle = self.collect(first)
                return [worker(middle) for worker in self.workers]
    """
    ended = run(manta, body)
    assert ended.text.count("ok on node-1 in iteration 0") == 4, ended.text


def test_a_directory_module_imports_its_own_files(manta):
    assert "packaged says 42" in run(manta, one_task("packaged")).text


def test_a_single_task_class_needs_no_main(manta):
    assert "made by the platform" in run(manta, one_task("one_class.py")).text


def test_a_swarm_without_execute_runs_its_tasks_side_by_side(manta):
    body = """
        class Side(Swarm):
            def __init__(self):
                self.left = Task(Module("modules/ok.py"), method="any")
                self.right = Task(Module("modules/one_class.py"), method="any")
    """
    ended = run(manta, body)
    assert "ok on node-" in ended.text and "made by the platform" in ended.text


def test_set_replaces_a_global_and_keeps_its_type(manta):
    body = one_task("show_global.py", settings='self.set_global("shown", 0.94)')
    assert "shown is 0.94" in run(manta, body, nodes=1).text
    assert "shown is 0.9\n" in run(manta, body, "--set", "shown=0.9", nodes=1).text


def test_globals_written_by_a_task_are_seen_by_the_next(manta):
    body = """
        class Write(Swarm):
            def __init__(self):
                super().__init__()
                self.ok = Task(Module("modules/ok.py"))
                self.collect = Task(Module("modules/collect.py"), method="any")
                self.read = Task(Module("modules/read.py"), method="any")

            def execute(self):
                return self.read(self.collect(self.ok()))
    """
    manta.file(
        "modules/read.py",
        """
        from manta.light.task import Task

        class Read(Task):
            def run(self):
                self.logger.info("read %s", self.world.globals["collected"])
        """,
    )
    assert "read ['node-1', 'node-2']" in run(manta, body).text


def test_max_iteration_is_looped_to(manta):
    ended = run(manta, one_task("ok.py", max_iteration=3), nodes=1)
    assert [ended.text.count(f"in iteration {n}") for n in range(4)] == [1, 1, 1, 0], ended.text


def test_schedule_next_iter_asks_for_one_more(manta):
    body = one_task("again.py", options=', method="any"', settings='self.set_global("wanted", 3)')
    ended = run(manta, body)
    assert [ended.text.count(f"iteration {n} runs") for n in range(4)] == [1, 1, 1, 0], ended.text


def test_stop_swarm_beats_any_request_and_the_cap(manta):
    ended = run(manta, one_task("stops.py", max_iteration=9, options=', method="any"'))
    assert [ended.text.count(f"iteration {n} runs") for n in range(3)] == [1, 1, 0], ended.text


def test_without_either_the_graph_runs_once(manta):
    ended = run(manta, one_task("ok.py"), nodes=1)
    assert "in iteration 0" in ended.text and "in iteration 1" not in ended.text


def test_state_stays_on_the_node_across_iterations(manta):
    ended = run(manta, one_task("state.py", max_iteration=3), nodes=2)
    assert ended.text.count("run 3 in iteration 2") == 2, ended.text


def test_every_log_level_and_print_reaches_the_user(manta):
    ended = run(manta, one_task("levels.py"), nodes=1)
    levels = ("an info line", "a warning line", "an error line", "a printed line", "a line on standard error")
    for text in levels:
        assert text in ended.text, f"{text!r} is not in:\n{ended.text}"


def test_a_large_array_arrives_writable_and_private(manta):
    body = """
        class Large(Swarm):
            def __init__(self):
                super().__init__()
                self.out = Task(Module("modules/large_out.py", "numpy"), method="any")
                self.arrive = Task(Module("modules/large_in.py", "numpy"))

            def execute(self):
                return self.arrive(self.out())
    """
    ended = run(manta, body)
    assert ended.text.count("the large array arrived on node-") == 2, ended.text


def test_a_failure_is_shown_with_its_traceback_and_its_place(manta):
    ended = run(manta, one_task("crash.py", options=", retries=0"), nodes=1, code=FAILED)
    parts = ("ValueError: the shapes differ: (3, 4)", "crash.py", "in compute", "node-1", "iteration 0", "attempt 0")
    for part in parts:
        assert part in ended.text, f"{part!r} is not in:\n{ended.text}"
    assert "manta/light/_boot.py" not in ended.text, "platform frames are hidden"


def test_what_failed_is_tried_again(manta):
    ended = run(manta, one_task("fails_once.py", options=', retries=1, method="any"'))
    assert "the first attempt fails" in ended.text


def test_retries_are_counted(manta):
    ended = run(manta, one_task("crash.py", options=', retries=2, method="any"'), code=FAILED)
    assert ended.text.count("about to fail") == 3, ended.text


def test_a_failed_attempt_leaves_nothing_to_later_tasks(manta):
    body = """
        class Attempts(Swarm):
            def __init__(self):
                super().__init__()
                self.once = Task(Module("modules/fails_once.py"), method="any")
                self.look = Task(Module("modules/look.py"), method="any")

            def execute(self):
                return self.look(self.once())
    """
    manta.file(
        "modules/look.py",
        """
        from manta.light.task import Task

        class Look(Task):
            def run(self):
                seen = list(self.world.results.select("name").values())
                self.logger.info("seen %s and %s", seen, self.world.globals["attempt"])
        """,
    )
    assert "seen ['attempt-1'] and 1" in run(manta, body).text


def test_the_document_tells_how_it_went(manta):
    ended = run(manta, one_task("ok.py", max_iteration=2, settings='self.set_global("shown", 1)'), "--json")
    (document,) = ended.documents()
    assert document["schema_version"] == 1 and document["status"] == "succeeded" and document["error"] is None
    assert document["nodes"] == ["node-1", "node-2"]
    assert [entry["iteration"] for entry in document["iterations"]] == [0, 1]
    assert [entry["name"] for entry in document["globals"]] == ["shown"]
    assert {(entry["iteration"], entry["node"]) for entry in document["results"]} == {(1, "node-1"), (1, "node-2")}
    assert_accepted_once(document["events"])


def test_values_are_saved_where_asked(manta):
    from manta.light.utils import bytes_to_numpy

    ended = run(manta, one_task("ok.py"), "--json", "--out", manta.work / "out")
    results = ended.documents()[0]["results"]
    saved = {entry["node"]: bytes_to_numpy((manta.work / "out" / entry["file"]).read_bytes()) for entry in results}
    assert saved == {"node-1": "node-1", "node-2": "node-2"}


def test_the_document_of_a_failure_holds_the_users_line(manta):
    body = one_task("crash.py", options=", retries=0")
    ended = run(manta, body, "--json", nodes=1, code=FAILED)
    (document,) = ended.documents()
    (failure,) = document["failures"]
    assert document["status"] == "failed" and failure["class"] == "user_error"
    assert (failure["task"], failure["node"], failure["iteration"], failure["attempt"]) == ("crash", "node-1", 0, 0)
    assert failure["location"].endswith("crash.py:7") and "in compute" in failure["traceback"]


def test_the_smallest_example_runs(manta):
    shutil.copytree(ROOT / "examples" / "hello", manta.work / "hello")
    ended = manta("run", manta.work / "hello" / "swarm.py", "--nodes", 3, "--set", "greeting=Salut")
    assert ended.code == SUCCEEDED and "node-3 says: Salut from node-3" in ended.text, ended.text


def test_the_statistics_of_divided_tables_are_those_of_all_rows(manta):
    shutil.copytree(ROOT / "examples" / "statistics", manta.work / "statistics")
    data = manta.work / "statistics" / "data"
    heights = [float(line.split(",")[0]) for path in data.iterdir() for line in path.read_text().splitlines()[1:]]
    mean, variance = statistics.mean(heights), statistics.variance(heights)
    ended = manta("run", manta.work / "statistics", "--nodes", 3, "--data", f"heights={data}/{{node}}.csv")
    assert ended.code == SUCCEEDED, ended.text
    assert f"{len(heights)} rows, mean {mean:.4f}, variance {variance:.4f}" in ended.text
