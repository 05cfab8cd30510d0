//! Sandboxes as containers of an engine that the site has: Docker or Podman, by the API that they share.
//!
//! A container is made for one attempt from the same [`SandboxSpec`] as a builtin sandbox: its files are mounted read-only from
//! where they lie, over a root directory of links that is an image of one small layer ([`root`]). Its first process is our own
//! program ([`entry`]), which takes the task's program and descriptors from the agent over a socket that is mounted into the
//! container, and shuts that door behind it. Everything in a container ends when the agent closes that socket or dies.

mod api;
mod attend;
mod description;
mod door;
mod entry;
mod ids;
mod kind;
mod probe;
mod program;
mod protocol;
mod root;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot, watch};

use crate::cgroup::{Controller, Group};
use crate::child::Step;
use crate::launcher::LauncherName;
use crate::mounts::Source;
use crate::rlimits::Enforced;
use crate::{
    Engine, HostReport, MountAccess, Running, SandboxError, SandboxSpec, Start, StartError, StartWay, Template,
};
use api::{AGENT_LABEL, Api};
use attend::Attended;
use door::{Door, Line};
use ids::{Id, Ids};
use kind::check_runtime;
use program::Entry;
use protocol::{FromEntry, Program, ToEntry};
use root::Root;

pub use entry::entry_main;
pub use kind::ContainerEngine;

/// How long a container that was started may take until its entry has come in.
const COME_IN_MAX: Duration = Duration::from_secs(60);
/// What root directories are called as images of an engine.
const ROOT_IMAGE: &str = "localhost/manta-root";

/// What an engine's containers are made with.
#[derive(Debug, Clone)]
pub struct ContainerSettings {
    /// Which engine.
    pub engine: ContainerEngine,
    /// Its API's Unix socket.
    pub socket: PathBuf,
    /// A directory of the agent's own, closed to others, which the engine sees under the same path.
    pub dir: PathBuf,
    /// A program that calls [`entry_main`] with its last argument.
    pub program: PathBuf,
    /// The arguments before that.
    pub args: Vec<String>,
}

/// An engine whose containers are sandboxes.
pub struct Containers {
    api: Api,
    engine: ContainerEngine,
    /// Whether containers have an ordinary user's subordinate uids.
    rootless: bool,
    version: String,
    agent: LauncherName,
    ids: Ids,
    entry: Entry,
    /// Where sockets are made.
    doors: PathBuf,
    /// The filter's profile as containers are given it.
    seccomp: String,
    /// Root directories that the engine has, by image name.
    roots: Mutex<HashMap<Root, String>>,
    running: Arc<watch::Sender<HashMap<String, Arc<Notify>>>>,
}

