//! A manager that ends while it adds or removes a cluster: started again, it has the cluster wholly or not at all, the same
//! request is answered as if nothing had been, and the first cluster is as it was.
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use manta_api::{JoinTokenRequest, LogLine};
use manta_client::{Client, ClientError};
use manta_engine::{Engine, Input, Now, Submit};
use manta_store::{
    AccessStore, IdentityStore, LogFilter, LogStore, NewSwarm, SqliteStore, StateReader, StateStore as _, Transaction,
};
use manta_types::crash::{CLUSTER_ADDED, CLUSTER_REMOVED};
use manta_types::{AttemptId, ClusterId, Quota, Role, SwarmId, Timestamp};
use rustix::process::Signal;
use uuid::Uuid;

use crate::cluster::{Cluster, Launch, Who, tail};
use crate::drive::{Work, while_alive};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::workload::{Kind, describe, persist};

/// Nodes of the first cluster.
const NODES: u32 = 2;
/// The cluster that comes and goes.
const NAME: &str = "ulm";
/// Its user, and its node, which joined and never connected.
const USER: &str = "ada";
const NODE: &str = "n1";
/// Swarms that have ended in it: more than one transaction removes.
const SWARMS: u64 = 101;
/// The point at which nothing of a new cluster is durable but an empty folder.
const UNKNOWN: &str = "manager.cluster.foldered";
/// The point at which a removal is not decided, and those that the next start does not pass: it has begun nothing yet, or is over.
const UNDECIDED: &str = "manager.cluster.closed";
const PASSED_ONCE: [&str; 3] = [UNDECIDED, "manager.cluster.leaving", "manager.cluster.gone"];

/// Every point of both.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let mut trials = Trials {
        cluster: Cluster::new(Site::new()?).on_loopback()?.start(NODES).await?,
        name: ClusterId::new(NAME)?,
        work: Work::default(),
        finding: Finding::of("S11", "kill -9 while a cluster is added or removed"),
        keys: 0,
    };
    trials.work.add(Kind::Tally { iterations: 2 });
    trials.work.finish(&trials.cluster.client()?).await?;
    for _ in 0..plan.count(1, 5) {
        for point in CLUSTER_ADDED {
            trials.adding(point).await?;
        }
        for point in CLUSTER_REMOVED {
            trials.removing(point).await?;
        }
    }
    let Trials { mut cluster, mut work, mut finding, .. } = trials;
    cluster.online(NODES).await?;
    finding.seen += work.check_all(&cluster.client()?).await?;
    cluster.stop().await?;
    Ok(vec![finding])
}

/// A manager whose second cluster comes and goes.
struct Trials {
    cluster: Cluster,
    name: ClusterId,
    work: Work,
    finding: Finding,
    keys: u32,
}

/// What was stored of the second cluster before it went.
struct Stored {
    /// The last event of each swarm.
    swarms: BTreeMap<SwarmId, u64>,
}

impl Trials {
    /// Ends the manager at a point of adding the cluster.
    async fn adding(&mut self, point: &'static str) -> Result<()> {
        let (key, name) = (self.key(), self.name.clone());
        let client = self.armed(point).await?;
        self.ends_at(point, client.add_cluster(&name, &key)).await?;
        self.back(point).await?;
        let is_there = self.is_there(&client).await?;
        ensure!(is_there == (point != UNKNOWN), "ended at `{point}`, the cluster is there: {is_there}");
        ensure!(is_there || self.folders()? == 0, "ended at `{point}`, a folder is left of what was never added");
        persist("the same addition", || client.add_cluster(&name, &key)).await?;
        let stored = self.fill().await?;
        self.is_whole(&stored).await?;
        self.go(&stored).await
    }

    /// Ends the manager at a point of removing the cluster, and again where its next start passes the same point.
    async fn removing(&mut self, point: &'static str) -> Result<()> {
        let (added, key, name) = (self.key(), self.key(), self.name.clone());
        let client = self.cluster.client()?;
        persist("an addition", || client.add_cluster(&name, &added)).await?;
        let stored = self.fill().await?;
        let client = self.armed(point).await?;
        self.ends_at(point, client.remove_cluster(&name, false, &key)).await?;
        if !PASSED_ONCE.contains(&point) {
            self.cluster.launch(Who::Manager, &Launch::until(point, 1))?;
            let status = self.cluster.process(Who::Manager)?.end().await?;
            self.cluster.take_ended(Who::Manager)?;
            self.killed(point, status)?;
        }
        self.back(point).await?;
        let is_there = self.is_there(&client).await?;
        ensure!(is_there == (point == UNDECIDED), "ended at `{point}`, the cluster is there: {is_there}");
        if is_there {
            self.is_whole(&stored).await?;
        }
        persist("the same removal", || client.remove_cluster(&name, false, &key)).await?;
        ensure!(!self.is_there(&client).await?, "ended at `{point}`, the cluster does not go");
        self.is_gone(&stored).await
    }

