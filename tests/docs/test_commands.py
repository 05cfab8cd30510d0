"""Every `manta` command that a page shows exists, with its options."""

import functools
import re
import shlex
import subprocess

import pytest

from harness.manta import binary
from harness.markdown import pages

SHELLS = ("sh", "bash", "console", "shell")
SEPARATORS = re.compile(r"^[&|;()<>]+$")


@functools.cache
def help_of(*words):
    """Return the help of a command, as the binary prints it."""
    ended = subprocess.run([binary(), *words, "--help"], capture_output=True, text=True, check=False, timeout=20)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@functools.cache
def verbs_of(*words):
    """Return the verbs that a command knows."""
    _, _, listed = help_of(*words).partition("Commands:\n")
    return set(re.findall(r"^  ([a-z][a-z-]*)(?:\s|$)", listed.split("\n\n")[0], re.MULTILINE)) - {"help"}


def commands(text, is_console):
    """Return the words of each `manta` command of a snippet."""
    lines = text.replace("\\\n", " ").splitlines()
    for line in lines:
        if is_console:
            if not line.startswith("$ "):
                continue
            line = line[2:]
        if "manta" not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:
            continue
        yield from of_words(words)


def of_words(words):
    """Return the `manta` commands among the words of a line."""
    command = []
    for word in [*words, ";"]:
        if SEPARATORS.match(word):
            while command and re.match(r"^[A-Z_]+=", command[0]):
                command.pop(0)
            if command[:1] == ["manta"]:
                yield command[1:]
            command = []
        else:
            command.append(word)


def wrong_with(words):
    """Return what is wrong with a command, or nothing."""
    path = []
    for word in words:
        if word not in verbs_of(*path):
            break
        path.append(word)
    rest = words[len(path) :]
    # Some commands take a verb, or do without one: `manta results SWARM`.
    takes_either = "Arguments:" in help_of(*path)
    if verbs_of(*path) and rest and not rest[0].startswith("-") and not takes_either:
        return f"`{rest[0]}` is no verb of `manta {' '.join(path)}`"
    text = help_of(*path)
    known = set(re.findall(r"--[a-z][a-z-]*|(?<![\w-])-[a-zA-Z](?![\w-])", text)) | {"--help", "--version"}
    for word in rest:
        if word == "--":
            return None
        option = word.partition("=")[0]
        if re.match(r"^--[a-z]|^-[a-zA-Z]$", option) and option not in known:
            return f"`manta {' '.join(path)}` has no option `{option}`"
    return None


def shown():
    """Return each place where a page shows a command, with the command."""
    for found in pages():
        # What was released and what was decided stays as it was written.
        if found.name.startswith(("docs/reports/", "docs/adr/", "changelog/")):
            continue
        for block in found.blocks:
            if block.language in SHELLS:
                for words in commands(block.text, block.language == "console"):
                    yield f"{found.name}:{block.line}", words
        for line, span in found.spans:
            if re.match(r"manta [a-z]", span) and "…" not in span:
                try:
                    yield f"{found.name}:{line}", shlex.split(span.replace("[", "").replace("]", ""))[1:]
                except ValueError:
                    continue


def test_every_command_that_a_page_shows_exists_with_its_options():
    places = list(shown())
    assert len(places) > 50, "the pages show more commands than that"
    wrong = [f"{place}: {problem}" for place, words in places if (problem := wrong_with(words))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("manta rum swarm.py", "no verb"),
        ("manta node lst", "no verb"),
        ("A=1 manta run swarm.py --nods 3", "no option `--nods`"),
        ("cd x && manta ls -Z | head", "no option `-Z`"),
    ],
)
def test_a_command_that_is_not_there_is_found(line, problem):
    ((words),) = commands(line, is_console=False)
    assert problem in wrong_with(words)
