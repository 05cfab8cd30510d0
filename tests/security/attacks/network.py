"""Speaks to anything outside: over the network, over sockets of the host, to the kernel or the hypervisor."""

import ctypes
import socket

AF_ALG, AF_VSOCK, AF_NETLINK, AF_PACKET, AF_XDP, AF_TIPC, AF_BLUETOOTH = 38, 40, 16, 17, 44, 30, 31
SYS_IO_URING_SETUP = 425


def attempts(data, host):
    tcp, udp = ("127.0.0.1", host["tcp"]), ("127.0.0.1", host["udp"])
    yield "tcp to the host", lambda: socket.create_connection(tcp, 2)
    yield "tcp over IPv6", lambda: socket.create_connection(("::1", host["tcp"]), 2)
    yield "tcp to the internet", lambda: socket.create_connection(("192.0.2.1", 443), 2)
    yield "udp to the host", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", udp)
    yield "a tcp port of our own", lambda: socket.create_server(("127.0.0.1", 0))
    yield "a name", lambda: socket.getaddrinfo("example.org", 443)
    yield "a socket file on the host", lambda: unix(host["socket"])
    yield "a socket file in our dataset", lambda: unix(str(data / "socket"))
    yield "a socket without a file", lambda: unix("\0" + host["abstract"])
    for name, family, kind in (
        ("vsock", AF_VSOCK, socket.SOCK_STREAM),
        ("netlink", AF_NETLINK, socket.SOCK_RAW),
        ("packets", AF_PACKET, socket.SOCK_RAW),
        ("the kernel's ciphers", AF_ALG, socket.SOCK_SEQPACKET),
        ("xdp", AF_XDP, socket.SOCK_RAW),
        ("tipc", AF_TIPC, socket.SOCK_SEQPACKET),
        ("bluetooth", AF_BLUETOOTH, socket.SOCK_RAW),
        ("raw ip", socket.AF_INET, socket.SOCK_RAW),
    ):
        yield name, lambda family=family, kind=kind: socket.socket(family, kind)
    yield "io_uring, which opens sockets too", io_uring


def unix(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def io_uring():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_IO_URING_SETUP, 8, ctypes.create_string_buffer(120)) < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    return "set up"
