"""`manta new`: a swarm of one's own, begun from an example, offline."""

import pytest

from harness.manta import ROOT


@pytest.mark.parametrize("template", ["digits", "federated", "hello", "statistics", "torch"])
def test_a_template_is_the_repositorys_example(manta, template):
    ended = manta("new", "mine", "--template", template, "--json")
    assert ended.code == 0, ended.text
    (document,) = ended.documents()
    example = ROOT / "examples" / template
    assert "swarm.py" in document["files"] and "README.md" in document["files"]
    for name in document["files"]:
        assert (manta.work / "mine" / name).read_text() == (example / name).read_text()
    ours = [path for path in example.rglob("*") if path.suffix in (".py", ".md", ".csv") and path.is_file()]
    assert len(document["files"]) == len(ours)


def test_a_template_that_needs_data_sends_to_its_page(manta):
    ended = manta("new", "mine", "--template", "torch")
    assert "mine/README.md" in ended.text and "manta run" not in ended.text, ended.text


def test_what_was_begun_runs(manta):
    begun = manta("new", "mine")
    assert begun.code == 0 and "manta run mine" in begun.text, begun.text
    ended = manta("run", "mine", "--nodes", "2", "--json")
    assert ended.code == 0 and ended.documents()[-1]["status"] == "succeeded", ended.text


def test_nothing_is_written_over_and_a_wrong_template_is_told_the_right_ones(manta):
    (manta.work / "mine").mkdir()
    (manta.work / "mine" / "swarm.py").write_text("kept")
    ended = manta("new", "mine")
    assert ended.code != 0 and "there already" in ended.text, ended.text
    assert (manta.work / "mine" / "swarm.py").read_text() == "kept"
    ended = manta("new", "other", "--template", "helo")
    assert ended.code == 2 and "hello" in ended.text and not (manta.work / "other").exists(), ended.text
