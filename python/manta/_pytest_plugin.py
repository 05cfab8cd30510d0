"""What pytest gets when manta is installed: fixtures that run a task without a platform.

It is found by its entry point, and imports nothing more than pytest until a fixture is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from manta.testing import TaskOutcome


@pytest.fixture
def run_task() -> Callable[..., TaskOutcome]:
    """Run a task class or a ``main`` in this process: ``run_task(Worker, datasets={...}).results``."""
    from manta.testing import run_task as run

    return run


@pytest.fixture
def load_module() -> Callable[..., Any]:
    """Load a module's entry file by path, whatever it is called, as the platform does.

    ``load_module("worker_v1.0.py")`` and ``load_module("worker")``, a directory, return what was
    imported; its ``main`` or its task class goes to ``run_task``.
    """
    from manta.testing import load_module as load

    return load


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Offer the module's packages, where `manta module test` installed them, before any test is imported."""
    packages = os.environ.get("MANTA_TEST_PACKAGES")
    if packages:
        from manta.light._packages import offer_packages

        offer_packages(packages)


def pytest_configure(config: pytest.Config) -> None:
    """Make a module's own directory importable, as it is on a node: last."""
    import sys

    root = Path(config.rootpath)
    if str(root) not in sys.path and (root / "__init__.py").is_file():
        sys.path.append(str(root))
