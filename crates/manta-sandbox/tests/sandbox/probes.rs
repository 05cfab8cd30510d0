//! The probe suite in every tier: what succeeds outside is denied inside, and what tasks need works.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use manta_sandbox::{Device, Finding, FindingState, Launcher, ProbeSuite, Running, Stage, StartWay, Tier, Verdict};

use crate::support::{
    Lab, NOBODY, PYTHON, Pipes, as_nobody_arguments, is_root, offered_tiers, owner_mount, wait_until,
};

/// Probes that this suite must have seen succeed outside, where root has what root usually has.
const PROVEN_MIN: usize = 120;
/// What a task with a device may beside what others may, as CUDA needs it to start: the probe, and what it got.
const OF_DEVICES: [(&str, &str); 3] = [
    // The one uid that its namespace has: its own.
    ("kernel files: write /proc/self/loginuid", "4"),
    ("refused calls: any call of the family `sockets`", "'bind: EBADF, listen: EBADF'"),
    ("sockets: a socket of any other family", "[1]"),
];
/// A variable that tells something, and what it holds.
const VARIABLE: (&str, &str) = ("PROBE_SECRET_TOKEN", "sentinel-of-the-probes");

fn stage(suite: &ProbeSuite) -> Stage {
    let mut stage = Stage::put_up(suite, Path::new(PYTHON), NOBODY.parse().unwrap()).unwrap();
    stage.tell("agent", std::process::id());
    stage.tell("variable", VARIABLE.0);
    stage.tell("sentinel", VARIABLE.1);
    stage
}

/// Runs the suite without a sandbox.
fn outside(suite: &ProbeSuite, as_nobody: bool) -> Vec<Finding> {
    // Open in the child as well: what a launcher would have to close.
    let decoys: Vec<File> = ["/etc", "/etc/passwd", "/usr"].iter().map(|path| File::open(path).unwrap()).collect();
    for decoy in &decoys {
        rustix::io::fcntl_setfd(decoy, rustix::io::FdFlags::empty()).unwrap();
    }
    let mut stage = stage(suite);
    let mut words = stage.outside();
    if as_nobody {
        words.push("/usr/bin/setpriv".into());
        words.extend(as_nobody_arguments().map(str::to_owned));
    }
    words.push(PYTHON.into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(VARIABLE.0, VARIABLE.1).current_dir(stage.targets()["folder"].as_str().unwrap());
    suite.run_outside(command, &mut stage).unwrap()
}

/// Names of the probes that succeed without a sandbox, for root or for an ordinary user.
fn proven(suite: &ProbeSuite) -> BTreeSet<String> {
    let runs = if is_root() { vec![outside(suite, false), outside(suite, true)] } else { vec![outside(suite, false)] };
    let succeeded = runs.into_iter().flatten().filter(|finding| finding.state == FindingState::Allowed);
    succeeded.map(|finding| finding.name).collect()
}

/// A launcher in the stage's network.
fn launcher(stage: &Stage, as_nobody: bool) -> Launcher {
    let mut words = stage.within();
    if as_nobody {
        words.push("/usr/bin/setpriv".into());
        words.extend(as_nobody_arguments().map(str::to_owned));
    }
    words.push(crate::support::LAUNCHER.into());
    let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    Launcher::spawn(Path::new(&words[0]), &arguments).unwrap()
}

/// Starts another attempt beside the one to be probed, and tells the stage where it is.
fn neighbour(lab: &Lab, stage: &mut Stage) -> (Running, Pipes) {
    let marker = format!("neighbour-of-{}-{:?}", std::process::id(), lab.tier);
    let mut spec = lab.spec(
        "import os, signal, tempfile\n\
         path = os.path.join(tempfile.gettempdir(), 'shown', 'theirs'); os.mkdir(os.path.dirname(path), 0o755)\n\
         open(path, 'w').write('theirs'); print(path, flush=True)\n\
         signal.pause()",
    );
    spec.argv.push(marker.clone());
    // What is forked keeps the arguments of its zygote, by which it could not be told from others.
    spec.template = None;
    let started = lab.start(spec);
    let path = started.1.line();
    let mut pid = None;
    wait_until("the other attempt is seen", std::time::Duration::from_secs(10), || {
        pid = pid_with(&marker);
        pid.is_some()
    });
    let pid = pid.unwrap();
    stage.tell("neighbour", pid);
    let seen = if lab.tier.maps_paths() { format!("/proc/{pid}/root{path}") } else { path };
    stage.tell("neighbour_file", seen);
    started
}

/// The process whose last argument is `marker`.
fn pid_with(marker: &str) -> Option<u32> {
    let ending = format!("{marker}\0");
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.ends_with(&ending))
    })
}

/// How a sandbox is made that the suite runs in.
#[derive(Clone, Copy)]
struct Circumstances {
    tier: Tier,
    as_nobody: bool,
    way: StartWay,
    has_device: bool,
}