impl fmt::Debug for Containers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Containers").field("api", &self.api).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Containers {
    /// Asks an engine who it is, prepares what all containers share, and removes what agents left that are dead.
    ///
    /// # Errors
    /// When the engine cannot be reached, is another one, or the directory cannot be written.
    pub async fn open(settings: ContainerSettings) -> Result<Self, SandboxError> {
        let api = Api { engine: settings.engine.name(), socket: settings.socket };
        let version = api.get("/version").await?;
        let is_podman = version["Components"][0]["Name"].as_str().is_some_and(|name| name.contains("Podman"));
        if is_podman != (settings.engine == ContainerEngine::Podman) {
            let other = if is_podman { "podman" } else { "docker" };
            return Err(api.failed("answer", &format!("it is {other}: use --engine {other}")));
        }
        let info = api.get("/info").await?;
        if let Some(name) = settings.engine.runtime() {
            check_runtime(name, &info["Runtimes"][name]).map_err(|cause| api.failed("be used", &cause))?;
        }
        let options = info["SecurityOptions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rootless = options.iter().any(|option| option.as_str().is_some_and(|text| text.contains("rootless")));
        let failed = |error: io::Error| {
            api.failed("be used", &format!("`{}` cannot be prepared: {error}", settings.dir.display()))
        };
        let doors = settings.dir.join("doors");
        prepare(&doors).map_err(failed)?;
        let profile = crate::seccomp::profile().to_string();
        let seccomp = match settings.engine {
            ContainerEngine::Docker | ContainerEngine::Gvisor => profile,
            ContainerEngine::Podman => {
                let file = settings.dir.join("seccomp.json");
                std::fs::write(&file, profile).map_err(failed)?;
                file.display().to_string()
            }
        };
        let (dir, program, args) = (settings.dir.join("entry"), settings.program, settings.args);
        let entry = tokio::task::spawn_blocking(move || Entry::install(&dir, &program, &args)).await;
        let entry = entry.map_err(io::Error::other).and_then(|entry| entry).map_err(failed)?;
        let containers = Self {
            api,
            engine: settings.engine,
            rootless,
            version: version["Version"].as_str().unwrap_or("of no version").to_owned(),
            agent: LauncherName::own(),
            ids: Ids::open(rootless),
            entry,
            doors,
            seccomp,
            roots: Mutex::default(),
            running: Arc::default(),
        };
        containers.sweep().await?;
        Ok(containers)
    }

    /// Removes containers of agents that are dead.
    async fn sweep(&self) -> Result<(), SandboxError> {
        for listed in self.api.list().await? {
            let agent = listed.labels.get(AGENT_LABEL).and_then(|agent| LauncherName::parse(agent));
            if agent.is_some_and(|agent| agent.is_dead()) {
                self.api.remove(&listed.id).await?;
            }
        }
        Ok(())
    }

    /// Makes and starts a container; answers when its entry has entered the program.
    async fn run(&self, spec: &SandboxSpec, fds: [OwnedFd; 3], id: &Id) -> Result<Entered, SandboxError> {
        let step = |step: &str, error: &dyn fmt::Display| SandboxError::from(StartError::step(step, error));
        let door = Door::open(&self.doors, &spec.id).map_err(|error| step("make its socket", &error))?;
        let (root, mounts) = Root::of(spec);
        let image = self.image(&root).await?;
        let parts = description::Parts {
            engine: self.engine,
            image: &image,
            mounts: &mounts,
            entry: (&self.entry.dir, &self.entry.argv, door.path()),
            uid: id.number(),
            agent: self.agent,
            seccomp: &self.seccomp,
        };
        let name = format!("manta-{}-{}", self.agent, spec.id);
        let described = description::describe(spec, &parts);
        let container = match self.api.create(&name, &described).await {
            Ok(container) => container,
            Err(_) if !self.api.has_image(&image).await? => {
                // Somebody has removed it since it was looked for.
                lock(&self.roots).remove(&root);
                self.image(&root).await?;
                self.api.create(&name, &described).await?
            }
            Err(error) => return Err(error),
        };
        match self.enter(&container, spec, fds, door).await {
            Ok((line, group, landlock_abi)) => Ok(Entered { container, line, group, landlock_abi }),
            Err(error) => {
                if let Err(error) = self.api.remove(&container).await {
                    tracing::warn!(%error, container, "a container is left; the next start of an agent removes it");
                }
                Err(error)
            }
        }
    }

    async fn enter(
        &self,
        container: &str,
        spec: &SandboxSpec,
        fds: [OwnedFd; 3],
        door: Door,
    ) -> Result<(Line, Group, u32), SandboxError> {
        let doing = "start a container";
        self.api.start(container).await?;
        let line = tokio::time::timeout(COME_IN_MAX, door.accept()).await;
        let line = line.unwrap_or_else(|_| Err(io::Error::other("its first process did not come in")));
        let line = line.map_err(|error| self.api.failed(doing, &error.to_string()))?;
        let group = line.pid().map_or_else(Group::none, Group::of_process);
        let program = Program {
            argv: spec.argv.clone(),
            env: spec.env.clone(),
            directory: spec.directory.clone(),
            readable: root::readable(spec),
            limits: spec.limits,
            enforced: Enforced {
                memory: group.holds(Controller::Memory),
                // What a group counts of gVisor are its own threads.
                pids: group.holds(Controller::Pids) && self.engine != ContainerEngine::Gvisor,
            },
        };
        line.send(&ToEntry::Run(Box::new(program)), &fds)
            .map_err(|error| self.api.failed(doing, &error.to_string()))?;
        drop(fds);
        match line.receive().await {
            Ok(Some(FromEntry::Started { landlock_abi })) => Ok((line, group, landlock_abi)),
            Ok(Some(FromEntry::Failed { step, cause })) if step == Step::Exec.purpose() => {
                Err(StartError::Program { program: spec.argv[0].clone(), cause }.into())
            }
            Ok(Some(FromEntry::Failed { step, cause })) => Err(StartError::Step { step, cause }.into()),
            Ok(_) => Err(self.api.failed(doing, "its first process ended before the task began")),
            Err(error) => Err(self.api.failed(doing, &error.to_string())),
        }
    }

    /// The image that is a root directory, made where the engine lacks it.
    async fn image(&self, root: &Root) -> Result<String, SandboxError> {
        if let Some(name) = lock(&self.roots).get(root) {
            return Ok(name.clone());
        }
        let layer = {
            let root = root.clone();
            tokio::task::spawn_blocking(move || root.layer()).await
        };
        let layer = layer.map_err(|error| StartError::step("make a container's root directory", error))??;
        let name = format!("{ROOT_IMAGE}:{}", &blake3::hash(&layer).to_hex()[..32]);
        if !self.api.has_image(&name).await? {
            self.api.import(&name, layer).await?;
        }
        lock(&self.roots).insert(root.clone(), name.clone());
        Ok(name)
    }
}

