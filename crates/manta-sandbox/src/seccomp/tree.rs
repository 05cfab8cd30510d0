//! Compiles a [`Policy`] to a classic BPF program: a balanced tree over ranges of call numbers.
//!
//! The kernel runs the program once for every call number when it is installed, to cache the constant answers, so a
//! tree of a few dozen ranges installs several times faster than a linear chain of a few hundred comparisons.

use libc::sock_filter;

use super::table::{ArgRule, ArgTest, Policy, Verdict};

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const IF_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

pub(super) const ALLOW: u32 = 0x7FFF_0000;
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const REFUSE: u32 = 0x0005_0000 | libc::EPERM as u32;
pub(super) const MISSING: u32 = 0x0005_0000 | libc::ENOSYS as u32;

const fn op(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> sock_filter {
    sock_filter { code, jt: jump_true, jf: jump_false, k: operand }
}

/// The program that enforces `policy`.
pub(crate) fn compile(policy: &Policy) -> Vec<sock_filter> {
    let mut program = vec![
        op(LOAD_WORD, 0, 0, OFFSET_ARCH),
        op(IF_EQUAL, 1, 0, policy.arch().audit_value()),
        op(RETURN, 0, 0, KILL_PROCESS),
        op(LOAD_WORD, 0, 0, OFFSET_NUMBER),
    ];
    program.extend(subtree(&policy.ranges()));
    program
}

fn subtree(ranges: &[(u32, Verdict)]) -> Vec<sock_filter> {
    if let [(_, verdict)] = ranges {
        return leaf(*verdict);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (left, right) = (subtree(low), subtree(high));
    let boundary = high[0].0;
    let mut code = match u8::try_from(left.len()) {
        Ok(skip) => vec![op(IF_AT_LEAST, skip, 0, boundary)],
        Err(_) => {
            let skip = u32::try_from(left.len()).expect("a filter has at most 4096 instructions");
            vec![op(IF_AT_LEAST, 0, 1, boundary), op(JUMP, 0, 0, skip)]
        }
    };
    code.extend(left);
    code.extend(right);
    code
}

fn leaf(verdict: Verdict) -> Vec<sock_filter> {
    match verdict {
        Verdict::Allow => vec![op(RETURN, 0, 0, ALLOW)],
        Verdict::Refuse => vec![op(RETURN, 0, 0, REFUSE)],
        Verdict::Missing => vec![op(RETURN, 0, 0, MISSING)],
        Verdict::Check(rule) => checks(&[rule]),
        Verdict::CheckBoth(rules) => checks(&rules),
    }
}

/// Allows what every rule lets through.
fn checks(rules: &[ArgRule]) -> Vec<sock_filter> {
    let mut code: Vec<sock_filter> = rules.iter().flat_map(check).collect();
    code.push(op(RETURN, 0, 0, ALLOW));
    code
}

/// Loads the argument's low word (both architectures are little-endian), and refuses or goes on behind itself.
fn check(rule: &ArgRule) -> Vec<sock_filter> {
    let mut code = vec![op(LOAD_WORD, 0, 0, OFFSET_ARGS + 8 * u32::from(rule.arg))];
    let (tests, passes_when_hit) = match rule.test {
        ArgTest::OneOf(values) => (equal_any(values), true),
        ArgTest::NoneOf(values) => (equal_any(values), false),
        ArgTest::NoBits(mask) => (vec![op(IF_ANY_BIT, 1, 0, mask)], false),
        ArgTest::OnlyWith(bit, other) => (vec![op(IF_ANY_BIT, 0, 2, bit), op(IF_ANY_BIT, 1, 0, other)], true),
    };
    code.extend(tests);
    if !passes_when_hit {
        code.push(op(JUMP, 0, 0, 1));
    }
    code.push(op(RETURN, 0, 0, REFUSE));
    code
}

/// Comparisons that jump to the second instruction after them when one hits, and fall to the first when none does.
fn equal_any(values: &[u32]) -> Vec<sock_filter> {
    let count = u8::try_from(values.len()).expect("argument rules list a handful of values");
    (1..=count).zip(values).map(|(nth, value)| op(IF_EQUAL, count - nth + 1, 0, *value)).collect()
}
