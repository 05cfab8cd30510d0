//! No task outlives its attempt, its agent or its launcher, and nothing is left of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use manta_sandbox::{ExitHow, Tier};

use crate::support::{Lab, all_tiers, cgroups_of, is_root, process_with, spawn_launcher, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

/// A program that leaves a daemon behind (forked twice, in a session of its own) and waits; its arguments carry a marker.
fn daemon_program(marker: &str) -> String {
    format!(
        "import ctypes, os, signal, sys\nctypes.CDLL(None).prctl(15, b'{marker}', 0, 0, 0)\n\
         if os.fork() == 0:\n\
         \x20   os.setsid()\n\
         \x20   if os.fork() == 0:\n\
         \x20       signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)\n\
         \x20       print('daemon', flush=True)\n\
         \x20       while True: signal.pause()\n\
         \x20   os._exit(0)\n\
         os.wait()\n\
         while True: signal.pause()"
    )
}

/// A name for the processes of one program, of at most 15 characters, as the kernel keeps them.
fn marker(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}{}{:02}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed) % 100)
}

fn temporary_dirs_of(launcher: u32, dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("manta-task-{launcher}-"))).count()
}

#[test]
fn kill_ends_the_whole_tree_with_its_daemons() {
    for lab in all_tiers() {
        let marker = marker("kill");
        let (running, pipes) = lab.start(lab.spec(&daemon_program(&marker)));
        assert_eq!(pipes.line(), "daemon");
        assert!(process_with(&marker));
        lab.launcher.kill(&running.id);
        assert_eq!(running.exit.blocking_recv().unwrap().how, ExitHow::Signaled(libc::SIGKILL), "{:?}", lab.tier);
        assert!(!process_with(&marker), "{:?}", lab.tier);
    }
}

#[test]
fn daemons_end_with_the_first_process() {
    for lab in all_tiers() {
        let marker = marker("end");
        let program = daemon_program(&marker)
            .replace("\nos.wait()\nwhile True: signal.pause()", "\nos.wait(); sys.stdin.read(); os._exit(3)");
        let outcome = lab.python(&program);
        assert_eq!(outcome.exit.how, ExitHow::Exited(3), "{:?}", lab.tier);
        assert!(!process_with(&marker), "{:?}", lab.tier);
    }
}

#[test]
fn dropping_the_launcher_ends_everything() {
    for lab in all_tiers() {
        let (marker, launcher) = (marker("drop"), lab.launcher.pid());
        let (running, pipes) = lab.start(lab.spec(&daemon_program(&marker)));
        assert_eq!(pipes.line(), "daemon");
        let Lab { launcher: handle, tier, .. } = lab;
        drop(handle);
        assert!(!process_with(&marker), "{tier:?}");
        assert_eq!(cgroups_of(launcher), Vec::<std::path::PathBuf>::new(), "{tier:?}");
        assert_eq!(temporary_dirs_of(launcher, &std::env::temp_dir()), 0, "{tier:?}");
        assert!(!Path::new(&format!("/proc/{launcher}")).exists());
        assert_eq!(running.exit.blocking_recv().unwrap().how, ExitHow::Lost);
    }
}