/// A container whose program has been entered.
struct Entered {
    container: String,
    line: Line,
    group: Group,
    landlock_abi: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes an empty directory for sockets, closed to others: no agent but this one uses what lies there.
fn prepare(doors: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if doors.exists() {
        std::fs::remove_dir_all(doors)?;
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(doors)
}

#[async_trait]
impl Engine for Containers {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    async fn probe(&self) -> Result<HostReport, SandboxError> {
        Ok(self.report().await)
    }

    async fn check_mount(&self, source: &Path) -> Result<(), SandboxError> {
        Ok(Source::open(source)?.check_readable_by_all(source)?)
    }

    async fn start(
        &self,
        spec: SandboxSpec,
        light: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<Running, SandboxError> {
        spec.check()?;
        if let Some(device) = spec.devices.first() {
            let problem = format!("`{}` cannot be given to a container; use --engine builtin", device.target.display());
            return Err(StartError::Spec { problem }.into());
        }
        for mount in spec.mounts.iter().filter(|mount| mount.access == MountAccess::Owner) {
            self.check_mount(&mount.source).await?;
        }
        let kill = Arc::new(Notify::new());
        let claimed = self.running.send_if_modified(|running| {
            let free = !running.contains_key(&spec.id);
            if free {
                running.insert(spec.id.clone(), Arc::clone(&kill));
            }
            free
        });
        if !claimed {
            return Err(SandboxError::Duplicate { id: spec.id });
        }
        let claim = Claim { id: spec.id.clone(), running: Arc::clone(&self.running) };
        let uid = self.ids.take()?;
        let Entered { container, line, group, .. } = self.run(&spec, [light, stdout, stderr], &uid).await?;
        let (ended, exit) = oneshot::channel();
        let attended = Attended { api: self.api.clone(), container, line, group, kill };
        tokio::spawn(async move {
            let exit = attended.attend().await;
            drop((claim, uid));
            // Whoever let go of it does not care how it ended.
            let _ = ended.send(exit);
        });
        Ok(Running { id: spec.id, start: Start { way: StartWay::Cold, instead: None }, exit })
    }

    fn kill(&self, id: &str) {
        if let Some(kill) = self.running.borrow().get(id) {
            kill.notify_one();
        }
    }

    fn keep_warm(&self, _template: Template) -> Result<(), SandboxError> {
        Err(self.api.failed("keep tasks warm", "a container can be started cold only"))
    }

    fn runs_containers(&self) -> bool {
        true
    }

    fn passes_descriptors_out(&self) -> bool {
        self.engine != ContainerEngine::Gvisor
    }

    fn describe(&self) -> String {
        let by =
            if self.engine.runtime().is_some() { format!("by {} ", self.engine.api_name()) } else { String::new() };
        format!("{} {by}{} at `{}`", self.api.engine, self.version, self.api.socket.display())
    }

    fn is_gone(&self) -> bool {
        // A daemon that is down may come back.
        false
    }

    async fn close(&self) {
        self.running.borrow().values().for_each(|kill| kill.notify_one());
        // It fails only when the sender is gone, which is ours.
        let _ = self.running.subscribe().wait_for(HashMap::is_empty).await;
    }
}

/// The name of a sandbox that is starting or running; given back when dropped.
struct Claim {
    id: String,
    running: Arc<watch::Sender<HashMap<String, Arc<Notify>>>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.running.send_modify(|running| drop(running.remove(&self.id)));
    }
}
