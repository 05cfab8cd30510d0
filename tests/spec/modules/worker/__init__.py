"""A directory module: its entry point imports the task from beside it."""

from .worker_task import Worker


def main():
    """Called by the platform."""
    Worker().run()
