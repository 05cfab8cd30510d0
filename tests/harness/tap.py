"""Writes every frame that goes over a device into a file, each after its length: `python tap.py DEVICE FILE`."""

import socket
import struct
import sys

SO_RCVBUFFORCE = 33
EVERY_PROTOCOL = 3


def main(device, path):
    """Write until the process is ended."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
    tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    tap.bind((device, 0))
    print("capturing", flush=True)
    with open(path, "wb", buffering=0) as file:
        while True:
            frame = tap.recv(1 << 17)
            file.write(struct.pack("<I", len(frame)) + frame)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
