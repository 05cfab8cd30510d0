//! What becomes of zygotes: they wear out, make room for others and for the host, and go with their launcher.

use std::path::Path;
use std::time::Duration;

use manta_sandbox::{ExitHow, Launcher, Start, StartWay, Template, Warmth};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{LAUNCHER, Lab, Pipes, cgroups_of, full_tier, pids_below, wait_until, warm_labs, zygote_of};

const LIMIT: Duration = Duration::from_secs(30);

/// Zygotes of one launcher; one more takes another's place.
const ZYGOTES: usize = 4;

const WAITS: &str = "import signal; print('up', flush=True); signal.pause()";

/// A lab in the full tier with a template of the test's own, up.
fn lab_with(way: StartWay, change: impl Fn(Template) -> Template) -> Option<Lab> {
    let mut lab = full_tier()?;
    lab.way = way;
    lab.launcher.keep_warm(change(lab.template(&[]))).unwrap();
    Some(lab)
}

fn start(lab: &Lab, spec: manta_sandbox::SandboxSpec) -> Start {
    let (light, stdout, stderr) = Pipes::new().task_ends();
    lab.launcher.start_blocking(spec, light, stdout, stderr).unwrap().start
}

fn row(lab: &Lab, name: &str) -> Warmth {
    lab.launcher.warmth_blocking().unwrap().into_iter().find(|row| row.name == name).unwrap()
}

#[test]
fn a_task_waits_while_its_zygote_imports() {
    let Some(lab) = lab_with(StartWay::Fork, |template| template) else { return };
    let start = start(&lab, lab.spec("print('forked')"));
    assert_eq!(start.way, StartWay::Fork, "{start}");
}

#[test]
fn a_task_whose_zygote_cannot_import_starts_cold_and_says_why() {
    let lacking = |mut template: Template| {
        template.argv.push("no_such_module".to_owned());
        template
    };
    let Some(lab) = lab_with(StartWay::Fork, lacking) else { return };
    let start = start(&lab, lab.spec("print('cold')"));
    assert_eq!(start.way, StartWay::Cold);
    assert!(start.instead.as_deref().is_some_and(|why| why.contains("no_such_module")), "{start}");
}

#[test]
fn a_zygote_that_forked_enough_is_renewed_and_what_runs_goes_on() {
    let Some(lab) = lab_with(StartWay::Fork, |template| Template { forks_max: 3, ..template }) else { return };
    let (running, pipes) = lab.start(lab.spec(WAITS));
    assert_eq!(pipes.line(), "up");
    let first = zygote_of(&lab);
    wait_until("another zygote forks", LIMIT, || {
        lab.must("print('still warm')");
        zygotes(&lab).iter().any(|zygote| *zygote != first)
    });
    assert!(zygotes(&lab).contains(&first), "what it forked still runs");
    lab.launcher.kill(&running.id);
    assert_eq!(running.exit.blocking_recv().unwrap().how, ExitHow::Signaled(libc::SIGKILL));
    wait_until("the first zygote is gone", LIMIT, || !is_there(first));
}

#[test]
fn a_zygote_that_is_old_is_renewed_while_nobody_asks() {
    let Some(lab) = lab_with(StartWay::Standby, |template| Template { age_ms_max: 500, ..template }) else { return };
    wait_until("a zygote is there", LIMIT, || !zygotes(&lab).is_empty());
    let first = zygote_of(&lab);
    wait_until("the first zygote is gone", LIMIT, || !is_there(first));
}

#[test]
fn a_zygote_that_nobody_uses_ends_and_comes_back_when_it_is_named() {
    for way in [StartWay::Fork, StartWay::Standby] {
        let Some(lab) = lab_with(way, |template| Template { idle_ms_max: 3000, ..template }) else { return };
        let (running, pipes) = lab.start(lab.spec(WAITS));
        assert_eq!(pipes.line(), "up");
        wait_until("it was looked at while its task ran", LIMIT, || row(&lab, "lab").running == 1);
        lab.launcher.kill(&running.id);
        running.exit.blocking_recv().unwrap();
        wait_until("the zygote is gone", LIMIT, || zygotes(&lab).is_empty());
        let why = row(&lab, "lab").zygote.unwrap_err();
        assert!(why.starts_with("nobody used it"), "{why}");
        let start = start(&lab, lab.spec("print('cold')"));
        assert!(start.way == StartWay::Cold && start.instead.unwrap().ends_with("is started again"));
        wait_until("a zygote is there again", LIMIT, || row(&lab, "lab").zygote.is_ok());
    }
}

