//! Limits hold, and an attempt that runs into one is told so.

use std::fs;
use std::io::Write;
use std::path::Path;

use manta_sandbox::{CgroupVersion, ExitHow, Limits, Mount, MountAccess, ScratchLimit, Tier};

use crate::support::{Lab, all_tiers, cgroups_of, full_tier, namespaced_tiers};

fn has_memory_cgroup(lab: &Lab) -> bool {
    lab.launcher.probe_blocking().unwrap().cgroup.controllers.iter().any(|controller| controller == "memory")
}

#[test]
fn memory_limit_kills_and_is_named() {
    for lab in all_tiers() {
        let outcome = lab.python("held = []\nwhile True: held.append(bytearray(16 << 20))");
        if has_memory_cgroup(&lab) {
            assert_eq!(outcome.exit.how, ExitHow::Signaled(libc::SIGKILL), "{:?}", lab.tier);
            assert!(outcome.exit.oom, "{:?}: {:?}", lab.tier, outcome.exit);
            assert!(outcome.exit.peak_memory_bytes <= 256 << 20);
            assert!(outcome.exit.peak_memory_bytes > 200 << 20);
        } else {
            assert_eq!(outcome.exit.how, ExitHow::Exited(1), "{:?}", lab.tier);
            assert!(outcome.stderr.contains("MemoryError"), "{}", outcome.stderr);
        }
    }
}

/// The controllers that limits need and that the unified hierarchy of this host does not have, with those that it has.
fn lacking_in_v2() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let unified = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let dir = unified.and_then(|line| line.split(' ').nth(4));
    let Some(dir) = dir else { return Some("control groups v2, which are not mounted".to_owned()) };
    let has = fs::read_to_string(Path::new(dir).join("cgroup.controllers")).unwrap();
    let has: Vec<&str> = has.split_whitespace().collect();
    let lacking: Vec<&str> = ["memory", "pids", "cpu"].into_iter().filter(|name| !has.contains(name)).collect();
    let words = || format!("{} of control groups v2; {dir} has: {}", lacking.join(", "), has.join(", "));
    (!lacking.is_empty()).then(words)
}

#[test]
fn v2_kills_the_whole_tree_at_its_memory_limit_and_tells_the_peaks() {
    if let Some(lacking) = lacking_in_v2() {
        eprintln!("skipped: needs {lacking}");
        return;
    }
    let Some(lab) = full_tier() else { return };
    assert_eq!(lab.launcher.probe_blocking().unwrap().cgroup.version, CgroupVersion::V2);
    let outcome = lab.python(
        "import os\n\
         if os.fork() == 0:\n\
         \x20   held = []\n\
         \x20   while True: held.append(bytearray(16 << 20))\n\
         os.wait()\n\
         print('lives')",
    );
    assert!(outcome.exit.oom && outcome.stdout.is_empty(), "{outcome:?}");
    assert!(outcome.exit.peak_memory_bytes > 200 << 20 && outcome.exit.peak_pids >= 2, "{:?}", outcome.exit);
}

/// Takes so many MiB, a little at a time so that there is time to be told, then waits.
const NEARS_ITS_LIMIT: &str = "import signal, sys, time\n\
     class Told(Exception): pass\n\
     def told(*_): raise Told\n\
     signal.signal(signal.SIGPWR, told)\n\
     held = []\n\
     try:\n\
     \x20   while len(held) < 61: held.append(bytearray(4 << 20)); time.sleep(0.005)\n\
     except Told: print('told at', len(held) * 4, flush=True); held.clear(); sys.exit(3)";

#[test]
fn a_task_near_its_memory_limit_is_told_if_it_listens() {
    for lab in all_tiers().into_iter().filter(has_memory_cgroup) {
        let outcome = lab.python(NEARS_ITS_LIMIT);
        let at: Option<u32> = outcome.stdout.trim().strip_prefix("told at ").and_then(|at| at.parse().ok());
        assert!(at.is_some_and(|at| (200..256).contains(&at)), "{:?} {:?}: {outcome:?}", lab.tier, lab.way);
        assert_eq!(outcome.exit.how, ExitHow::Exited(3), "{:?}", lab.tier);
        assert!(!outcome.exit.oom);
    }
}

