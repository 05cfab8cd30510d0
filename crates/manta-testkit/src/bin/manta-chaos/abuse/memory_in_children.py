"""Takes memory in children, each of which stays below the limit of the whole."""

import os


def main():
    """Fill forty MiB in each of six children."""
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            held = bytearray(40 << 20)
            os.read(0, 1)
            os._exit(0 if len(held) else 1)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