#[test]
fn the_zygote_of_least_use_makes_room_and_comes_back_when_it_is_named() {
    let Some(lab) = lab_with(StartWay::Fork, |template| Template { name: "t0".to_owned(), ..template }) else { return };
    for number in 1..ZYGOTES {
        lab.launcher.keep_warm(Template { name: format!("t{number}"), ..lab.template(&[]) }).unwrap();
    }
    let named = |name: &str| {
        let mut spec = lab.spec("print(1)");
        spec.template = Some(name.to_owned());
        spec
    };
    lab.launcher.warmth_blocking().unwrap();
    assert_eq!(start(&lab, named("t0")).way, StartWay::Fork);
    lab.launcher.keep_warm(Template { name: "one_more".to_owned(), ..lab.template(&[]) }).unwrap();
    // Of those that were not used, the first that was made.
    let why = row(&lab, "t1").zygote.unwrap_err();
    assert_eq!(why, "another of the 4 that there may be took its place");
    assert_eq!(start(&lab, named("t0")).way, StartWay::Fork);
    let cold = start(&lab, named("t1"));
    assert_eq!(cold.way, StartWay::Cold);
    assert_eq!(cold.instead.unwrap(), format!("its zygote is not there: {why}, and is started again"));
    assert_eq!(row(&lab, "t1").zygote, Ok(()));
    assert_eq!(start(&lab, named("t1")).way, StartWay::Fork);
    wait_until("there are as many as may be", LIMIT, || zygotes(&lab).len() == ZYGOTES);
}

#[test]
fn where_the_host_has_too_little_memory_nothing_is_kept_and_tasks_start_cold() {
    let Some(lab) = lab_with(StartWay::Standby, |template| Template { reserve_bytes: u64::MAX, ..template }) else {
        return;
    };
    let cold = start(&lab, lab.spec("print(1)"));
    assert_eq!(cold.way, StartWay::Cold);
    assert!(cold.instead.as_deref().unwrap().contains("MiB of memory are free"), "{cold}");
    assert_eq!((zygotes(&lab).len(), row(&lab, "lab").waiting), (0, 0));
}

#[test]
fn where_memory_is_short_tasks_are_forked_and_none_waits() {
    let free = std::fs::read_to_string("/proc/meminfo").unwrap();
    let free = free.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    let free: u64 = free.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
    let Some(lab) = lab_with(StartWay::Standby, |template| Template { reserve_bytes: free / 2 * 3, ..template }) else {
        return;
    };
    wait_until("the zygote is up", LIMIT, || row(&lab, "lab").zygote.is_ok());
    let forked = start(&lab, lab.spec("print(1)"));
    assert_eq!(forked.way, StartWay::Fork, "{forked}");
    assert!(forked.instead.as_deref().unwrap().contains("MiB of memory are free"), "{forked}");
    assert_eq!(row(&lab, "lab").waiting, 0);
}

#[test]
fn a_launcher_that_is_killed_takes_zygotes_standbys_and_tasks_along() {
    for lab in warm_labs() {
        lab.wait_until_warm();
        let (running, pipes) = lab.start(lab.spec(WAITS));
        assert_eq!(pipes.line(), "up");
        let launcher = lab.launcher.pid();
        let below: Vec<Pid> =
            pids_below(launcher).into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())).collect();
        assert!(below.len() >= 4, "zygote and task, each with the first process of its namespace: {below:?}");
        kill_process(Pid::from_raw(launcher.cast_signed()).unwrap(), Signal::KILL).unwrap();
        assert_eq!(running.exit.blocking_recv().unwrap().how, ExitHow::Lost);
        wait_until("nothing is left", LIMIT, || !below.iter().any(|pid| is_there(*pid)));
        // Groups stay until another launcher comes.
        Launcher::spawn(Path::new(LAUNCHER), &[]).unwrap().probe_blocking().unwrap();
        assert!(cgroups_of(launcher).is_empty());
    }
}

fn zygotes(lab: &Lab) -> Vec<Pid> {
    crate::support::child_pids(lab, 2)
}

fn is_there(pid: Pid) -> bool {
    Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists()
}
