//! The policy in the form that container engines take: the OCI runtime's `linux.seccomp`, from the same data.
//!
//! What runs in a container installs the compiled filter itself before any task begins; this one is around both, so it also has
//! the calls that the entry makes before that. A rule that this form cannot express is left to the inner filter.

use serde_json::{Value, json};

use super::table::{ArgTest, CHECKED, Verdict, allowed};

/// What the entry needs before it installs the task's filter.
const ENTRY_ALLOWED: [&str; 5] =
    ["connect", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp"];
/// The one family of sockets that the entry makes.
const AF_UNIX: u32 = 1;

/// The profile of containers, for the architecture that they run on.
pub(crate) fn profile() -> Value {
    let mut plain: Vec<&str> = allowed().map(|(name, ..)| name).chain(ENTRY_ALLOWED).collect();
    let mut rules = vec![rule("socket", &[argument(0, AF_UNIX, "SCMP_CMP_EQ", 0)])];
    for (name, _, _, verdict) in CHECKED {
        let checked = match verdict {
            Verdict::Check(rule) | Verdict::CheckBoth([rule, _]) => rule,
            Verdict::Allow | Verdict::Refuse | Verdict::Missing => continue,
        };
        match checked.test {
            ArgTest::OneOf(values) => {
                rules.extend(values.iter().map(|value| rule(name, &[argument(checked.arg, *value, "SCMP_CMP_EQ", 0)])));
            }
            ArgTest::NoBits(mask) => rules.push(rule(name, &[argument(checked.arg, mask, "SCMP_CMP_MASKED_EQ", 0)])),
            ArgTest::NoneOf(_) | ArgTest::OnlyWith(..) => plain.push(name),
        }
    }
    rules.push(json!({ "names": plain, "action": "SCMP_ACT_ALLOW" }));
    // C libraries fall back to `clone`.
    rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }));
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": libc::EPERM, "syscalls": rules })
}

fn rule(name: &str, args: &[Value]) -> Value {
    json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": args })
}

fn argument(index: u8, value: u32, op: &str, value_two: u32) -> Value {
    json!({ "index": index, "value": value, "valueTwo": value_two, "op": op })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the profile lets a call through, given its arguments.
    fn lets_through(name: &str, args: [u64; 2]) -> bool {
        let profile = profile();
        let rules = profile["syscalls"].as_array().unwrap();
        let names = |rule: &&Value| rule["names"].as_array().unwrap().iter().any(|named| named == name);
        rules.iter().filter(names).filter(|rule| rule["action"] == "SCMP_ACT_ALLOW").any(|rule| {
            rule["args"].as_array().is_none_or(|checks| {
                checks.iter().all(|check| {
                    let given = args[usize::try_from(check["index"].as_u64().unwrap()).unwrap()];
                    let (value, two) = (check["value"].as_u64().unwrap(), check["valueTwo"].as_u64().unwrap());
                    match check["op"].as_str().unwrap() {
                        "SCMP_CMP_EQ" => given == value,
                        "SCMP_CMP_MASKED_EQ" => given & value == two,
                        other => panic!("unknown operator {other}"),
                    }
                })
            })
        })
    }

    #[test]
    fn what_no_task_may_call_is_refused_but_for_what_the_entry_needs() {
        let refused = include_str!("refused.txt").lines().filter(|line| !line.starts_with('#'));
        for name in refused.filter_map(|line| line.split(' ').next()) {
            let entry = name == "socket" || ENTRY_ALLOWED.contains(&name);
            assert_eq!(lets_through(name, [1, 1]), entry, "{name}");
        }
        assert!(lets_through("read", [0, 0]));
    }

    #[test]
    fn arguments_decide_as_in_the_policy() {
        assert!(lets_through("socket", [1, 0]) && !lets_through("socket", [2, 0]) && !lets_through("socket", [40, 0]));
        assert!(lets_through("clone", [0x11, 0]) && !lets_through("clone", [0x1000_0000, 0]));
        assert!(lets_through("personality", [0, 0]) && !lets_through("personality", [8, 0]));
        assert!(lets_through("socketpair", [1, 1]) && !lets_through("socketpair", [1, 2]));
        assert!(!lets_through("clone3", [0, 0]));
    }
}
