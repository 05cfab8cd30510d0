"""Forks until it is refused, and lets that end it."""

import os
import signal


def main():
    """Fork children that wait."""
    while True:
        if os.fork() == 0:
            while True:
                signal.pause()
