"""Writes one line without end."""

import os


def main():
    """Write no line end."""
    text = b"x" * (1 << 20)
    while True:
        os.write(1, text)