#[test]
fn a_program_that_does_not_listen_is_not_ended_by_being_told() {
    for lab in all_tiers().into_iter().filter(has_memory_cgroup) {
        let program = "import time\nheld = bytearray(236 << 20)\nend = time.monotonic() + 0.5\n\
                       while time.monotonic() < end: time.sleep(0.01)\nprint('lives')";
        let outcome = lab.python(program);
        assert_eq!((outcome.exit.how, outcome.stdout.trim()), (ExitHow::Exited(0), "lives"), "{:?}", lab.tier);
    }
}

#[test]
fn files_that_were_read_do_not_count_as_nearness() {
    for lab in all_tiers().into_iter().filter(has_memory_cgroup) {
        let large = lab.dir.path().join("large");
        let mut file = fs::File::create(&large).unwrap();
        file.write_all(&vec![1; 400 << 20]).unwrap();
        // Read anew, it is kept on the task's account.
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let program = format!(
            "import signal, time\nsignal.signal(signal.SIGPWR, lambda *_: print('told', flush=True))\n\
             with open({:?}, 'rb', buffering=0) as f:\n\
             \x20   while f.read(1 << 20): pass\n\
             end = time.monotonic() + 0.3\nwhile time.monotonic() < end: time.sleep(0.01)\nprint('read')",
            if lab.tier.maps_paths() { Path::new("/large") } else { large.as_path() }
        );
        let mut spec = lab.spec(&program);
        spec.mounts.push(Mount { source: large.clone(), target: "/large".into(), access: MountAccess::Owner });
        let outcome = lab.run(spec);
        assert_eq!(outcome.stdout.trim(), "read", "{:?}: {outcome:?}", lab.tier);
    }
}

#[test]
fn child_killed_for_memory_ends_the_whole_task() {
    let Some(lab) = full_tier().filter(has_memory_cgroup) else { return };
    // The first process uses little and would wait for ever.
    let outcome = lab.python(
        "import os, signal\n\
         if os.fork() == 0:\n\
         \x20   held = []\n\
         \x20   while True: held.append(bytearray(16 << 20))\n\
         while True: signal.pause()",
    );
    assert_eq!(outcome.exit.how, ExitHow::Signaled(libc::SIGKILL));
    assert!(outcome.exit.oom, "{:?}", outcome.exit);
}

#[test]
fn temporary_files_count_as_memory() {
    let Some(lab) = full_tier().filter(has_memory_cgroup) else { return };
    let mut spec = lab.spec("f = open('/tmp/big', 'wb')\nwhile True: f.write(bytes(1 << 20))");
    spec.tmp.bytes = 1 << 30;
    assert!(lab.run(spec).exit.oom);
}

#[test]
fn temporary_directories_are_limited_in_bytes_and_files() {
    for lab in namespaced_tiers() {
        for dir in ["/tmp", "/dev/shm"] {
            let said = lab.must(&format!(
                "import errno\n\
                 written = 0\n\
                 try:\n\
                 \x20   with open('{dir}/big', 'wb', buffering=0) as f:\n\
                 \x20       while True: written += f.write(bytes(1 << 20))\n\
                 except OSError as e: print(errno.errorcode[e.errno], written >> 20)"
            ));
            assert_eq!(said, "ENOSPC 32", "{:?} {dir}", lab.tier);
        }
        let said = lab.must("made = 0\ntry:\n    while True: open(f'/tmp/{made}', 'w').close(); made += 1\nexcept OSError: print(4000 < made <= 4096)");
        assert_eq!(said, "True", "{:?}", lab.tier);
    }
}

