//! The host report says what really works, and refusals say why.

use std::os::fd::OwnedFd;

use manta_sandbox::{SandboxError, StartError, StartWay, Tier};

use crate::support::{Lab, all_tiers, is_root, spawn_launcher};

fn null() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

#[test]
fn report_names_a_tier_that_works_and_cures_for_the_rest() {
    for as_nobody in [false, true].into_iter().filter(|as_nobody| !as_nobody || is_root()) {
        let report = spawn_launcher(as_nobody).probe_blocking().unwrap();
        let expected = if is_root() && !as_nobody { Tier::Full } else { Tier::Rootless };
        assert_eq!(report.tier, Some(expected), "{report:?}");
        assert!(report.seccomp && report.user_namespaces);
        assert!(!report.kernel.is_empty());
        for shortcoming in &report.shortcomings {
            assert!(!shortcoming.what.is_empty() && !shortcoming.cure.is_empty());
        }
        let wire = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<manta_sandbox::HostReport>(&wire).unwrap(), report);
    }
}

#[test]
fn tiers_of_the_other_user_are_refused() {
    for lab in all_tiers() {
        let wrong = if lab.tier == Tier::Rootless { Tier::Full } else { Tier::Rootless };
        if lab.tier == Tier::Reduced {
            continue;
        }
        let mut spec = lab.spec("");
        spec.tier = wrong;
        let error = lab.launcher.start_blocking(spec, null(), null(), null()).unwrap_err();
        assert!(matches!(&error, SandboxError::Start(StartError::Tier { .. })), "{error}");
    }
}

fn start_error(lab: &Lab, change: impl FnOnce(&mut manta_sandbox::SandboxSpec)) -> String {
    let mut spec = lab.spec("");
    change(&mut spec);
    lab.launcher.start_blocking(spec, null(), null(), null()).unwrap_err().to_string()
}

#[test]
fn failed_starts_name_the_step_and_leave_nothing() {
    for lab in all_tiers().into_iter().filter(|lab| lab.way == StartWay::Cold) {
        let said = start_error(&lab, |spec| spec.argv[0] = "/nonexistent/python".into());
        assert!(said.contains("start the program `/nonexistent/python`") && said.contains("No such file"), "{said}");
        let said = start_error(&lab, |spec| spec.id = "../x".into());
        assert!(said.contains("`../x`"), "{said}");
        let said = start_error(&lab, |spec| spec.env.push(("X".into(), "a\0b".into())));
        assert!(said.contains("zero byte"), "{said}");
        let said = start_error(&lab, |spec| spec.argv.push("x".repeat(200 << 10)));
        assert!(said.contains("at most"), "{said}");
        // The launcher goes on serving, and the same id can be used again.
        assert_eq!(lab.must("print('still here')"), "still here");
    }
}

#[test]
fn two_sandboxes_cannot_share_an_id() {
    for lab in all_tiers() {
        let spec = lab.spec("import signal; print('up', flush=True); signal.pause()");
        let (_running, pipes) = lab.start(spec.clone());
        assert_eq!(pipes.line(), "up");
        let error = lab.launcher.start_blocking(spec, null(), null(), null()).unwrap_err();
        assert!(matches!(error, SandboxError::Duplicate { .. }), "{error}");
    }
}
