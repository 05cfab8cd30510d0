"""Opens files until it is refused."""


def main():
    """Hold files open."""
    held = []
    while True:
        held.append(open("/dev/null", "rb"))  # noqa: SIM115
