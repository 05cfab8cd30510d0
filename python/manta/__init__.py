"""Manta runs Python tasks on the nodes where the data lives.

``manta.apis`` is for the author of a swarm, ``manta.light`` for the code inside a task.
"""

__version__ = "0.1.0"
