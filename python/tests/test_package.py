"""The package as a whole: its codes, its examples, and what an import of it costs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import manta
from manta import _codes
from manta.light import errors
from manta.light.errors import MantaError

ROOT = Path(manta.__file__).parent


def test_every_error_has_a_code_of_its_own_with_a_title() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert set(codes) <= set(_codes.TITLES)
    assert all(issubclass(kind, MantaError) for kind in kinds)


def test_an_error_shows_its_hint_below_its_message() -> None:
    for name in errors.__all__:
        error = getattr(errors, name)("what happened", hint="what to do")
        assert str(error) == "what happened\nhint: what to do"
        assert (error.message, error.hint, error.retryable) == ("what happened", "what to do", False)
    assert str(errors.DataCorruptionError()) == ""


@pytest.mark.parametrize("name", ["manta", "manta.light", "manta.apis"])
def test_importing_the_package_imports_no_array_library(name: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT.parent)!r}); import {name}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "pandas", "asyncio"} & set(done.stdout.split())


def test_whoever_traces_a_swarm_imports_nothing_that_speaks_to_a_manager() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT.parent)!r}); import manta._trace; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True)
    assert not {"ssl", "http.client", "urllib.request", "asyncio"} & set(done.stdout.split())
    apis = importlib.import_module("manta.apis")
    assert all(hasattr(apis, name) and name in dir(apis) for name in apis.__all__)


def test_types_are_published() -> None:
    assert (ROOT / "py.typed").exists()
