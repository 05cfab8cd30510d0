//! Kernel interfaces that a task has no business with answer with a refusal.

use std::os::unix::process::ExitStatusExt;

use crate::support::{PRELUDE, all_tiers};

/// Name, number on x86_64, number on aarch64, arguments.
const REFUSED: [(&str, u32, u32, &str); 42] = [
    ("mount", 165, 40, "b'none', b'/tmp', b'tmpfs', 0, 0"),
    ("umount2", 166, 39, "b'/tmp', 2"),
    ("pivot_root", 155, 41, "b'/tmp', b'/tmp'"),
    ("chroot", 161, 51, "b'/tmp'"),
    ("fsopen", 430, 430, "b'tmpfs', 0"),
    ("fsmount", 432, 432, "0, 0, 0"),
    ("open_tree", 428, 428, "-100, b'/', 1"),
    ("move_mount", 429, 429, "-100, b'/tmp', -100, b'/tmp', 0"),
    ("mount_setattr", 442, 442, "-100, b'/', 0, 0, 0"),
    ("unshare user", 272, 97, "0x10000000"),
    ("unshare mount", 272, 97, "0x20000"),
    ("setns", 308, 268, "0, 0"),
    ("clone newuser", 56, 220, "0x10000011, 0, 0, 0, 0"),
    ("clone newnet", 56, 220, "0x40000011, 0, 0, 0, 0"),
    ("ptrace", 101, 117, "0, 0, 0, 0"),
    ("process_vm_readv", 310, 270, "os.getpid(), 0, 0, 0, 0, 0"),
    ("process_vm_writev", 311, 271, "os.getpid(), 0, 0, 0, 0, 0"),
    ("process_madvise", 440, 440, "0, 0, 0, 0, 0"),
    ("pidfd_getfd", 438, 438, "0, 0, 0"),
    ("kcmp", 312, 272, "os.getpid(), os.getpid(), 0, 0, 0"),
    ("keyctl", 250, 219, "0, -3, 1"),
    ("add_key", 248, 217, "b'user', b'x', b'y', 1, -3"),
    ("request_key", 249, 218, "b'user', b'x', 0, -3"),
    ("bpf", 321, 280, "0, 0, 0"),
    ("perf_event_open", 298, 241, "0, 0, -1, -1, 0"),
    ("io_uring_setup", 425, 425, "8, 0"),
    ("io_setup", 206, 0, "1, 0"),
    ("userfaultfd", 323, 282, "1"),
    ("memfd_secret", 447, 447, "0"),
    ("name_to_handle_at", 303, 264, "-100, b'/', 0, 0, 0"),
    ("open_by_handle_at", 304, 265, "-100, 0, 0"),
    ("init_module", 175, 105, "0, 0, b''"),
    ("kexec_load", 246, 104, "0, 0, 0, 0"),
    ("reboot", 169, 142, "0xfee1dead, 672274793, 0, 0"),
    ("syslog", 103, 116, "3, 0, 0"),
    ("swapon", 167, 224, "b'/tmp', 0"),
    ("acct", 163, 89, "b'/tmp'"),
    ("quotactl", 179, 60, "0, 0, 0, 0"),
    ("clock_settime", 227, 112, "0, 0"),
    ("sethostname", 170, 161, "b'x', 1"),
    ("mlockall", 151, 230, "1"),
    ("mknodat block", 259, 33, "-100, b'/tmp/block', 0o60600, 0x0800"),
];

#[test]
fn dangerous_system_calls_are_refused() {
    for lab in all_tiers() {
        let rows: String = REFUSED
            .iter()
            .map(|(name, x86_64, aarch64, args)| format!("    ({name:?}, {x86_64}, {aarch64}, lambda: ({args},)),\n"))
            .collect();
        let said = lab.must(&format!(
            "{PRELUDE}\nfor name, x86_64, aarch64, args in (\n{rows}):\n    try: call(x86_64, aarch64, *args()); print(name, 'went through')\n    \
             except OSError as e:\n        if e.errno != errno.EPERM: print(name, errno.errorcode[e.errno])"
        ));
        assert_eq!(said, "", "{:?}", lab.tier);
    }
}

#[test]
fn clone3_is_missing_and_newer_calls_too() {
    for lab in all_tiers() {
        lab.refused("call(435, 435, 0, 0)", &["ENOSYS"]);
        lab.refused("call(500, 500)", &["ENOSYS"]);
    }
}

#[test]
fn arguments_decide_where_a_call_is_half_safe() {
    for lab in all_tiers() {
        lab.refused("fcntl.ioctl(0, 0x5412, b'x')", &["EPERM"]);
        lab.refused("fcntl.ioctl(0, 0x541C, b'x')", &["EPERM"]);
        lab.refused("call(135, 92, 0x0040000)", &["EPERM"]);
        assert_eq!(lab.must(&format!("{PRELUDE}\nprint(call(135, 92, 0xffffffff))")), "0");
        // Clearing the parent-death signal would let a task outlive its launcher.
        lab.refused("call(157, 167, 1, 0, 0, 0, 0)", &["EPERM"]);
    }
}

#[test]
fn privileges_are_gone_for_good() {
    for lab in all_tiers() {
        let said = lab.must(
            "wanted = ('CapInh', 'CapPrm', 'CapEff', 'CapAmb', 'NoNewPrivs', 'Seccomp')\n\
             lines = [line.split() for line in open('/proc/self/status')]\n\
             print({line[0][:-1]: int(line[1], 16) for line in lines if line[0][:-1] in wanted})",
        );
        let expected = "{'CapInh': 0, 'CapPrm': 0, 'CapEff': 0, 'CapAmb': 0, 'NoNewPrivs': 1, 'Seccomp': 2}";
        assert_eq!(said, expected, "{:?}", lab.tier);
    }
}

#[test]
fn scheduling_and_limits_cannot_be_raised() {
    for lab in all_tiers() {
        lab.refused("os.nice(-5)", &["EPERM", "EACCES"]);
        lab.refused("os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))", &["EPERM"]);
        lab.refused(
            "__import__('resource').setrlimit(__import__('resource').RLIMIT_NOFILE, (4096, 4096))",
            &["ValueError not allowed to raise maximum limit", "EPERM"],
        );
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn foreign_call_convention_kills() {
    for lab in all_tiers() {
        // mov eax, 20 (getpid of i386); int 0x80; ret
        let outcome = lab.python(
            "import ctypes, mmap\n\
             page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n\
             page.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]))\n\
             ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()\n\
             print('went through')",
        );
        assert!(!outcome.stdout.contains("went through"), "{:?}", lab.tier);
        let status = std::process::ExitStatus::from_raw(libc::SIGSYS);
        assert_eq!(outcome.exit.how, manta_sandbox::ExitHow::Signaled(status.signal().unwrap()), "{:?}", lab.tier);
    }
}
