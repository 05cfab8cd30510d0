"""The command line as people and programs hold it: streams, pipes, colour, near names."""

import json
import os
import subprocess

from harness.manta import binary

ONE_TASK = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            self.set_global("greeting", "hello")
            self.ok = Task(Module("modules/ok.py"))

        def execute(self):
            return self.ok()
"""


def test_data_goes_to_standard_output_and_talk_to_standard_error(manta):
    ended = manta("run", manta.swarm(ONE_TASK), "--nodes", 1)
    assert "node-1" in ended.out and "ok on node-1" not in ended.out
    assert "ok on node-1" in ended.err
    assert "\x1b" not in ended.text, "no colour where there is no terminal"


def test_a_reader_that_goes_away_ends_nothing_badly(manta):
    read, write = os.pipe()
    os.close(read)
    command = [binary(), "run", manta.swarm(ONE_TASK), "--nodes", "1"]
    done = subprocess.run(command, env=manta.environment, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 0 and "panicked" not in done.stderr and "roken pipe" not in done.stderr, done.stderr


def test_a_global_that_is_not_there_is_refused_with_the_nearest(manta):
    ended = manta("run", manta.swarm(ONE_TASK), "--set", "greting=hi")
    assert ended.code == 2 and "greting" in ended.err and "did you mean" in ended.err, ended.text


def test_a_dataset_of_a_node_that_is_not_there_is_refused(manta):
    ended = manta("run", manta.swarm(ONE_TASK), "--nodes", 2, "--data", f"node-7:rows={manta.work}")
    assert ended.code == 2 and "node-7" in ended.err, ended.text


def test_programs_get_a_document_even_where_nothing_ran(manta):
    ended = manta("run", "nowhere.py", "--json")
    (document,) = ended.documents()
    assert ended.code == 2 and document["status"] == "error" and document["swarm"] is None
    assert document["error"] == json.loads(ended.err.strip().splitlines()[-1])


def test_every_verb_has_help(manta):
    verbs = ["demo", "run", "plan", "deploy", "ls", "show", "why", "events", "logs", "results", "pause", "resume"]
    verbs += [
        "stop",
        "doctor",
        "manager run",
        "node run",
        "node ls",
        "node show",
        "node label",
        "node data add",
        "node audit",
    ]
    for verb in verbs:
        ended = manta(*verb.split(), "--help")
        assert ended.code == 0 and "Usage: manta" in ended.out, f"{verb}: {ended.text}"
