"""Opens devices, of the host and of one's own making."""

from __future__ import annotations

import os
import stat
import tempfile

from .probe import GONE, NAMESPACED, Group, Stage

GROUP = Group("devices", denied=GONE)

NODES = (
    *(
        "mem",
        "kmsg",
        "port",
        "kvm",
        "fuse",
        "net/tun",
        "vda",
        "sda",
        "nvme0n1",
        "loop0",
        "loop-control",
        "btrfs-control",
    ),
    *("tty", "tty1", "console", "ptmx", "ppp", "vsock", "vhost-vsock", "vhost-net", "cpu_dma_latency", "hwrng", "rtc0"),
    *("userfaultfd", "uinput", "mapper/control", "shm/../kvm"),
)
"""Nodes that no task needs; those which the machine does not have prove nothing."""

for node in NODES:
    GROUP.add(
        f"open /dev/{node}",
        lambda stage, node=node: os.open(f"/dev/{node}", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK),
        traceless=True,
    )


@GROUP.probe("make a block device", denied=("EPERM",))
def block_device(stage: Stage) -> int:
    return made(stat.S_IFBLK, os.makedev(7, 0))


@GROUP.probe("make a character device", denied=("EPERM",))
def character_device(stage: Stage) -> int:
    return made(stat.S_IFCHR, os.makedev(1, 5))


@GROUP.probe("open a device that lies in the dataset", needs=("mine",), tiers=NAMESPACED)
def device_of_dataset(stage: Stage) -> int:
    return os.open(stage.mine + "/device", os.O_RDONLY)


def made(kind: int, device: int) -> int:
    """Make a device node and open it."""
    with tempfile.TemporaryDirectory() as folder:
        os.mknod(folder + "/node", kind | 0o600, device)
        return os.open(folder + "/node", os.O_RDONLY | os.O_NONBLOCK)
