//! `manta doctor`: what this machine can contain, what is missing for more, whether containment holds, and how its disk, its
//! agent and its manager are.
use std::path::PathBuf;
use std::process::ExitCode;

use manta_api::ErrorCode;
use manta_api::version::SCHEMA_VERSION;
use manta_sandbox::{Finding, HostImage, HostReport, Launcher, ProbeSuite, Tier, Verdict};
use serde_json::json;

use super::doctor_engines::{self, Found};
use super::doctor_site::{self, Check};
use super::node_run::tier;
use crate::connection::ConnectionArgs;
use crate::report::{Failure, Form};
use crate::{out, python};

/// Packages of images that people ask for.
const PACKAGES: [&str; 4] = ["numpy", "sklearn", "torch", "tensorflow"];

/// Options of `manta doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The weakest containment that would be enough.
    #[arg(long, value_name = "TIER", default_value = "rootless", value_parser = ["full", "rootless", "reduced"])]
    isolation_min: String,

    /// The Python interpreter for tasks [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,

    /// The data directory of a node or a manager of this machine: its disk is looked at, and the agent that runs with it.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What was found.
struct Findings {
    report: HostReport,
    image: HostImage,
    packages: Vec<&'static str>,
    /// None where no task can be contained at all.
    verdict: Option<Verdict>,
    engines: Vec<Found>,
    /// The machine beside containment.
    site: Vec<Check>,
}

/// Examines this machine. The launcher is a process made before any thread is.
pub(crate) fn main(args: &Args, form: Form) -> Result<ExitCode, Failure> {
    let found = examine(args)?;
    let floor = tier(&args.isolation_min);
    let problem = problem(&found, floor);
    match form {
        Form::Json => out::put_json(&as_json(&found, problem.is_none()))?,
        Form::Text => out::put(&as_text(&found))?,
    }
    problem.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn examine(args: &Args) -> Result<Findings, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::internal(format!("this program's own file is not known: {error}")))?;
    let launcher = Launcher::spawn(&program, &["__launcher"])
        .map_err(|error| Failure::internal(format!("the sandbox launcher cannot start: {error}")))?;
    let report = launcher.probe_blocking().map_err(|error| Failure::internal(error.to_string()))?;
    let python = python::find(args.python.as_deref())?;
    let image = HostImage::probe(&python).map_err(|error| Failure::new(ErrorCode::NoContainment, error.to_string()))?;
    let packages = PACKAGES.into_iter().filter(|package| image.has(package)).collect();
    let verdict = report.tier.map(|tier| judge(&launcher, tier, &image)).transpose()?;
    let engines = doctor_engines::examine(&program)?;
    let site = super::block_on(doctor_site::examine(args.data_dir.as_deref(), &args.connection))?;
    Ok(Findings { report, image, packages, verdict, engines, site })
}

/// Runs the probes in a sandbox of this machine's tier.
fn judge(launcher: &Launcher, tier: Tier, image: &HostImage) -> Result<Verdict, Failure> {
    let failed =
        |error: String| Failure::new(ErrorCode::NoContainment, format!("containment cannot be checked: {error}"));
    let dir = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let suite = ProbeSuite::install(&dir.path().join("probes")).map_err(|error| failed(error.to_string()))?;
    let findings = suite.run_blocking(launcher, suite.spec("doctor", tier, image, None));
    findings.map(|findings| Verdict::of(&findings)).map_err(|error| failed(error.to_string()))
}

/// Why this machine does not contain tasks as well as it should, if it does not.
fn problem(found: &Findings, floor: Tier) -> Option<Failure> {
    let refuse = |message: String| Some(Failure::new(ErrorCode::NoContainment, message));
    let cures: Vec<&str> = found.report.shortcomings.iter().map(|short| short.cure.as_str()).collect();
    let Some(tier) = found.report.tier.filter(|tier| tier.is_at_least(floor)) else {
        let best = found.report.tier.map_or("none", Tier::name);
        let failure =
            refuse(format!("this machine contains tasks at tier `{best}`, and `{}` is asked for", floor.name()))?;
        return Some(failure.hint(cures.first().copied().unwrap_or("use a newer kernel")));
    };
    let verdict = found.verdict.as_ref()?;
    if verdict.holds() {
        return doctor_site::problem(&found.site);
    }
    let names: Vec<&str> = verdict.allowed.iter().map(|finding| finding.name.as_str()).collect();
    refuse(format!("containment does not hold at tier `{}`: allowed: {}", tier.name(), names.join(", ")))
}

fn as_json(found: &Findings, enough: bool) -> serde_json::Value {
    let (major, minor, patch) = found.image.version();
    json!({
        "schema_version": SCHEMA_VERSION,
        "enough": enough,
        "host": found.report,
        "python": {
            "path": found.image.python(),
            "version": format!("{major}.{minor}.{patch}"),
            "packages": found.packages,
        },
        "containment": found.verdict.as_ref().map(|verdict| json!({
            "holds": verdict.holds(),
            "denied": verdict.denied,
            "allowed": verdict.allowed,
            "broken": verdict.broken,
            "untried": verdict.untried,
        })),
        "site": found.site.iter().map(Check::as_json).collect::<Vec<_>>(),
        "engines": found.engines.iter().map(Found::as_json).collect::<Vec<_>>(),
    })
}

fn as_text(found: &Findings) -> String {
    let Findings { report, image, packages, verdict, engines, site } = found;
    let controllers = if report.cgroup.controllers.is_empty() {
        "resource limits of each process; no control groups".to_owned()
    } else {
        format!("{} by control groups ({:?})", report.cgroup.controllers.join(", "), report.cgroup.version)
    };
    let (major, minor, patch) = image.version();
    let has = if packages.is_empty() { "no packages of images".to_owned() } else { packages.join(", ") };
    let mut lines = vec![
        format!("tier         {}", report.tier.map_or("none", Tier::name)),
        format!("kernel       {}, Landlock {}", report.kernel, report.landlock_abi),
        format!("limits       {controllers}"),
        format!("python       {} {major}.{minor}.{patch}, {has}", image.python().display()),
    ];
    if let Some(verdict) = verdict {
        let held = if verdict.holds() { "holds" } else { "DOES NOT HOLD" };
        let (denied, allowed) = (verdict.denied, verdict.allowed.len());
        lines.push(format!("containment  {held}: {denied} probes denied, {allowed} allowed"));
        let line = |what: &str, finding: &Finding| format!("  {what}: {} ({})", finding.name, finding.outcome);
        lines.extend(verdict.allowed.iter().map(|finding| line("allowed", finding)));
        lines.extend(verdict.broken.iter().map(|finding| line("does not work", finding)));
    }
    lines.extend(engines.iter().map(Found::as_text));
    lines.extend(site.iter().map(Check::as_text));
    for short in &report.shortcomings {
        lines.push(format!("missing      {}\n  cure: {}", short.what, short.cure));
    }
    lines.join("\n") + "\n"
}
