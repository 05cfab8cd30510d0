//! A manager and its agents as processes of their own, each of which can be ended, held or started anew at any time.
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use manta_client::{Client, Endpoint, Token};
use manta_types::ClusterId;
use rustix::process::{Pid, Signal, kill_process};

use crate::leaks::Leaks;
use crate::site::Site;
use crate::wait::until;

/// How long a process may take to be gone after a signal that ends it.
const GONE_WITHIN: Duration = Duration::from_secs(15);
/// How long a manager may take to serve, and nodes to be online.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How a process is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Launch {
    /// The crash point at which it ends, and at which pass of it.
    pub(crate) crash: Option<(String, u64)>,
    /// A command that runs the one behind it in other circumstances, as `strace -D …` does.
    pub(crate) within: Vec<String>,
    /// Where a node finds its token, if not in the manager's data directory.
    pub(crate) token_file: Option<PathBuf>,
    /// Further arguments.
    pub(crate) arguments: Vec<String>,
    /// Further environment.
    pub(crate) environment: Vec<(String, String)>,
}

impl Launch {
    /// Ends at that pass of a crash point.
    pub(crate) fn until(point: &str, pass: u64) -> Self {
        Self { crash: Some((point.to_owned(), pass)), ..Self::default() }
    }
}

/// One process.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal, unless it has ended.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_none() {
            let pid = i32::try_from(self.child.id())?;
            kill_process(Pid::from_raw(pid).context("a child has a process id")?, signal)?;
        }
        Ok(())
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        let mut status = None;
        until(GONE_WITHIN, &what, async || {
            status = self.child.try_wait()?;
            Ok(status.is_none().then(|| "it runs".to_owned()))
        })
        .await?;
        status.context("a process that ended has a status")
    }

    /// Holds it, and waits until all of it stands still.
    pub(crate) async fn hold(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let tasks = format!("/proc/{}/task", self.child.id());
        until(GONE_WITHIN, &format!("holding {}", self.name), async || {
            let states = std::fs::read_dir(&tasks)?.flatten().filter_map(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
                stat.rsplit_once(") ")?.1.chars().next()
            });
            let moving: String = states.filter(|state| !matches!(state, 'T' | 't')).collect();
            Ok((!moving.is_empty()).then(|| format!("threads in state {moving}")))
        })
        .await
        .map(drop)
    }
}

/// Whom a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// The manager.
    Manager,
    /// `node-N`.
    Node(u32),
}

impl Who {
    /// The name of its logs.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Manager => "manager".to_owned(),
            Self::Node(number) => format!("node-{number}"),
        }
    }
}

/// A manager and nodes that run in one directory.
#[derive(Debug)]
pub(crate) struct Cluster {
    site: Site,
    /// Where the manager keeps its data; on another file system for some faults.
    data_dir: PathBuf,
    /// The same for each node's agent.
    homes: BTreeMap<u32, PathBuf>,
    /// What agents dial, where that is not the manager itself.
    dialled: BTreeMap<u32, String>,
    listen: String,
    running: BTreeMap<Who, Running>,
    leaks: Leaks,
}

impl Cluster {
    /// A cluster that is not started yet; the manager listens on a Unix socket.
    pub(crate) fn new(site: Site) -> Self {
        let (data_dir, listen) = (site.root().join("m"), format!("unix:{}", site.root().join("m.sock").display()));
        let leaks = Leaks::remember(site.id());
        Self {
            site,
            data_dir,
            homes: BTreeMap::new(),
            dialled: BTreeMap::new(),
            listen,
            running: BTreeMap::new(),
            leaks,
        }
    }

    /// The same with a manager that listens on a loopback address, where nodes can join it with a token.
    pub(crate) fn on_loopback(mut self) -> Result<Self> {
        // The port is free when the manager takes it, unless somebody is quicker.
        self.listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string();
        Ok(self)
    }

    /// The same with the manager's data elsewhere.
    #[must_use]
    pub(crate) fn with_data_dir(mut self, dir: &Path) -> Self {
        dir.clone_into(&mut self.data_dir);
        self
    }

    /// The same with a node's data elsewhere.
    #[must_use]
    pub(crate) fn with_home(mut self, node: u32, dir: &Path) -> Self {
        self.homes.insert(node, dir.to_owned());
        self
    }

