//! A manager that ends while it brings an older format up to date: started again, it finds and makes the same as one that
//! was never ended.
use std::os::unix::process::ExitStatusExt as _;

use anyhow::{Context as _, Result, ensure};
use manta_types::crash::MIGRATION;
use rustix::process::Signal;

use crate::cluster::{Cluster, Launch, Who, tail};
use crate::drive::bring_back;
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;

/// What older formats wrote, by format. Rows of format 3 have checksums over the name of their cluster, so they can be given
/// to no other; the step from there is taken on the way from the older ones.
const SAMPLES: [(u64, &str); 2] = [
    (1, include_str!("../../../../../manta-store/src/sqlite/samples/format-1.sql")),
    (2, include_str!("../../../../../manta-store/src/sqlite/samples/format-2.sql")),
];

/// Every point of every step from every format.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let mut finding = Finding::of("M5", "kill -9 while an older format is brought up to date");
    for (format, sample) in SAMPLES {
        let (whole, present) = migrated(sample, None, &mut finding).await?;
        ensure!(whole["swarms"] == 2, "a migrated sample of format {format} holds {whole}");
        for point in MIGRATION {
            // Kept once, whatever the steps; each step passes the others once.
            let passes = if *point == MIGRATION[0] { 1 } else { present - format };
            for pass in 1..=passes {
                for _ in 0..plan.count(1, 5) {
                    let (found, _) = migrated(sample, Some((point, pass)), &mut finding).await?;
                    finding.seen.acknowledged += found["events"].as_u64().context("a scrub counts events")?;
                    if found != whole {
                        let what = format!("format {format} ended at {point}:{pass}: {found}, not {whole}");
                        finding.seen.wrong.lost.insert(what);
                    }
                }
            }
        }
    }
    Ok(vec![finding])
}

/// Brings a sample up to date, ended once at a point where one is given: what a check of all that is stored then finds, and the
/// format that it is in.
async fn migrated(sample: &str, end: Option<(&str, u64)>, finding: &mut Finding) -> Result<(serde_json::Value, u64)> {
    let mut cluster = Cluster::new(Site::new()?);
    std::fs::create_dir(cluster.data_dir())?;
    let state = cluster.data_dir().join("state.db");
    // Of a cluster that this manager does not run, whose swarms it keeps and leaves alone.
    rusqlite::Connection::open(&state)?.execute_batch(&sample.replace("'default'", "'another'"))?;
    if let Some((point, pass)) = end {
        cluster.launch(Who::Manager, &Launch::until(point, pass))?;
        let status = cluster.process(Who::Manager)?.end().await?;
        cluster.take_ended(Who::Manager)?;
        let words = tail(&cluster.log(Who::Manager));
        ensure!(status.signal() == Some(Signal::KILL.as_raw()), "not at {point}:{pass} but with {status}:\n{words}");
        finding.fell_at(point);
    }
    let back = bring_back(&mut cluster, Who::Manager, 0).await?;
    if end.is_some() {
        finding.recovery.push(back);
    }
    cluster.end(Who::Manager, Signal::TERM).await?;
    let dir = cluster.data_dir().display().to_string();
    let scrub = cluster.site().manta(&["--json", "manager", "scrub", "--data-dir", &dir], None)?;
    let words = String::from_utf8_lossy(&scrub.stderr).into_owned();
    let found = serde_json::from_slice(&scrub.stdout).with_context(|| format!("a scrub said:\n{words}"))?;
    let format: i64 = rusqlite::Connection::open(&state)?.pragma_query_value(None, "user_version", |row| row.get(0))?;
    cluster.stop().await?;
    Ok((found, u64::try_from(format)?))
}
