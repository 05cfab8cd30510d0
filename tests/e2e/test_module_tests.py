"""`manta module check` and `manta module test`: a module is looked at and tried without a platform."""

from harness.manta import MODULES

TESTS = """
    def test_it_publishes(run_task, load_module):
        outcome = run_task(load_module("ok.py").main)
        assert outcome.results, outcome

    def test_it_fails_on_purpose():
        assert %s
"""


def test_a_module_is_described_and_its_mistakes_are_told(manta):
    ended = manta("module", "check", "modules/collect.py", "--json")
    assert ended.code == 0, ended.text
    (document,) = ended.documents()
    assert document["problems"] == [] and document["entry"]["file"] == "collect.py" and document["selects"]
    ended = manta("module", "check", "modules/no_entry.py")
    assert ended.code == 4 and "no_entry.py" in ended.err, ended.text
    swarm = manta.swarm("""
        class Other(Swarm):
            def __init__(self):
                super().__init__()
                self.ok = Task(Module("modules/ok.py"))
    """)
    ended = manta("module", "check", "modules/collect.py", "--swarm", swarm)
    assert ended.code == 4 and "runs this module" in ended.err, ended.text


def test_a_modules_own_tests_are_found_and_run(manta):
    folder = manta.work / "mine"
    folder.mkdir()
    (folder / "ok.py").write_text((MODULES / "ok.py").read_text())
    test = TESTS.replace('"ok.py"', repr(str(folder / "ok.py")))
    manta.file("mine/test_ok.py", test % "True")
    ended = manta("module", "test", "mine/ok.py", "--", "-q", "-p", "no:cacheprovider")
    assert ended.code == 0 and "2 passed" in ended.out, ended.text
    manta.file("mine/test_ok.py", test % "False")
    assert manta("module", "test", "mine").code == 1


def test_a_module_without_tests_is_told_how_to_write_some(manta):
    ended = manta("module", "test", "modules/packaged")
    assert ended.code == 2 and "test_*.py" in ended.text, ended.text
