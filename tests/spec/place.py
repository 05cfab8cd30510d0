"""The suite's cluster, and how a swarm that ran on it is looked at."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from manta.apis import Results, SwarmStatus, UserAPI

MODULES = Path(__file__).parent / "modules"
REGIONS = {"node-1": "north", "node-2": "north", "node-3": "south"}
MEANS = {"node-1": 1.0, "node-2": 3.0, "node-3": 8.0}
ROWS = {"node-1": 2, "node-2": 2, "node-3": 4}


@dataclass
class Outcome:
    """How a swarm ended, and what it left."""

    api: UserAPI
    status: SwarmStatus

    @property
    def results(self) -> Results:
        """What it published."""
        return self.api.results(self.status)

    @cached_property
    def globals(self):
        """Its globals at the end."""
        return dict(self.api.globals(self.status))

    @cached_property
    def logs(self):
        """What it logged."""
        return self.api.logs(self.status)

    @cached_property
    def events(self):
        """Its history."""
        return self.api.events(self.status)

    def values(self, name, iteration=-1):
        """Return node and value of what counts of an iteration."""
        found = self.results.select(name, iteration=iteration)
        assert found, f"nothing was published as {name!r}: {self.status!r}, {self.results!r}"
        return {entry.node: entry.value for entry in found}


class Platform:
    """The suite's cluster."""

    def __init__(self, manta, cluster):
        self.manta, self.cluster = manta, cluster
        self.token_file = cluster.data_dir / "token"
        self.api = UserAPI(cluster.url, token_file=self.token_file)

    def ask(self, *arguments):
        """Run a `manta` command that speaks to the cluster, and return how it ended."""
        return self.manta(*arguments, environment=self.cluster.as_user)

    def run(self, swarm, *states):
        """Deploy a swarm and wait for its end, which has to be one of ``states``: succeeded, where none is named."""
        status = self.api.wait(self.api.deploy(swarm), timeout=120)
        outcome = Outcome(self.api, status)
        assert status.state in (states or ("succeeded",)), (
            f"{status!r}: {[line['text'] for line in outcome.logs][-20:]}"
        )
        return outcome


def write_data(root, node):
    """Write one node's datasets and return them by name."""
    folder = root / "data" / node
    (folder / "folder").mkdir(parents=True)
    np.save(folder / "training_data.npy", np.full((ROWS[node], 1), MEANS[node]))
    np.savez(folder / "mnist.npz", x=np.zeros((5, 8, 8), np.uint8), y=np.arange(5))
    (folder / "table.csv").write_text("age,height\n30,1.7\n40,1.8\n")
    (folder / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00")
    for name in ("a.txt", "b.txt"):
        (folder / "folder" / name).write_text(name)
    return {path.stem: path for path in folder.iterdir()}
