"""Writes to standard output as fast as it can."""

import os


def main():
    """Write lines of a kilobyte."""
    lines = (b"x" * 1023 + b"\n") * 1024
    while True:
        os.write(1, lines)