    /// The manager, which ends when it passes a point.
    async fn armed(&mut self, point: &str) -> Result<Client> {
        self.cluster.end(Who::Manager, Signal::TERM).await?;
        self.cluster.launch(Who::Manager, &Launch::until(point, 1))?;
        self.cluster.serving().await?;
        self.cluster.client()
    }

    /// Asks for what ends the manager.
    async fn ends_at<T>(&mut self, point: &str, call: impl Future<Output = Result<T, ClientError>>) -> Result<()> {
        let asked = async {
            drop(call.await);
            std::future::pending::<Result<()>>().await
        };
        let ended = while_alive(&mut self.cluster, Who::Manager, asked).await?;
        self.killed(point, ended.err().context("a call that ends the manager has no answer")?)
    }

    fn killed(&self, point: &str, status: ExitStatus) -> Result<()> {
        let words = tail(&self.cluster.log(Who::Manager));
        ensure!(status.signal() == Some(Signal::KILL.as_raw()), "not at `{point}` but with {status}:\n{words}");
        Ok(())
    }

    async fn back(&mut self, point: &str) -> Result<()> {
        self.finding.fell_at(point);
        self.cluster.launch(Who::Manager, &Launch::default())?;
        self.finding.recovery.push(self.cluster.serving().await?);
        Ok(())
    }

    async fn is_there(&self, client: &Client) -> Result<bool> {
        let all = persist("a list of clusters", || client.clusters()).await?;
        ensure!(all.iter().all(|cluster| cluster.state == "open"), "not all are open: {all:?}");
        Ok(all.iter().any(|cluster| cluster.name == NAME))
    }

    /// Lets people, a node, a blob and swarms that have ended be in the cluster.
    async fn fill(&mut self) -> Result<Stored> {
        let client = self.cluster.client_of(&self.name)?;
        let [user, quota] = [self.key(), self.key()];
        persist("a user", || client.add_user(USER, Role::Admin, &user)).await?;
        persist("a quota", || client.set_quota(Quota::Nodes, Some(9), &quota)).await?;
        let (submission, blobs) = describe(Kind::Hold, NAME)?;
        for bytes in blobs {
            persist("a blob", || client.put_blob_bytes(bytes.clone())).await?;
        }
        let wanted = JoinTokenRequest { name: Some(NODE.to_owned()), ..JoinTokenRequest::default() };
        let made = persist("a token", || client.make_join_token(&wanted)).await?;
        let home = self.cluster.site().root().join(format!("joined-{}", self.keys)).display().to_string();
        let joining =
            ["node", "join", &made.url, "--name", NODE, "--token", &made.token, "--only-join", "--data-dir", &home];
        let joined = self.cluster.site().manta(&joining, None)?;
        ensure!(joined.status.success(), "a node did not join: {}", String::from_utf8_lossy(&joined.stderr));

        self.cluster.end(Who::Manager, Signal::TERM).await?;
        let (data_dir, spec, mut swarms) = (self.cluster.data_dir(), Arc::new(submission.spec()?), BTreeMap::new());
        let (mut store, mut logs) = (SqliteStore::open(data_dir)?, LogStore::open(data_dir)?);
        let now = Now { monotonic: Timestamp::from_ms(1), wall_ms: 1_700_000_000_000 };
        for _ in 0..SWARMS {
            let (id, mut engine) = (SwarmId::from_uuid(Uuid::now_v7()), Engine::new(1));
            let submit = Submit { id, spec: Arc::clone(&spec), continues: None };
            let mut events = engine.step(now, Input::Submit(submit)).events;
            events.extend(engine.step(now, Input::Stop { swarm: id, reason: "enough".to_owned() }).events);
            let submission = serde_json::to_string(&submission)?;
            let new = NewSwarm { id, name: NAME.to_owned(), submission, idempotency: None, created_ms: now.wall_ms };
            swarms.insert(id, events.len() as u64);
            store.commit(&self.name, &Transaction { swarms: vec![new], events, ..Transaction::default() })?;
            logs.append(&self.name, id, &mut [line()])?;
        }
        drop((store, logs));
        self.cluster.launch(Who::Manager, &Launch::default())?;
        self.cluster.serving().await?;
        Ok(Stored { swarms })
    }

