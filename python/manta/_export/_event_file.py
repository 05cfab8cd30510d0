"""TensorBoard's event files: records with checksums, each a small Protocol Buffers message.

The form is that of TensorFlow's ``TFRecord`` and ``tensorboard/compat/proto/event.proto``; scalars alone need so little
of it that nothing has to be installed.
"""

from __future__ import annotations

import struct
from pathlib import Path

_VERSION = b"brain.Event:2"
_POLYNOMIAL = 0x82F63B78


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Return the Castagnoli checksum.

    Examples
    --------
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class EventFile:
    """A file of scalars, made anew.

    Parameters
    ----------
    path : Path
        The file; its folder is made.
    created_s : float
        Seconds since 1970.
    """

    def __init__(self, path: Path, created_s: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._record(_wall_time(created_s) + _bytes(3, _VERSION))

    def scalar(self, time_s: float, step: int, tag: str, value: float) -> None:
        """Write one value of a series."""
        item = _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", _narrow(value))
        self._record(_wall_time(time_s) + b"\x10" + _varint(step) + _bytes(5, _bytes(1, item)))

    def flush(self) -> None:
        """Let readers see it."""
        self._file.flush()

    def close(self) -> None:
        """Write all of it."""
        self._file.close()

    def _record(self, data: bytes) -> None:
        length = struct.pack("<Q", len(data))
        self._file.write(length + _masked(length) + data + _masked(data))


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _wall_time(time_s: float) -> bytes:
    return b"\x09" + struct.pack("<d", time_s)


def _bytes(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    number &= 2**64 - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _narrow(value: float) -> float:
    """Return the nearest value that the file can hold."""
    limit = 3.4028234663852886e38
    return max(-limit, min(limit, value))
