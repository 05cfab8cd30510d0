"""Speaks to anything outside: over the network, over sockets of the host, to the kernel or the hypervisor."""

from __future__ import annotations

import os
import socket
import struct

from .probe import Group, Stage

GROUP = Group("sockets", denied=("EPERM",))

PLATFORM = 3
"""The descriptor of the socket that a task is given."""

STREAM, DGRAM, RAW, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET

FAMILIES = {
    "local stream": (1, STREAM, 0),
    "local datagram": (1, DGRAM, 0),
    "TCP": (2, STREAM, 0),
    "UDP": (2, DGRAM, 0),
    "ping": (2, DGRAM, 1),
    "raw IP": (2, RAW, 1),
    "MPTCP": (2, STREAM, 262),
    "SCTP": (2, STREAM, 132),
    "TCP over IPv6": (10, STREAM, 0),
    "raw IPv6": (10, RAW, 58),
    "key management": (15, RAW, 2),
    "routes and interfaces (netlink)": (16, RAW, 0),
    "audit (netlink)": (16, RAW, 9),
    "packet filters (netlink)": (16, RAW, 12),
    "device events (netlink)": (16, DGRAM, 15),
    "packets": (17, RAW, 0),
    "packets without headers": (17, DGRAM, 0),
    "RDS": (21, SEQPACKET, 0),
    "PPP": (24, STREAM, 0),
    "CAN": (29, RAW, 1),
    "TIPC": (30, SEQPACKET, 0),
    "Bluetooth": (31, RAW, 1),
    "the kernel's ciphers": (38, SEQPACKET, 0),
    "NFC": (39, RAW, 0),
    "the hypervisor": (40, STREAM, 0),
    "the hypervisor, in datagrams": (40, DGRAM, 0),
    "KCM": (41, DGRAM, 0),
    "Qualcomm's router": (42, DGRAM, 0),
    "SMC": (43, STREAM, 0),
    "XDP": (44, RAW, 0),
    "MCTP": (45, DGRAM, 0),
}
"""Kinds of sockets: family, type and protocol."""

for kind, numbers in FAMILIES.items():
    GROUP.add(f"a socket for {kind}", lambda stage, numbers=numbers: socket.socket(*numbers), traceless=True)


@GROUP.probe("a socket of any other family")
def other_families(stage: Stage) -> list[int]:
    made = []
    for family in range(64):
        for kind in (STREAM, DGRAM, RAW, SEQPACKET):
            try:
                socket.socket(family, kind).close()
                made.append(family)
            except OSError as error:
                if error.errno == 1:
                    continue
                made.append(-family)
    if not made:
        raise PermissionError(1, "none")
    return made


def spoken(family: int, kind: int, address: object) -> str:
    """Connect, and say something: what listens notes it."""
    with socket.socket(family, kind) as connection:
        connection.settimeout(1)
        connection.connect(address)
        connection.send(b"probe")
        return f"spoke to {address!r}"


GROUP.add(
    "a TCP listener of the host", lambda stage: spoken(2, STREAM, ("127.0.0.1", stage.tcp)), needs=("tcp",), heard="tcp"
)
GROUP.add(
    "a UDP listener of the host", lambda stage: spoken(2, DGRAM, ("127.0.0.1", stage.udp)), needs=("udp",), heard="udp"
)
GROUP.add(
    "a listener of the host over IPv6",
    lambda stage: spoken(10, STREAM, ("::1", stage.tcp6)),
    needs=("tcp6",),
    heard="tcp6",
)
GROUP.add(
    "a metadata service", lambda stage: spoken(2, STREAM, (stage.metadata, 80)), needs=("metadata",), heard="metadata"
)
GROUP.add(
    "a metadata service over IPv6",
    lambda stage: spoken(10, STREAM, (stage.metadata6, 80)),
    needs=("metadata6",),
    heard="metadata6",
)
GROUP.add("a socket file of the host", lambda stage: spoken(1, STREAM, stage.path), needs=("path",), heard="path")
GROUP.add(
    "a datagram socket file of the host",
    lambda stage: spoken(1, DGRAM, stage.datagrams),
    needs=("datagrams",),
    heard="datagrams",
)
GROUP.add(
    "a socket file in the dataset",
    lambda stage: spoken(1, STREAM, stage.mine + "/socket"),
    needs=("mine",),
    heard="inside",
)
GROUP.add(
    "a socket without a file",
    lambda stage: spoken(1, STREAM, "\0" + stage.abstract),
    needs=("abstract",),
    heard="abstract",
)


@GROUP.probe("a port of one's own")
def port(stage: Stage) -> object:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        own.listen()
        return own.getsockname()


@GROUP.probe("a local socket of one's own that others could find")
def findable(stage: Stage) -> object:
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(f"\0probe-{os.getpid()}")
        own.listen()
        return own.getsockname()


@GROUP.probe("a pair that could send to a socket file", needs=("datagrams",), heard="datagrams")
def unconnected_pair(stage: Stage) -> int:
    one, _ = socket.socketpair(socket.AF_UNIX, DGRAM)
    return one.sendto(b"probe", stage.datagrams)


@GROUP.probe("an unconnected pair")
def datagram_pair(stage: Stage) -> object:
    return socket.socketpair(socket.AF_UNIX, DGRAM)


@GROUP.probe("the platform's socket led elsewhere", needs=("path",), heard="path")
def led_elsewhere(stage: Stage) -> str:
    own = socket.socket(fileno=os.dup(PLATFORM))
    own.connect(stage.path)
    own.send(b"probe")
    return "led elsewhere"


@GROUP.probe("an interface of one's own")
def interface(stage: Stage) -> int:
    with socket.socket(socket.AF_NETLINK, RAW, 0) as routes:
        # RTM_GETLINK of every interface.
        request = struct.pack("IHHII", 32, 18, 0x301, 1, 0) + bytes(16)
        return routes.send(request)


@GROUP.probe("a name", denied=("gaierror", "EPERM"))
def name(stage: Stage) -> object:
    return socket.getaddrinfo("localhost", 80)
