//! The wall clock jumps while work goes on; nothing depends on it but what people are shown.
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::cluster::{Cluster, Launch, Who};
use crate::drive::{Work, bring_back, running};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::workload::{Kind, persist};

const NODES: u32 = 2;
/// Offsets as libfaketime reads them, and the same in seconds.
const JUMPS: [(&str, i64); 4] =
    [("+3600", 3600), ("-3600", -3600), ("+315360000", 315_360_000), ("-315360000", -315_360_000)];
/// How far a shown time may be from the faked one, in seconds.
const NEAR_S: i64 = 600;
/// Where Debian and others keep the library.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

/// Jumps of the manager's clock, then of an agent's.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let mut cluster = Cluster::new(Site::new()?).start(NODES).await?;
    let mut findings = Vec::new();
    for (who, what) in [(Who::Manager, "clock jumps of the manager"), (Who::Node(NODES), "clock jumps of an agent")] {
        let finding = Finding::of("N7", format!("{what}, ± 1 h and ± 10 years"));
        findings.push(jumps(plan, &mut cluster, who, finding).await?);
    }
    cluster.stop().await?;
    Ok(findings)
}

async fn jumps(plan: Plan, cluster: &mut Cluster, who: Who, mut finding: Finding) -> Result<Finding> {
    let clock = Clock { file: cluster.site().root().join(format!("{}.clock", who.name())) };
    clock.jump("+0")?;
    cluster.end(who, Signal::TERM).await?;
    cluster.launch(who, &clock.launch()?)?;
    cluster.online(NODES).await?;
    let (client, mut work) = (cluster.client()?, Work::default());
    for _ in 0..plan.count(1, 12) {
        work.add(Kind::Hold);
        let held = work.submit_all(&client).await?;
        for id in held.values() {
            running(&client, *id).await?;
        }
        for (offset, seconds) in JUMPS {
            clock.jump(offset)?;
            let id = work.one(&client, Kind::Tally { iterations: 1 }).await?;
            if who == Who::Manager {
                shows_faked(&persist("a swarm", || client.swarm(id)).await?, seconds)?;
            }
            finding.fell_at(offset);
        }
        for id in held.values() {
            let events = persist("a history", || client.events(*id, 0)).await?;
            let lost: Vec<_> =
                events.iter().filter(|event| event.kind() == "attempt_lost").map(|event| &event.message).collect();
            ensure!(lost.is_empty(), "a clock that jumped made attempts lost: {lost:?}");
        }
        work.finish(&client).await?;
    }
    finding.seen = work.check_all(&client).await?;
    cluster.end(who, Signal::TERM).await?;
    bring_back(cluster, who, NODES).await?;
    Ok(finding)
}

/// Without this the jumps might have been none.
fn shows_faked(view: &manta_api::SwarmView, seconds: i64) -> Result<()> {
    let shown = i64::try_from(view.created_ms / 1000)?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let off = (shown - now - seconds).abs();
    ensure!(
        off < NEAR_S,
        "a swarm made while the clock was off by {seconds} s is shown {} s off: the clock was not faked",
        shown - now
    );
    Ok(())
}

/// A clock that another process reads.
struct Clock {
    file: PathBuf,
}

impl Clock {
    fn jump(&self, offset: &str) -> Result<()> {
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, format!("{offset}\n"))?;
        Ok(std::fs::rename(fresh, &self.file)?)
    }

    fn launch(&self) -> Result<Launch> {
        let library = LIBRARIES
            .iter()
            .find(|path| Path::new(path).exists())
            .context("libfaketime is where it is not looked for")?;
        let file = self.file.display().to_string();
        let environment = [
            ("LD_PRELOAD", *library),
            ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Ok(Launch { environment, ..Launch::default() })
    }
}
