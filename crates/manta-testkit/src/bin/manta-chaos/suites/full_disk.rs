//! A disk that fills: what cannot be kept is refused in words, what needs no space still works, and it goes on by itself.
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use manta_api::ErrorCode;
use manta_client::Client;

use crate::cluster::{Cluster, Who};
use crate::disk::SmallDisk;
use crate::drive::{Work, bring_back, running, while_alive};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::wait::until;
use crate::workload::Kind;

const NODES: u32 = 2;
const DISK_MIB: u64 = 32;
/// What is left free when the disk is nearly full: less than the manager keeps in reserve.
const NEARLY: u64 = 2 << 20;
/// How long it may take until a full disk is noticed, and until there is space again.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// Nearly full, then wholly.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let site = Site::new()?;
    let disk = SmallDisk::mount(&site, DISK_MIB)?;
    let mut cluster = Cluster::new(site).with_data_dir(&disk.dir().join("m")).start(NODES).await?;
    let mut finding = Finding::of("S2", "full disk under the manager's data");
    let mut work = Work::default();
    for _ in 0..plan.count(1, 20) {
        nearly_full(&cluster, &disk, &mut work, &mut finding).await?;
        wholly_full(&mut cluster, &disk, &mut work, &mut finding).await?;
    }
    finding.seen = work.check_all(&cluster.client()?).await?;
    cluster.stop_before(disk).await?;
    Ok(vec![finding])
}

/// New values are refused, reading and stopping work, and it goes on when there is space, without anyone's help.
async fn nearly_full(cluster: &Cluster, disk: &SmallDisk, work: &mut Work, finding: &mut Finding) -> Result<()> {
    let client = cluster.client()?;
    work.add(Kind::Hold);
    for id in work.submit_all(&client).await?.values() {
        running(&client, *id).await?;
    }
    let filler = disk.fill(NEARLY)?;
    let trial = finding.trials;
    let mut tries = 0;
    let mut value = || {
        tries += 1;
        format!("a value that nobody stored before: {trial} {tries}")
    };
    until(NOTICED_WITHIN, "a refusal of new values", async || match put(&client, &value()).await {
        Ok(()) => Ok(Some("a value was taken".to_owned())),
        Err(problem) => {
            let is_said = problem.code == ErrorCode::Storage.code() && problem.message.contains("disk is full");
            ensure!(is_said, "a full disk was refused as {} {problem}", problem.code);
            Ok(None)
        }
    })
    .await?;
    work.finish(&client).await.context("stopping a swarm while the disk is nearly full")?;
    std::fs::remove_file(filler)?;
    finding.fell_at("nearly full");
    let again = until(NOTICED_WITHIN, "going on by itself", async || {
        Ok(put(&client, &value()).await.err().map(|problem| problem.to_string()))
    });
    finding.recovery.push(again.await?);
    Ok(())
}

/// Nothing can be written: the manager may end, in words; what it acknowledged is there.
async fn wholly_full(cluster: &mut Cluster, disk: &SmallDisk, work: &mut Work, finding: &mut Finding) -> Result<()> {
    let client = cluster.client()?;
    work.add(Kind::Tally { iterations: 3 });
    for id in work.submit_all(&client).await?.values() {
        running(&client, *id).await?;
    }
    let filler = disk.fill(0)?;
    finding.fell_at("wholly full");
    let standing = async {
        tokio::time::sleep(NOTICED_WITHIN / 5).await;
        Ok(())
    };
    let ended = while_alive(cluster, Who::Manager, standing).await?.err();
    std::fs::remove_file(filler)?;
    if let Some(status) = ended {
        ensure!(status.code().is_some_and(|code| code != 0), "a full disk ended the manager with {status}");
        finding.recovery.push(bring_back(cluster, Who::Manager, NODES).await?);
    }
    work.finish(&client).await
}

async fn put(client: &Client, text: &str) -> Result<(), manta_api::Problem> {
    client.put_blob_bytes(text.as_bytes().to_vec()).await.map(drop).map_err(|error| match error {
        manta_client::ClientError::Problem(problem) => *problem,
        other => manta_api::Problem::new(ErrorCode::Unreachable, other.to_string()),
    })
}
