//! A task is nobody on the host, and stays so.

use std::collections::BTreeSet;
use std::fs;

use manta_sandbox::StartWay;

use crate::support::{all_tiers, full_tier, namespaced_tiers};

#[test]
fn inside_uid_never_maps_to_the_hosts_root() {
    for lab in namespaced_tiers() {
        let maps =
            lab.must("print(open('/proc/self/uid_map').read().split(), open('/proc/self/gid_map').read().split())");
        let numbers: Vec<u64> = maps
            .split(|c: char| !c.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().unwrap())
            .collect();
        assert_eq!(numbers.len(), 6, "{maps}");
        for map in numbers.chunks(3) {
            assert_eq!((map[0], map[2]), (1000, 1), "{:?}: {maps}", lab.tier);
            // A zygote's children see its numbers, which are the host's in `forked_tasks_have_host_uids_of_their_own`.
            assert!(map[1] >= 60_000 || lab.way != StartWay::Cold, "{:?}: {maps}", lab.tier);
        }
    }
}

#[test]
fn no_tier_runs_as_root() {
    for lab in all_tiers() {
        let ids = lab.must("import os; print(*os.getresuid(), *os.getresgid())");
        assert!(ids.split(' ').all(|id| id != "0"), "{:?}: {ids}", lab.tier);
    }
}

#[test]
fn running_tasks_have_host_uids_of_their_own() {
    let Some(lab) = full_tier() else { return };
    let other = full_tier().expect("there is one");
    let program = "import sys; print('up', flush=True); sys.stdin.read(); import signal; signal.pause()";
    let started: Vec<_> = [&lab, &lab, &other].map(|lab| lab.start(lab.spec(program))).into_iter().collect();
    started.iter().for_each(|(_, pipes)| assert_eq!(pipes.line(), "up"));
    let uids: BTreeSet<u32> = host_uids_of("signal.pause()");
    assert_eq!(uids.len(), 3, "{uids:?}");
    assert!(uids.iter().all(|uid| *uid >= 100_000), "{uids:?}");
}

/// Real uids of the processes whose arguments hold `marker`, but for this one.
fn host_uids_of(marker: &str) -> BTreeSet<u32> {
    let parent = std::process::id();
    let launchers: Vec<u32> = children_of(parent);
    // Each program is the child of its namespace's first process.
    let tasks = launchers.into_iter().flat_map(children_of).flat_map(children_of);
    tasks
        .filter(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(marker)))
        .filter_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
        })
        .collect()
}

fn children_of(parent: u32) -> Vec<u32> {
    let stat_parent = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok())
    };
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat_parent(pid) == Some(parent)).collect()
}

#[test]
fn no_other_uid_can_be_taken() {
    for lab in all_tiers() {
        for call in ["os.setuid(0)", "os.setgid(0)", "os.setgroups([0])", "os.setresuid(0, 0, 0)", "os.setuid(65533)"] {
            lab.refused(call, &["EPERM", "EINVAL"]);
        }
    }
}

#[test]
fn set_uid_programs_give_nothing() {
    for lab in all_tiers() {
        let said = lab.must(
            "import os, subprocess, tempfile\n\
             # a set-uid program of the host, and one made by the task itself\n\
             made = os.path.join(tempfile.gettempdir(), 'id'); fd = os.open(made, os.O_CREAT | os.O_WRONLY, 0o6755)\n\
             os.write(fd, open('/usr/bin/id', 'rb').read()); os.close(fd)\n\
             host = [p for p in ('/usr/bin/su', '/usr/bin/passwd', '/usr/bin/mount') if os.path.exists(p)]\n\
             ids = subprocess.run([made, '-u'], capture_output=True, text=True).stdout.strip()\n\
             print(ids == str(os.getuid()))",
        );
        assert_eq!(said, "True", "{:?}", lab.tier);
    }
}

#[test]
fn environment_is_the_specs_alone() {
    for lab in all_tiers() {
        let names = lab.must("import os; print(sorted(os.environ))");
        let expected = if lab.tier.maps_paths() {
            "['HOME', 'LANG', 'PATH', 'TZ']"
        } else {
            "['HOME', 'LANG', 'PATH', 'TMPDIR', 'TZ']"
        };
        // LC_CTYPE may be set by Python itself.
        assert_eq!(names.replace("'LC_CTYPE', ", ""), expected, "{:?}", lab.tier);
    }
}
