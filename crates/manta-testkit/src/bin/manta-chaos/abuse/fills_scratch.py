"""Fills its scratch."""

import tempfile


def main():
    """Write one file without end."""
    with open(tempfile.gettempdir() + "/large", "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
