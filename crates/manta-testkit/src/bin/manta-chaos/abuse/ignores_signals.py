"""Ignores every signal that it may ignore, and does not end."""

import signal


def main():
    """Wait for what never comes."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_IGN)
        except OSError:
            continue
    while True:
        signal.pause()
