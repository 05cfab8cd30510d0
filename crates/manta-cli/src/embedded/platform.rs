//! Starts a manager and nodes, tells when they are ready or cannot run, and ends them all.
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use manta_api::NodeView;
use manta_client::{Client, Endpoint};
use manta_types::ClusterId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::child::{ChildPlan, Word, keep_running};
use super::folder::Folders;
use crate::connection::read_token;
use crate::report::Failure;
use crate::screen::Screen;

/// Words of children that wait to be heard.
const WORDS_WAITING: usize = 64;
/// How often it is looked whether the nodes are there.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After this long, what is still missing is said.
const SLOW_START: Duration = Duration::from_secs(3);

/// More nodes of one machine start their tasks cold: each would keep processes, memory and host uids for what it may never run.
const WARM_NODES_MAX: usize = 16;

/// One node to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodePlan {
    /// Its name.
    pub(crate) name: String,
    /// Dataset → absolute path.
    pub(crate) datasets: BTreeMap<String, PathBuf>,
    /// What placement may select by.
    pub(crate) labels: BTreeMap<String, String>,
}

/// What an embedded platform is told.
#[derive(Debug)]
pub(crate) struct Options {
    /// The interpreter for tasks.
    pub(crate) python: PathBuf,
    /// Where data is kept; none: it goes with the platform.
    pub(crate) data_dir: Option<PathBuf>,
}

/// A running manager and its nodes.
pub(crate) struct Platform {
    folders: Folders,
    program: PathBuf,
    python: PathBuf,
    stop: watch::Sender<bool>,
    children: JoinSet<()>,
    words: mpsc::Receiver<Word>,
    say: mpsc::Sender<Word>,
    client: Client,
    nodes: Vec<String>,
    tier_told: bool,
}

impl Platform {
    /// Starts the manager and waits until it listens.
    pub(crate) async fn start(options: Options, screen: &Screen) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::internal(format!("this program's own file is not known: {error}")))?;
        let folders = Folders::make(options.data_dir.as_deref())?;
        let endpoint = Endpoint::Unix(folders.socket());
        let (stop, stopped) = watch::channel(false);
        let (say, mut words) = mpsc::channel(WORDS_WAITING);
        let mut children = JoinSet::new();
        children.spawn(keep_running(manager_plan(&folders, &program, &endpoint), stopped, say.clone()));
        let client = match listening(&mut words, &folders, endpoint, screen).await {
            Ok(client) => client,
            Err(failure) => {
                end(stop, children, folders).await;
                return Err(failure);
            }
        };
        let python = options.python;
        Ok(Self { folders, program, python, stop, children, words, say, client, nodes: Vec::new(), tier_told: false })
    }

    /// Starts nodes; [`Platform::ready`] tells when they are there.
    pub(crate) fn add_nodes(&mut self, nodes: &[NodePlan]) {
        for node in nodes {
            let mut plan = node_plan(&self.folders, &self.program, &self.python, node);
            // The machine's GPUs are there once, and each node counts for itself who has which.
            if !self.nodes.is_empty() {
                plan.arguments.extend(["--gpus".into(), "none".into()]);
            }
            if nodes.len() > WARM_NODES_MAX {
                plan.arguments.extend(["--warm".into(), "off".into()]);
            }
            self.children.spawn(keep_running(plan, self.stop.subscribe(), self.say.clone()));
            self.nodes.push(node.name.clone());
        }
    }

    /// A folder for what is traced, which goes with the platform.
    pub(crate) fn trace_folder(&self) -> Result<PathBuf, Failure> {
        self.folders.trace()
    }

    /// A client of the manager.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Waits until every node is there.
    pub(crate) async fn ready(&mut self, screen: &Screen) -> Result<(), Failure> {
        let started = Instant::now();
        let mut told = false;
        loop {
            let views = self.client.nodes().await?;
            let missing = self.missing(&views);
            if missing.is_empty() {
                self.tell_tier(&views, screen);
                return Ok(());
            }
            if !told && started.elapsed() >= SLOW_START {
                screen.attention(&format!("still waiting for {} to start", missing.join(", ")));
                told = true;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                failure = watch_children(&mut self.words, screen) => return Err(failure),
            }
        }
    }

    fn missing(&self, views: &[NodeView]) -> Vec<String> {
        let online = |name: &str| views.iter().any(|view| view.name == name && view.state == "online");
        self.nodes.iter().filter(|name| !online(name)).cloned().collect()
    }

    /// Says once, in a line, what this host cannot enforce.
    fn tell_tier(&mut self, views: &[NodeView], screen: &Screen) {
        let weak = views.iter().find(|view| view.tier == "reduced");
        if let Some(view) = weak.filter(|_| !self.tier_told) {
            let why = view.notes.first().map(|note| format!(": {note}")).unwrap_or_default();
            screen.attention(&format!("this host contains tasks at tier `reduced`{why}"));
            self.tier_told = true;
        }
    }

    /// Resolves when the platform cannot go on; says meanwhile which child was started again.
    pub(crate) async fn failed(&mut self, screen: &Screen) -> Failure {
        watch_children(&mut self.words, screen).await
    }

    /// Ends every child and removes what does not stay.
    pub(crate) async fn end(self) {
        let Self { folders, stop, children, words, .. } = self;
        drop(words);
        end(stop, children, folders).await;
    }
}

