"""Uses all the processors that it can, and does not end."""

import os


def main():
    """Spin in eight processes."""
    for _ in range(7):
        if os.fork() == 0:
            break
    while True:
        pass
