"""Runs one attack: every attempt in a process of its own, as some are answered with a kill.

A test puts one file of this folder beside this one, as `attack.py`, and sends both as a module. What its
`attempts(data, host)` yields is tried in child processes, what its `requests(task)` yields in the task itself, as
only that may speak to the platform. An attempt that raises was denied; one that returns was allowed, and says what
it got. Something that is permitted comes first, tried in the same way: it shows that the denials mean something.
"""

import os

from manta.light.task import Task


class Attack(Task):
    """Reports each attempt of `attack.py` as denied or ALLOWED."""

    def run(self):
        from . import attack

        data = self.local.get_dataset("mine").path
        permitted = self.in_child("to read", (data / "values.txt").read_text)
        assert permitted == r"ALLOWED to read: '1\n2\n'", permitted
        for name, attempt in attack.attempts(data, self.world.globals["host"]):
            self.logger.info("%s", self.in_child(name, attempt))
        for name, attempt in getattr(attack, "requests", lambda task: ())(self):
            self.logger.info("%s", self.in_task(name, attempt))
        self.logger.info("attack over")

    @staticmethod
    def in_task(name, attempt):
        """Try it here and say how it went."""
        try:
            return f"ALLOWED {name}: {attempt()!r}"
        except Exception as error:
            return f"denied {name}: {type(error).__name__}: {error}"

    @staticmethod
    def in_child(name, attempt):
        """Try it in a child and say how it went."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                text = f"ALLOWED {name}: {attempt()!r}"
            except BaseException as error:
                text = f"denied {name}: {type(error).__name__}: {error}"
            os.write(write, text.encode()[:4000])
            os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            text = pipe.read().decode()
        status = os.waitpid(child, 0)[1]
        return text or f"denied {name}: killed by signal {os.WTERMSIG(status)}"


def main():
    Attack().run()
