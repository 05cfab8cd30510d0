"""Pages lead where they say: links, anchors, the table of contents; what they show as code can be read as such."""

import ast
import functools
import json
import posixpath
import re

import pytest

from harness.markdown import ROOT, page, pages, slug_of

DOCS = ROOT / "docs"
# Folders of pages that readers of the site need; decisions, checklists and reports are for who works on Manta.
LISTED = ("", "guides", "reference")
PAGES = pages()


@functools.cache
def anchors(path):
    """Return the anchors of a page."""
    return page(path).anchors


def wrong_links(found):
    """Return what is wrong with the links of a page."""
    for line, target in found.links:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (found.path.parent / path).resolve() if path else found.path
        if not there.is_relative_to(ROOT):
            yield f"{found.name}:{line}: `{target}` leads out of the checkout"
        elif not there.exists():
            yield f"{found.name}:{line}: `{target}` leads nowhere"
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            yield f"{found.name}:{line}: `{target}` names no heading of {there.name}"


def test_links_and_anchors_lead_somewhere():
    wrong = [text for found in PAGES for text in wrong_links(found)]
    assert not wrong, "\n".join(wrong)


def contents():
    """Return the pages that the site's table of contents names, in order."""
    return [target for _, target in page(DOCS / "SUMMARY.md").links]


def test_the_table_of_contents_names_each_page_once():
    listed = contents()
    assert len(listed) == len(set(listed)), f"named twice: {sorted(name for name in listed if listed.count(name) > 1)}"
    wanted = {str(path.relative_to(DOCS)) for folder in LISTED for path in (DOCS / folder).glob("*.md")}
    missing = wanted - set(listed) - {"SUMMARY.md"}
    assert not missing, f"add them to docs/SUMMARY.md: {sorted(missing)}"


def test_pages_of_the_site_link_to_pages_of_the_site():
    """What the table of contents does not name is not part of the site."""
    listed, wrong = set(contents()), []
    for name in sorted(listed):
        for line, target in page(DOCS / name).links:
            path = target.partition("#")[0]
            whole = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
            if path.endswith(".md") and ":" not in path and whole not in listed:
                wrong.append(f"{name}:{line}: {target}")
    assert not wrong, "\n".join(wrong)


def parse(language, text):
    """Read a snippet as what it says it is."""
    match language:
        case "python":
            ast.parse(text)
        case "json":
            json.loads(text)
        case "toml":
            pytest.importorskip("tomllib", reason="needs Python 3.11").loads(text)


def test_snippets_can_be_read_as_what_they_say_they_are():
    wrong = []
    for found in PAGES:
        for block in found.blocks:
            try:
                parse(block.language, block.text)
            except (SyntaxError, ValueError) as error:
                wrong.append(f"{found.name}:{block.line}: {block.language}: {error}")
    assert not wrong, "\n".join(wrong)


def test_a_page_is_read_as_people_see_it(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(
        '# One `two` (three)\n## Again\n## Again\n[x](a.md#b) and `[no](b.md)` and [`y`](c.md "n")\n[r]: d.md\n'
        "<!-- run -->\n```sh\n# no heading [no](e.md)\n```\n   ~~~ python\n   pass\n   ~~~\n",
        encoding="utf-8",
    )
    found = page(path)
    assert found.anchors == {"one-two-three", "again", "again-1"}
    assert [target for _, target in found.links] == ["a.md#b", "c.md", "d.md"]
    assert [(block.language, block.mark, block.text) for block in found.blocks] == [
        ("sh", "run", "# no heading [no](e.md)\n"),
        ("python", None, "pass\n"),
    ]
    assert slug_of("The node's *last* word") == "the-nodes-last-word"


def test_a_link_that_leads_nowhere_is_found():
    found = page(DOCS / "guides" / "metrics.md")
    found.links = [(1, "nowhere.md"), (2, "limits.md#nothing"), (3, "../../../x"), (4, "https://example.org/")]
    assert [text.split(": ")[0] for text in wrong_links(found)] == [
        f"docs/guides/metrics.md:{line}" for line in (1, 2, 3)
    ]
