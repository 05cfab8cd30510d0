"""Fixtures that several test files share."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

Tree = Callable[[Mapping[str, str]], Path]

settings.register_profile("manta", database=None, deadline=None)
settings.load_profile("manta")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write files from a mapping of path and text below a temporary directory, and return it."""

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path

    return write
