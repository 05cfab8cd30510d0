"""Trains the swarm's network on this node's digits; weights go and come as tensors."""

import zlib

import torch
from torch import nn

from manta.light import Task


def network(seed: int) -> nn.Module:
    """Return the network that every node begins with: the same for the same seed."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


class Worker(Task):
    """Publishes the state of its network, and how many digits are behind it."""

    def run(self) -> None:
        shared, digits = self.world.globals, self.local.get_dataset("digits")
        model = network(shared["seed"])
        weights = shared.get("weights")
        if weights is not None:
            model.load_state_dict(weights)
        x = torch.as_tensor(digits["x_train"], dtype=torch.float32)
        y = torch.as_tensor(digits["y_train"])

        torch.manual_seed(zlib.crc32(f"{shared['seed']} {self.iteration} {self.node}".encode()))
        optimizer = torch.optim.SGD(model.parameters(), lr=shared["rate"])
        for _ in range(shared["epochs"]):
            for batch in torch.randperm(len(y)).split(32):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
                loss.backward()
                optimizer.step()

        with torch.no_grad():
            read = model(torch.as_tensor(digits["x_test"], dtype=torch.float32)).argmax(dim=1)
        correct = int((read == torch.as_tensor(digits["y_test"])).sum())
        self.metrics.log({"loss": float(loss)}, step=self.iteration)
        self.world.results.add("weights", dict(model.state_dict()))
        self.world.results.add("samples", len(y))
        self.world.results.add("tested", (correct, len(read)))