async fn end(stop: watch::Sender<bool>, mut children: JoinSet<()>, folders: Folders) {
    // Without a child there is nobody to tell.
    let _ = stop.send(true);
    while children.join_next().await.is_some() {}
    folders.remove();
}

/// Waits until the manager says that it listens.
async fn listening(
    words: &mut mpsc::Receiver<Word>,
    folders: &Folders,
    endpoint: Endpoint,
    screen: &Screen,
) -> Result<Client, Failure> {
    loop {
        match words.recv().await {
            Some(Word::Ready) => break,
            Some(Word::Restarted(sentence)) => screen.attention(&sentence),
            Some(Word::GivenUp(failure)) => return Err(failure),
            None => return Err(Failure::internal("the manager is gone")),
        }
    }
    let token = read_token(&folders.manager().join(manta_manager::TOKEN_FILE))?;
    Ok(Client::new(endpoint, token, ClusterId::default()))
}

async fn watch_children(words: &mut mpsc::Receiver<Word>, screen: &Screen) -> Failure {
    loop {
        match words.recv().await {
            Some(Word::Ready) => {}
            Some(Word::Restarted(sentence)) => screen.attention(&sentence),
            Some(Word::GivenUp(failure)) => return failure,
            None => return Failure::internal("every part of the platform is gone"),
        }
    }
}

fn manager_plan(folders: &Folders, program: &Path, endpoint: &Endpoint) -> ChildPlan {
    let mut arguments: Vec<OsString> = vec!["--json".into(), "manager".into(), "run".into(), "--lifeline".into()];
    arguments.extend(["--data-dir".into(), folders.manager().into(), "--listen".into(), endpoint.to_string().into()]);
    arguments.extend(["--shared".into(), folders.shared().into()]);
    if folders.is_ephemeral() {
        arguments.push("--ephemeral".into());
    }
    ChildPlan { name: "manager".to_owned(), program: program.to_owned(), arguments }
}

fn node_plan(folders: &Folders, program: &Path, python: &Path, node: &NodePlan) -> ChildPlan {
    let mut arguments: Vec<OsString> = vec!["--json".into(), "node".into(), "run".into(), "--lifeline".into()];
    let mut option = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
    option("--manager", Endpoint::Unix(folders.socket()).to_string().into());
    option("--token-file", folders.manager().join(manta_manager::NODE_TOKEN_FILE).into());
    option("--name", node.name.as_str().into());
    option("--data-dir", folders.node(&node.name).into());
    option("--python", python.into());
    option("--isolation-min", "reduced".into());
    option("--shared", folders.shared().into());
    // The machine is the same from run to run, and for every node of this one: it is looked at once.
    if let Some(cache) = crate::home::cache() {
        option("--machine-cache", cache.into());
    }
    for (name, path) in &node.datasets {
        let mut pair = OsString::from(format!("{name}="));
        pair.push(path);
        option("--data", pair);
    }
    for (key, value) in &node.labels {
        option("--label", format!("{key}={value}").into());
    }
    if folders.is_ephemeral() {
        arguments.push("--ephemeral".into());
    }
    ChildPlan { name: node.name.clone(), program: program.to_owned(), arguments }
}
