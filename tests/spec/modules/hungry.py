"""Takes more memory than it may."""

from manta.light.task import Task


class Hungry(Task):
    def run(self):
        taken = []
        while True:
            taken.append(bytearray(os_page() * 4096))


def os_page():
    return 4096
