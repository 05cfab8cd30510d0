//! A manager that ends while it lets go what is no longer kept: what is kept stays whole, and the rest goes after all.
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use manta_store::{BlobStore as _, DirBlobs};
use manta_types::Digest;
use manta_types::crash::UPKEEP;
use rustix::process::Signal;

use crate::cluster::{Cluster, Launch, Who, tail};
use crate::drive::Work;
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::wait::until;
use crate::workload::{Kind, persist};

const NODES: u32 = 2;
/// Swarms that have ended before upkeep, all but one of which go.
const SWARMS: usize = 3;
/// The spans of upkeep are divided by it: the first round comes at once, and blobs nobody names stay for a second.
const HASTE: u32 = 100_000;
/// How long it may take until all is gone that shall go.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// Every point, each over swarms of its own.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let mut finding = Finding::of("S10", "kill -9 while swarms and blobs are let go");
    let mut cluster = Cluster::new(Site::new()?).start(NODES).await?;
    let mut work = Work::default();
    for _ in 0..plan.count(1, 5) {
        for point in UPKEEP {
            one(&mut cluster, &mut work, point, &mut finding).await?;
        }
    }
    cluster.stop().await?;
    Ok(vec![finding])
}

async fn one(cluster: &mut Cluster, work: &mut Work, point: &'static str, finding: &mut Finding) -> Result<()> {
    let client = cluster.client()?;
    let (mut values, mut last) = (BTreeSet::<Digest>::new(), None);
    for _ in 0..SWARMS {
        if let Some(before) = last.replace(work.one(&client, Kind::Tally { iterations: 2 }).await?) {
            let results = persist("results", || client.results(before)).await?;
            values.extend(results.iter().map(|result| result.blob.digest));
        }
    }
    let values: Vec<_> = values.into_iter().collect();
    cluster.end(Who::Manager, Signal::TERM).await?;

    let launch = Launch {
        arguments: ["--keep-swarms", "1"].map(str::to_owned).into(),
        environment: vec![("MANTA_CRASH_HASTE".to_owned(), HASTE.to_string())],
        ..Launch::default()
    };
    cluster.launch(Who::Manager, &Launch { crash: Some((point.to_owned(), 1)), ..launch.clone() })?;
    let status = cluster.process(Who::Manager)?.end().await?;
    cluster.take_ended(Who::Manager)?;
    let words = tail(&cluster.log(Who::Manager));
    ensure!(status.signal() == Some(Signal::KILL.as_raw()), "not at `{point}` but with {status}:\n{words}");
    finding.fell_at(point);

    cluster.launch(Who::Manager, &launch)?;
    finding.recovery.push(cluster.serving().await?);
    // Beside the manager: to ask it for a blob is to have it kept.
    let blobs = DirBlobs::beside(&cluster.data_dir().join("blobs"));
    until(GONE_WITHIN, "letting go of what is not kept", async || {
        let kept: Vec<_> = persist("a list of swarms", || client.swarms()).await?.iter().map(|view| view.id).collect();
        let mut left = 0;
        for digest in &values {
            left += usize::from(blobs.size(digest)?.is_some());
        }
        let is_done = kept.as_slice() == last.as_slice() && left == 0;
        Ok((!is_done).then(|| format!("kept {kept:?}, and {left} of {} values", values.len())))
    })
    .await?;
    if let Some(kept) = last {
        finding.seen += work.check(&client, kept).await?;
    }
    cluster.end(Who::Manager, Signal::TERM).await?;
    cluster.launch(Who::Manager, &Launch::default())?;
    cluster.serving().await?;
    cluster.online(NODES).await.map(drop)
}
