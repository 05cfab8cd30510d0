"""Every public name says what it is, what it takes and gives, and shows it in an example that runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import manta

PUBLIC = ("apis", "light", "testing")
MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages([str(Path(manta.__file__).parent)], "manta.")
    if not found.name.rpartition(".")[2].startswith("_") and found.name.split(".")[1] in PUBLIC
)
ALL = sorted(found.name for found in pkgutil.walk_packages([str(Path(manta.__file__).parent)], "manta."))


def with_examples() -> list[str]:
    """Return the modules, private ones too, that have an example somewhere."""
    root = Path(manta.__file__).parent.parent
    paths = {name: root.joinpath(*name.split(".")) for name in ALL}
    files = {name: path / "__init__.py" if path.is_dir() else path.with_suffix(".py") for name, path in paths.items()}
    return [name for name, file in files.items() if ">>> " in file.read_text(encoding="utf-8")]


def names_for(module: Any) -> dict[str, Any]:
    """Return what examples may use: what users import, with the `Task` of the side that is told of."""
    is_light = module.__name__.startswith(("manta.light", "manta.testing"))
    sides = ["manta.testing", "manta.light", "manta.apis"]
    names: dict[str, Any] = {}
    for side in sides[::-1] if is_light else sides:
        names.update(
            {name: getattr(found, name) for found in [importlib.import_module(side)] for name in found.__all__}
        )
    return {**vars(module), **names} if is_light else {**names, **vars(module)}


@pytest.mark.parametrize("name", with_examples())
def test_examples_in_docstrings_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANTA_TOKEN_FILE", raising=False)
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, globs=dict(names_for(module)), optionflags=doctest.REPORT_ONLY_FIRST_FAILURE)
    assert outcome.failed == 0 and outcome.attempted > 0


def public_names() -> Iterator[tuple[str, Any]]:
    """Yield each public name once, with what it stands for."""
    seen = set()
    for name in MODULES:
        module = importlib.import_module(name)
        for word in getattr(module, "__all__", []):
            found = getattr(module, word)
            if id(found) not in seen and not isinstance(found, str):
                seen.add(id(found))
                yield f"{name}.{word}", found


NAMES = dict(public_names())


def calls_of(found: Any) -> Iterator[tuple[str, Any]]:
    """Yield what can be called of a public name, by its name: itself, or its public methods."""
    if not inspect.isclass(found):
        yield "", found
        return
    for name, member in vars(found).items():
        if not name.startswith("_") and not isinstance(member, property):
            call = getattr(member, "__func__", member)
            if inspect.isfunction(call):
                yield f".{name}", call


def test_the_public_names_are_found() -> None:
    wanted = {"manta.apis.Module", "manta.light.Task", "manta.light.aggregation.krum", "manta.testing.run_task"}
    assert wanted <= set(NAMES) and len(NAMES) > 50


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_a_docstring_with_an_example(name: str) -> None:
    text = inspect.getdoc(NAMES[name]) or ""
    assert text.split("\n")[0].endswith("."), f"{name} begins with a sentence"
    assert ">>> " in text, f"{name} has an example"


@pytest.mark.parametrize("name", NAMES)
def test_what_can_be_called_tells_its_arguments_and_what_it_gives(name: str) -> None:
    for inner, call in calls_of(NAMES[name]):
        text, signature = inspect.getdoc(call) or "", inspect.signature(call)
        assert text, f"{name}{inner} has a docstring"
        if inspect.iscoroutinefunction(call):  # the same call, awaited
            continue
        told = text + (inspect.getdoc(NAMES[name]) or "")
        for parameter in signature.parameters.values():
            if parameter.name not in ("self", "cls") and parameter.kind is not parameter.VAR_KEYWORD:
                assert parameter.name in told, f"{name}{inner} tells of `{parameter.name}`"
        gives = signature.return_annotation not in (None, "None", signature.empty)
        says = (" and return ", "Returns\n---", "Yields\n---", "Return ", "Yield", "Whether", "Make ", "Do the work")
        if gives:
            assert any(word in text for word in says), f"{name}{inner} tells what it gives"
