"""Starts threads until it is refused, and lets that end it."""

import threading


def main():
    """Start threads that wait."""
    forever = threading.Event()
    while True:
        threading.Thread(target=forever.wait, daemon=True).start()
