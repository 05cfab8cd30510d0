//! What a task may ask of the kernel, as data: the plain allow-list and the calls whose arguments decide.

use std::collections::BTreeMap;

/// Name and numbers of every call that is allowed whatever its arguments.
const ALLOWED: &str = include_str!("allowed.txt");

/// The newest call number that this table knows; calls above it did not exist when the table was written.
pub(super) const NEWEST_KNOWN: u32 = 465;

/// A processor architecture that the filter can be compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// The architecture this program was built for, if the table covers it.
    pub(crate) const fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// The kernel's `AUDIT_ARCH_*` value (linux/audit.h).
    pub(crate) const fn audit_value(self) -> u32 {
        match self {
            Self::X86_64 => 0xC000_003E,
            Self::Aarch64 => 0xC000_00B7,
        }
    }

    const fn pick(self, x86_64: Option<u32>, aarch64: Option<u32>) -> Option<u32> {
        match self {
            Self::X86_64 => x86_64,
            Self::Aarch64 => aarch64,
        }
    }
}

/// What the filter answers to one call number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The call goes through.
    Allow,
    /// The call fails with `EPERM`.
    Refuse,
    /// The call fails with `ENOSYS`, as if the kernel did not have it.
    Missing,
    /// The low 32 bits of one argument decide.
    Check(ArgRule),
    /// Two rules, both of which must let it through; a container engine is told the first one.
    CheckBoth([ArgRule; 2]),
}

/// A rule on the low 32 bits of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArgRule {
    /// Which argument, counted from 0.
    pub(crate) arg: u8,
    /// When the call is allowed.
    pub(crate) test: ArgTest,
}

/// When an argument lets the call through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArgTest {
    /// It is one of these values.
    OneOf(&'static [u32]),
    /// It is none of these values.
    NoneOf(&'static [u32]),
    /// It has none of these bits.
    NoBits(u32),
    /// It has the first bit only together with the second.
    OnlyWith(u32, u32),
}

/// What the filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// The task has its own network, process and file-system namespaces.
    Namespaced,
    /// As namespaced, with devices of its own: it may name a socket that reaches nobody.
    WithDevices,
    /// As namespaced, and it may put its children into namespaces and give them filters of their own.
    Zygote,
    /// The task shares the host's namespaces, so the filter must also stop what they would have.
    Shared {
        /// Whether Landlock confines signals to the task (ABI 6 and newer).
        signals_scoped: bool,
    },
}

/// Every bit of `clone` that makes a namespace: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NAMESPACES: u32 = 0x7E02_0000;
/// SOCK_STREAM and SOCK_SEQPACKET, each plain, with SOCK_NONBLOCK (0x800), SOCK_CLOEXEC (0x80000) and both.
const CONNECTED_PAIRS: &[u32] = &[0x1, 0x5, 0x801, 0x805, 0x8_0001, 0x8_0005, 0x8_0801, 0x8_0805];
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541C;
const CLONE_FILES: u32 = 0x400;
const CLONE_THREAD: u32 = 0x1_0000;
const F_OFD_SETLK: u32 = 37;
const F_OFD_SETLKW: u32 = 38;
const F_SETLEASE: u32 = 1024;
const F_NOTIFY: u32 = 1026;
const PR_SET_PDEATHSIG: u32 = 1;
const PR_SET_SECCOMP: u32 = 22;
const AF_UNIX: u32 = 1;

const fn check(arg: u8, test: ArgTest) -> Verdict {
    Verdict::Check(ArgRule { arg, test })
}

/// Calls whose arguments decide: name, number on x86_64, number on aarch64, verdict.
pub(super) const CHECKED: &[(&str, u32, u32, Verdict)] = &[
    (
        "clone",
        56,
        220,
        Verdict::CheckBoth([
            ArgRule { arg: 0, test: ArgTest::NoBits(CLONE_NAMESPACES) },
            // A process that shared its descriptors with another could end and leave locks behind that are nobody's.
            ArgRule { arg: 0, test: ArgTest::OnlyWith(CLONE_FILES, CLONE_THREAD) },
        ]),
    ),
    // Its flags lie in memory that a filter cannot read; C libraries fall back to `clone`.
    ("clone3", 435, 435, Verdict::Missing),
    // `socket` is in no list that all have: a network namespace stops neither AF_VSOCK, which reaches the hypervisor, nor a socket file
    // inside a dataset. Only connected pairs: a datagram one could still send to such a file.
    ("socketpair", 53, 199, check(1, ArgTest::OneOf(CONNECTED_PAIRS))),
    ("ioctl", 16, 29, check(1, ArgTest::NoneOf(&[TIOCSTI, TIOCLINUX]))),
    // A lease on a dataset, which its owner's task may have, makes whoever wants to write to it wait for 45 seconds, again and again.
    // Locks of an open file have no process that they could be counted for.
    ("fcntl", 72, 25, check(1, ArgTest::NoneOf(&[F_OFD_SETLK, F_OFD_SETLKW, F_SETLEASE, F_NOTIFY]))),
    ("personality", 135, 92, check(0, ArgTest::OneOf(&[0, 0xFFFF_FFFF]))),
    // A task that cleared its parent-death signal would outlive the launcher.
    ("prctl", 157, 167, check(0, ArgTest::NoneOf(&[PR_SET_PDEATHSIG, PR_SET_SECCOMP]))),
];

