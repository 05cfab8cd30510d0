"""Makes a million files."""

import tempfile


def main():
    """Make small files."""
    folder = tempfile.gettempdir()
    for number in range(1_000_000):
        with open(f"{folder}/{number}", "w") as file:
            file.write("x")