    /// The same with a node that dials another address than the manager's own.
    #[must_use]
    pub(crate) fn with_dialled(mut self, node: u32, address: String) -> Self {
        self.dialled.insert(node, address);
        self
    }

    /// Starts the manager and so many nodes and waits until all are online.
    pub(crate) async fn start(mut self, nodes: u32) -> Result<Self> {
        self.launch(Who::Manager, &Launch::default())?;
        self.serving().await?;
        for number in 1..=nodes {
            self.launch(Who::Node(number), &Launch::default())?;
        }
        self.online(nodes).await?;
        Ok(self)
    }

    /// Where everything of this cluster lies.
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Where the manager keeps its data.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where a node's agent keeps its data.
    pub(crate) fn home(&self, node: u32) -> PathBuf {
        self.homes.get(&node).cloned().unwrap_or_else(|| self.site.root().join(format!("n{node}")))
    }

    /// A client with the user's token.
    pub(crate) fn client(&self) -> Result<Client> {
        self.client_at(&self.address(), "token")
    }

    /// A client with the user's token for another cluster of the manager.
    pub(crate) fn client_of(&self, cluster: &ClusterId) -> Result<Client> {
        let token = Token::from_file(&self.data_dir.join("token"))?;
        Ok(Client::new(self.address().parse::<Endpoint>()?, token, cluster.clone()))
    }

    /// Where clients and nodes find the manager.
    fn address(&self) -> String {
        if self.listen.starts_with("unix:") { self.listen.clone() } else { format!("http://{}", self.listen) }
    }

    /// A client with the token in that file of the manager's data directory.
    pub(crate) fn client_at(&self, address: &str, token: &str) -> Result<Client> {
        let path = self.data_dir.join(token);
        let token = Token::from_file(&path)?;
        Ok(Client::new(address.parse::<Endpoint>()?, token, ClusterId::default()))
    }

    /// What the manager was told to listen on.
    pub(crate) fn listen(&self) -> &str {
        &self.listen
    }

