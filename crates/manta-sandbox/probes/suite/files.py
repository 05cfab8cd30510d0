"""Reads files of the host: by their paths, through links, handles and other processes' directories."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from .calls import call
from .probe import GONE, NAMESPACED, Absent, Group, Stage, absent

GROUP = Group("files", denied=(*GONE, "EXDEV", "ELOOP"))

HOST_FILES = (
    "/etc/shadow",
    "/etc/machine-id",
    "/etc/fstab",
    "/etc/ssh/sshd_config",
    "/proc/1/root/etc/hostname",
    "/etc/hostname",
)
HOST_FOLDERS = (
    "/root",
    "/home",
    "/run",
    "/boot",
    "/var/lib",
    "/var/log",
    "/srv",
    "/mnt",
    "/media",
    "/opt",
    "/lost+found",
)
O_TMPFILE_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
AT_FDCWD = -100


def read(path: object) -> bytes:
    """Return the beginning of a file."""
    with open(str(path), "rb") as file:
        return file.read(64)


def listed(path: object) -> list[str]:
    """Return what a folder holds, but for the way to the interpreter that runs this and to the task's own scratch."""
    ours = [
        Path(place).resolve() for place in (sys.prefix, sys.base_prefix, os.getcwd(), tempfile.gettempdir(), __file__)
    ]
    found = [entry for entry in Path(str(path)).iterdir() if not any(entry in (way, *way.parents) for way in ours)]
    return [str(entry) for entry in absent(found, f"nothing of the host in {path}")]


for host_file in HOST_FILES:
    GROUP.add(
        f"read {host_file}",
        lambda stage, path=host_file: absent(read(path), "empty"),
        denied=(*GONE, "absent"),
        names_host=True,
        traceless=True,
    )
for host_folder in HOST_FOLDERS:
    GROUP.add(
        f"list {host_folder}",
        lambda stage, path=host_folder: listed(path),
        denied=(*GONE, "absent"),
        names_host=True,
        traceless=True,
    )

GROUP.add("read a file of the host by its path", lambda stage: read(stage.secret), needs=("secret",))
GROUP.add("see a file of the host", lambda stage: os.stat(stage.secret), needs=("secret",), tiers=NAMESPACED)
GROUP.add("list a folder of the host", lambda stage: os.listdir(stage.folder), needs=("folder",))
GROUP.add("climb above the root", lambda stage: read("/../../../.." + stage.secret), needs=("secret",))
GROUP.add("read through the root of process 1", lambda stage: read("/proc/1/root" + stage.secret), needs=("secret",))
GROUP.add("read through one's own root", lambda stage: read("/proc/self/root/.." + stage.secret), needs=("secret",))
GROUP.add(
    "read through the parent's root",
    lambda stage: read(f"/proc/{os.getppid()}/root/..{stage.secret}"),
    needs=("secret",),
)
GROUP.add("list the folder of process 1", lambda stage: os.listdir("/proc/1/cwd"))
GROUP.add("read another dataset by its path", lambda stage: read(stage.other), needs=("other",))
GROUP.add("follow a link out of the dataset", lambda stage: read(stage.mine + "/link"), needs=("mine",))
GROUP.add("follow a link that climbs out of the dataset", lambda stage: read(stage.mine + "/climbs"), needs=("mine",))
GROUP.add(
    "list a folder through a link of the dataset", lambda stage: os.listdir(stage.mine + "/folder"), needs=("mine",)
)
GROUP.add("climb out of the dataset", lambda stage: read(stage.mine + "/../other/values.txt"), needs=("mine",))
GROUP.add("climb out of the working directory", lambda stage: read("../" * 40 + stage.secret), needs=("secret",))
GROUP.add("watch a file of the host", lambda stage: watch(stage.secret), needs=("secret",), tiers=NAMESPACED)
GROUP.add("read another attempt's scratch", lambda stage: read(stage.neighbour_file), needs=("neighbour_file",))
GROUP.add(
    "list another attempt's scratch",
    lambda stage: os.listdir(os.path.dirname(stage.neighbour_file)),
    needs=("neighbour_file",),
)


