"""`manta export`: what tasks log goes to trackers, and no swarm notices."""

from harness.cluster import Cluster
from harness.clusters import Two

NOT_FOUND = 3

LOGS = """
    class Logs(Swarm):
        def __init__(self):
            super().__init__()
            self.loss = Task(Module("modules/loss.py"))

        def execute(self):
            return self.loss()
"""

LOSS = '''
    """Logs three points."""

    from manta.light.task import Task


    class Loss(Task):
        def run(self):
            for step in range(3):
                self.metrics.log({"loss": 1 / (step + 1)}, step=step)
'''


def test_what_tasks_log_goes_to_event_files_while_the_swarm_runs_and_after(manta):
    cluster = Cluster(manta).start("node-1", "node-2")
    manta.file("modules/loss.py", LOSS)
    swarm = cluster.deploy(manta.swarm(LOGS))
    arguments = ("export", swarm, "--to", "tensorboard", "--dir", "runs", "--json")
    followed = manta(*arguments, "--follow", environment=cluster.as_user)
    cluster.wait_for(swarm, "succeeded")
    again = manta(*arguments, environment=cluster.as_user)
    for ended in (followed, again):
        assert ended.code == 0, ended.text
        (answer,) = ended.documents()
        assert (answer["points"], answer["series"]) == (6, 2), ended.text
    files = [path.relative_to(manta.work / "runs") for path in (manta.work / "runs").rglob("events.*")]
    assert sorted(path.parts[:2] for path in files) == [(f"Logs-{swarm}", "node-1"), (f"Logs-{swarm}", "node-2")]


def test_an_export_is_of_the_cluster_that_is_named_and_of_no_other(manta):
    two = Two(manta)
    two.start_both()
    manta.file("modules/loss.py", LOSS)
    swarm = two.deploy_in("ulm", manta.swarm(LOGS))
    arguments = ("export", swarm, "--to", "tensorboard", "--dir", "runs", "--json")
    followed = two.run(*arguments, "--follow", cluster="ulm", user="admin-ulm")
    again = two.run(*arguments, "--cluster", "ulm")
    for ended in (followed, again):
        assert ended.code == 0, ended.text
        (answer,) = ended.documents()
        assert (answer["points"], answer["series"]) == (3, 1), ended.text
    (place,) = (path.relative_to(manta.work / "runs").parts[:2] for path in (manta.work / "runs").rglob("events.*"))
    assert place == (f"Logs-{swarm}", "n1")
    elsewhere = two.run(*arguments)
    assert elsewhere.code == NOT_FOUND and swarm in elsewhere.err, elsewhere.text
    stranger = two.run(*arguments, "--cluster", "ulm", user="admin-default")
    assert stranger.code == NOT_FOUND and "your token is for the cluster `default`" in stranger.err, stranger.text


def test_an_export_that_cannot_be_made_says_why_and_leaves_the_swarm_alone(manta):
    cluster = Cluster(manta).start("node-1")
    manta.file("modules/loss.py", LOSS)
    swarm = cluster.deploy(manta.swarm(LOGS))
    missing = manta("export", swarm, "--to", "mlflow", environment={**cluster.as_user, "PYTHONNOUSERSITE": "1"})
    assert missing.code == 1 and "`mlflow` is not installed" in missing.err, missing.text
    unknown = manta("export", swarm, "--to", "paper", environment=cluster.as_user)
    assert unknown.code == 2 and "tensorboard" in unknown.err, unknown.text
    cluster.wait_for(swarm, "succeeded")
