//! A node in each tier that this machine and user can hold.
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use manta_client::Client;

use super::program::Means;
use crate::cluster::{Cluster, Launch, Who};

/// The ordinary user as whom nodes run that are not root's.
const USER: u32 = 12345;

/// Where there is an interpreter that everybody may run; root's own may lie in root's home.
const PYTHONS: [&str; 2] = ["/usr/bin/python3", "/usr/local/bin/python3"];

/// Runs the command behind it where no further user namespace can be made.
const WITHOUT_NAMESPACES: [&str; 7] = [
    "unshare",
    "--user",
    "--map-current-user",
    "--keep-caps",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all \"$@\"",
];

/// What bounds attempts on these nodes beside what their modules ask for.
const LIMITS: [&str; 8] =
    ["--limit", "log=256KiB", "--limit", "log-rate=256KiB", "--limit", "published=16MiB", "--limit", "tmp-files=2000"];

/// A node that is to be started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    number: u32,
    tier: &'static str,
}

/// Those that can be had: root has all.
pub(crate) fn here() -> Vec<Wanted> {
    let tiers: &[&str] =
        if rustix::process::geteuid().is_root() { &["full", "rootless", "reduced"] } else { &["rootless", "reduced"] };
    tiers.iter().zip(1..).map(|(tier, number)| Wanted { number, tier }).collect()
}

/// Starts the manager and the nodes, and waits until all are online.
pub(crate) async fn start(cluster: &mut Cluster, nodes: &[Wanted]) -> Result<()> {
    cluster.launch(Who::Manager, &Launch::default())?;
    cluster.serving().await?;
    if rustix::process::geteuid().is_root() {
        open_to_users(cluster)?;
    }
    for node in nodes {
        let launch = launch(cluster, *node)?;
        cluster.launch(Who::Node(node.number), &launch)?;
    }
    let count = u32::try_from(nodes.len())?;
    cluster.online(count).await.map(drop)
}

/// Lets ordinary users keep files in the cluster's directory, and reach the manager.
fn open_to_users(cluster: &Cluster) -> Result<()> {
    let open = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    open(cluster.site().root(), 0o1777)?;
    let socket = cluster.listen().strip_prefix("unix:").context("the manager listens on a Unix socket")?;
    Ok(open(Path::new(socket), 0o666)?)
}

fn launch(cluster: &Cluster, node: Wanted) -> Result<Launch> {
    let mut arguments: Vec<String> = LIMITS.map(str::to_owned).into();
    arguments.extend(["--isolation-min".to_owned(), node.tier.to_owned()]);
    let mut launch = Launch { arguments, ..Launch::default() };
    if node.tier == "full" {
        return Ok(launch);
    }
    let mut within: Vec<String> = Vec::new();
    if rustix::process::geteuid().is_root() {
        within.extend([
            format!("--reuid={USER}"),
            format!("--regid={USER}"),
            "--clear-groups".to_owned(),
            "--".to_owned(),
        ]);
        within.insert(0, "setpriv".to_owned());
        launch.token_file = Some(lend_token(cluster, node)?);
        let python =
            PYTHONS.iter().find(|path| Path::new(path).exists()).context("no Python that everybody may run")?;
        launch.arguments.extend(["--python".to_owned(), (*python).to_owned()]);
    }
    if node.tier == "reduced" {
        within.extend(WITHOUT_NAMESPACES.map(str::to_owned));
        within.push("sh".to_owned());
    }
    launch.within = within;
    Ok(launch)
}

/// A copy of the node token that the user may read, in a directory of the user's own.
fn lend_token(cluster: &Cluster, node: Wanted) -> Result<PathBuf> {
    let dir = cluster.home(node.number);
    std::fs::create_dir(&dir)?;
    let own = dir.join("lent-token");
    std::fs::copy(cluster.data_dir().join("node-token"), &own)?;
    for path in [&own, &dir] {
        chown(path, Some(USER), Some(USER))?;
    }
    Ok(own)
}

/// A node that runs, and what it can enforce.
#[derive(Debug)]
pub(crate) struct Abused {
    wanted: Wanted,
    name: String,
    means: Means,
}

impl Abused {
    /// Asks the manager what the node says of itself.
    pub(crate) async fn find(node: &Wanted, client: &Client) -> Result<Self> {
        let name = Who::Node(node.number).name();
        let view = client
            .nodes()
            .await?
            .into_iter()
            .find(|view| view.name == name)
            .context("a node that is online is listed")?;
        ensure!(view.tier == node.tier, "{name} is {}, and {} was wanted: {:?}", view.tier, node.tier, view.notes);
        let cgroups = !view.notes.iter().any(|note| note.contains("memory is limited for each process"));
        Ok(Self { wanted: *node, name, means: Means { cgroups, namespaces: node.tier != "reduced" } })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn number(&self) -> u32 {
        self.wanted.number
    }

    pub(crate) fn tier(&self) -> &'static str {
        self.wanted.tier
    }

    pub(crate) fn means(&self) -> Means {
        self.means
    }
}
