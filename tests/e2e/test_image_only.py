"""Tasks without a module of Python: the program that an image names runs as the task."""

import pytest

from harness import images

REFUSED = 4

SWARM = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            self.tool = Task(Module(image={image!r}, datasets={datasets!r}))

        def execute(self):
            return self.tool()
"""

THEN = """
    class Two(Swarm):
        def __init__(self):
            super().__init__()
            self.tool = Task(Module(image="team/tool:1"), maximum=1)
            self.after = Task(Module("modules/after.py"), maximum=1)

        def execute(self):
            return self.after(self.tool())
"""

AFTER = '''
"""Says what the image's program has published."""

from manta.light.task import Task


class After(Task):
    def run(self):
        found = self.world.results.select("answer") if PUBLISHED else None
        self.logger.info("afterwards %s", None if found is None else list(found.values()))


def main():
    After().run()
'''

TOOL = """#!/bin/sh
# Tells what it finds, as a tool would that knows nothing of the platform.
read first < "$MANTA_DATASET_HEIGHTS_CM"
echo "first $first in $MANTA_DATASET_HEIGHTS_CM, arguments $*"
echo "mode $MODE, home $HOME, in $PWD on $MANTA_NODE in iteration $MANTA_ITERATION of $MANTA_TASK" >&2
echo written > /tmp/file && read back < /tmp/file && echo "scratch $back"
{ echo no > /app/file; } 2>/dev/null || echo "the image stays as it is"
exit 0
"""


def taken_in(manta, name, files, **config):
    """Make an image of a shell and such files, and take it into the store."""
    path = manta.work / "image.tar"
    images.of_shell(path, name, files, **config)
    manta.give_to_user()
    ended = manta("image", "import", path, "--json")
    assert ended.code == 0 and ended.documents()[0]["names"] == [name], ended.text


def run(manta, image, *arguments, datasets=(), code=0):
    """Run a swarm of one task that is an image's program."""
    swarm = manta.swarm(SWARM.format(image=image, datasets=list(datasets)))
    manta.give_to_user()
    ended = manta("run", swarm, "--nodes", 1, *arguments)
    assert ended.code == code, ended.text
    return ended.text


def told(manta):
    """Run a tool with a dataset, and check all that it tells of its surroundings."""
    taken_in(
        manta,
        "team/tool:1",
        {"/app/tool": TOOL},
        Entrypoint=["./tool"],
        Cmd=["a b", "c"],
        WorkingDir="/app",
        Env=["MODE=fast", "HOME=/root"],
    )
    data = manta.file("heights.csv", "1.70\n1.80\n")
    said = run(manta, "team/tool:1", "--data", f"heights-cm={data}", datasets=["heights-cm"])
    assert "first 1.70 in /data/heights-cm, arguments a b c" in said, said
    assert "mode fast, home /tmp, in /app on node-1 in iteration 0 of tool" in said, said
    assert "scratch written" in said and "the image stays as it is" in said, said


def test_an_images_program_runs_as_a_task_with_datasets_scratch_and_logs(manta):
    told(manta)


def test_an_ordinary_user_runs_one_too(manta_as_user):
    told(manta_as_user)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\nexit 3\n", "the image's program exited with status 3"),
        ("#!/bin/sh\nkill -SEGV $$\n", "killed by signal 11 (SIGSEGV)"),
        ("\x7fELF of no machine\n", "cannot be started: Exec format error"),
    ],
)
def test_how_a_program_failed_is_said_in_words(manta, script, words):
    taken_in(manta, "team/tool:1", {"/tool": script}, Cmd=["/tool"])
    assert words in run(manta, "team/tool:1", code=1)


def test_a_program_is_stopped_at_its_limits_like_any_task(manta):
    taken_in(manta, "team/tool:1", {"/tool": "#!/bin/sh\nexec 3>&-\nwhile :; do :; done\n"}, Cmd=["/tool"])
    swarm = manta.swarm(SWARM.format(image="team/tool:1", datasets=[]).replace("[]))", "[]), timeout=8.0)"))
    ended = manta("run", swarm, "--nodes", 1)
    assert ended.code == 1 and "did not end within its timeout of 8 s" in ended.text, ended.text


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "it names no program"),
        ({"Cmd": ["nothing"]}, 'its program "nothing" is not among its files'),
        ({"Cmd": ["/code/tool"]}, "`/code` is not the image's own inside a sandbox"),
    ],
)
def test_an_image_without_a_program_that_can_run_fails_the_attempt_in_a_sentence(manta, config, words):
    taken_in(manta, "team/tool:1", {"/code/tool": "#!/bin/sh\n"}, **config)
    said = run(manta, "team/tool:1", code=1)
    assert words in said and "image `team/tool:1` cannot be used" in said, said


def test_an_image_of_the_platform_has_no_program_and_is_refused_at_once(manta):
    said = run(manta, "pytorch", code=REFUSED)
    assert "`manta_light:pytorch` is an environment for modules and has no program of its own" in said, said


def test_a_module_needs_a_python_that_an_image_without_one_lacks(manta):
    taken_in(manta, "team/tool:1", {})
    manta.file("modules/after.py", AFTER)
    with_code = SWARM.format(image="team/tool:1", datasets=[]).replace("Module(", 'Module("modules/after.py", ')
    swarm = manta.swarm(with_code)
    ended = manta("run", swarm, "--nodes", 1)
    assert ended.code == 1 and "it has no `python3` on its PATH" in ended.text, ended.text


def test_tasks_follow_a_program_that_publishes_nothing(manta):
    taken_in(manta, "team/tool:1", {"/tool": "#!/bin/sh\necho done\n"}, Cmd=["/tool"])
    manta.file("modules/after.py", AFTER.replace("PUBLISHED", "False"))
    ended = manta("run", manta.swarm(THEN), "--nodes", 1)
    assert ended.code == 0 and "afterwards None" in ended.text, ended.text


def test_a_program_in_python_may_publish_with_manta_light(manta):
    ended = manta("image", "build", "latest", "--output", manta.work / "latest.tar", limit_s=300)
    assert ended.code == 0, ended.text
    code = "from manta.light.world import World; World().results.add('answer', 42); print('published')"
    path = manta.work / "tool.tar"
    images.with_config(manta.work / "latest.tar", path, "team/tool:1", Cmd=["python3", "-c", code])
    assert manta("image", "import", path).code == 0
    manta.file("modules/after.py", AFTER.replace("PUBLISHED", "True"))
    ended = manta("run", manta.swarm(THEN), "--nodes", 1)
    assert ended.code == 0 and "published" in ended.text and "[42]" in ended.text, ended.text
