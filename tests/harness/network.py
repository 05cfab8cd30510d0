"""Hosts of a network that the test makes: network namespaces joined by a cable, and what goes over it as it goes."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from .leaks import TEST_VARIABLE
from .waiting import wait_until

MANAGER, NODE = "10.66.0.1", "10.66.0.2"
TAP = Path(__file__).with_name("tap.py")


def need_namespaces():
    """Skip the test where no network namespace can be made."""
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in ("ip", "nsenter", "unshare")):
        pytest.skip("needs root, ip, nsenter and unshare for network namespaces")
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("needs network namespaces")


class Host:
    """A network namespace, which lasts as long as a process in it."""

    def __init__(self, test_id):
        environment = {**os.environ, TEST_VARIABLE: test_id}
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], env=environment)
        self._environment = environment
        ours = os.readlink("/proc/self/ns/net")

        def look():
            there = os.readlink(f"/proc/{self.pid}/ns/net")
            command = Path(f"/proc/{self.pid}/comm").read_text().strip()
            return None if there != ours and command == "sleep" else f"{command} is in {there} still"

        wait_until(5, look)
        self.run("ip", "link", "set", "lo", "up")

    @property
    def pid(self):
        """The process that holds it."""
        return self._holder.pid

    @property
    def within(self):
        """The command that runs the command which follows it on this host."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--")

    def run(self, *command):
        """Run a command on this host to its end."""
        subprocess.run([*self.within, *command], check=True, env=self._environment)

    def python(self, *arguments):
        """Start Python on this host."""
        command = [*self.within, sys.executable, *map(str, arguments)]
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, text=True)

    def close(self):
        """Let it go."""
        self._holder.kill()
        self._holder.wait()


@contextlib.contextmanager
def two_hosts(test_id):
    """Give two hosts with a cable between them, ``eth0`` on either."""
    with contextlib.ExitStack() as stack:
        manager, node = Host(test_id), Host(test_id)
        stack.callback(manager.close)
        stack.callback(node.close)
        manager.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(node.pid))
        for host, address in ((manager, MANAGER), (node, NODE)):
            host.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")
        yield manager, node


@contextlib.contextmanager
def captured(host, device, file):
    """Write all that goes over a device into a file until the block ends."""
    capturing = host.python(TAP, device, file)
    assert capturing.stdout is not None
    assert capturing.stdout.readline() == "capturing\n"
    try:
        yield
    finally:
        capturing.terminate()
        capturing.wait(10)
        capturing.stdout.close()


def streams(file):
    """Return what went over each TCP connection in each direction, put together again."""
    flows = {}
    data, offset = Path(file).read_bytes(), 0
    while offset < len(data):
        (length,) = struct.unpack_from("<I", data, offset)
        frame = data[offset + 4 : offset + 4 + length]
        offset += 4 + length
        if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_TCP:
            continue
        packet = frame[14 : 14 + struct.unpack_from(">H", frame, 16)[0]]
        header = (packet[0] & 15) * 4
        ports, sequence = packet[header : header + 4], struct.unpack_from(">I", packet, header + 4)[0]
        content = packet[header + (packet[header + 12] >> 4) * 4 :]
        if content:
            flows.setdefault((packet[12:20], ports), {}).setdefault(sequence, content)
    return [b"".join(content for _, content in sorted(parts.items())) for parts in flows.values()]
