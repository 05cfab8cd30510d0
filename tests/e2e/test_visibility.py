"""What a task sees of others: results of its ancestors, the nearest first, and of nobody else."""

import pytest

REPORT = """
    from manta.light.task import Task

    class {name}(Task):
        def run(self):
            {body}
"""


def module(manta, name, *lines):
    """Write a module with one task class whose `run` has these lines."""
    manta.file(f"modules/{name}.py", REPORT.format(name=name.capitalize(), body="\n            ".join(lines)))


def run(manta, tasks, execute, nodes=2, max_iteration=None):
    """Run a swarm of the named modules and return what was written."""
    made = "\n".join(
        f'        self.{task} = Task(Module("modules/{task}.py"), {options})' for task, options in tasks.items()
    )
    body = f"class Look(Swarm):\n    def __init__(self):\n        super().__init__(max_iteration={max_iteration})\n"
    body += f"{made}\n\n    def execute(self):\n        return {execute}\n"
    ended = manta("run", manta.swarm(body), "--nodes", nodes)
    assert ended.code == 0, ended.text
    return ended.text


def test_a_task_beside_is_no_ancestor(manta):
    module(manta, "left", 'self.world.results.add("from_left", 1)')
    module(manta, "right", 'self.world.results.add("from_right", 1)')
    both = '[name for name in ("from_left", "from_right") if self.world.results.select(name, default={})]'
    seen = f'self.logger.info("seen %s", {both})'
    module(manta, "below", seen)
    one = 'method="any"'
    text = run(manta, {"left": one, "right": one, "below": one}, "[self.below(self.left()), self.right()]")
    assert "seen ['from_left']" in text


def test_the_nearest_ancestor_that_published_a_name_is_taken(manta):
    module(manta, "far", 'self.world.results.add("name", "far")', 'self.world.results.add("only", "far")')
    module(manta, "near", 'self.world.results.add("name", "near")')
    look = "[value for name in ('name', 'only') for value in self.world.results.select(name).values()]"
    module(manta, "below", f'self.logger.info("seen %s", {look})')
    one = 'method="any"'
    text = run(manta, {"far": one, "near": one, "below": one}, "self.below(self.near(self.far()))")
    assert "seen ['near', 'far']" in text


def test_a_task_without_predecessors_sees_the_iteration_before(manta):
    look = 'before = self.world.results.select("count", default=None)'
    count = "count = 0 if before is None else list(before.values())[0] + 1"
    module(manta, "count", look, count, 'self.logger.info("count %d", count)', 'self.world.results.add("count", count)')
    text = run(manta, {"count": 'method="any"'}, "self.count()", max_iteration=3)
    assert all(f"count {number}" in text for number in range(3)) and "count 3" not in text, text


def test_writes_are_seen_by_their_own_attempt_and_by_later_tasks_only(manta):
    module(
        manta, "write", 'self.world.globals["shared"] = 1', 'self.logger.info("own %d", self.world.globals["shared"])'
    )
    module(manta, "beside", 'self.logger.info("beside %s", self.world.globals.get("shared"))')
    module(manta, "after", 'self.logger.info("after %d", self.world.globals["shared"])')
    one = 'method="any"'
    execute = "[self.after(self.write()), self.beside()]"
    text = run(manta, {"write": one, "beside": one, "after": one}, execute)
    assert "own 1" in text and "beside None" in text and "after 1" in text, text


def test_two_values_for_one_global_are_told(manta):
    module(manta, "write", 'self.world.globals["writer"] = str(self.node)')
    module(manta, "after", 'self.logger.info("writer is %s", self.world.globals["writer"])')
    text = run(manta, {"write": 'method="all"', "after": 'method="any"'}, "self.after(self.write())")
    assert "writer is node-2" in text, "they are applied in the order of the nodes' names"
    assert "global `writer`: node-1, node-2 wrote different values" in text, text


@pytest.mark.parametrize(
    "value", ["3", "True", "None", "1.5", "float('inf')", "(1, [2])", "{1: 'a'}", "{1, 2}", "b'x'", "2**99"]
)
def test_values_come_back_equal_and_of_the_same_type(manta, value):
    module(manta, "give", f'self.world.results.add("value", {value})')
    module(
        manta, "take", '(value,) = self.world.results.select("value").values()', 'self.logger.info("took %r", value)'
    )
    text = run(manta, {"give": 'method="any"', "take": 'method="any"'}, "self.take(self.give())")
    assert f"took {eval(value)!r}" in text, text
