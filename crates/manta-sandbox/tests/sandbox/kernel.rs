//! Every call of the refused list is refused in a real sandbox, also those that a probe could not make outside.

use crate::support::{PRELUDE, all_tiers};

/// The numbers of this processor of every refused call.
fn refused_numbers() -> Vec<&'static str> {
    let column = if cfg!(target_arch = "x86_64") { 1 } else { 2 };
    let rows = include_str!("../../src/seccomp/refused.txt").lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|row| row.split(' ').nth(column)).filter(|number| *number != "-").collect()
}

#[test]
fn every_refused_call_answers_that_it_is_not_permitted() {
    let numbers = refused_numbers();
    assert!(numbers.len() > 80, "only {} calls", numbers.len());
    // Newer kernels let this one pass every filter, as it does nothing but end the program; it is x86_64's alone.
    let passes = |number: &&&str| cfg!(target_arch = "x86_64") && **number == "335";
    let list: Vec<_> = numbers.iter().filter(|number| !passes(number)).copied().collect();
    for lab in all_tiers() {
        let said = lab.must(&format!(
            "{PRELUDE}\nfor number in ({},):\n    try: call(number, number, -1, -1, -1, -1, -1, -1); print(number, 'went through')\n    \
             except OSError as e:\n        if e.errno != errno.EPERM: print(number, errno.errorcode[e.errno])",
            list.join(", ")
        ));
        assert_eq!(said, "", "{:?}", lab.tier);
    }
}

#[test]
fn calls_newer_than_the_list_are_missing() {
    for lab in all_tiers() {
        lab.refused("call(500, 500)", &["ENOSYS"]);
    }
}