/// Without namespaces there is no file system of the task's own that could be full: its keeper looks, and ends it.
#[test]
fn a_scratch_on_the_host_is_limited_in_bytes_and_files_too() {
    let named = "f = open(d + '/big', 'wb', buffering=0)";
    let unnamed = "f = tempfile.TemporaryFile(buffering=0)";
    let write = "\nfor _ in range(32 + 8): f.write(bytes(1 << 20))\nsignal.pause()";
    let files = "for n in range(4096 + 8): open(f'{d}/{n}', 'w').close()\nsignal.pause()";
    let deep = "for n in range(80): os.mkdir('d'); os.chdir('d')\nsignal.pause()";
    for lab in all_tiers().into_iter().filter(|lab| !lab.tier.maps_paths()) {
        let begin = "import os, signal, tempfile\nd = tempfile.gettempdir()\nos.chdir(d)\n";
        for (program, limit) in [
            (format!("{named}{write}"), ScratchLimit::Bytes),
            (format!("{unnamed}{write}"), ScratchLimit::Bytes),
            (files.to_owned(), ScratchLimit::Files),
            (deep.to_owned(), ScratchLimit::Files),
        ] {
            let outcome = lab.python(&format!("{begin}{program}"));
            assert_eq!(outcome.exit.how, ExitHow::Signaled(libc::SIGKILL), "{program}: {outcome:?}");
            assert_eq!(outcome.exit.scratch, Some(limit), "{program}: {outcome:?}");
        }
        let within = lab.python(&format!("{begin}open('small', 'wb').write(bytes(16 << 20)); os._exit(3)"));
        assert_eq!((within.exit.how, within.exit.scratch), (ExitHow::Exited(3), None), "{within:?}");
    }
}

/// The kernel counts them for nobody: the launcher does, over all processes of a task.
#[test]
fn a_task_holds_a_thousand_locks_on_files_and_no_more() {
    let lock = "import fcntl, os, signal, tempfile\n\
        f = open(os.path.join(tempfile.gettempdir(), 'db'), 'w')\n\
        def lock(begin, count):\n\
        \x20   for n in range(begin, begin + count): fcntl.lockf(f, fcntl.LOCK_EX, 1, 2 * n)\n";
    for lab in all_tiers() {
        let outcome = lab.python(&format!("{lock}lock(0, 400)\nif os.fork() == 0: lock(1000, 700)\nsignal.pause()"));
        assert!(outcome.exit.file_locks_limit_hit, "{:?}: {outcome:?}", lab.tier);
        assert_eq!(outcome.exit.how, ExitHow::Signaled(libc::SIGKILL), "{:?}", lab.tier);
        let whole = "kept = [open(f'{f.name}{n}', 'w') for n in range(700)]\nfor one in kept: fcntl.flock(one, fcntl.LOCK_EX)\n";
        let outcome = lab.python(&format!("{lock}{whole}lock(0, 400)\nsignal.pause()"));
        assert!(outcome.exit.file_locks_limit_hit, "{:?}: {outcome:?}", lab.tier);
        // Two looks go by.
        let within = lab.python(&format!("{lock}lock(0, 900)\nimport time\ntime.sleep(2.2)\nos._exit(3)"));
        assert_eq!((within.exit.how, within.exit.file_locks_limit_hit), (ExitHow::Exited(3), false), "{:?}", lab.tier);
    }
}

/// What could not be counted for a process is refused.
#[test]
fn locks_belong_to_processes() {
    for lab in all_tiers() {
        lab.refused("fcntl.fcntl(open('/dev/null'), 37, bytes(32))", &["EPERM"]);
        lab.refused("call(56, 220, 0x400 | signal.SIGCHLD, 0, 0, 0, 0)", &["EPERM"]);
    }
}

