//! Limits hold, and an attempt that runs into one is told so.

use manta_sandbox::{ExitHow, Limits, Tier};

use crate::support::{Lab, all_tiers, full_tier, namespaced_tiers};

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
