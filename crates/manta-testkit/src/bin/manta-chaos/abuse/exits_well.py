"""Ends through `os._exit` as if all were well."""

import os


def main():
    """Exit."""
    os._exit(0)
