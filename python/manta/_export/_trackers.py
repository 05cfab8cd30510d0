"""The trackers that metrics can go to."""

from __future__ import annotations

import importlib
import os
import re
import time
from pathlib import Path
from typing import Any, Protocol

from manta._export._event_file import EventFile
from manta._export._points import Placed, Swarm

BATCH = 500
BATCH_S = 1.0


class MissingPackage(Exception):
    """A tracker's package is not installed.

    Parameters
    ----------
    package : str
        Which.
    """

    def __init__(self, package: str) -> None:
        super().__init__(package)
        self.package = package
        self.hint = f"install it there (`python -m pip install {package}`), or name another interpreter with --python"


class Tracker(Protocol):
    """Where values go; ``where`` tells a person."""

    where: str

    def add(self, values: list[Placed]) -> None:
        """Take the values of one point."""

    def end(self, state: str) -> None:
        """Note how the swarm stands: no further value comes."""

    def close(self) -> None:
        """Let nothing be lost."""


class TensorBoard:
    """Event files: a folder for each node, a tag for each metric of a task. Another export replaces them.

    Parameters
    ----------
    swarm : Swarm
        Whose metrics they are.
    folder : Path
        The log directory, as ``tensorboard --logdir`` takes it.
    """

    def __init__(self, swarm: Swarm, folder: Path) -> None:
        self._folder = folder / file_name(f"{swarm.name}-{swarm.id}")
        self._name = f"events.out.tfevents.{swarm.created_ms // 1000}.{file_name(swarm.id)}"
        self._created_s = swarm.created_ms / 1000
        self._files: dict[str, EventFile] = {}
        self.where = str(self._folder)

    def add(self, values: list[Placed]) -> None:
        """Write the values of one point, so that a reader sees them at once."""
        for value in values:
            file = self._files.get(value.node)
            if file is None:
                file = EventFile(self._folder / file_name(value.node) / self._name, self._created_s)
                self._files[value.node] = file
            file.scalar(value.time_ms / 1000, value.step, f"{value.task}/{value.name}", value.value)
        for node in {value.node for value in values}:
            self._files[node].flush()

    def end(self, state: str) -> None:
        """Do nothing: event files have no end."""

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()


class MlFlow:
    """A run of MLflow, at the server that ``MLFLOW_TRACKING_URI`` names.

    Its experiment is ``MLFLOW_EXPERIMENT_NAME``, else `manta`.

    Parameters
    ----------
    swarm : Swarm
        Whose metrics they are.
    folder : Path
        Unused: MLflow knows its own place.
    """

    def __init__(self, swarm: Swarm, folder: Path) -> None:
        self._mlflow = load("mlflow")
        self._client = self._mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "manta"
        experiment = self._client.get_experiment_by_name(name)
        place = experiment.experiment_id if experiment else self._client.create_experiment(name)
        tags = {f"manta.{key}": value for key, value in swarm.tags.items()}
        run = self._client.create_run(place, start_time=swarm.created_ms, run_name=swarm.name, tags=tags)
        self._run = run.info.run_id
        self._waiting: list[Any] = []
        self._sent_s = time.monotonic()
        self.where = f"run {self._run} of experiment {name} at {self._mlflow.get_tracking_uri()}"

    def add(self, values: list[Placed]) -> None:
        """Keep the values, and send what waits once it is much or old."""
        for value in values:
            key = re.sub(r"[^\w\-. /]", "_", f"{value.task}/{value.name}/{value.node}")
            self._waiting.append(self._mlflow.entities.Metric(key, value.value, value.time_ms, value.step))
        if len(self._waiting) >= BATCH or time.monotonic() - self._sent_s > BATCH_S:
            self._send()

    def end(self, state: str) -> None:
        """Say how the run ended, if it has."""
        self._send()
        status = {"succeeded": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}.get(state)
        if status is not None:
            self._client.set_terminated(self._run, status=status)

    def close(self) -> None:
        """Send what waits."""
        self._send()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        # A server takes 1000 metrics at once, and one point may have that many.
        for first in range(0, len(waiting), BATCH):
            self._client.log_batch(self._run, metrics=waiting[first : first + BATCH])
        self._sent_s = time.monotonic()


class WandB:
    """A run of Weights & Biases, as ``WANDB_*`` says, in the project ``WANDB_PROJECT`` or `manta`.

    Parameters
    ----------
    swarm : Swarm
        Whose metrics they are.
    folder : Path
        Where the package keeps its files.
    """

    def __init__(self, swarm: Swarm, folder: Path) -> None:
        wandb = load("wandb")
        folder.mkdir(parents=True, exist_ok=True)
        project = os.environ.get("WANDB_PROJECT") or "manta"
        self._run = wandb.init(project=project, name=swarm.name, config={"manta": swarm.tags}, dir=str(folder))
        self._known: set[str] = set()
        self.where = self._run.url or self._run.dir

    def add(self, values: list[Placed]) -> None:
        """Log the values, each over the steps of its own series."""
        row: dict[str, float] = {}
        for value in values:
            key = f"{value.task}/{value.name}/{value.node}"
            if key not in self._known:
                self._run.define_metric(key, step_metric=f"{key}.step")
                self._known.add(key)
            row.update({key: value.value, f"{key}.step": value.step})
        self._run.log(row)

    def end(self, state: str) -> None:
        """Note how the swarm stands."""
        self._run.summary["manta.state"] = state

    def close(self) -> None:
        """Wait until all of it is kept."""
        self._run.finish()


TRACKERS: dict[str, type[Any]] = {"tensorboard": TensorBoard, "mlflow": MlFlow, "wandb": WandB}


def load(package: str) -> Any:
    """Return a package that is installed only where its tracker is used.

    Raises
    ------
    MissingPackage
        If it is not there.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingPackage(package) from None


def file_name(text: str) -> str:
    """Return a text as the name of a file."""
    return re.sub(r"[^\w.\-]", "_", text).lstrip(".") or "_"