/// Refused besides when the host's namespaces are shared: Landlock covers neither modes, owners, times and attributes, nor
/// memory and queues that others find by a key, nor priorities of all processes of a user.
const SHARED_REFUSED: &[&str] = &[
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "fchown",
    "fchownat",
    "lchown",
    "utime",
    "utimes",
    "utimensat",
    "futimesat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "shmget",
    "shmat",
    "shmctl",
    "semget",
    "semop",
    "semtimedop",
    "semctl",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "mq_open",
    "mq_unlink",
    "setpriority",
    "ioprio_set",
];

/// Calls whose first argument names a process, 0 the caller's own: processes of the same user could be limited and starved.
const SHARED_OWN_ONLY: &[&str] =
    &["prlimit64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler"];

/// What a task with devices needs besides. CUDA names a socket when it starts, through which processes that trust each other
/// hand memory on, and answers error 304 to everything without it (driver 580). Connecting and accepting stay refused: the name
/// is in the task's own network namespace, nobody comes in by it, and what is sent through a socket without a peer fails. The socket
/// that it was given belongs to the host's, and has a name already.
const DEVICES_ALLOWED: &[(&str, u32, u32, Verdict)] = &[
    (
        "socket",
        41,
        198,
        Verdict::CheckBoth([
            ArgRule { arg: 0, test: ArgTest::OneOf(&[AF_UNIX]) },
            ArgRule { arg: 1, test: ArgTest::OneOf(&[0x5, 0x8_0005]) }, // SOCK_SEQPACKET, plain and with SOCK_CLOEXEC
        ]),
    ),
    ("bind", 49, 200, Verdict::Allow),
    ("listen", 50, 201, Verdict::Allow),
];

/// What a zygote needs besides to lock its children up: name, number on x86_64, number on aarch64.
const ZYGOTE_ALLOWED: &[(&str, u32, u32)] =
    &[("setns", 308, 268), ("landlock_restrict_self", 446, 446), ("prctl", 157, 167)];

/// Refused besides when nothing else keeps signals inside the task.
const UNSCOPED_REFUSED: &[&str] =
    &["kill", "tkill", "tgkill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo"];

/// The verdict for every call number of one architecture.
pub(crate) struct Policy {
    arch: Arch,
    verdicts: BTreeMap<u32, Verdict>,
}

impl Policy {
    /// The policy of a task on `arch`.
    pub(crate) fn new(arch: Arch, variant: Variant) -> Self {
        let mut verdicts = BTreeMap::new();
        let mut put = |name: &str, number: Option<u32>, verdict: Verdict| {
            if let Some(number) = number {
                verdicts.insert(number, in_variant(name, variant, verdict));
            }
        };
        for (name, x86_64, aarch64) in allowed() {
            put(name, arch.pick(x86_64, aarch64), Verdict::Allow);
        }
        for &(name, x86_64, aarch64, verdict) in CHECKED {
            put(name, arch.pick(Some(x86_64), Some(aarch64)), verdict);
        }
        if variant == Variant::WithDevices {
            for &(name, x86_64, aarch64, verdict) in DEVICES_ALLOWED {
                put(name, arch.pick(Some(x86_64), Some(aarch64)), verdict);
            }
        }
        if variant == Variant::Zygote {
            for &(name, x86_64, aarch64) in ZYGOTE_ALLOWED {
                put(name, arch.pick(Some(x86_64), Some(aarch64)), Verdict::Allow);
            }
        }
        Self { arch, verdicts }
    }

    /// The architecture the numbers belong to.
    pub(crate) const fn arch(&self) -> Arch {
        self.arch
    }

    /// The verdict on one call number.
    pub(crate) fn verdict(&self, number: u32) -> Verdict {
        match self.verdicts.get(&number) {
            Some(verdict) => *verdict,
            None if number > NEWEST_KNOWN => Verdict::Missing,
            None => Verdict::Refuse,
        }
    }

    /// Ranges of consecutive numbers with one verdict, as (first number, verdict), covering every `u32`.
    pub(crate) fn ranges(&self) -> Vec<(u32, Verdict)> {
        let mut ranges = vec![(0, self.verdict(0))];
        for number in 1..=NEWEST_KNOWN + 1 {
            let verdict = self.verdict(number);
            if ranges.last().is_none_or(|(_, last)| *last != verdict) {
                ranges.push((number, verdict));
            }
        }
        ranges
    }
}

/// The verdict on a call that is listed with `verdict`, in one variant.
fn in_variant(name: &str, variant: Variant, verdict: Verdict) -> Verdict {
    let Variant::Shared { signals_scoped } = variant else { return verdict };
    if SHARED_REFUSED.contains(&name) || (!signals_scoped && UNSCOPED_REFUSED.contains(&name)) {
        Verdict::Refuse
    } else if SHARED_OWN_ONLY.contains(&name) {
        check(0, ArgTest::OneOf(&[0]))
    } else {
        verdict
    }
}

/// The rows of the plain allow-list: name, number on x86_64, number on aarch64.
pub(crate) fn allowed() -> impl Iterator<Item = (&'static str, Option<u32>, Option<u32>)> {
    ALLOWED.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut fields = line.split(' ');
        let name = fields.next().expect("split yields at least one field");
        let mut number = || fields.next().and_then(|field| field.parse().ok());
        (name, number(), number())
    })
}
