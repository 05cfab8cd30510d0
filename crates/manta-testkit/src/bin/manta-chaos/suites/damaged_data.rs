//! Data directories that are locked, newer, truncated or damaged when a manager starts: found, named, never served, left as
//! they are.
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use manta_testkit::sim::Chance;
use rustix::process::Signal;

use crate::cluster::{Cluster, Launch, Who, tail};
use crate::disk::run as run_program;
use crate::drive::{Work, while_alive};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::workload::{Kind, Refused};

const NODES: u32 = 2;
/// Flipped bits in the short form, and in the long one.
const FLIPS: (u64, u64) = (24, 1000);
/// The file with the state.
const STATE: &str = "state.db";

/// Every kind of damage, each to a fresh copy of a directory that is well.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let mut bench = Bench::make().await?;
    let mut refused = Finding::of("S9", "data directory locked, newer or truncated at the start");
    bench.locked(&mut refused).await?;
    bench.refused("newer", "format", set_version(i64::from(i32::MAX)), &mut refused).await?;
    for share in [0, 1, 50, 99] {
        bench.refused("truncated", STATE, truncate(share), &mut refused).await?;
    }
    let mut flips = Finding::of("S6", "one bit flipped in the stored state");
    let mut chance = Chance::new(plan.seed);
    for _ in 0..plan.count(FLIPS.0, FLIPS.1) {
        let outcome = bench.flipped(&mut chance).await?;
        flips.fell_at(outcome);
    }
    bench.replace(|_| Ok(())).await?;
    bench.cluster.launch(Who::Manager, &Launch::default())?;
    bench.cluster.serving().await?;
    refused.seen = bench.work.check_all(&bench.cluster.client()?).await?;
    flips.seen = refused.seen.clone();
    let Bench { mut cluster, .. } = bench;
    cluster.end(Who::Manager, Signal::TERM).await?;
    cluster.stop().await?;
    Ok(vec![refused, flips])
}

/// A stopped cluster, what its clients know, and a copy of its manager's data.
struct Bench {
    cluster: Cluster,
    work: Work,
    well: PathBuf,
}

impl Bench {
    async fn make() -> Result<Self> {
        let mut cluster = Cluster::new(Site::new()?).start(NODES).await?;
        let mut work = Work::default();
        for _ in 0..3 {
            work.add(Kind::Tally { iterations: 2 });
        }
        work.finish(&cluster.client()?).await?;
        for who in [Who::Node(1), Who::Node(2), Who::Manager] {
            cluster.end(who, Signal::TERM).await?;
        }
        let well = cluster.site().root().join("well");
        copy(cluster.data_dir(), &well)?;
        Ok(Self { cluster, work, well })
    }

    /// Puts a fresh copy in place and damages it.
    async fn replace(&self, damage: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        std::fs::remove_dir_all(self.cluster.data_dir())?;
        copy(&self.well, self.cluster.data_dir())?;
        damage(&self.cluster.data_dir().join(STATE))
    }

    /// A second manager on the same directory.
    async fn locked(&mut self, finding: &mut Finding) -> Result<()> {
        self.cluster.launch(Who::Manager, &Launch::default())?;
        self.cluster.serving().await?;
        let mut second = std::process::Command::new(self.cluster.site().binary());
        second.args(["manager", "run", "--listen", "127.0.0.1:0", "--data-dir"]).arg(self.cluster.data_dir());
        self.cluster.site().furnish(&mut second);
        let ended = second.output()?;
        let words = String::from_utf8_lossy(&ended.stderr).into_owned();
        ensure!(
            !ended.status.success() && words.contains("process"),
            "a second manager ended with {}: {words}",
            ended.status
        );
        self.cluster.end(Who::Manager, Signal::TERM).await?;
        finding.fell_at("locked");
        Ok(())
    }

