"""Publishes much memory that was never written."""

import fcntl
import os

from manta.light import _attempt


def main():
    """Send memory that is large and costs nothing."""
    memory = os.memfd_create("value", os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, 8 << 20)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    _attempt.current("abuse").request("result_add", name="large", fds=[memory])
