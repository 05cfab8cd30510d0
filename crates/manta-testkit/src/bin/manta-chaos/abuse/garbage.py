"""Sends garbage on the platform's socket as fast as it can."""

import os


def main():
    """Write what is no frame."""
    while True:
        os.write(3, os.urandom(64))