    /// The manager must not start, must name what is wrong, and must leave the file as it is.
    async fn refused(
        &mut self,
        what: &str,
        word: &str,
        damage: impl FnOnce(&Path) -> Result<()>,
        finding: &mut Finding,
    ) -> Result<()> {
        self.replace(damage).await?;
        let state = self.cluster.data_dir().join(STATE);
        let before = std::fs::read(&state)?;
        let log = self.cluster.log(Who::Manager);
        std::fs::write(&log, "")?;
        self.cluster.launch(Who::Manager, &Launch::default())?;
        let status =
            self.cluster.process(Who::Manager)?.end().await.with_context(|| format!("a manager over {what} data"))?;
        self.cluster.take_ended(Who::Manager)?;
        let words = std::fs::read_to_string(&log)?;
        ensure!(
            status.code().is_some_and(|code| code != 0),
            "over {what} data the manager ended with {status}:\n{words}"
        );
        ensure!(words.contains(word) && !words.contains("panicked"), "over {what} data the manager said:\n{words}");
        ensure!(std::fs::read(&state)? == before, "the manager changed {what} data that it refused");
        finding.fell_at(what);
        Ok(())
    }

    /// Flips a bit: the manager must refuse to start, or refuse what is damaged, or it was a bit that nothing depends on.
    async fn flipped(&mut self, chance: &mut Chance) -> Result<&'static str> {
        let mut place = 0;
        self.replace(|state| {
            let mut bytes = std::fs::read(state)?;
            place = chance.between(0, bytes.len() as u64 * 8);
            bytes[usize::try_from(place / 8)?] ^= 1 << (place % 8);
            Ok(std::fs::write(state, bytes)?)
        })
        .await?;
        let log = self.cluster.log(Who::Manager);
        std::fs::write(&log, "")?;
        self.cluster.launch(Who::Manager, &Launch::default())?;
        let (client, work) = (self.cluster.client()?, &mut self.work);
        let outcome = while_alive(&mut self.cluster, Who::Manager, async {
            Ok(match work.check_all(&client).await {
                Ok(seen) if seen.is_clean() => "of no consequence",
                Ok(seen) => bail!("bit {place} of the state was flipped and served: {:?}", seen.wrong),
                Err(error) if error.chain().any(|cause| cause.is::<Refused>()) => "refused when read",
                Err(error) => return Err(error.context(format!("bit {place} of the state was flipped and served"))),
            })
        })
        .await?;
        let words = std::fs::read_to_string(&log)?;
        ensure!(!words.contains("panicked"), "bit {place} of the state made the manager panic:\n{}", tail(&log));
        match outcome {
            Ok(outcome) => {
                self.cluster.end(Who::Manager, Signal::TERM).await?;
                Ok(outcome)
            }
            Err(status) => {
                ensure!(status.code().is_some_and(|code| code != 0), "bit {place} ended the manager with {status}");
                // A file, a swarm, a node, a key: whatever is damaged stands between backticks.
                let is_named = words.lines().any(|line| line.starts_with("error[") && line.contains('`'));
                ensure!(is_named, "bit {place} was refused without a name:\n{words}");
                Ok("refused at the start")
            }
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    run_program("cp", &["-a", &from, &to])
}

/// Claims a format.
fn set_version(version: i64) -> impl FnOnce(&Path) -> Result<()> {
    move |state| {
        let database = rusqlite::Connection::open(state)?;
        database.pragma_update(None, "user_version", version)?;
        Ok(database.pragma_update(None, "wal_checkpoint", "TRUNCATE").or_else(|error| match error {
            rusqlite::Error::ExecuteReturnedResults => Ok(()),
            other => Err(other),
        })?)
    }
}

/// Keeps so many of a hundred parts.
fn truncate(share: u64) -> impl FnOnce(&Path) -> Result<()> {
    move |state| {
        let file = std::fs::OpenOptions::new().write(true).open(state)?;
        let length = file.metadata()?.len();
        Ok(file.set_len(length * share / 100)?)
    }
}
