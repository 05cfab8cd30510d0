//! `manta manager backup` and `restore` that end under way: what has its name is whole, what is not whole is refused in one
//! sentence, and the same command again does it.
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Output;

use anyhow::{Result, ensure};
use manta_types::crash::{BACKUP, RESTORE};
use rustix::process::Signal;

use crate::cluster::{Cluster, Who};
use crate::drive::{Work, bring_back};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::workload::Kind;

const NODES: u32 = 2;

/// Which of the two commands is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Backup,
    Restore,
}

/// Every point of both commands.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let mut trials = Trials {
        cluster: Cluster::new(Site::new()?).start(NODES).await?,
        work: Work::default(),
        finding: Finding::of("S8", "kill -9 while a backup is made or brought back"),
    };
    for _ in 0..plan.count(1, 5) {
        for (verb, points) in [(Verb::Backup, BACKUP), (Verb::Restore, RESTORE)] {
            for point in points {
                trials.one(verb, point).await?;
            }
        }
    }
    let Trials { cluster, mut work, mut finding } = trials;
    finding.seen += work.check_all(&cluster.client()?).await?;
    cluster.stop().await?;
    Ok(vec![finding])
}

/// A cluster that goes on from the last backup that was brought back.
struct Trials {
    cluster: Cluster,
    work: Work,
    finding: Finding,
}

impl Trials {
    /// Backs up beside the running manager and brings it back, one of both ended at a point; then the cluster goes on there.
    async fn one(&mut self, verb: Verb, point: &'static str) -> Result<()> {
        self.work.add(Kind::Tally { iterations: 2 });
        self.work.finish(&self.cluster.client()?).await?;
        let number = self.finding.trials;
        let root = self.cluster.site().root().to_owned();
        let place = |name: &str| root.join(format!("{name}-{number}"));
        let (backup, restored, spare) = (place("backup"), place("restored"), place("spare"));
        let data = self.cluster.data_dir().to_owned();

        if verb == Verb::Backup {
            self.ended_at(point, &Self::backup(&data, &backup))?;
            if !backup.exists() {
                let words = self.refused(&Self::restore(&backup, &spare))?;
                ensure!(!spare.exists(), "a backup that was never finished was brought back: {words}");
            }
        }
        self.done_unless_there(&Self::backup(&data, &backup), &backup)?;
        if verb == Verb::Restore {
            self.ended_at(point, &Self::restore(&backup, &restored))?;
        }
        self.done_unless_there(&Self::restore(&backup, &restored), &restored)?;

        self.cluster.end(Who::Manager, Signal::TERM).await?;
        std::fs::rename(&data, place("before"))?;
        std::fs::rename(&restored, &data)?;
        self.finding.recovery.push(bring_back(&mut self.cluster, Who::Manager, NODES).await?);
        self.cluster.online(NODES).await?;
        self.finding.fell_at(point);
        self.finding.seen += self.work.check_all(&self.cluster.client()?).await?;
        Ok(())
    }

    fn backup(data: &Path, to: &Path) -> Vec<String> {
        ["manager", "backup", "--data-dir", &data.display().to_string(), &to.display().to_string()]
            .map(str::to_owned)
            .into()
    }

    fn restore(from: &Path, data: &Path) -> Vec<String> {
        ["manager", "restore", "--data-dir", &data.display().to_string(), &from.display().to_string()]
            .map(str::to_owned)
            .into()
    }

    fn manta(&self, words: &[String], crash: Option<&str>) -> Result<Output> {
        self.cluster.site().manta(&words.iter().map(String::as_str).collect::<Vec<_>>(), crash)
    }

    fn ended_at(&self, point: &str, words: &[String]) -> Result<()> {
        let output = self.manta(words, Some(point))?;
        let is_killed = output.status.signal() == Some(Signal::KILL.as_raw());
        ensure!(is_killed, "`{}` ended with {}, not at `{point}`", words.join(" "), output.status);
        Ok(())
    }

    /// It does it; where its target had its name already, it says so, and the target is whole.
    fn done_unless_there(&self, words: &[String], target: &Path) -> Result<()> {
        if target.exists() {
            let said = self.refused(words)?;
            ensure!(said.contains(&target.display().to_string()), "the refusal does not name what is there: {said}");
            return Ok(());
        }
        let output = self.manta(words, None)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() && target.exists(), "`{}` said: {said}", words.join(" "));
        Ok(())
    }

    /// It is refused in one sentence, which is given.
    fn refused(&self, words: &[String]) -> Result<String> {
        let output = self.manta(words, None)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let errors = said.lines().filter(|line| line.starts_with("error")).count();
        let is_refused =
            output.status.code().is_some_and(|code| code != 0) && errors == 1 && !said.contains("panicked");
        ensure!(is_refused, "`{}` ended with {} and said: {said}", words.join(" "), output.status);
        Ok(said)
    }
}
