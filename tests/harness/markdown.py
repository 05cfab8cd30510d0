"""Markdown pages as far as tests need them: links, anchors, code blocks."""

import re
import subprocess
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent> {0,3}|\s*)(?P<marks>`{3,}|~{3,})\s*(?P<language>[\w+-]*)")
CODE = re.compile(r"(`+)(.+?)\1")
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)")
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
NAMED = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
MARK = re.compile(r"^\s*<!-- (.+?) -->\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block of code, and the comment right above it."""

    line: int
    language: str
    text: str
    mark: str | None


@dataclass
class Page:
    """A page: where it is, and what is in it."""

    path: Path
    links: list[tuple[int, str]] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    blocks: list[Block] = field(default_factory=list)
    spans: list[tuple[int, str]] = field(default_factory=list)

    @property
    def name(self):
        """The path in the checkout."""
        return str(self.path.relative_to(ROOT))


def pages():
    """Return every page that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [page(ROOT / name) for name in sorted(set(listed.split("\0")) - {""}) if (ROOT / name).is_file()]


def page(path):
    """Read one page."""
    found, fence, code, mark, slugs = Page(path), None, [], None, {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if fence is not None:
            start, marks, indent, language, above = fence
            if line.strip().startswith(marks) and not line.strip().strip(marks[0]):
                found.blocks.append(Block(start, language, "".join(code), above))
                fence = None
            else:
                code.append(line.removeprefix(indent) + "\n")
            continue
        if opened := FENCE.match(line):
            fence, code = (number, opened["marks"], opened["indent"], opened["language"], mark), []
            mark = None
            continue
        mark = commented[1] if (commented := MARK.match(line)) else None
        found.spans += [(number, span[2].strip()) for span in CODE.finditer(line)]
        bare = CODE.sub(lambda span: " " * len(span[0]), line)
        targets = [*LINK.findall(CODE.sub("x", line)), *REFERENCE.findall(bare)]
        found.links += [(number, unquote(target)) for target in targets]
        found.anchors |= set(NAMED.findall(bare))
        if heading := HEADING.match(line):
            slug = slug_of(heading[1])
            slugs[slug] = slugs.get(slug, -1) + 1
            found.anchors.add(slug if slugs[slug] == 0 else f"{slug}-{slugs[slug]}")
    assert fence is None, f"{path}: the block that begins in line {fence[0]} has no end"
    return found


def slug_of(heading):
    """Return the anchor of a heading, as GitHub and mdBook make it."""
    text = LINK.sub(lambda link: link[0][1 : link[0].index("](")], heading).replace("`", "")
    kept = (character for character in text.strip().lower() if is_kept(character))
    return "".join(kept).replace(" ", "-")


def is_kept(character):
    """Whether a character of a heading is in its anchor."""
    return character in " -_" or unicodedata.category(character)[0] in "LN"
