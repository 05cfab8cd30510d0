"""Images as people meet them: built, exported, taken in, run in, and refused."""

import json
import platform
import tarfile

import pytest

from harness.cluster import Cluster
from harness.registry import serving

REFUSED, NOT_FOUND, UNKNOWN_USER = 4, 3, 6

LOOKS = '''
"""Publishes what can be seen of the image from inside."""

import getpass
import os
import sys

from manta.light.task import Task


class Looks(Task):
    def run(self):
        self.logger.info("python %s of %s", sys.version.split()[0], sys.executable)
        self.logger.info("root holds %s", ",".join(sorted(os.listdir("/"))))
        self.logger.info("shells: %d", sum(os.path.exists(path) for path in ("/bin/sh", "/usr/bin/env", "/bin/ls")))
        self.logger.info("label %s, writable %s", os.environ.get("IMAGE_VARIABLE"), os.access("/usr", os.W_OK))
        self.logger.info("i am %s", getpass.getuser())


def main():
    Looks().run()
'''

SWARM = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            self.looks = Task(Module("modules/looks.py", image={image!r}))

        def execute(self):
            return self.looks()
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive of a curated image, built once."""
    return tmp_path_factory.mktemp("images") / "latest.tar"


def built(manta, archive):
    """Return the archive, built where it is not there yet; either way the image is in the store."""
    if archive.exists():
        ended = manta("image", "import", archive, "--json")
    else:
        ended = manta("image", "build", "latest", "--output", archive, "--json", limit_s=300)
    assert ended.code == 0, ended.text
    return ended.documents()[0]


def looks(manta, image, *arguments, code=0):
    """Run the task that looks around in an image."""
    manta.file("modules/looks.py", LOOKS)
    swarm = manta.swarm(SWARM.format(image=image))
    manta.give_to_user()
    ended = manta("run", swarm, "--nodes", 1, *arguments)
    assert ended.code == code, ended.text
    return ended


def test_a_task_runs_in_an_image_that_was_built_here(manta, archive):
    image = built(manta, archive)
    assert image["names"] == ["latest"] and image["digest"].startswith("sha256:"), image
    ended = looks(manta, "latest")
    assert "shells: 0" in ended.text, "the root is the image's, not the host's"
    assert "i am task" in ended.text and "writable False" in ended.text, ended.text
    assert f"python {image['labels']['manta.python']}" in ended.text, ended.text


def test_an_ordinary_user_runs_in_an_image_too(manta_as_user):
    manta = manta_as_user
    image = built(manta, manta.work / "latest.tar")
    assert image["python"], image
    assert "shells: 0" in looks(manta, "latest").text


def test_an_archive_is_what_other_tools_read(manta, archive):
    built(manta, archive)
    with tarfile.open(archive) as members:
        names = members.getnames()
        saved = json.load(members.extractfile("manifest.json"))
        config = json.load(members.extractfile(saved[0]["Config"]))
        assert set(saved[0]["Layers"]) <= set(names), "docker load finds the layers"
        assert {"oci-layout", "index.json"} <= set(names), "and tools of OCI find the layout"
    assert config["config"]["Cmd"] == ["python3"] and config["rootfs"]["type"] == "layers"


def test_names_of_the_site_come_before_those_of_the_store(manta, archive):
    digest = built(manta, archive)["digest"]
    cluster = Cluster(manta)
    cluster.start_manager()
    arguments = ["--manager", cluster.url, "--token-file", cluster.data_dir / "node-token", "--name", "node-1"]
    arguments += ["--data-dir", manta.root / "n", "--image", f"team/model:2={digest}", "--image", "latest=host"]
    cluster.nodes["node-1"] = manta.start("node", "run", *arguments)
    cluster.wait_for_nodes("node-1")
    manta.file("modules/looks.py", LOOKS)
    for image, said in (("team/model:2", "shells: 0"), ("latest", "shells: 3")):
        swarm = cluster.deploy(manta.swarm(SWARM.format(image=image)))
        cluster.wait_for(swarm, "succeeded")
        cluster.wait_for_log(swarm, said, ["node-1"])


def test_an_image_that_is_not_there_is_refused_with_the_nearest_name(manta, archive):
    built(manta, archive)
    assert manta("image", "import", archive, "--name", "team/model:2").code == 0
    ended = looks(manta, "team/model:3", code=REFUSED)
    assert "did you mean the image `team/model:2`?" in ended.err, ended.err
    ended = manta("image", "inspect", "lates")
    assert ended.code == NOT_FOUND and "did you mean `latest`?" in ended.err, ended.err


def test_images_are_listed_inspected_and_removed(manta, archive):
    image = built(manta, archive)
    (listed,) = manta("image", "ls", "--json").documents()
    assert [one["digest"] for one in listed["images"]] == [image["digest"]] and listed["bytes"] == image["bytes"]
    assert "latest" in manta("image", "ls").out
    shown = manta("image", "inspect", image["digest"][7:19])
    assert image["digest"] in shown.out and "PATH=" in shown.out, shown.text
    assert manta("image", "rm", "latest").code == 0
    assert manta("image", "ls", "--json").documents()[0]["images"] == []
    assert manta("image", "rm", "latest").code == NOT_FOUND


def test_what_is_no_image_is_refused_in_a_sentence(manta):
    ended = manta("image", "import", manta.file("text.tar", "no archive"), "--name", "x")
    assert ended.code == REFUSED and "cannot be read as an image" in ended.err, ended.text
    ended = manta("image", "build", "nunpy")
    assert ended.code == REFUSED and "latest, numpy, sklearn, pytorch" in ended.err, ended.text
    ended = manta("image", "import", manta.work / "nothing", "--json")
    assert json.loads(ended.err)["code"] == "MANTA-0209", ended.text


def test_a_node_without_namespaces_offers_no_stored_images(manta_without_namespaces):
    manta = manta_without_namespaces
    image = built(manta, manta.work / "latest.tar")
    assert image["names"] == ["latest"], image
    assert manta("image", "import", manta.work / "latest.tar", "--name", "mine").code == 0
    ended = looks(manta, "mine", code=REFUSED)
    assert "image `mine`" in ended.text, ended.text


@pytest.fixture
def registry():
    with serving() as registry:
        yield registry


def test_a_task_runs_in_an_image_that_was_pulled_by_its_digest(manta, archive, registry):
    built(manta, archive)
    assert manta("image", "rm", "latest").code == 0
    manifest = registry.put_archive(archive, "3")
    registry.put_index("index", manifest, {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()])
    ended = manta("image", "pull", registry.name("3"), "--name", "team/model:3", "--json")
    assert ended.code == 0, ended.text
    image = ended.documents()[0]
    assert image["manifest"] == manifest and image["names"] == ["team/model:3"], image
    for reference, called in [(manifest, "127.0.0.1"), ("index", ":index")]:
        again = manta("image", "pull", registry.name(reference))
        assert again.code == 0 and "was there already" in again.err and called in again.err, again.text
    assert "root holds" in looks(manta, "team/model:3").text
    assert list((manta.root / "h/.local/share/manta/images/incoming").iterdir()) == []


def test_what_a_registry_lacks_or_sends_wrongly_is_refused_in_a_sentence(manta, archive, registry):
    built(manta, archive)
    manifest = registry.put_archive(archive, "3")
    registry.put_index("elsewhere", manifest, "s390x")
    document = json.loads(registry.blobs[manifest])
    layer = document["layers"][0]["digest"]
    short = {**document, "layers": [{**document["layers"][0], "size": 10}, *document["layers"][1:]]}
    registry.tags["short"] = registry.put_json(short)
    for reference, code, why in [
        ("none", NOT_FOUND, "the registry has no image `127.0.0.1:"),
        ("elsewhere", REFUSED, "the image is for linux/s390x, and this machine is linux/"),
        ("short", REFUSED, "more than the 10 bytes"),
    ]:
        ended = manta("image", "pull", registry.name(reference))
        assert ended.code == code and why in ended.err, ended.text
    registry.blobs[layer] = b"something else"
    ended = manta("image", "pull", registry.name("3"), "--images", manta.root / "other")
    assert ended.code == REFUSED and layer[7:] in ended.err and "did not come whole" in ended.err, ended.text
    registry.password = "nobody has it"
    ended = manta("image", "pull", registry.name("3"))
    assert ended.code == UNKNOWN_USER and "docker login 127.0.0.1:" in ended.err, ended.text
    ended = manta("image", "pull", "No Name")
    assert ended.code == 2 and "cannot be an image's name" in ended.err, ended.text
    assert list((manta.root / "other/incoming").iterdir()) == []


def test_a_registry_that_is_not_there_is_said_so(manta):
    with serving() as registry:
        gone = registry.name("3")
    ended = manta("image", "pull", gone)
    assert ended.code == REFUSED and "cannot be fetched" in ended.err and "refused" in ended.err, ended.text
