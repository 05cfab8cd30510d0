"""Run one task in this process, without a platform, through the same protocol as on a node."""

import inspect
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from manta._testing_agent import Agent, GivenResults
from manta.light import _attempt
from manta.light._boot import finish, offer_seed
from manta.light._loader import load_entry

__all__ = ["LogLine", "TaskOutcome", "load_module", "run_task"]


@dataclass(frozen=True)
class LogLine:
    """One line that the task logged.

    Attributes
    ----------
    level : str
        ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.
    message : str
        With its arguments filled in.

    Examples
    --------
    >>> class Says(Task):
    ...     def run(self):
    ...         self.logger.info("%d rows", 3)
    >>> run_task(Says).logs
    [LogLine(level='info', message='3 rows')]
    """

    level: str
    message: str


@dataclass
class TaskOutcome:
    """What a task left behind.

    Attributes
    ----------
    results : dict of str to object
        What it published.
    globals : dict of str to object
        The globals that it set.
    state : dict of str to object
        The state on its node: what was given, and what it stored.
    logs : list of LogLine
        What it logged.
    metrics : list of (dict of str to float, int or None)
        What it charted, with the step.
    progress : list of (float, float or None)
        Done and total.
    next_iteration : list of dict
        Its calls of ``schedule_next_iter``, each as ``{"node_ids": ..., "task": ...}``.
    stopped : bool
        Whether it called ``stop_swarm``.
    error : BaseException or None
        What it raised, where ``check=False``.

    Examples
    --------
    >>> class Fails(Task):
    ...     def run(self):
    ...         self.world.results.add("status", "failed")
    ...         raise ValueError("the weights diverged")
    >>> outcome = run_task(Fails, check=False)
    >>> outcome.results, outcome.error
    ({'status': 'failed'}, ValueError('the weights diverged'))
    """

    results: dict[str, Any] = field(default_factory=dict)
    globals: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    logs: list[LogLine] = field(default_factory=list)
    metrics: list[tuple[dict[str, float], int | None]] = field(default_factory=list)
    progress: list[tuple[float, float | None]] = field(default_factory=list)
    next_iteration: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False
    error: BaseException | None = None


def run_task(
    task: Callable[[], Any],
    *,
    datasets: Mapping[str, Any] | None = None,
    globals: Mapping[str, Any] | None = None,
    results: Mapping[str, Mapping[str, Any] | Sequence[Any]] | None = None,
    state: Mapping[str, Any] | None = None,
    node: str = "node-0",
    labels: Mapping[str, Mapping[str, str]] | None = None,
    iteration: int = 0,
    seed: int = 0,
    check: bool = True,
) -> TaskOutcome:
    """Run a task class, or a ``main`` function, and return what it left behind.

    Parameters
    ----------
    task : type or callable
        A subclass of ``manta.light.Task``, made and run; or a function, called.
    datasets : mapping, optional
        Dataset name to a path, a numpy array, a dict of arrays, or bytes. A path is used in place.
    globals : mapping, optional
        The swarm's globals.
    results : mapping, optional
        What predecessors published: name to a dict of node and value, or a list of values, whose
        nodes are then called ``node-0``, ``node-1`` and so on.
    state : mapping, optional
        What earlier attempts stored on the node.
    node : str
        The node's name.
    labels : mapping, optional
        Node name to its labels.
    iteration : int
        The iteration, counted from 0.
    seed : int
        The value of ``self.seed``.
    check : bool
        Raise what the task raises; else it is in ``outcome.error``, beside what was published.

    Returns
    -------
    TaskOutcome
        What was published, logged and stored.

    Raises
    ------
    Exception
        What the task raises, where ``check``.
    RuntimeError
        If it is called inside a task.

    Examples
    --------
    >>> class Mean(Task):
    ...     def run(self):
    ...         values = self.world.results.select("height").values()
    ...         self.world.globals["mean"] = sum(values) / len(values)
    >>> run_task(Mean, results={"height": {"node-1": 1.5, "node-2": 2.5}}).globals
    {'mean': 2.0}
    """
    if _attempt.bound() is not None:
        raise RuntimeError("run_task cannot run inside another task")
    outcome = TaskOutcome()
    ours, theirs = socket.socketpair()
    with TemporaryDirectory(prefix="manta-task-") as directory:
        given = GivenResults(results or {}, labels or {})
        agent = Agent(theirs, Path(directory), outcome, given)
        agent.offer(datasets or {}, globals or {}, state or {})
        agent.describe(node, dict((labels or {}).get(node, {})), iteration, seed)
        thread = threading.Thread(target=agent.serve, name="manta-testing-agent", daemon=True)
        thread.start()
        attempt = _attempt.Attempt(ours)
        _attempt.bind(attempt)
        try:
            _call(task, seed)
        except ModuleNotFoundError as error:
            outcome.error = _lacking(error, _module_of(task))
        except BaseException as error:
            outcome.error = error
        finally:
            _attempt.bind(None)
            attempt.close()
            thread.join()
    if check and outcome.error is not None:
        raise outcome.error
    return outcome


def load_module(path: str | os.PathLike[str]) -> Any:
    """Load a module's entry file as the platform does, and return what was imported.

    Parameters
    ----------
    path : path
        A ``.py`` file of any name, or a directory with ``__init__.py``.

    Returns
    -------
    module
        With the file's ``main`` and classes as its attributes.

    Raises
    ------
    FileNotFoundError
        If there is neither.

    Examples
    --------
    >>> worker = load_module("worker_v1.0.py")  # doctest: +SKIP
    >>> run_task(worker.main, datasets={"heights": [1.6, 1.9]}).results  # doctest: +SKIP
    """
    given = Path(path).absolute()
    file = given / "__init__.py" if given.is_dir() else given
    if not file.is_file():
        raise FileNotFoundError(f"there is no module at `{path}`: neither a .py file nor a directory with __init__.py")
    name = given.name if given.is_dir() else given.stem
    try:
        return load_entry(name, str(file.parent), {"file": file.name})
    except ModuleNotFoundError as error:
        raise _lacking(error, given) from error


def _module_of(task: Callable[[], Any]) -> Path | None:
    """Return the module whose code a task is: its file, or the directory that is a package."""
    file = inspect.getsourcefile(inspect.unwrap(task)) if inspect.isroutine(task) or inspect.isclass(task) else None
    if file is None:
        return None
    path = Path(file).absolute()
    return path.parent if (path.parent / "__init__.py").is_file() else path


def _lacking(error: ModuleNotFoundError, module: Path | None) -> ModuleNotFoundError:
    """Return an error that says how the package comes here which a module imports."""
    from manta._dependencies import dependencies

    message = str(error)
    if module is not None and error.name:
        package = error.name.partition(".")[0]
        message = f"`{module.name}` imports `{package}`, which `{sys.executable}` does not have"
        if dependencies(module):
            message += f"; `manta module test {module}` runs its tests with the packages that it declares"
        else:
            form = "a PEP 723 block" if module.is_file() else "a requirements.txt"
            message += f", and the module declares no dependencies: name it in {form}"
    lacking = ModuleNotFoundError(message, name=error.name, path=error.path)
    lacking.__cause__ = error
    return lacking


def _call(task: Callable[[], Any], seed: int) -> None:
    offer_seed(seed)
    made = task()
    finish(made.run() if isinstance(task, type) else made)
