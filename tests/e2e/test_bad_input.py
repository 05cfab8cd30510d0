"""A mistake gets one clear sentence, its place, the nearest right name and a documented exit code; nothing starts."""

import shutil

import pytest

from harness.manta import ROOT

REFUSED = 4

ONE_TASK = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            self.one = Task({task})

        def execute(self):
            return self.one()
"""


def swarm_of(task):
    """Return the text of a swarm with one task."""
    return ONE_TASK.format(task=task)


def refused(manta, body, *parts, code=REFUSED, arguments=()):
    """Check that a swarm is refused with that exit code and a sentence that holds all the parts."""
    path = manta.swarm(body)
    ended = manta("run", path, "--nodes", "2", *arguments)
    assert ended.code == code, ended.text
    assert_one_sentence(ended)
    for part in parts:
        assert part in ended.err, f"{part!r} is not in:\n{ended.err}"
    return ended


def assert_one_sentence(ended):
    """Check that the error is told once, and not as the inside of a program."""
    errors = [line for line in ended.err.splitlines() if line.startswith("error")]
    assert len(errors) == 1, ended.err
    assert "panicked" not in ended.err and "Traceback" not in ended.err, ended.err


def test_a_module_path_that_does_not_exist_names_the_nearest(manta):
    refused(manta, swarm_of('Module("modules/colect.py")'), "modules/colect.py", "modules/collect.py", "swarm.py")


def test_a_module_without_an_entry_point_is_named(manta):
    refused(manta, swarm_of('Module("modules/no_entry.py")'), "no_entry.py", "main()")


def test_a_module_with_several_task_classes_and_no_main_names_them(manta):
    refused(manta, swarm_of('Module("modules/two_classes.py")'), "two_classes.py", "Trainer", "Evaluator")


def test_an_entry_that_is_no_class_of_the_module_names_those_that_are(manta):
    refused(manta, swarm_of('Module("modules/two_classes.py", entry="Trainr")'), "Trainr", "Trainer")


def test_a_syntax_error_is_told_with_file_and_line_before_anything_runs(manta):
    shutil.copy(ROOT / "tests/fixtures/syntax_error.py.txt", manta.work / "modules" / "broken.py")
    refused(manta, swarm_of('Module("modules/broken.py")'), "modules/broken.py:5")


def test_a_name_in_an_except_clause_that_is_never_bound_comes_with_the_import(manta):
    parts = ("unbound_except.py:", "DataCorruptionError", "from manta.light")
    refused(manta, swarm_of('Module("modules/unbound_except.py")'), *parts)


@pytest.mark.parametrize("maximum", ["0", "-2", "0.0", "1.5", "float('nan')", "True", "'3'"])
def test_a_maximum_that_is_none_is_refused(manta, maximum):
    refused(manta, swarm_of(f'Module("modules/ok.py"), maximum={maximum}'), "maximum", "swarm.py:")


def test_an_unknown_method_names_the_nearest(manta):
    refused(manta, swarm_of('Module("modules/ok.py"), method="al"'), "'al'", 'did you mean "all"', "swarm.py:")


def test_execute_that_returns_something_else_is_refused(manta):
    body = """
        class Wrong(Swarm):
            def __init__(self):
                super().__init__()
                self.one = Task(Module("modules/ok.py"))

            def execute(self):
                self.one()
                return "done"
    """
    refused(manta, body, "execute()", "'done'", "swarm.py:")


def test_a_global_that_cannot_be_carried_is_named_with_its_place(manta):
    body = """
        class Wrong(Swarm):
            def __init__(self):
                super().__init__()
                self.set_global("settings", {"layers": [1, open]})
                self.one = Task(Module("modules/ok.py"))

            def execute(self):
                return self.one()
    """
    refused(manta, body, "settings", "layers", "[1]")


def test_a_swarm_file_that_does_not_exist_is_a_usage_error(manta):
    ended = manta("run", "swram.py")
    assert ended.code == 2, ended.text
    assert "swram.py" in ended.err


def test_a_class_that_is_not_in_the_file_names_the_nearest(manta):
    path = manta.swarm(swarm_of('Module("modules/ok.py")'))
    ended = manta("run", f"{path}:Ome")
    assert ended.code == 2, ended.text
    assert "Ome" in ended.err and "One" in ended.err


def test_a_swarm_file_that_raises_shows_the_users_line(manta):
    ended = manta("run", manta.swarm("raise ValueError('not today')\n"))
    assert ended.code == REFUSED, ended.text
    assert "not today" in ended.err and "swarm.py" in ended.err


def test_a_set_of_what_is_no_pair_is_a_usage_error(manta):
    ended = manta("run", manta.swarm(swarm_of('Module("modules/ok.py")')), "--set", "rate")
    assert ended.code == 2, ended.text


def test_an_unknown_flag_is_a_usage_error_with_the_nearest(manta):
    ended = manta("run", manta.swarm(swarm_of('Module("modules/ok.py")')), "--nods", "2")
    assert ended.code == 2, ended.text
    assert "--nodes" in ended.err


def test_a_dataset_that_no_node_offers_is_refused_with_those_that_they_do(manta):
    data = manta.file("mnist.csv", "a,b\n1,2\n")
    body = swarm_of('Module("modules/ok.py", datasets=["mnits"])')
    refused(manta, body, "mnits", "node-1", "node-2", "mnist", arguments=("--data", f"mnist={data}"))


def test_a_dataset_path_that_is_missing_is_refused(manta):
    body = swarm_of('Module("modules/ok.py", datasets=["mnist"])')
    refused(manta, body, "mnist", "nowhere.csv", arguments=("--data", f"mnist={manta.work}/nowhere.csv"))


def test_a_dataset_that_the_user_may_not_read_is_refused(manta_as_user):
    data = manta_as_user.file("secret.csv", "a\n1\n")
    data.chmod(0)
    manta_as_user.give_to_user()
    body = swarm_of('Module("modules/ok.py", datasets=["mnist"])')
    path = manta_as_user.swarm(body)
    ended = manta_as_user("run", path, "--nodes", "2", "--data", f"mnist={data}")
    assert ended.code == REFUSED, ended.text
    assert "secret.csv" in ended.err, ended.err


def test_a_result_that_cannot_be_carried_is_told_with_the_place_inside_the_value(manta):
    ended = manta("run", manta.swarm(swarm_of('Module("modules/not_carried.py"), retries=0')), "--nodes", "1")
    assert ended.code == 1, ended.text
    for part in ("model", "['layers'][1]", "not_carried.py", "node-1"):
        assert part in ended.err.replace('"', "'"), f"{part!r} is not in:\n{ended.err}"


def test_a_select_of_a_name_that_nobody_published_names_what_was(manta):
    body = """
        class Wrong(Swarm):
            def __init__(self):
                super().__init__()
                self.ok = Task(Module("modules/ok.py"))
                self.wrong = Task(Module("modules/wrong_select.py"), retries=0)

            def execute(self):
                return self.wrong(self.ok())
    """
    ended = manta("run", manta.swarm(body), "--nodes", "1")
    assert ended.code == 1, ended.text
    for part in ("nmae", "did you mean", "name", "wrong_select.py"):
        assert part in ended.err, f"{part!r} is not in:\n{ended.err}"


def test_errors_are_documents_when_asked_for(manta):
    path = manta.swarm(swarm_of('Module("modules/colect.py")'))
    ended = manta("run", path, "--nodes", "2", "--json")
    assert ended.code == REFUSED, ended.text
    assert '"MANTA-0101"' in ended.text and '"message"' in ended.text and '"hint"' in ended.text
