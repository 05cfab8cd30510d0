"""What a module says that it works with is asked of every node, before anything is offered to it."""

import platform

from harness.cluster import Cluster

REFUSED = 4
OTHER = {"x86_64": "aarch64"}.get(platform.machine(), "x86_64")

MODULE = '''
    """Runs, wherever it may."""

    # /// script
    # requires-python = "{python}"
    # [tool.manta.module]
    # architectures = ["{architecture}"]
    # ///


    def main():
        print("it ran")
'''

SWARM = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            self.fit = Task(Module("modules/fit.py"), specified_ids=["node-1"])

        def execute(self):
            return self.fit()
"""


def module(manta, python, architecture):
    """Write a module that works with such Pythons and processors."""
    manta.file("modules/fit.py", MODULE.format(python=python, architecture=architecture))
    return manta.swarm(SWARM)


def test_a_module_that_fits_runs(manta):
    ended = manta("run", module(manta, ">=3.9,<4", platform.machine()), "--nodes", 1)
    assert ended.code == 0 and "it ran" in ended.text, ended.text


def test_plan_and_deploy_name_the_node_and_what_of_it_does_not_fit(manta):
    cluster = Cluster(manta).start("node-1", "node-2")
    for python, architecture, words in [
        ("<3.9", platform.machine(), "in its image `latest`, and module `fit` 0.0.0"),
        (">=3.9", OTHER, f"node-1 has a processor of {platform.machine()}, and module `fit` 0.0.0"),
    ]:
        swarm = module(manta, python, architecture)
        planned = manta("plan", swarm, environment=cluster.as_user)
        assert planned.code == REFUSED and words in planned.text, planned.text
        ended = manta("deploy", swarm, environment=cluster.as_user)
        assert ended.code == REFUSED and words in ended.text, ended.text
    assert cluster.api.swarms() == []