impl Circumstances {
    /// Every tier that is offered, started cold, and the full one in each other way of starting, and with a device.
    fn all() -> Vec<Self> {
        let tiers = offered_tiers();
        let cold = Self { tier: Tier::Full, as_nobody: false, way: StartWay::Cold, has_device: false };
        let warm = [StartWay::Fork, StartWay::Standby].map(|way| Self { way, ..cold });
        let special = warm.into_iter().chain([Self { has_device: true, ..cold }]);
        let special = special.filter(|_| tiers.contains(&(Tier::Full, false)));
        tiers.iter().map(|&(tier, as_nobody)| Self { tier, as_nobody, ..cold }).chain(special).collect()
    }

    fn name(self) -> String {
        let user = if self.as_nobody && is_root() { ", as a user" } else { "" };
        let device = if self.has_device { ", with a device" } else { "" };
        format!("{}, {}{user}{device}", self.tier.name(), self.way.name())
    }

    /// What a task with a device may besides.
    fn may(self, finding: &Finding) -> bool {
        self.has_device && OF_DEVICES.contains(&(finding.name.as_str(), finding.detail.as_str()))
    }
}

/// Runs the full form in a sandbox, beside another attempt.
fn inside(suite: &ProbeSuite, Circumstances { tier, as_nobody, way, has_device }: Circumstances) -> Vec<Finding> {
    let mut stage = stage(suite);
    let launcher = launcher(&stage, as_nobody);
    let lab = match way {
        StartWay::Cold => Lab::with_launcher(launcher, tier),
        way => Lab::warm_with(launcher, way, &[]),
    };
    let (other, pipes) = neighbour(&lab, &mut stage);
    let dataset = stage.dataset().to_owned();
    let mut targets = stage.targets().clone();
    if tier.maps_paths() {
        targets["mine"] = "/data/mine".into();
    }
    let mut spec = lab.warmed(suite.spec("probes", tier, &lab.image, Some(&targets)));
    spec.mounts.push(owner_mount(&dataset, "/data/mine"));
    if has_device {
        spec.devices.push(Device { source: lab.fake_device("gpu0"), target: "/dev/gpu0".into() });
    }
    let mut findings = suite.run_blocking(&lab.launcher, spec).unwrap();
    stage.judge(&mut findings).unwrap();
    lab.launcher.kill(&other.id);
    drop(pipes);
    findings
}

/// What should not be, a line each.
fn told(sandbox: &str, verdict: &Verdict, may: impl Fn(&Finding) -> bool) -> impl Iterator<Item = String> {
    let wrong = verdict.allowed.iter().filter(move |finding| !may(finding)).chain(&verdict.broken);
    wrong.map(move |finding| {
        let Finding { name, state, outcome, detail, .. } = finding;
        format!("{sandbox}: {name}: {state:?}: {outcome}: {detail}")
    })
}

#[test]
fn whatever_succeeds_outside_is_denied_in_every_tier() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let suite = ProbeSuite::install(&dir.path().join("probes")).unwrap();
    let proven = proven(&suite);
    println!(
        "{:<24} {:>7} {:>7} {:>12} {:>6} {:>6} {:>7}",
        "", "denied", "proven", "proves none", "works", "broken", "allowed"
    );
    let mut wrong = Vec::new();
    for circumstances in Circumstances::all() {
        let findings = inside(&suite, circumstances);
        let verdict = Verdict::of(&findings);
        let name = circumstances.name();
        let denied = findings.iter().filter(|finding| finding.state == FindingState::Denied);
        let (shown, unshown): (Vec<_>, Vec<_>) = denied.partition(|finding| proven.contains(&finding.name));
        println!(
            "{name:<24} {:>7} {:>7} {:>12} {:>6} {:>6} {:>7}",
            verdict.denied,
            shown.len(),
            unshown.len(),
            verdict.works,
            verdict.broken.len(),
            verdict.allowed.len()
        );
        if is_root() && shown.len() < PROVEN_MIN {
            wrong.push(format!("{name}: only {} of its denials were seen to succeed outside", shown.len()));
        }
        wrong.extend(told(&name, &verdict, |finding| circumstances.may(finding)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_short_form_gives_a_verdict_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let suite = ProbeSuite::install(&dir.path().join("probes")).unwrap();
    for lab in crate::support::all_tiers() {
        let started = std::time::Instant::now();
        let spec = lab.warmed(suite.spec("short", lab.tier, &lab.image, None));
        let findings = suite.run_blocking(&lab.launcher, spec).unwrap();
        let verdict = Verdict::of(&findings);
        println!("{} {}: {} denied in {:?}", lab.tier.name(), lab.way.name(), verdict.denied, started.elapsed());
        let wrong: Vec<String> = told(lab.tier.name(), &verdict, |_| false).collect();
        assert!(wrong.is_empty() && verdict.holds(), "{}", wrong.join("\n"));
        assert!(verdict.denied as usize >= PROVEN_MIN, "{:?}: only {} denied", lab.tier, verdict.denied);
    }
}