#[test]
fn killed_launcher_takes_its_tasks_along_and_the_next_one_sweeps() {
    for lab in all_tiers() {
        let (marker, launcher) = (marker("gone"), lab.launcher.pid());
        let (running, pipes) = lab.start(lab.spec(&daemon_program(&marker)));
        assert_eq!(pipes.line(), "daemon");
        let pid = rustix::process::Pid::from_raw(i32::try_from(launcher).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert_eq!(running.exit.blocking_recv().unwrap().how, ExitHow::Lost);
        wait_until("the task is gone", LIMIT, || !process_with(&marker));
        let null = || std::fs::File::open("/dev/null").unwrap().into();
        assert!(lab.launcher.start_blocking(lab.spec(""), null(), null(), null()).is_err());
        let next = spawn_launcher(lab.tier == Tier::Rootless && is_root());
        next.probe_blocking().unwrap();
        let root_next = spawn_launcher(false);
        root_next.probe_blocking().unwrap();
        assert_eq!(cgroups_of(launcher), Vec::<std::path::PathBuf>::new(), "{:?}", lab.tier);
        assert_eq!(temporary_dirs_of(launcher, &std::env::temp_dir()), 0, "{:?}", lab.tier);
    }
}

/// Not a test of its own: the agent that the next test kills.
#[test]
#[ignore = "started by agent_killed_without_warning_leaves_nothing"]
fn agent_that_waits_to_be_killed() {
    let (Ok(tier), Ok(marker)) = (std::env::var("MANTA_TEST_TIER"), std::env::var("MANTA_TEST_MARKER")) else { return };
    let tier: usize = tier.parse().unwrap();
    let lab = all_tiers().swap_remove(tier);
    let (_running, pipes) = lab.start(lab.spec(&daemon_program(&marker)));
    assert_eq!(pipes.line(), "daemon");
    println!("\nready {}", lab.launcher.pid());
    loop {
        std::thread::park();
    }
}

#[test]
fn agent_killed_without_warning_leaves_nothing() {
    let mounts_before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let tiers = if is_root() { 4 } else { 2 };
    // What the killed agent itself leaves goes with this directory; ordinary users' launchers make theirs in it too.
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    for tier in 0..tiers {
        let marker = marker("agent");
        let mut agent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lifetime::agent_that_waits_to_be_killed", "--ignored", "--nocapture"])
            .env("MANTA_TEST_TIER", tier.to_string())
            .env("MANTA_TEST_MARKER", &marker)
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(agent.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).find(|line| line.starts_with("ready ")).unwrap();
        let launchers: Vec<u32> = ready.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
        assert!(process_with(&marker));
        agent.kill().unwrap();
        agent.wait().unwrap();
        wait_until("the task is gone", LIMIT, || !process_with(&marker));
        for launcher in launchers {
            wait_until("the launcher is gone", LIMIT, || !Path::new(&format!("/proc/{launcher}/exe")).exists());
            assert_eq!(cgroups_of(launcher), Vec::<std::path::PathBuf>::new());
            assert_eq!(temporary_dirs_of(launcher, temporary.path()), 0);
        }
    }
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts_before);
}

/// After a reboot nothing runs, but what carries a launcher's name in persistent places is still there.
#[test]
fn what_a_launcher_of_an_earlier_boot_left_is_swept() {
    let temporary = tempfile::tempdir().unwrap();
    let pid_namespace = std::os::unix::fs::MetadataExt::ino(&fs::metadata("/proc/self/ns/pid").unwrap());
    // This process has the number, but started at another moment.
    let dead = format!("{}-1-{pid_namespace}", std::process::id());
    let scratch = temporary.path().join(format!("manta-task-{dead}.at_1"));
    fs::create_dir_all(scratch.join("closed/by its owner")).unwrap();
    fs::write(scratch.join("closed/file"), "left").unwrap();
    fs::set_permissions(scratch.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let strangers = temporary.path().join("manta-task-of-somebody");
    fs::create_dir(&strangers).unwrap();
    let groups = if is_root() { leave_groups(&dead) } else { Vec::new() };
    let mut launcher = Command::new(crate::support::LAUNCHER);
    // The end of its control socket ends it, after it has swept.
    let swept = launcher.env("TMPDIR", temporary.path()).stdin(Stdio::null()).output().unwrap();
    assert!(!scratch.exists(), "{swept:?}");
    assert!(strangers.exists());
    assert_eq!(groups.iter().filter(|group| group.exists()).collect::<Vec<_>>(), Vec::<&std::path::PathBuf>::new());
}

/// Makes the groups that a launcher with a sandbox has, in every hierarchy that launchers use.
fn leave_groups(launcher: &str) -> Vec<std::path::PathBuf> {
    let own = spawn_launcher(false);
    own.probe_blocking().unwrap();
    let used = cgroups_of(own.pid());
    let left = used.iter().map(|dir| dir.with_file_name(launcher));
    left.inspect(|dir| fs::create_dir_all(dir.join("at_1")).unwrap()).collect()
}
