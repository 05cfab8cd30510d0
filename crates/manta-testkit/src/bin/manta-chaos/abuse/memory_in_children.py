"""Takes memory in children, each of which stays below the limit of the whole."""

import os
import signal


def main():
    """Fill forty MiB in each of six children, and end only if all of them could."""
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            held = bytearray(40 << 20)
            os.read(0, 1)
            os._exit(0 if len(held) else 1)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    while any(statuses):
        signal.pause()
