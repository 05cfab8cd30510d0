//! Warm starts: what a forked task shares with its siblings and what not, and that nothing outlives zygote, standby or launcher.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use manta_sandbox::{ExitHow, Start, StartWay};
use rustix::process::{Signal, kill_process};

use crate::support::{Lab, PRELUDE, cgroups_of, child_pids, full_tier, owner_mount, pids_below, warm_labs, zygote_of};

const LIMIT: Duration = Duration::from_secs(20);

/// Starts in a row that must leave nothing.
const STARTS: usize = 200;

#[test]
fn forked_tasks_have_host_uids_of_their_own() {
    for lab in warm_labs() {
        let program = "import signal; print('up', flush=True); signal.pause()";
        let started: Vec<_> = (0..3).map(|_| lab.start(lab.spec(program))).collect();
        started.iter().for_each(|(_, pipes)| assert_eq!(pipes.line(), "up"));
        let own = [fs::read_to_string(zygote_dir(&lab).join("status")).unwrap()];
        let statuses: Vec<String> = children(&lab, 3).into_iter().chain(own).collect();
        let uids: BTreeSet<&str> = statuses.iter().map(|status| field(status, "Uid:")).collect();
        assert_eq!(uids.len(), statuses.len(), "{uids:?}");
        assert!(uids.iter().all(|uid| uid.parse::<u32>().unwrap() >= 60_000), "{uids:?}");
    }
}

#[test]
fn a_child_that_waits_is_locked_up_already() {
    let lab = &warm_labs().pop();
    let Some(lab) = lab else { return };
    lab.wait_until_warm();
    let waiting = children(lab, 3);
    assert!(!waiting.is_empty());
    for status in waiting {
        for (name, wanted) in [
            ("NoNewPrivs:", "1"),
            ("Seccomp:", "2"),
            ("CapInh:", "0000000000000000"),
            ("CapPrm:", "0000000000000000"),
            ("CapEff:", "0000000000000000"),
            ("CapBnd:", "0000000000000000"),
            ("CapAmb:", "0000000000000000"),
        ] {
            assert_eq!(field(&status, name), wanted, "{name}");
        }
    }
}

#[test]
fn a_child_that_waits_is_in_groups_of_its_own_already() {
    let Some(lab) = warm_labs().into_iter().find(|lab| lab.way == StartWay::Standby) else { return };
    lab.wait_until_warm();
    let of = |pid: &rustix::process::Pid| {
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).unwrap();
        let own = groups.lines().filter_map(|line| Some(line.split_once("/manta/")?.1.to_owned()));
        own.collect::<BTreeSet<String>>()
    };
    let waiting = child_pids(&lab, 3);
    let groups: Vec<BTreeSet<String>> = waiting.iter().chain([&zygote_of(&lab)]).map(of).collect();
    if groups.iter().all(BTreeSet::is_empty) && cgroups_of(lab.launcher.pid()).is_empty() {
        eprintln!("skipped: needs control groups");
        return;
    }
    assert!(waiting.len() > 1 && groups.iter().all(|own| own.len() == 1), "{groups:?}");
    let distinct: BTreeSet<&String> = groups.iter().flatten().collect();
    assert_eq!(distinct.len(), groups.len(), "{groups:?}");
}

#[test]
fn a_zygote_has_one_capability_and_it_is_void_on_the_host() {
    for lab in warm_labs() {
        let status = fs::read_to_string(zygote_dir(&lab).join("status")).unwrap();
        let admin = format!("{:016x}", 1 << 21);
        for name in ["CapPrm:", "CapEff:", "CapBnd:"] {
            assert_eq!(field(&status, name), admin, "{name}");
        }
        assert_eq!((field(&status, "NoNewPrivs:"), field(&status, "Seccomp:")), ("1", "2"));
        let (own, hosts) = (zygote_dir(&lab).join("ns/user"), std::path::Path::new("/proc/self/ns/user"));
        assert_ne!(fs::read_link(own).unwrap(), fs::read_link(hosts).unwrap());
    }
}

#[test]
fn siblings_share_their_layout_and_hash_seed_but_no_random_state() {
    let program = "import os, random\n\
        print(random.random(), os.urandom(8).hex())\n\
        print(hash('a'), open('/proc/self/auxv', 'rb').read().hex(), id(os))";
    for lab in warm_labs() {
        let (first, second) = (lab.must(program), lab.must(program));
        let split = |said: &str| said.split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let ((own, shared), (own_too, shared_too)) = (split(&first), split(&second));
        assert_ne!(own, own_too);
        assert_eq!(shared, shared_too, "the threat model says what siblings share");
    }
}

#[test]
fn what_one_task_leaves_is_not_there_for_the_next() {
    for lab in warm_labs() {
        let dataset = lab.file("dataset", "secret");
        let mut spec = lab.spec(
            "import os, builtins; builtins.left = 1; os.environ['LEFT'] = '1'\n\
             open('/tmp/left', 'w').write('x'); open('/dev/shm/left', 'w').write('x'); print(open('/data/one').read())",
        );
        spec.mounts.push(owner_mount(&dataset, "/data/one"));
        let outcome = lab.run(spec);
        assert_eq!((outcome.exit.how, outcome.stdout.as_str()), (ExitHow::Exited(0), "secret\n"), "{}", outcome.stderr);
        let said = lab.must(
            "import os, builtins\n\
             print(hasattr(builtins, 'left'), 'LEFT' in os.environ, os.listdir('/tmp'), os.listdir('/dev/shm'), os.path.exists('/data'))",
        );
        assert_eq!(said, "False False [] [] False");
    }
}

