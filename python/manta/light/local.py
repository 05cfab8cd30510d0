"""What the node offers to the task that it runs.

The readers of datasets are imported by their first use: a task without a dataset starts sooner.
"""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping

from . import _attempt
from ._async import twin
from ._memory import open_value, publish
from ._names import check_name, did_you_mean, quoted
from .errors import DatasetNotAuthorized, DatasetUnavailable

if TYPE_CHECKING:
    from ._datasets import Dataset

__all__ = ["Local", "Resources"]


class Resources:
    """What this attempt may use: its limits, not what the machine has.

    Attributes
    ----------
    cpu_count : float
        Processors.
    cpu_memory : int
        Bytes of memory.
    gpu_available : bool
        Whether the attempt has a GPU.
    gpu_count : int
        GPUs.
    gpu_memory : int
        Bytes of memory on each GPU; 0 without one.
    disk : int
        Bytes of private space under ``/tmp``.

    Examples
    --------
    >>> class Batch(Task):
    ...     def run(self):
    ...         memory = self.local.get_resources().cpu_memory
    ...         self.world.results.add("fits", memory > 4096)
    >>> run_task(Batch).results
    {'fits': True}
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.cpu_count = float(told.get("cpu_count", 1))
        self.cpu_memory = int(told.get("cpu_memory", 0))
        self.gpu_available = bool(told.get("gpu_available", False))
        self.gpu_count = int(told.get("gpu_count", 0))
        self.gpu_memory = int(told.get("gpu_memory", 0))
        self.disk = int(told.get("disk", 0))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"Resources({fields})"


class Local:
    """The node as a task sees it.

    Examples
    --------
    >>> class Mean(Task):
    ...     def run(self):
    ...         heights = self.local.get_dataset("heights")
    ...         self.local.set_state("runs", self.local.get_state("runs", default=0) + 1)
    ...         self.world.results.add("mean", float(heights.mean()))
    >>> outcome = run_task(Mean, datasets={"heights": [1.5, 2.5]}, state={"runs": 4})
    >>> outcome.results, outcome.state
    ({'mean': 2.0}, {'runs': 5})
    """

    def get_dataset(self, name: str) -> "Dataset":
        """Return a dataset in the form that its files have.

        Parameters
        ----------
        name : str
            A name from the module's ``datasets``.

        Returns
        -------
        Dataset
            ``.npy``: a memory-mapped, read-only array. ``.npz``, ``.safetensors``: a mapping of
            arrays. ``.csv``, ``.parquet``, ``.arrow``: a table of shape (rows, columns) with
            ``.to_numpy()`` and ``.to_pandas()``. A directory: a tree with ``.files()``, of shape
            (files,). Any other file: a file with ``.open()``, of shape (bytes,). Every form has
            ``.name``, ``.path`` and ``.shape``.

        Raises
        ------
        DatasetNotAuthorized
            If the module does not list the dataset; says what to add.
        DataCorruptionError
            If the files are damaged.
        """
        from ._datasets import open_dataset

        path, file_name = self._locate(name)
        return open_dataset(name, path, file_name)

    def get_binary_data(self, name: str) -> io.BufferedReader:
        """Open a dataset's file, or ``"dataset/path"`` inside a directory, for reading bytes.

        Parameters
        ----------
        name : str
            The dataset, or ``"dataset/path"``.

        Returns
        -------
        io.BufferedReader
            The open file, at its first byte; the caller closes it.

        Raises
        ------
        DatasetNotAuthorized
            If the module does not list the dataset.
        DatasetUnavailable
            If there is no such file.
        DataCorruptionError
            If it cannot be read.
        """
        from ._dataset_source import Source

        path = self._file(name)
        with Source(name, path, "file").reading():
            return open(path, "rb")

    def get_numpy_data(self, name: str) -> Any:
        """Return the array of a ``.npy`` file, or the mapping of arrays of a ``.npz`` file.

        Parameters
        ----------
        name : str
            The dataset, or ``"dataset/path"``.

        Returns
        -------
        numpy.ndarray or mapping of str to numpy.ndarray
            In the file's shapes and dtypes; a ``.npy`` file is mapped read-only.

        Raises
        ------
        DataCorruptionError
            If it is neither, or damaged.
        """
        from ._datasets import read_numpy

        return read_numpy(name, self._file(name))

    def list_dir(self, name: str) -> List[str]:
        """Return the sorted names in a dataset's directory, or in ``"dataset/path"``."""
        path = self._path(name)
        if not path.is_dir():
            raise DatasetUnavailable(f'"{name}" is no directory')
        return sorted(os.listdir(path))

    def read_file_lines(self, name: str, encoding: str = "utf-8") -> Iterator[str]:
        """Yield the lines of a dataset's text file, or of ``"dataset/path"``, without line ends.

        Parameters
        ----------
        name : str
            The dataset, or ``"dataset/path"``.
        encoding : str
            Of the text.

        Yields
        ------
        str
            One line.

        Raises
        ------
        DataCorruptionError
            If the file cannot be read, or is no text of that encoding.
        """
        from ._dataset_source import Source

        path = self._file(name)
        with Source(name, path, f"text in {encoding}").reading(), open(path, encoding=encoding) as file:
            for line in file:
                yield line.rstrip("\r\n")

    def exists(self, name: str) -> bool:
        """Return whether the dataset, or ``"dataset/path"``, is there and this module may read it.

        Parameters
        ----------
        name : str
            The dataset, or ``"dataset/path"``.
        """
        try:
            return self._path(name).exists()
        except (DatasetNotAuthorized, DatasetUnavailable):
            return False

    def get_resources(self) -> Resources:
        """Return what this attempt may use."""
        return Resources(_attempt.current("local").info.get("resources", {}))

    def get_performance_metrics(self) -> Dict[str, float]:
        """Return how busy the node is now.

        Returns
        -------
        dict of str to float
            ``cpu_usage``, ``memory_usage`` and ``gpu_usage`` in [0, 1], the ``load`` average of one
            minute, and what else the node measures.
        """
        fields = _attempt.current("local").request("metrics_now").fields
        usage = {name: float(value) for name, value in fields.items() if _is_number(value)}
        return {"cpu_usage": 0.0, "memory_usage": 0.0, "gpu_usage": 0.0, "load": 0.0, **usage}

    def get_network_quality(self) -> float:
        """Return how good the node's connection to the manager is, in [0, 1].

        Returns
        -------
        float
            ``(1 - loss) / (1 + round_trip_s / 0.1) * throughput / (throughput + 2**20)``, as the
            agent measures: the share of its last 32 heartbeats that was not answered, their
            smoothed round trip, and the smoothed throughput, in bytes a second, of bundles and
            values of 256 KiB or more (the last factor is 1 until there was one). 1 is perfect; a
            round trip of 100 ms, or a throughput of 1 MiB/s, halves it; 0 means cut off.
        """
        return float(_attempt.current("local").request("network_quality").fields["quality"])

    def get_state(self, name: str, default: Any = None) -> Any:
        """Return what an earlier attempt of this task kept on this node, or ``default``.

        Parameters
        ----------
        name : str
            As given to ``set_state``.
        default : object, optional
            What to return where nothing was kept here under that name.

        Returns
        -------
        object
            A fresh copy; arrays are writable.
        """
        check_name("state", name)
        reply = _attempt.current("local").request("state_get", name=name)
        if not reply.fields.get("found"):
            return default
        return open_value(reply.take_descriptor(), f'state "{name}"')

    def set_state(self, name: str, value: Any) -> None:
        """Keep ``value`` on this node for this task of this swarm.

        It is there in later iterations, invisible to other swarms, and counts only if this
        attempt is accepted.

        Parameters
        ----------
        name : str
            For ``get_state``.
        value : object
            Anything that the value format carries.

        Raises
        ------
        ValueNotCarried
            If some part of the value cannot be carried.
        ResourceExhaustionError
            If the node's disk, or the attempt's limit, has no room for it.
        """
        subject = f'state "{check_name("state", name)}"'
        publish(_attempt.current("local"), "state_set", name, value, subject)

    async_get_dataset = twin(get_dataset)
    async_get_binary_data = twin(get_binary_data)
    async_get_numpy_data = twin(get_numpy_data)
    async_list_dir = twin(list_dir)
    async_read_file_lines = twin(read_file_lines)
    async_exists = twin(exists)
    async_get_resources = twin(get_resources)
    async_get_performance_metrics = twin(get_performance_metrics)
    async_get_network_quality = twin(get_network_quality)
    async_get_state = twin(get_state)
    async_set_state = twin(set_state)

    def _locate(self, name: str) -> "tuple[Path, str]":
        check_name("dataset", name)
        attempt = _attempt.current("local")
        listed = [str(entry) for entry in attempt.info.get("datasets", [])]
        if name not in listed:
            raise _not_listed(name, listed)
        fields = attempt.request("dataset", name=name).fields
        path = Path(fields["path"])
        return path, str(fields.get("file") or path.name)

    def _path(self, name: str) -> Path:
        check_name("dataset", name)
        dataset, _, inner = name.strip("/").partition("/")
        listed = [str(entry) for entry in _attempt.current("local").info.get("datasets", [])]
        stem = dataset.rpartition(".")[0]
        if dataset not in listed and stem in listed:
            dataset = stem
        path = self._locate(dataset)[0]
        if not inner:
            return path
        if ".." in inner.split("/"):
            raise DatasetUnavailable(f'"{name}" leads out of the dataset "{dataset}"')
        return path / inner

    def _file(self, name: str) -> Path:
        path = self._path(name)
        if path.is_dir():
            names = sorted(os.listdir(path))
            if len(names) == 1 and (path / names[0]).is_file():
                return path / names[0]
            hint = f'name a file in it, e.g. "{name}/{names[0]}"' if names else None
            raise DatasetUnavailable(f'"{name}" is a directory of {len(names)} entries, not a file', hint=hint)
        if not path.exists():
            near = sorted(os.listdir(path.parent)) if path.parent.is_dir() else []
            raise DatasetUnavailable(f'there is no file "{name}"', hint=did_you_mean(path.name, near))
        return path


def _not_listed(name: str, listed: List[str]) -> DatasetNotAuthorized:
    have = f"it lists {quoted(listed)}" if listed else "it lists none"
    guess = did_you_mean(name, listed)
    add = f"add it where the module is made: Module(..., datasets={[*listed, name]!r})"
    return DatasetNotAuthorized(
        f'the module does not list the dataset "{name}", so the task cannot open it; {have}',
        hint=f"{guess} If not, {add}" if guess else add,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
