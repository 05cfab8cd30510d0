//! Whether containment holds on this host: what the probe suite says, kept from one start of an agent to the next.
//!
//! The suite runs in a sandbox like any task's. Its verdict counts for one boot, kernel, program, interpreter and tier; an
//! attempt waits only where there is none, and is refused where a probe was allowed. Agents of one machine that keep their
//! verdicts in one place run the suite once. Warm ways of starting have a verdict of their own, and are not used before it is there.
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use manta_sandbox::{
    Engine, Finding, HostImage, ProbeError, ProbeRoot, ProbeSuite, SandboxError, SandboxSpec, Start, StartWay,
    Template, Tier, Verdict,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::home::{private_dir, replace};
use crate::host::own_program;
use crate::supervisor::blocking;
use crate::{OnAllowedProbe, Settings};

/// How old a verdict may get before the suite runs again in the background.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How soon a run that gave no verdict is repeated; twice as long each time.
const AGAIN: Duration = Duration::from_secs(30);
/// How often that is doubled.
const DOUBLINGS_MAX: u32 = 6;
/// How often it is looked whether another agent of this machine is done with its run.
const LOOK: Duration = Duration::from_millis(50);
/// The sandbox's id.
const SANDBOX: &str = "containment";
/// The same where it is started warm, and the name of the template that it is started from.
const WARM_SANDBOX: &str = "containment_warm";

/// What this node knows about its containment.
pub(crate) struct Containment {
    /// Where verdicts are kept, by tier.
    verdicts: PathBuf,
    /// Where the suite is written.
    suite: PathBuf,
    now: Circumstances,
    starts: Starts,
    on_allowed: OnAllowedProbe,
    known: watch::Sender<Option<Result<Checked, String>>>,
}

/// The ways of starting that a verdict is on.
#[derive(Debug, Clone)]
pub(crate) enum Starts {
    /// The interpreter is started anew.
    Cold,
    /// It is forked from such a zygote, on demand and ahead.
    Warm {
        template: Box<Template>,
        /// The digest of the stored image that it is of; the host's without it.
        image: Option<String>,
    },
}

/// What a verdict counts for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Circumstances {
    boot: String,
    kernel: String,
    /// Device, inode, size and time of this program's file.
    program: String,
    python: PathBuf,
    /// The digest of a stored image; the host's without it.
    #[serde(default)]
    image: Option<String>,
    /// The launcher, or a container engine with its version and socket.
    #[serde(default)]
    engine: String,
    tier: Tier,
}

/// A verdict, when it was found and for what it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Checked {
    counts_for: Circumstances,
    at: Timestamp,
    verdict: Verdict,
}

impl Containment {
    /// Takes what an earlier run found, if it still counts.
    pub(crate) fn open(
        settings: &Settings,
        suite: PathBuf,
        engine: &dyn Engine,
        (tier, kernel): (Tier, &str),
        image: &HostImage,
        starts: Starts,
    ) -> Self {
        let now = Circumstances {
            boot: read_line("/proc/sys/kernel/random/boot_id"),
            kernel: kernel.to_owned(),
            program: own_program(),
            python: image.python().to_owned(),
            image: None,
            engine: engine.describe(),
            tier,
        };
        let verdicts = settings.machine_cache.as_ref().unwrap_or(&settings.data_dir).join("containment");
        let known = watch::Sender::new(kept(&file(&verdicts, &now, &starts), &now).map(Ok));
        Self { verdicts, suite, now, starts, on_allowed: settings.on_allowed_probe, known }
    }

    /// The same for what is forked from the zygote of a stored image: an image brings an interpreter of its own. Reads a file.
    pub(crate) fn of_image(&self, template: Template, image: String) -> Self {
        let python = PathBuf::from(&template.argv[0]);
        let now = Circumstances { python, image: Some(image.clone()), ..self.now.clone() };
        let starts = Starts::Warm { template: Box::new(template), image: Some(image) };
        let known = watch::Sender::new(kept(&file(&self.verdicts, &now, &starts), &now).map(Ok));
        let (verdicts, suite) = (self.verdicts.clone(), self.suite.clone());
        Self { verdicts, suite, now, starts, on_allowed: self.on_allowed, known }
    }

    /// Forgets what was kept, of what is not there any more.
    pub(crate) fn forget(&self) {
        // What is not there is forgotten; what cannot be removed counts for nothing else.
        let _ = fs::remove_file(file(&self.verdicts, &self.now, &self.starts));
    }

