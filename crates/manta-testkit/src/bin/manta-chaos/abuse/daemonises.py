"""Leaves processes behind that belong to nobody, and ends well."""

import os
import signal


def main():
    """Fork twice, in a session of its own, ten times."""
    for _ in range(10):
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
                os.closerange(0, 64)
                while True:
                    signal.pause()
            os._exit(0)
        os.waitpid(child, 0)