#[test]
fn fork_bomb_hits_the_process_limit() {
    for lab in all_tiers() {
        let outcome = lab.python(
            "import os, signal\n\
             made = 0\n\
             try:\n\
             \x20   while made < 5000:\n\
             \x20       if os.fork() == 0:\n\
             \x20           while True: signal.pause()\n\
             \x20       made += 1\n\
             except OSError: pass\n\
             print(made)",
        );
        let made: u32 = outcome.stdout.trim().parse().unwrap_or_else(|_| panic!("{:?}: {}", lab.tier, outcome.stderr));
        assert!((1..=64).contains(&made), "{:?}: {made} processes", lab.tier);
        let report = lab.launcher.probe_blocking().unwrap();
        let counted = report.cgroup.controllers.iter().any(|controller| controller == "pids");
        assert_eq!(outcome.exit.pids_limit_hit, counted, "{:?}", lab.tier);
    }
}

#[test]
fn recursive_fork_bomb_dies_when_killed() {
    for lab in all_tiers() {
        let (running, pipes) = lab.start(lab.spec(
            "import os\n\
             print('up', flush=True)\n\
             while True:\n\
             \x20   try: os.fork()\n\
             \x20   except OSError: pass",
        ));
        assert_eq!(pipes.line(), "up");
        lab.launcher.kill(&running.id);
        let exit = running.exit.blocking_recv().unwrap();
        assert_eq!(exit.how, ExitHow::Signaled(libc::SIGKILL), "{:?}", lab.tier);
        // Every process of the tree held the pipes; their end proves that none is left.
        pipes.read();
    }
}

#[test]
fn cpu_quota_slows_a_busy_task_down() {
    let Some(lab) = full_tier() else { return };
    if !lab.launcher.probe_blocking().unwrap().cgroup.controllers.iter().any(|controller| controller == "cpu") {
        eprintln!("skipped: no cpu controller");
        return;
    }
    let mut spec = lab.spec(
        "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass\nprint(time.process_time())",
    );
    spec.limits = Limits { cpu: 0.2, ..spec.limits };
    let used: f64 = lab.run(spec).stdout.trim().parse().unwrap();
    assert!(used < 0.5, "a fifth of a core gave {used} s in a second");
}

#[test]
fn tasks_weigh_as_much_as_the_cores_they_are_given() {
    let Some(lab) = full_tier() else { return };
    let report = lab.launcher.probe_blocking().unwrap();
    if report.cgroup.version == CgroupVersion::None || !report.cgroup.controllers.iter().any(|name| name == "cpu") {
        eprintln!("skipped: no cpu controller");
        return;
    }
    let (running, pipes) = lab.start(lab.spec("import sys\nprint('up', flush=True)\nwhile True: pass"));
    assert_eq!(pipes.line(), "up");
    // Two cores are given; the launcher's own group, and that of all launchers, weigh as much as all processors.
    let cores = u64::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    let mut seen = 0;
    for own in cgroups_of(lab.launcher.pid()) {
        let read = |dir: &Path| {
            ["cpu.shares", "cpu.weight"].iter().find_map(|file| {
                let one = if *file == "cpu.shares" { 1024 } else { 100 };
                Some(fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().unwrap() / one)
            })
        };
        let Some(weight) = read(&own) else { continue };
        assert_eq!((weight, read(own.parent().unwrap())), (cores, Some(cores)));
        assert_eq!(read(&own.join(&running.id)), Some(2));
        seen += 1;
    }
    assert_eq!(seen, 1);
    lab.launcher.kill(&running.id);
    running.exit.blocking_recv().unwrap();
}

#[test]
fn usage_of_a_whole_tree_is_counted() {
    for lab in all_tiers() {
        let outcome = lab.python(
            "import os, time\n\
             if os.fork() == 0:\n\
             \x20   while time.process_time() < 0.3: pass\n\
             \x20   os._exit(0)\n\
             os.wait()",
        );
        assert!(outcome.exit.cpu_ms >= 300, "{:?}: {:?}", lab.tier, outcome.exit);
        assert!(lab.tier != Tier::Full || outcome.exit.cpu_ms < 3000, "{:?}", outcome.exit);
    }
}
