//! Limits hold in every engine, and an attempt that runs into one is told so.

use manta_sandbox::{ExitHow, Limits};

use crate::bench::with_each;

#[test]
fn memory_limit_kills_the_whole_task_and_is_named() {
    with_each(|bench| {
        // The first process uses little and would wait for ever.
        let outcome = bench.python(
            "import os, signal\n\
             if os.fork() == 0:\n\
             \x20   held = []\n\
             \x20   while True: held.append(bytearray(16 << 20))\n\
             while True: signal.pause()",
        );
        assert_eq!(outcome.exit.how, ExitHow::Signaled(libc::SIGKILL), "{}: {outcome:?}", bench.name());
        assert!(outcome.exit.oom, "{}: {:?}", bench.name(), outcome.exit);
        let peak = outcome.exit.peak_memory_bytes;
        // The kernel counts what it is about to refuse.
        assert!((200 << 20..=257 << 20).contains(&peak), "{}: {peak}", bench.name());
    });
}

#[test]
fn processes_are_limited_and_running_into_it_is_told() {
    with_each(|bench| {
        let mut spec = bench.spec(
            "import os, signal\n\
             made = 0\n\
             try:\n\
             \x20   while made < 100:\n\
             \x20       if os.fork() == 0: signal.pause()\n\
             \x20       made += 1\n\
             except BlockingIOError: pass\n\
             print(made)",
        );
        spec.limits = Limits { pids: 16, ..spec.limits };
        let outcome = bench.run(spec);
        let made: u32 = outcome.stdout.trim().parse().unwrap();
        assert!((12..=15).contains(&made), "{}: {made}", bench.name());
        // gVisor counts inside, and tells nobody but the task.
        assert_eq!(outcome.exit.pids_limit_hit, bench.name() != "gvisor", "{}: {:?}", bench.name(), outcome.exit);
        assert_eq!(outcome.exit.how, ExitHow::Exited(0));
    });
}

#[test]
fn scratch_is_limited_in_bytes() {
    with_each(|bench| {
        for dir in ["/tmp", "/dev/shm"] {
            let said = bench.must(&format!(
                "import errno\n\
                 written = 0\n\
                 try:\n\
                 \x20   with open('{dir}/big', 'wb', buffering=0) as f:\n\
                 \x20       while True: written += f.write(bytes(1 << 20))\n\
                 except OSError as e: print(errno.errorcode[e.errno], written >> 20)"
            ));
            assert_eq!(said, "ENOSPC 32", "{} {dir}", bench.name());
        }
    });
}

#[test]
fn processor_time_is_limited() {
    with_each(|bench| {
        let mut spec = bench.spec(
            "import time\n\
             end = time.monotonic() + 2\n\
             while time.monotonic() < end: pass",
        );
        spec.limits = Limits { cpu: 0.25, ..spec.limits };
        let outcome = bench.run(spec);
        if bench.name() == "gvisor" {
            // Its own count goes on while it is held back; the group that holds it back is there.
            let report = bench.runtime.block_on(bench.engine.probe()).unwrap();
            assert!(report.cgroup.controllers.contains(&"cpu".to_owned()), "{report:?}");
        } else {
            assert!((1..900).contains(&outcome.exit.cpu_ms), "{}: {:?}", bench.name(), outcome.exit);
        }
    });
}
