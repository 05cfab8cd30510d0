"""What gVisor's own kernel lets a task do with nothing of the host behind it, and what it lacks: nothing is claimed."""

ITS_OWN = frozenset(
    {
        # The task's own host name, in a file that Docker mounts; gVisor masks no paths.
        "files: read /etc/hostname",
        # Devices and terminals that are programs of its own.
        "devices: open /dev/fuse",
        "devices: open /dev/net/tun",
        "devices: open /dev/tty",
        "devices: open /dev/ptmx",
        "left behind: the terminal",
        "left behind: a terminal of one's own",
        # The loopback device of its own network.
        "kernel files: list /sys/class/net",
        # Numbers that it keeps and nobody acts upon.
        "kernel files: escape the killer of what takes too much memory",
        "privileges: take a higher priority",
        # The first process holds nothing that its task is not told; its memory stays closed.
        "kernel files: look at environ of process 1",
        "kernel files: look at maps of process 1",
        "kernel files: look at fd of process 1",
        "kernel files: look at auxv of process 1",
        # It refuses these, in other words than Linux.
        "kernel: bits that keep capabilities",
        "kernel: memory at address zero",
        "privileges: hold ambient capabilities",
        # It takes the number for one of a 64-bit call, which the filter judges.
        "kernel: call as a 32-bit program",
        # Its releases of 2022 do not have these. A value is written into memory that the agent lends, and seals.
        "permitted: sealed memory",
        "permitted: the personality of this system",
    }
)

LACKING = ("ENOSYS",)
"""Answers of a kernel that never had the call that was refused."""
