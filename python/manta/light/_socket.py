"""Frames on the attempt's socket: a length, a JSON body, and file descriptors beside it.

One frame is a little-endian ``u32`` body length and that many bytes of UTF-8 JSON. Descriptors
ride on the frame's first byte. The protocol is private to one release.
"""

import array
import json
import os
import socket
import struct
from typing import Any, Dict, List, Sequence, Tuple

from .errors import AgentConnectionLost, InvalidArgument

FRAME_BYTES_MAX = 16 * 1024 * 1024
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
DESCRIPTORS_MAX = 4

_LENGTH = struct.Struct("<I")
_FD_SIZE = array.array("i").itemsize


def send_frame(sock: socket.socket, body: Dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one frame, with descriptors on its first byte.

    Raises
    ------
    InvalidArgument
        If the body is larger than a frame may be.
    """
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    payload = text.encode("utf-8", "replace")
    if len(payload) > MESSAGE_BYTES_MAX:
        raise InvalidArgument(f"a message of {len(payload)} bytes exceeds {MESSAGE_BYTES_MAX} bytes")
    data = memoryview(_LENGTH.pack(len(payload)) + payload)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sent = sock.sendmsg([data], ancillary)
    if sent < len(data):
        sock.sendall(data[sent:])


def receive_frame(sock: socket.socket) -> Tuple[Dict[str, Any], List[int]]:
    """Receive one frame and the descriptors that ride on it.

    Raises
    ------
    AgentConnectionLost
        If the other side closed, or sent something that is no frame.
    """
    space = socket.CMSG_SPACE(DESCRIPTORS_MAX * _FD_SIZE)
    head, ancillary, flags, _ = sock.recvmsg(_LENGTH.size, space, socket.MSG_CMSG_CLOEXEC)
    fds = _descriptors(ancillary)
    try:
        if flags & socket.MSG_CTRUNC:
            raise AgentConnectionLost("the peer sent more descriptors than a frame may carry")
        if not head:
            raise AgentConnectionLost("the peer closed the attempt's connection")
        head += _exactly(sock, _LENGTH.size - len(head))
        (length,) = _LENGTH.unpack(head)
        if length > FRAME_BYTES_MAX:
            raise AgentConnectionLost(f"the peer sent a frame of {length} bytes")
        return _parse(_exactly(sock, length)), fds
    except BaseException:
        close_all(fds)
        raise


def close_all(fds: Sequence[int]) -> None:
    """Close every descriptor of ``fds``."""
    for fd in fds:
        os.close(fd)


def _descriptors(ancillary: Sequence[Tuple[int, int, bytes]]) -> List[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _FD_SIZE])
    return list(fds)


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    view = memoryview(data)
    done = 0
    while done < count:
        got = sock.recv_into(view[done:])
        if got == 0:
            raise AgentConnectionLost("the peer closed the attempt's connection inside a frame")
        done += got
    return bytes(data)


def _parse(body: bytes) -> Dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AgentConnectionLost("the peer sent a frame that is no JSON") from error
    if not isinstance(document, dict):
        raise AgentConnectionLost("the peer sent a frame that is no JSON object")
    return document
