//! Probes of containment that are allowed: by a plain child process, by bubblewrap, and by each tier of ours.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use manta_sandbox::{Finding, HostImage, Launcher, Mount, MountAccess, ProbeSuite, Stage, Tier, Verdict};
use manta_testkit::bench::Row;

/// The interpreter that everybody may run.
const PYTHON: &str = "/usr/bin/python3";
/// An ordinary user that owns nothing.
const NOBODY: u32 = 65534;
/// What runs the command that follows it as that user.
const AS_NOBODY: [&str; 7] = [
    "/usr/bin/setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
    "--",
];

/// Runs the suite everywhere; as an ordinary user that is everywhere but in what root alone can make.
pub(crate) fn measure() -> Result<Vec<Row>> {
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    let suite = ProbeSuite::install(&dir.path().join("probes"))?;
    let root = rustix::process::geteuid().is_root();
    let plain = allowed(&outside(&suite, false)?);
    let mut rows = vec![Row::plain(if root { "plain child of root" } else { "plain child" }, plain, "probes")];
    if root {
        rows.push(Row::plain("plain child of an ordinary user", allowed(&outside(&suite, true)?), "probes"));
    }
    match bubblewrap(&suite, root)? {
        Some(findings) => rows.push(Row::plain("bubblewrap", allowed(&findings), "probes")),
        None => eprintln!("skipped: needs `bwrap` for the row of bubblewrap"),
    }
    let tiers: &[(Tier, bool)] = if root {
        &[(Tier::Full, false), (Tier::Rootless, true), (Tier::Reduced, true)]
    } else {
        &[(Tier::Rootless, false), (Tier::Reduced, false)]
    };
    for (tier, as_nobody) in tiers {
        let findings = inside(&suite, *tier, *as_nobody)?;
        let verdict = Verdict::of(&findings);
        for finding in &verdict.allowed {
            eprintln!("{}: {} was allowed: {}", tier.name(), finding.name, finding.outcome);
        }
        let name = format!("tier {} ({} denied)", tier.name(), verdict.denied);
        rows.push(Row::at_most(&name, allowed(&findings), "probes", 0.0).versus("plain child", plain));
    }
    Ok(rows)
}

fn allowed(findings: &[Finding]) -> f64 {
    let count = findings.iter().filter(|finding| finding.state == manta_sandbox::FindingState::Allowed).count();
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn words(stage: Vec<String>, as_nobody: bool) -> Vec<String> {
    let user = if as_nobody { &AS_NOBODY[..] } else { &[] };
    stage.into_iter().chain(user.iter().map(|word| (*word).to_owned())).collect()
}

fn outside(suite: &ProbeSuite, as_nobody: bool) -> Result<Vec<Finding>> {
    let mut stage = Stage::put_up(suite, Path::new(PYTHON), NOBODY)?;
    let words = [words(stage.outside(), as_nobody), vec![PYTHON.to_owned()]].concat();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir("/");
    Ok(suite.run_outside(command, &mut stage)?)
}

/// The suite in bubblewrap, as its users wrap a Python program; nothing where it is not installed.
fn bubblewrap(suite: &ProbeSuite, root: bool) -> Result<Option<Vec<Finding>>> {
    if !Path::new("/usr/bin/bwrap").exists() {
        return Ok(None);
    }
    let mut stage = Stage::put_up(suite, Path::new(PYTHON), NOBODY)?;
    // Launched by root it would map the user inside to root outside.
    let mut words = words(stage.within(), root);
    words.extend(["/usr/bin/bwrap", "--unshare-all", "--die-with-parent", "--new-session"].map(str::to_owned));
    for path in ["/usr", "/lib", "/lib64", "/bin"].iter().filter(|path| Path::new(path).exists()) {
        words.extend(["--ro-bind", path, path].map(str::to_owned));
    }
    let (probes, dataset) = (suite.dir().display().to_string(), stage.dataset().display().to_string());
    words.extend(["--ro-bind", &probes, &probes, "--ro-bind", &dataset, &dataset].map(str::to_owned));
    words.extend(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--", PYTHON].map(str::to_owned));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir("/");
    Ok(Some(suite.run_outside(command, &mut stage)?))
}

fn inside(suite: &ProbeSuite, tier: Tier, as_nobody: bool) -> Result<Vec<Finding>> {
    let binary = std::env::var_os("MANTA_BINARY").map(PathBuf::from).context("MANTA_BINARY is not set")?;
    let mut stage = Stage::put_up(suite, Path::new(PYTHON), NOBODY)?;
    let words =
        [words(stage.within(), as_nobody), vec![binary.display().to_string(), "__launcher".to_owned()]].concat();
    let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    let launcher = Launcher::spawn(Path::new(&words[0]), &arguments)?;
    let mut targets = stage.targets().clone();
    if tier.maps_paths() {
        targets["mine"] = "/data/mine".into();
    }
    let image = HostImage::probe(Path::new(PYTHON))?;
    let mut spec = suite.spec("probes", tier, &image, Some(&targets));
    let source = stage.dataset().to_owned();
    spec.mounts.push(Mount { source, target: "/data/mine".into(), access: MountAccess::Owner });
    let mut findings = suite.run_blocking(&launcher, spec)?;
    stage.judge(&mut findings)?;
    Ok(findings)
}
