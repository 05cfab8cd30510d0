"""Aborts."""

import os


def main():
    """Abort."""
    os.abort()