#[test]
fn late_mounts_are_read_only_and_the_root_is_closed() {
    for lab in warm_labs() {
        let code = lab.dir.path().join("code");
        fs::create_dir(&code).unwrap();
        fs::write(code.join("main.py"), "print('code')").unwrap();
        let mut spec = lab.spec(&format!(
            "{PRELUDE}\nfor make in (lambda: open('/code/new', 'w'), lambda: os.mkdir('/new'), lambda: os.chmod('/code/main.py', 0o777)):\n\
             \x20   try: make(); print('got')\n\
             \x20   except OSError as e: print(errno.errorcode[e.errno])\n\
             exec(open('/code/main.py').read())"
        ));
        spec.mounts.push(owner_mount(&code, "/code"));
        let outcome = lab.run(spec);
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        assert_eq!(lines[3..], ["code"], "{outcome:?}");
        assert!(lines[..3].iter().all(|line| ["EACCES", "EROFS", "EPERM"].contains(line)), "{outcome:?}");
    }
}

#[test]
fn tasks_of_a_zygote_that_is_killed_are_lost_and_another_takes_its_place() {
    for lab in warm_labs() {
        let (running, pipes) = lab.start(lab.spec("import signal; print('up', flush=True); signal.pause()"));
        assert_eq!(pipes.line(), "up");
        let killed = zygote_of(&lab);
        kill_process(killed, Signal::KILL).unwrap();
        assert_eq!(running.exit.blocking_recv().unwrap().how, ExitHow::ZygoteLost);
        lab.launcher.keep_warm(lab.template(&["json"])).unwrap();
        lab.wait_until_warm();
        assert_ne!(zygote_of(&lab), killed);
    }
}

#[test]
fn a_child_that_is_killed_while_it_waits_is_replaced() {
    let Some(lab) = warm_labs().pop() else { return };
    for pid in child_pids(&lab, 3) {
        kill_process(pid, Signal::KILL).unwrap();
    }
    assert_ne!(start(&lab, lab.spec("print(1)")).way, StartWay::Cold);
    assert_eq!(lab.must("print('a new one')"), "a new one");
}

#[test]
fn what_cannot_be_forked_is_started_cold_with_a_reason() {
    let Some(mut lab) = full_tier() else { return };
    let mut spec = lab.spec("print('cold')");
    spec.template = Some("nobody".to_owned());
    assert_eq!(start(&lab, spec).instead.as_deref(), Some("no zygote was made for its image"));

    lab.way = StartWay::Fork;
    lab.launcher.keep_warm(lab.template(&["no_such_module"])).unwrap();
    let rows = lab.launcher.warmth_blocking().unwrap();
    assert!(rows[0].zygote.as_ref().unwrap_err().contains("No module named 'no_such_module'"), "{rows:?}");
    let started = start(&lab, lab.spec("print('cold')"));
    assert_eq!(started.way, StartWay::Cold);
    assert!(started.instead.unwrap().contains("no_such_module"));

    lab.launcher.keep_warm(lab.template(&["json"])).unwrap();
    lab.wait_until_warm();
    let mut other = lab.spec("print('cold')");
    other.hostname = "other".to_owned();
    assert_eq!(start(&lab, other).instead.as_deref(), Some("it lacks something of its image"));
}

#[test]
fn many_starts_leave_nothing() {
    for lab in warm_labs() {
        lab.must("print('settled')");
        lab.wait_until_warm();
        let before = held(&lab);
        for _ in 0..STARTS {
            assert_eq!(lab.python("print(1)").exit.how, ExitHow::Exited(0));
        }
        lab.wait_until_warm();
        // A group goes a moment after its last process, and what is kept for the next task of a uid a moment after that.
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = held(&lab);
            if (left.1, left.2) == (before.1, before.2) && left.0 <= before.0 {
                break;
            }
            assert!(Instant::now() < deadline, "it held {before:?} before, and {left:?} after");
            std::thread::yield_now();
        }
    }
}

/// Descriptors of the launcher, its control groups, and its children.
fn held(lab: &Lab) -> (usize, usize, usize) {
    let launcher = lab.launcher.pid();
    let descriptors = fs::read_dir(format!("/proc/{launcher}/fd")).unwrap().count();
    let entries = |dir: &std::path::PathBuf| fs::read_dir(dir).unwrap().flatten().filter(|e| e.path().is_dir()).count();
    (descriptors, cgroups_of(launcher).iter().map(entries).sum(), pids_below(launcher).len())
}

fn start(lab: &Lab, spec: manta_sandbox::SandboxSpec) -> Start {
    let (light, stdout, stderr) = crate::support::Pipes::new().task_ends();
    lab.launcher.start_blocking(spec, light, stdout, stderr).unwrap().start
}

fn children(lab: &Lab, depth: usize) -> Vec<String> {
    let pids = child_pids(lab, depth).into_iter();
    pids.map(|pid| fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap()).collect()
}

fn zygote_dir(lab: &Lab) -> std::path::PathBuf {
    format!("/proc/{}", zygote_of(lab).as_raw_nonzero()).into()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()).unwrap()
}
