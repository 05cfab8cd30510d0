"""Takes memory until there is none."""


def main():
    """Hoard."""
    hoard = []
    while True:
        hoard.append(bytearray(4 << 20))