    /// Waits until it is known whether containment holds.
    ///
    /// # Errors
    /// A sentence why no task may run here.
    pub(crate) async fn held(&self) -> Result<(), String> {
        let mut known = self.known.subscribe();
        match known.wait_for(Option::is_some).await {
            Ok(found) => self.judge(found.as_ref()),
            Err(_) => Err("the agent stopped before its containment was checked".to_owned()),
        }
    }

    /// Whether it is known already that containment holds.
    ///
    /// # Errors
    /// A sentence why not.
    pub(crate) fn held_already(&self) -> Result<(), String> {
        let known = self.known.borrow();
        if known.is_none() { Err(self.note_of(None)) } else { self.judge(known.as_ref()) }
    }

    /// Why no task may run here, as far as it is known already.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.judge(self.known.borrow().as_ref()).err()
    }

    fn judge(&self, found: Option<&Result<Checked, String>>) -> Result<(), String> {
        match (self.on_allowed, found) {
            (OnAllowedProbe::Warn, _) | (_, None) => Ok(()),
            (_, Some(Ok(checked))) if checked.verdict.holds() => Ok(()),
            (_, Some(_)) => Err(self.note_of(found)),
        }
    }

    /// What a person who looks at this node should know.
    pub(crate) fn note(&self) -> String {
        self.note_of(self.known.borrow().as_ref())
    }

    fn note_of(&self, found: Option<&Result<Checked, String>>) -> String {
        let told = found.map_or_else(|| "containment is being checked".to_owned(), sentence);
        match &self.starts {
            Starts::Cold => told,
            Starts::Warm { image: None, .. } => format!("warm starts: {told}"),
            Starts::Warm { image: Some(image), .. } => format!("warm starts in `{image}`: {told}"),
        }
    }

    /// Runs the suite where there is no verdict or an old one, again and again until the agent stops; says each time that
    /// something new is known.
    pub(crate) async fn keep(
        &self,
        engine: &Arc<dyn Engine>,
        image: &HostImage,
        stop: &CancellationToken,
        changed: impl Fn(),
    ) {
        let mut failures = 0;
        loop {
            let age = match &*self.known.borrow() {
                Some(Ok(checked)) => Timestamp::now().duration_since(checked.at).unsigned_abs(),
                _ => Duration::MAX,
            };
            if age >= AGE_MAX {
                self.check(engine, image, stop).await;
                if stop.is_cancelled() {
                    return;
                }
                changed();
            }
            let wait = match &*self.known.borrow() {
                Some(Ok(_)) => AGE_MAX.saturating_sub(age.min(AGE_MAX)).max(AGAIN),
                _ => {
                    failures += 1;
                    AGAIN * (1 << (failures - 1).min(DOUBLINGS_MAX))
                }
            };
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    async fn check(&self, engine: &Arc<dyn Engine>, image: &HostImage, stop: &CancellationToken) {
        let Some(turn) = stop.run_until_cancelled(self.turn()).await else { return };
        let found = match turn {
            Ok(Turn::Found(checked)) => Ok(*checked),
            Ok(Turn::Ours(_lock)) => self.run(engine, image, stop).await,
            Err(error) => Err(format!("containment cannot be checked: `{}`: {error}", self.verdicts.display())),
        };
        if found.is_err() && stop.is_cancelled() {
            return;
        }
        match &found {
            Ok(checked) if checked.verdict.holds() => {
                tracing::info!(tier = self.now.tier.name(), "{}", self.note_of(Some(&found)))
            }
            _ => tracing::warn!(tier = self.now.tier.name(), "{}", self.note_of(Some(&found))),
        }
        self.known.send_replace(Some(found));
    }

    /// Waits until no other run of the same kind is made on this machine, or one has found this verdict.
    async fn turn(&self) -> io::Result<Turn> {
        private_dir(&self.verdicts)?;
        let path = file(&self.verdicts, &self.now, &self.starts);
        // Of one kind one at a time: they have a sandbox's name and a directory in common.
        let kind = if matches!(self.starts, Starts::Cold) { "cold" } else { "warm" };
        let lock = self.verdicts.join(format!("{}-{kind}.lock", self.now.stem()));
        let lock = File::options().create(true).truncate(false).write(true).open(lock)?;
        loop {
            let taken = lock.try_lock();
            // Looked at after the lock: who had it until now has written first.
            if let Some(checked) = kept(&path, &self.now).filter(is_new) {
                return Ok(Turn::Found(Box::new(checked)));
            }
            match taken {
                Ok(()) => return Ok(Turn::Ours(lock)),
                Err(TryLockError::WouldBlock) => sleep(LOOK).await,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Runs the suite's short form and keeps what it finds.
    async fn run(
        &self,
        engine: &Arc<dyn Engine>,
        image: &HostImage,
        stop: &CancellationToken,
    ) -> Result<Checked, String> {
        let running = self.probe(&**engine, image);
        tokio::pin!(running);
        let findings = tokio::select! {
            findings = &mut running => findings,
            () = stop.cancelled() => loop {
                // Again and again: its sandbox may be about to start.
                match self.starts {
                    Starts::Cold => engine.kill(SANDBOX),
                    Starts::Warm { .. } => {
                        engine.let_go(WARM_SANDBOX);
                        engine.kill(WARM_SANDBOX);
                    }
                }
                if let Ok(cut) = timeout(LOOK, &mut running).await {
                    break cut;
                }
            },
        };
        let findings = findings.map_err(|error| format!("containment cannot be checked: {error}"))?;
        let checked = Checked { counts_for: self.now.clone(), at: Timestamp::now(), verdict: Verdict::of(&findings) };
        if let Err(error) = keep(&file(&self.verdicts, &self.now, &self.starts), &checked) {
            tracing::warn!(%error, "the verdict on containment cannot be kept; it is found again at the next start");
        }
        Ok(checked)
    }

    async fn probe(&self, engine: &dyn Engine, image: &HostImage) -> Result<Vec<Finding>, CheckError> {
        let dir = self.suite.clone();
        let suite = blocking(move || ProbeSuite::install(&dir)).await?;
        let Starts::Warm { template, image: stored } = &self.starts else {
            let spec = suite.spec(SANDBOX, self.now.tier, image, None);
            return Ok(suite.run(engine, spec).await?.1);
        };
        let root = match stored {
            None => image.into(),
            Some(_) => ProbeRoot {
                python: &self.now.python,
                mounts: &template.mounts,
                links: &template.links,
                is_of_image: true,
            },
        };
        let spec = suite.spec(SANDBOX, self.now.tier, root, None);
        let found = probe_warm(engine, &suite, &spec, template).await;
        engine.let_go(WARM_SANDBOX);
        found
    }
}

/// Runs the suite in what is forked on demand, and in what waited.
async fn probe_warm(
    engine: &dyn Engine,
    suite: &ProbeSuite,
    cold: &SandboxSpec,
    template: &Template,
) -> Result<Vec<Finding>, CheckError> {
    let mut findings = Vec::new();
    for (way, standbys) in [(StartWay::Fork, 0), (StartWay::Standby, 1)] {
        let template = Template { name: WARM_SANDBOX.to_owned(), standbys, ..template.clone() };
        let own = template.mounts.iter().filter(|mount| !cold.mounts.contains(mount));
        let spec = SandboxSpec {
            id: WARM_SANDBOX.to_owned(),
            mounts: cold.mounts.iter().chain(own).cloned().collect(),
            hostname: template.hostname.clone(),
            template: Some(template.name.clone()),
            ..cold.clone()
        };
        engine.keep_warm(template)?;
        let zygote = engine.warmth().await?.into_iter().find(|row| row.name == WARM_SANDBOX).map(|row| row.zygote);
        if let Some(Err(why)) = zygote {
            return Err(CheckError::Zygote(why));
        }
        let (start, found) = suite.run(engine, spec).await?;
        if start.way != way {
            return Err(CheckError::Way { wanted: way, start });
        }
        findings.extend(found.into_iter().map(|one| Finding { name: format!("{}, {}", way.name(), one.name), ..one }));
    }
    Ok(findings)
}

/// What waiting for one's turn gave.
enum Turn {
    /// The suite is run here; the file keeps the others waiting.
    Ours(File),
    /// Another agent of this machine has just found it.
    Found(Box<Checked>),
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("there is nothing to fork from: {0}")]
    Zygote(String),
    #[error("a {} start was wanted, and it was {start}", wanted.name())]
    Way { wanted: StartWay, start: Start },
}

impl From<io::Error> for CheckError {
    fn from(error: io::Error) -> Self {
        Self::Probe(error.into())
    }
}

/// One sentence for people.
fn sentence(found: &Result<Checked, String>) -> String {
    let Checked { at, verdict, .. } = match found {
        Ok(checked) => checked,
        Err(why) => return why.clone(),
    };
    let at = at.strftime("%Y-%m-%d %H:%M UTC");
    if let Some(first) = verdict.allowed.first() {
        let more = match verdict.allowed.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let what = &first.name;
        let of = verdict.allowed.len() + verdict.denied as usize;
        return format!(
            "containment does not hold: of {of} probes `{what}`{more} was allowed ({}; {at})",
            first.outcome
        );
    }
    if verdict.denied == 0 {
        return format!("containment does not hold: no probe was tried ({at})");
    }
    let broken: Vec<&str> = verdict.broken.iter().map(|finding| finding.name.as_str()).collect();
    let broken = if broken.is_empty() { String::new() } else { format!("; does not work here: {}", broken.join(", ")) };
    format!("containment holds: all {} probes were denied ({at}){broken}", verdict.denied)
}

fn is_new(checked: &Checked) -> bool {
    Timestamp::now().duration_since(checked.at).unsigned_abs() < AGE_MAX
}

/// One file for each tier of the launcher and way of starting, of each stored image, and of each container engine.
fn file(verdicts: &Path, now: &Circumstances, starts: &Starts) -> PathBuf {
    let name = match starts {
        Starts::Cold => now.stem(),
        Starts::Warm { image: None, .. } => format!("{}-warm", now.stem()),
        Starts::Warm { image: Some(image), .. } => format!("{}-warm-{}", now.stem(), image.replace(':', "-")),
    };
    verdicts.join(format!("{name}.json"))
}

impl Circumstances {
    fn stem(&self) -> String {
        let engine = self.engine.split(' ').next().filter(|engine| ["docker", "podman", "gvisor"].contains(engine));
        engine.map_or_else(|| self.tier.name().to_owned(), |engine| format!("{engine}-{}", self.tier.name()))
    }
}

/// What was kept, if it can be read and counts.
fn kept(path: &Path, now: &Circumstances) -> Option<Checked> {
    let checked: Checked = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (checked.counts_for == *now).then_some(checked)
}

fn keep(path: &Path, checked: &Checked) -> io::Result<()> {
    replace(path, &serde_json::to_vec(checked)?)
}

fn read_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use manta_sandbox::FindingState;

    use super::*;

    fn finding(state: FindingState) -> Finding {
        let text = str::to_owned;
        Finding { name: text("files: read it"), state, outcome: text("got"), detail: text("x"), heard: text("") }
    }

    fn checked(states: &[FindingState]) -> Checked {
        let findings: Vec<Finding> = states.iter().map(|state| finding(*state)).collect();
        let text = str::to_owned;
        let counts_for = Circumstances {
            boot: text("b"),
            kernel: text("k"),
            program: text("p"),
            python: PathBuf::from("/usr/bin/python3"),
            image: None,
            engine: text("builtin"),
            tier: Tier::Rootless,
        };
        Checked { counts_for, at: Timestamp::UNIX_EPOCH, verdict: Verdict::of(&findings) }
    }

    #[test]
    fn sentences_count_the_probes_and_name_what_was_allowed() {
        let denied = [FindingState::Denied; 3];
        assert_eq!(
            sentence(&Ok(checked(&denied))),
            "containment holds: all 3 probes were denied (1970-01-01 00:00 UTC)"
        );
        let found = [&denied[..], &[FindingState::Allowed, FindingState::Unclear]].concat();
        assert_eq!(
            sentence(&Ok(checked(&found))),
            "containment does not hold: of 5 probes `files: read it` and 1 more was allowed (got; 1970-01-01 00:00 UTC)"
        );
        assert!(sentence(&Ok(checked(&[]))).contains("no probe was tried"));
        let broken = sentence(&Ok(checked(&[FindingState::Denied, FindingState::Broken])));
        assert!(broken.starts_with("containment holds") && broken.ends_with("does not work here: files: read it"));
    }

    #[test]
    fn a_verdict_of_an_image_counts_for_that_image_alone() {
        let dir = tempfile::tempdir().unwrap();
        let of = |image: &str| host(dir.path()).of_image(template(), format!("sha256:{image}"));
        let (one, other) = (of("1"), of("2"));
        let waits = one.held_already().unwrap_err();
        assert_eq!(waits, "warm starts in `sha256:1`: containment is being checked");
        let found = checked(&[FindingState::Denied]);
        keep(&file(dir.path(), &one.now, &one.starts), &Checked { counts_for: one.now.clone(), ..found }).unwrap();
        assert_eq!(of("1").held_already(), Ok(()));
        assert!(of("2").held_already().is_err() && other.held_already().is_err());
        let elsewhere = Template { argv: vec!["/usr/bin/python3".to_owned()], ..template() };
        assert!(host(dir.path()).of_image(elsewhere, "sha256:1".to_owned()).held_already().is_err());
    }

    #[tokio::test]
    async fn who_waits_for_anothers_run_takes_what_it_finds_before_it_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (host(dir.path()), host(dir.path()));
        let Ok(Turn::Ours(lock)) = one.turn().await else { panic!("nobody else runs the suite") };
        let waiting = other.turn();
        let finding = async {
            let found = Checked { at: Timestamp::now(), ..checked(&[FindingState::Denied]) };
            keep(&file(dir.path(), &one.now, &one.starts), &found).unwrap();
            found
        };
        let (turn, found) = tokio::join!(waiting, finding);
        assert!(matches!(turn, Ok(Turn::Found(taken)) if *taken == found));
        drop(lock);
    }

    #[tokio::test]
    async fn warm_starts_are_probed_beside_cold_ones_and_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let warm = host(dir.path());
        let cold = Containment { starts: Starts::Cold, ..host(dir.path()) };
        let image = warm.of_image(template(), "sha256:1".to_owned());
        let (one, other) = (warm.turn().await, cold.turn().await);
        assert!(matches!((&one, &other), (Ok(Turn::Ours(_)), Ok(Turn::Ours(_)))));
        assert!(tokio::time::timeout(2 * LOOK, image.turn()).await.is_err(), "it has its sandbox's name in common");
        drop(one);
        assert!(matches!(image.turn().await, Ok(Turn::Ours(_))));
    }

    fn template() -> Template {
        let text = str::to_owned;
        Template {
            name: text("t"),
            argv: vec![text("/opt/python")],
            env: Vec::new(),
            mounts: Vec::new(),
            links: Vec::new(),
            hostname: text("n"),
            memory_bytes: 1,
            standbys: 0,
            forks_max: 1,
            age_ms_max: 1,
            idle_ms_max: 1,
            reserve_bytes: 0,
        }
    }

    fn host(verdicts: &Path) -> Containment {
        let starts = Starts::Warm { template: Box::new(template()), image: None };
        let now = checked(&[]).counts_for;
        let on_allowed = OnAllowedProbe::Refuse;
        Containment {
            verdicts: verdicts.to_owned(),
            suite: PathBuf::new(),
            now,
            starts,
            on_allowed,
            known: watch::Sender::new(None),
        }
    }

    #[test]
    fn a_kept_verdict_counts_for_its_own_circumstances_alone() {
        let dir = tempfile::tempdir().unwrap();
        let checked = checked(&[FindingState::Denied]);
        let mine = checked.counts_for.clone();
        let path = file(dir.path(), &mine, &Starts::Cold);
        let docker = Circumstances { engine: "docker 27.0 at `/run/docker.sock`".to_owned(), ..mine.clone() };
        assert_eq!(file(dir.path(), &docker, &Starts::Cold), dir.path().join("docker-rootless.json"));
        keep(&path, &checked).unwrap();
        assert_eq!(kept(&path, &mine), Some(checked));
        let others = [
            Circumstances { boot: "another".to_owned(), ..mine.clone() },
            Circumstances { kernel: "another".to_owned(), ..mine.clone() },
            Circumstances { program: "another".to_owned(), ..mine.clone() },
            Circumstances { python: PathBuf::from("/opt/python"), ..mine.clone() },
            Circumstances { image: Some("sha256:00".to_owned()), ..mine.clone() },
            Circumstances { tier: Tier::Full, ..mine.clone() },
            docker,
        ];
        for other in others {
            assert_eq!(kept(&path, &other), None, "{other:?}");
        }
        fs::write(&path, b"{").unwrap();
        assert_eq!(kept(&path, &mine), None);
    }
}
