"""Reads where nothing is."""

import ctypes


def main():
    """Crash."""
    ctypes.string_at(8)
