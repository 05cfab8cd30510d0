"""Fills the directory of shared memory."""


def main():
    """Write one file without end."""
    with open("/dev/shm/large", "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
