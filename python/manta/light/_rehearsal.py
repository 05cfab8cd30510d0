"""The task of a rehearsal: what waits for a task runs it once, for the memory that is written on the way."""

from manta.light.task import Task


class Rehearsal(Task):
    """Does nothing."""

    def run(self) -> None:
        """Return at once."""
