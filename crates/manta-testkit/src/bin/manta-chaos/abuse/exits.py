"""Ends through `os._exit` without a word."""

import os


def main():
    """Exit."""
    os._exit(7)