@GROUP.probe("follow a link of one's own", needs=("secret",))
def own_link(stage: Stage) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(stage.secret, folder + "/link")
        return read(folder + "/link")


@GROUP.probe("follow a link made in place of one's own file", needs=("secret",))
def swapped(stage: Stage) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "file").write_text("own")
        os.symlink(os.path.dirname(stage.secret), folder + "/sub")
        return read(f"{folder}/sub/../{Path(stage.secret).parent.name}/{Path(stage.secret).name}")


@GROUP.probe("link a file of the host into one's scratch", needs=("secret",))
def hard_link(stage: Stage) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        os.link(stage.secret, folder + "/linked")
        return read(folder + "/linked")


@GROUP.probe("open the host's root by a handle")
def by_handle(stage: Stage) -> str:
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 8 + 128)
    mount = ctypes.c_int()
    call("name_to_handle_at", AT_FDCWD, b"/", handle, ctypes.byref(mount), 0)
    root = os.open("/", os.O_RDONLY)
    return os.readlink(f"/proc/self/fd/{call('open_by_handle_at', root, handle, os.O_RDONLY)}")


@GROUP.probe("guess the handle of the host's root")
def guessed_handle(stage: Stage) -> str:
    # The second inode of most file systems is their root: what is read so lies beside every mount.
    root = os.open("/etc/passwd", os.O_RDONLY)
    handle = ctypes.create_string_buffer(struct.pack("IiII", 8, 1, 2, 0), 16)
    try:
        return os.readlink(f"/proc/self/fd/{call('open_by_handle_at', root, handle, O_TMPFILE_DIRECTORY)}")
    except OSError as error:
        if error.errno in (22, 116):  # EINVAL, ESTALE: the guess was wrong, but it was looked at
            return "the kernel looked it up"
        raise


@GROUP.probe("climb out of a changed root", denied=("EPERM",))
def changed_root(stage: Stage) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(folder + "/jail")
        os.chroot(folder + "/jail")
        for _ in range(64):
            os.chdir("..")
        os.chroot(".")
        return os.listdir("/")


@GROUP.probe("gain a uid by a set-uid program of the dataset", denied=("absent", "EACCES", "EPERM"), needs=("mine",))
def set_uid(stage: Stage) -> str:
    said = subprocess.run([stage.mine + "/set-uid", "-u"], capture_output=True, text=True, check=False)
    if said.stdout.strip() != "54321":
        raise Absent(f"the uid stayed {said.stdout.strip() or said.stderr.strip()}")
    return said.stdout


@GROUP.probe("gain a group by a set-gid program of the dataset", denied=("absent", "EACCES", "EPERM"), needs=("mine",))
def set_gid(stage: Stage) -> str:
    said = subprocess.run([stage.mine + "/set-gid", "-g"], capture_output=True, text=True, check=False)
    if said.stdout.strip() != "54321":
        raise Absent(f"the group stayed {said.stdout.strip() or said.stderr.strip()}")
    return said.stdout


@GROUP.probe("gain a capability by a program of the dataset", denied=("absent", "EACCES", "EPERM"), needs=("mine",))
def file_capability(stage: Stage) -> str:
    said = subprocess.run([stage.mine + "/capable", "/proc/self/status"], capture_output=True, text=True, check=False)
    effective = [line.split()[1] for line in said.stdout.splitlines() if line.startswith("CapEff")]
    return str(absent(effective and int(effective[0], 16), "no capability"))


def watch(path: str) -> int:
    """Ask to be told what happens to a file."""
    libc = ctypes.CDLL(None, use_errno=True)
    watched = libc.inotify_add_watch(libc.inotify_init(), path.encode(), 2)
    if watched < 0:
        raise OSError(ctypes.get_errno(), "inotify_add_watch")
    return int(watched)