    /// Starts a process that does not run.
    pub(crate) fn launch(&mut self, who: Who, launch: &Launch) -> Result<()> {
        let mut words = launch.within.iter().map(String::as_str);
        let mut command = match words.next() {
            None => Command::new(self.site.binary()),
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(self.site.binary());
                command
            }
        };
        match who {
            Who::Manager => {
                command.args(["manager", "run", "--listen", &self.listen, "--data-dir"]).arg(&self.data_dir);
                command.args(&launch.arguments);
            }
            Who::Node(number) => {
                let dialled = self.dialled.get(&number).cloned().unwrap_or_else(|| self.address());
                command.args(["node", "run", "--manager", &dialled, "--slots", "2", "--name", &who.name()]);
                let own = self.data_dir.join("node-token");
                command.arg("--token-file").arg(launch.token_file.as_ref().unwrap_or(&own));
                command.arg("--data-dir").arg(self.home(number));
                if launch.token_file.is_none() {
                    // Found once for all clusters: whether containment holds is not what is tried here.
                    command.arg("--machine-cache").arg(self.site.binary().with_file_name("machine"));
                }
                command.args(&launch.arguments);
            }
        }
        self.site.furnish(&mut command);
        let passes = self.passes(who);
        if passes.exists() {
            std::fs::remove_file(&passes)?;
        }
        // Where calls fail, the log of passes must not be what fails.
        if launch.within.is_empty() {
            command.env("MANTA_CRASH_LOG", passes);
        }
        if let Some((point, pass)) = &launch.crash {
            command.env("MANTA_CRASH", format!("{point}:{pass}"));
        }
        command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
        let log = OpenOptions::new().create(true).append(true).open(self.log(who))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {}", who.name()))?;
        let running = Running { child, name: who.name() };
        if self.running.insert(who, running).is_some() {
            bail!("{} was started while it ran", who.name());
        }
        Ok(())
    }

    /// The process, which must have been started.
    pub(crate) fn process(&mut self, who: Who) -> Result<&mut Running> {
        self.running.get_mut(&who).with_context(|| format!("{} is not there", who.name()))
    }

    /// How a process ended, if it did; it is then no longer there.
    pub(crate) fn take_ended(&mut self, who: Who) -> Result<Option<ExitStatus>> {
        let ended = self.process(who)?.ended()?;
        if ended.is_some() {
            self.running.remove(&who);
        }
        Ok(ended)
    }

    /// Ends a process with a signal and waits until it is gone.
    pub(crate) async fn end(&mut self, who: Who, signal: Signal) -> Result<ExitStatus> {
        self.leaks.note_launchers();
        let process = self.process(who)?;
        process.signal(signal)?;
        let status = process.end().await?;
        self.running.remove(&who);
        Ok(status)
    }

    /// Kills a process and starts it anew at once.
    pub(crate) async fn kill_and_restart(&mut self, who: Who) -> Result<()> {
        self.end(who, Signal::KILL).await?;
        self.launch(who, &Launch::default())
    }

    /// Waits until the manager answers, and says how long that took.
    pub(crate) async fn serving(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        let (data_dir, address) = (self.data_dir.clone(), self.address());
        let log = self.log(Who::Manager);
        let process = self.process(Who::Manager)?;
        until(READY_WITHIN, "the manager's start", async || {
            if let Some(status) = process.ended()? {
                bail!("the manager ended with {status}; its last words:\n{}", tail(&log));
            }
            let Ok(token) = Token::from_file(&data_dir.join("token")) else { return Ok(Some("no token".to_owned())) };
            let client = Client::new(address.parse()?, token, ClusterId::default());
            Ok(client.health().await.err().map(|error| error.to_string()))
        })
        .await?;
        Ok(begun.elapsed())
    }

    /// Waits until so many nodes are online, and says how long that took.
    pub(crate) async fn online(&mut self, nodes: u32) -> Result<Duration> {
        let client = self.client()?;
        let what = format!("{nodes} nodes coming online");
        until(READY_WITHIN, &what, async || {
            let seen = match client.nodes().await {
                Ok(seen) => seen,
                Err(error) if error.is_transient() => return Ok(Some(error.to_string())),
                Err(error) => bail!("the list of nodes was refused: {error}"),
            };
            let online = seen.iter().filter(|node| node.state == "online").count();
            let states = seen.iter().map(|node| format!("{} {}", node.name, node.state)).collect::<Vec<_>>();
            Ok((online < nodes as usize).then(|| states.join(", ")))
        })
        .await
    }

    /// Waits until a node that was just started has a session, and says how long that took.
    pub(crate) async fn joined(&mut self, who: Who, nodes: u32) -> Result<Duration> {
        let begun = Instant::now();
        let log = self.log(who);
        until(READY_WITHIN, &format!("{} joining", who.name()), async || {
            if let Some(status) = self.process(who)?.ended()? {
                bail!("{} ended with {status}; its last words:\n{}", who.name(), tail(&log));
            }
            let has_session = self.passed(who).iter().any(|(_, point)| point == "node.session.begun");
            Ok((!has_session).then(|| tail(&log)))
        })
        .await?;
        self.online(nodes).await?;
        Ok(begun.elapsed())
    }

    /// The crash points that a process passed since it was started: nanoseconds since 1970 and name.
    pub(crate) fn passed(&self, who: Who) -> Vec<(u128, String)> {
        let text = std::fs::read_to_string(self.passes(who)).unwrap_or_default();
        let line = |line: &str| {
            let (time, name) = line.split_once(' ')?;
            Some((time.parse().ok()?, name.to_owned()))
        };
        text.lines().filter_map(line).collect()
    }

    /// Where a process writes which crash points it passes.
    fn passes(&self, who: Who) -> PathBuf {
        self.site.root().join(format!("{}.passes", who.name()))
    }

    /// Where a process's words go.
    pub(crate) fn log(&self, who: Who) -> PathBuf {
        self.site.root().join(format!("{}.log", who.name()))
    }

    /// Stops everything in order and checks that nothing is left.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop_before(()).await
    }

    /// The same, where something is to be taken away once nobody uses it any more.
    pub(crate) async fn stop_before<T>(mut self, used: T) -> Result<()> {
        let all: Vec<_> = self.running.keys().rev().copied().collect();
        for who in all {
            let status = self.end(who, Signal::TERM).await?;
            if !status.success() {
                bail!(
                    "{} did not stop in order but with {status}; its last words:\n{}",
                    who.name(),
                    tail(&self.log(who))
                );
            }
        }
        drop(used);
        self.leaks.check().await?;
        self.site.remove()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // After a failure nothing may go on running; the directory stays to be looked at.
        for running in self.running.values_mut() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// The last lines of a log.
pub(crate) fn tail(path: &Path) -> String {
    const LINES: usize = 12;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
