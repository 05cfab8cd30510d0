"""Looks into `/proc` and `/sys`: switches of the kernel, its secrets, and what it tells about others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .files import read
from .probe import ENGINES, GONE, NAMESPACED, Group, Stage, absent

GROUP = Group("kernel files", denied=(*GONE, "EROFS", "absent"))

SWITCHES = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/kernel/poweroff_cmd",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/kernel/kptr_restrict",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/shmmax",
    "/proc/sys/kernel/keys/maxkeys",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/fs/file-max",
    "/proc/sys/fs/protected_symlinks",
    "/proc/sys/fs/suid_dumpable",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/proc/pressure/memory",
    "/proc/mtrr",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/power/state",
    "/sys/power/disk",
    "/sys/module/kernel/parameters/panic",
    "/sys/devices/system/cpu/cpu1/online",
)
"""Opened for writing, and never written."""

SECRETS = (
    "/proc/kcore",
    "/proc/kallsyms",
    "/proc/kmsg",
    "/proc/keys",
    "/proc/key-users",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/proc/config.gz",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
    "/proc/pagetypeinfo",
    "/proc/kpageflags",
    "/proc/kpagecount",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/interrupts",
    "/proc/modules",
    "/proc/acpi/wakeup",
    "/proc/bus/pci/devices",
    "/proc/scsi/scsi",
    "/sys/kernel/notes",
    "/sys/kernel/vmcoreinfo",
    "/sys/kernel/debug/sleep_time",
    "/sys/firmware/acpi/tables/DSDT",
    "/sys/class/dmi/id/product_uuid",
)
"""What tells where the kernel lies, what runs beside it, or what the machine is."""

FOLDERS = (
    "/sys/kernel",
    "/sys/class/net",
    "/sys/class/block",
    "/sys/fs/cgroup",
    "/sys/fs/bpf",
    "/sys/firmware",
    "/sys/bus/pci/devices",
    "/sys/module",
    "/proc/driver",
    "/proc/acpi",
    "/proc/scsi",
)


def told(path: str) -> bytes:
    """Return the beginning of a file that tells something: not nothing, and not addresses that were made zero."""
    if path == "/proc/kmsg":
        # Who reads it takes it from others, or waits; an empty device may stand in its place.
        return bytes(absent(not stat.S_ISCHR(os.fstat(os.open(path, os.O_RDONLY)).st_mode) and b"open", "a device"))
    return bytes(absent(read(path).replace(b"0", b"").strip(b" \n-:\0"), "empty"))


for path in SWITCHES:
    GROUP.add(f"turn {path}", lambda stage, path=path: os.open(path, os.O_WRONLY), traceless=True)
for path in SECRETS:
    # Lists that every process may read of itself alone are no secrets: these are none of them.
    tiers = NAMESPACED if path in ("/proc/slabinfo",) else ()
    GROUP.add(f"read {path}", lambda stage, path=path: told(path), tiers=tiers, traceless=True)
for path in FOLDERS:
    GROUP.add(f"list {path}", lambda stage, path=path: absent(os.listdir(path), "empty"), traceless=True)

for file in ("uid_map", "gid_map", "setgroups", "loginuid"):
    GROUP.add(
        f"write /proc/self/{file}",
        lambda stage, file=file: os.write(
            os.open(f"/proc/self/{file}", os.O_WRONLY), b"1000" if file == "loginuid" else b"0 0 1"
        ),
        denied=(*GONE, "EROFS", "EINVAL"),
    )
GROUP.add(
    "escape the killer of what takes too much memory",
    lambda stage: Path("/proc/self/oom_score_adj").write_text("-1000"),
)
for file in (
    "environ",
    "cmdline",
    "maps",
    "mem",
    "fd",
    "cwd",
    "root",
    "exe",
    "auxv",
    "stack",
    "syscall",
    "io",
    "net/tcp",
):
    GROUP.add(
        f"look at {file} of process 1",
        lambda stage, file=file: look("1", file),
        containers=() if file in ("cmdline", "net/tcp") else ENGINES,
        traceless=True,
    )
    GROUP.add(
        f"look at {file} of a process of the host",
        lambda stage, file=file: look(stage.process, file),
        needs=("process",),
        traceless=True,
    )
for file in ("environ", "mem", "cmdline", "cwd"):
    GROUP.add(
        f"look at {file} of another attempt", lambda stage, file=file: look(stage.neighbour, file), needs=("neighbour",)
    )
GROUP.add(
    "write the memory of a process of the host",
    lambda stage: os.open(f"/proc/{stage.process}/mem", os.O_RDWR),
    needs=("process",),
)
GROUP.add(
    "use a descriptor of a process of the host",
    lambda stage: os.open(f"/proc/{stage.process}/fd/{stage.held}", os.O_RDONLY),
    needs=("process", "held"),
)


def look(process: object, file: str) -> object:
    """Look at one file of a process."""
    path = f"/proc/{process}/{file}"
    if file == "fd":
        return absent(os.listdir(path), "no descriptors")
    if file in ("cwd", "root", "exe"):
        return os.readlink(path)
    if file == "mem":
        return os.open(path, os.O_RDONLY)
    return absent(read(path), "empty")


@GROUP.probe("see processes of others")
def others(stage: Stage) -> list[str]:
    shown = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    own = {os.getpid(), os.getppid(), 1} if stage.container else {os.getpid(), os.getppid()}
    return [str(pid) for pid in absent(shown - own, "none but one's own")]


@GROUP.probe("see the network of the host")
def interfaces(stage: Stage) -> list[str]:
    lines = Path("/proc/self/net/dev").read_text().splitlines()[2:]
    return list(absent([line for line in lines if not line.lstrip().startswith("lo:")], "no interface but one's own"))


@GROUP.probe("see connections of the host", needs=("tcp",))
def connections(stage: Stage) -> str:
    text = Path("/proc/self/net/tcp").read_text()
    return str(absent(f":{stage.tcp:04X} " in text and text, "the listener is not there"))


@GROUP.probe("see control groups of the host", denied=(*GONE, "absent"), containers=("docker",))
def control_groups(stage: Stage) -> list[str]:
    paths = {line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
    return list(absent(sorted(paths - {"/"}), "only roots"))


@GROUP.probe("make a program run when a control group empties")
def release_agent(stage: Stage) -> int:
    hierarchies = [
        line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if line.split()[2] == "cgroup"
    ]
    return os.open(absent(hierarchies, "no hierarchy is mounted")[0] + "/release_agent", os.O_WRONLY)


@GROUP.probe("mount a control group hierarchy and write its release agent", denied=("EPERM",))
def own_hierarchy(stage: Stage) -> int:
    import tempfile

    from .calls import LIBC, checked

    with tempfile.TemporaryDirectory() as folder:
        checked(LIBC.mount(b"cgroup2", folder.encode(), b"cgroup2", 0, None))
        try:
            return os.open(folder + "/cgroup.procs", os.O_RDONLY)
        finally:
            checked(LIBC.umount2(folder.encode(), 2))
