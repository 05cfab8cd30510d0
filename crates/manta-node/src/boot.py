"""Starts a task: makes the agent's ``manta.light`` importable and hands over to it."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])

from manta.light._boot import main

main()
