//! The compiled program answers as the policy does, for every call number, on both architectures.

use libc::sock_filter;

use super::table::{ArgRule, ArgTest, CHECKED, NEWEST_KNOWN, Verdict, allowed};
use super::tree::{ALLOW, KILL_PROCESS, MISSING, REFUSE};
use super::{Arch, Policy, Variant, compile};

const VARIANTS: [Variant; 5] = [
    Variant::Namespaced,
    Variant::WithDevices,
    Variant::Zygote,
    Variant::Shared { signals_scoped: true },
    Variant::Shared { signals_scoped: false },
];

/// Interprets the few instructions that the compiler emits.
fn run(program: &[sock_filter], arch: u32, number: u32, args: [u32; 2]) -> u32 {
    let (mut at, mut word) = (0, 0);
    loop {
        let step = &program[at];
        at += 1;
        let branch = |hit: bool| usize::from(if hit { step.jt } else { step.jf });
        match step.code {
            0x20 => {
                word = match step.k {
                    0 => number,
                    4 => arch,
                    16 => args[0],
                    24 => args[1],
                    other => panic!("loads offset {other}"),
                }
            }
            0x05 => at += step.k as usize,
            0x15 => at += branch(word == step.k),
            0x35 => at += branch(word >= step.k),
            0x45 => at += branch(word & step.k != 0),
            0x06 => return step.k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn expected(verdict: Verdict, args: [u32; 2]) -> u32 {
    let passes = |rule: &ArgRule| {
        let value = args[usize::from(rule.arg)];
        match rule.test {
            ArgTest::OneOf(values) => values.contains(&value),
            ArgTest::NoneOf(values) => !values.contains(&value),
            ArgTest::NoBits(mask) => value & mask == 0,
            ArgTest::OnlyWith(bit, other) => value & bit == 0 || value & other != 0,
        }
    };
    let decided = |pass: bool| if pass { ALLOW } else { REFUSE };
    match verdict {
        Verdict::Allow => ALLOW,
        Verdict::Refuse => REFUSE,
        Verdict::Missing => MISSING,
        Verdict::Check(rule) => decided(passes(&rule)),
        Verdict::CheckBoth(rules) => decided(rules.iter().all(passes)),
    }
}

#[test]
fn program_answers_as_the_policy_for_every_number() {
    let values = [
        0,
        1,
        2,
        5,
        0x8_0001,
        10,
        22,
        38,
        40,
        0x400,
        0x1_0400,
        1024,
        1026,
        0x5412,
        0x541C,
        0x5413,
        0x1000_0000,
        0x0002_0000,
        17,
        u32::MAX,
    ];
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for variant in VARIANTS {
            let policy = Policy::new(arch, variant);
            let program = compile(&policy);
            for number in (0..700).chain([0x4000_0001, u32::MAX]) {
                for value in values {
                    for args in [[value, 0], [0, value], [1, value]] {
                        let want = expected(policy.verdict(number), args);
                        assert_eq!(run(&program, arch.audit_value(), number, args), want, "{arch:?} {number} {args:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn foreign_architecture_is_killed() {
    let program = compile(&Policy::new(Arch::X86_64, Variant::Namespaced));
    let i386 = 0x4000_0003;
    assert_eq!(run(&program, i386, 0, [0, 0]), KILL_PROCESS);
    assert_eq!(run(&program, Arch::Aarch64.audit_value(), 63, [0, 0]), KILL_PROCESS);
}

#[test]
fn table_matches_the_numbers_of_this_machine() {
    let native = Arch::native().expect("tests run on a covered architecture");
    let policy = Policy::new(native, Variant::Namespaced);
    for number in
        [libc::SYS_read, libc::SYS_execve, libc::SYS_mmap, libc::SYS_futex, libc::SYS_sendmsg, libc::SYS_memfd_create]
    {
        assert_eq!(policy.verdict(u32::try_from(number).unwrap()), Verdict::Allow, "{number}");
    }
    for number in
        [libc::SYS_ptrace, libc::SYS_mount, libc::SYS_bpf, libc::SYS_keyctl, libc::SYS_unshare, libc::SYS_setns]
    {
        assert_eq!(policy.verdict(u32::try_from(number).unwrap()), Verdict::Refuse, "{number}");
    }
}

#[test]
fn every_row_names_a_number_and_no_number_twice() {
    for arch in 0..2 {
        let mut numbers: Vec<u32> =
            allowed().filter_map(|(_, x86_64, aarch64)| if arch == 0 { x86_64 } else { aarch64 }).collect();
        let count = numbers.len();
        assert!(count > 200, "only {count} rows");
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }
    assert!(allowed().all(|(_, x86_64, _)| x86_64.is_some()));
}

/// Rows of the list of refused calls.
fn refused() -> impl Iterator<Item = (&'static str, [Option<u32>; 2])> {
    rows(include_str!("refused.txt"))
}

fn rows(list: &'static str) -> impl Iterator<Item = (&'static str, [Option<u32>; 2])> {
    list.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, x86_64, aarch64] = fields[..] else { panic!("`{line}` has not three fields") };
        let number = |field: &str| (field != "-").then(|| field.parse().unwrap());
        (name, [number(x86_64), number(aarch64)])
    })
}

/// Numbers that the kernel gave to no call, on x86_64 and on aarch64.
const UNUSED: [&[std::ops::RangeInclusive<u32>]; 2] = [&[336..=423], &[244..=259, 295..=423]];

#[test]
fn every_known_call_is_in_one_list_and_in_no_other() {
    let checked = CHECKED.iter().map(|(name, x86_64, aarch64, _)| (*name, [Some(*x86_64), Some(*aarch64)]));
    let all: Vec<_> = rows(include_str!("allowed.txt")).chain(refused()).chain(checked).collect();
    for (column, unused) in UNUSED.iter().enumerate() {
        for number in 0..=NEWEST_KNOWN {
            let named: Vec<_> =
                all.iter().filter(|(_, numbers)| numbers[column] == Some(number)).map(|(name, _)| *name).collect();
            let wanted = usize::from(!unused.iter().any(|range| range.contains(&number)));
            assert_eq!(named.len(), wanted, "column {column}, number {number}: {named:?}");
        }
    }
    let mut names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name stands twice");
}

#[test]
fn every_refused_call_is_refused_in_every_variant_on_both_architectures() {
    for (column, arch) in [Arch::X86_64, Arch::Aarch64].into_iter().enumerate() {
        // What two of them may besides is in tests of their own, below.
        for variant in VARIANTS.into_iter().filter(|one| ![Variant::Zygote, Variant::WithDevices].contains(one)) {
            let policy = Policy::new(arch, variant);
            for (name, numbers) in refused() {
                if let Some(number) = numbers[column] {
                    assert_eq!(policy.verdict(number), Verdict::Refuse, "{name} on {arch:?}, {variant:?}");
                }
            }
        }
    }
}

#[test]
fn shared_variant_limits_and_schedules_no_process_but_ones_own() {
    let shared = Policy::new(Arch::native().unwrap(), Variant::Shared { signals_scoped: true });
    let own = Verdict::Check(ArgRule { arg: 0, test: ArgTest::OneOf(&[0]) });
    assert_eq!(shared.verdict(u32::try_from(libc::SYS_prlimit64).unwrap()), own);
    assert_eq!(shared.verdict(u32::try_from(libc::SYS_sched_setaffinity).unwrap()), own);
    assert_eq!(shared.verdict(u32::try_from(libc::SYS_shmget).unwrap()), Verdict::Refuse);
}

#[test]
fn no_variant_lets_sockets_be_connected_or_accepted_and_only_one_lets_them_be_made() {
    for variant in VARIANTS {
        let policy = Policy::new(Arch::native().unwrap(), variant);
        let verdict = |call: i64| policy.verdict(u32::try_from(call).unwrap());
        for call in [libc::SYS_connect, libc::SYS_accept, libc::SYS_accept4] {
            assert_eq!(verdict(call), Verdict::Refuse, "{call}, {variant:?}");
        }
        let may = variant == Variant::WithDevices;
        for call in [libc::SYS_socket, libc::SYS_bind, libc::SYS_listen] {
            assert_eq!(verdict(call) != Verdict::Refuse, may, "{call}, {variant:?}");
        }
    }
}

#[test]
fn a_task_with_devices_makes_unix_sockets_of_packets_alone_and_has_nothing_else_besides() {
    for (column, arch) in [Arch::X86_64, Arch::Aarch64].into_iter().enumerate() {
        let (plain, policy) = (Policy::new(arch, Variant::Namespaced), Policy::new(arch, Variant::WithDevices));
        let number = |wanted: &str| refused().find(|(name, _)| *name == wanted).unwrap().1[column].unwrap();
        let program = compile(&policy);
        let socket = |family: i32, kind: i32| {
            let args = [family.cast_unsigned(), kind.cast_unsigned()];
            run(&program, arch.audit_value(), number("socket"), args)
        };
        assert_eq!(socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC), ALLOW);
        for family in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK] {
            assert_eq!(socket(family, libc::SOCK_SEQPACKET), REFUSE, "{family}");
        }
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW] {
            assert_eq!(socket(libc::AF_UNIX, kind), REFUSE, "{kind}");
        }
        let besides = ["socket", "bind", "listen"].map(number);
        for call in (0..=NEWEST_KNOWN).filter(|call| !besides.contains(call)) {
            assert_eq!(policy.verdict(call), plain.verdict(call), "{call} on {arch:?}");
        }
    }
}

#[test]
fn shared_variant_refuses_unscoped_signals_and_changed_modes() {
    let number = |call: i64| u32::try_from(call).unwrap();
    let scoped = Policy::new(Arch::native().unwrap(), Variant::Shared { signals_scoped: true });
    let unscoped = Policy::new(Arch::native().unwrap(), Variant::Shared { signals_scoped: false });
    assert_eq!(scoped.verdict(number(libc::SYS_fchmod)), Verdict::Refuse);
    assert_eq!(scoped.verdict(number(libc::SYS_kill)), Verdict::Allow);
    assert_eq!(unscoped.verdict(number(libc::SYS_kill)), Verdict::Refuse);
}

#[test]
fn no_variant_lets_a_task_hold_up_who_writes_to_its_datasets() {
    for variant in VARIANTS {
        let arch = Arch::native().unwrap();
        let program = compile(&Policy::new(arch, variant));
        let fcntl = |what: i32| {
            let number = u32::try_from(libc::SYS_fcntl).unwrap();
            run(&program, arch.audit_value(), number, [0, what.cast_unsigned()])
        };
        for what in [libc::F_SETLEASE, libc::F_NOTIFY, libc::F_OFD_SETLK, libc::F_OFD_SETLKW] {
            assert_eq!(fcntl(what), REFUSE, "{what}, {variant:?}");
        }
        for what in [libc::F_GETFL, libc::F_SETLK, libc::F_DUPFD_CLOEXEC, libc::F_ADD_SEALS, libc::F_GETLEASE] {
            assert_eq!(fcntl(what), ALLOW, "{what}, {variant:?}");
        }
    }
}

#[test]
fn a_zygote_may_enter_namespaces_and_make_none() {
    let policy = Policy::new(Arch::native().unwrap(), Variant::Zygote);
    let verdict = |call: i64| policy.verdict(u32::try_from(call).unwrap());
    assert_eq!(verdict(libc::SYS_setns), Verdict::Allow);
    for call in [libc::SYS_unshare, libc::SYS_mount, libc::SYS_move_mount, libc::SYS_ptrace, libc::SYS_bpf] {
        assert_eq!(verdict(call), Verdict::Refuse, "{call}");
    }
}