    /// All that was stored of the cluster is there.
    async fn is_whole(&mut self, stored: &Stored) -> Result<()> {
        let client = self.cluster.client_of(&self.name)?;
        let users = persist("users", || client.users()).await?;
        ensure!(users.iter().map(|user| user.name.as_str()).eq([USER]), "its users are {users:?}");
        let nodes = persist("nodes", || client.nodes()).await?;
        ensure!(nodes.iter().map(|node| node.name.as_str()).eq([NODE]), "its nodes are {nodes:?}");
        let quotas = persist("quotas", || client.quotas()).await?;
        ensure!(quotas.iter().any(|quota| quota.limit == Some(9)), "its quotas are {quotas:?}");
        let swarms = persist("swarms", || client.swarms()).await?;
        ensure!(swarms.len() == stored.swarms.len(), "{} of {} swarms are there", swarms.len(), stored.swarms.len());
        let all = manta_client::LogFilter::default();
        for (id, last) in &stored.swarms {
            let events = persist("a history", || client.events(*id, 0)).await?;
            ensure!(events.len() as u64 == *last, "{} of {last} events of {id} are there", events.len());
            let lines = persist("a log", || client.logs(*id, &all)).await?;
            ensure!(lines.len() == 1, "the log of {id} is {lines:?}");
        }
        let (_, blobs) = describe(Kind::Hold, NAME)?;
        let digests: Vec<_> = blobs.iter().map(|bytes| manta_module::digest_of(bytes)).collect();
        let missing = persist("blobs", || client.blobs_missing(&digests)).await?;
        ensure!(missing.is_empty(), "blobs are missing: {missing:?}");
        self.finding.seen.acknowledged += stored.swarms.values().sum::<u64>();
        Ok(())
    }

    async fn go(&mut self, stored: &Stored) -> Result<()> {
        let (client, key, name) = (self.cluster.client()?, self.key(), self.name.clone());
        persist("a removal", || client.remove_cluster(&name, false, &key)).await?;
        self.is_gone(stored).await
    }

    /// Nothing that was stored of the cluster is left in any file.
    async fn is_gone(&mut self, stored: &Stored) -> Result<()> {
        self.cluster.end(Who::Manager, Signal::TERM).await?;
        let (data_dir, name) = (self.cluster.data_dir(), &self.name);
        let state = StateReader::open(data_dir)?;
        ensure!(state.clusters()?.is_empty(), "a row says that the cluster is there");
        let left = state.swarms()?.into_iter().filter(|(cluster, _)| cluster == name).count();
        ensure!(left == 0, "{left} swarms are left");
        let mut logs = LogStore::open(data_dir)?;
        for id in stored.swarms.keys() {
            let lines = logs.query(name, *id, 0, &LogFilter::default(), 9)?;
            ensure!(lines.is_empty(), "the log of {id} is left: {lines:?}");
        }
        let access = AccessStore::open(data_dir)?;
        let (users, quotas) = (access.users()?, access.quotas()?);
        ensure!(users.is_empty() && quotas.is_empty(), "left are {users:?}, {quotas:?}");
        let nodes = IdentityStore::open(data_dir)?.enrolments(name)?;
        ensure!(nodes.is_empty(), "nodes are left: {nodes:?}");
        ensure!(self.folders()? == 0, "a folder is left");
        drop((state, logs, access));
        self.cluster.launch(Who::Manager, &Launch::default())?;
        self.cluster.serving().await.map(drop)
    }

    /// Folders of clusters beyond the first.
    fn folders(&self) -> Result<usize> {
        match std::fs::read_dir(self.cluster.data_dir().join("clusters")) {
            Ok(found) => Ok(found.count()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn key(&mut self) -> String {
        self.keys += 1;
        format!("chaos-cluster-{:06}", self.keys)
    }
}

/// A line of a task's log.
fn line() -> LogLine {
    LogLine {
        seq: 0,
        time_ms: 1,
        attempt: AttemptId::from_uuid(Uuid::now_v7()),
        task: "hold".to_owned(),
        node: NODE.to_owned(),
        iteration: 0,
        level: "info".to_owned(),
        source: "log".to_owned(),
        text: "held".to_owned(),
        data: None,
    }
}
