"""Fills its scratch with a file that has no name any more."""

import tempfile


def main():
    """Write a file that nobody can list."""
    with tempfile.TemporaryFile(buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
