//! The sandbox as the agent uses it: what an attempt finds inside, and a hold that kills it when let go.
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use manta_sandbox::{
    Engine, Exit, ExitHow, Limits, Link, Mount, MountAccess, Running, SandboxError, SandboxSpec, Start, TmpLimits,
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::agent::Node;
use crate::attempt::{Begins, Order, Prepared};
use crate::dataset::Dataset;
use crate::gpu::Access;
use crate::image::Environment;
use crate::layer::Layer;

/// What of this node an attempt sees, and where.
pub(crate) struct View<'a> {
    node: &'a Node,
    environment: &'a Environment<'a>,
    begins: &'a Begins,
    code: &'a Path,
    layer: Option<&'a Layer>,
    datasets: &'a [Arc<Dataset>],
    /// What of the host the attempt's GPUs need.
    gpus: Option<Access>,
    /// Whether the module asks to share nothing with other tasks.
    strict: bool,
}

impl<'a> View<'a> {
    pub(crate) fn new(node: &'a Node, prepared: &'a Prepared<'a>) -> Self {
        let Prepared { environment, bundle, begins, layer, datasets, gpus, .. } = prepared;
        let strict = bundle.manifest.isolation.as_deref() == Some("strict");
        let gpus = gpus.as_ref().map(|claim| node.gpus.access(claim));
        Self { node, environment, begins, code: &bundle.dir, layer: layer.as_ref(), datasets, gpus, strict }
    }

    /// Whether the image's own program is run, and no module.
    pub(crate) const fn is_program(&self) -> bool {
        matches!(self.begins, Begins::Program(_))
    }

    /// Where the task finds its module.
    pub(crate) fn code(&self) -> PathBuf {
        self.seen(self.code, Path::new("/code"))
    }

    /// Where the task finds the packages of its module's lock, where it has any.
    pub(crate) fn packages(&self) -> Option<PathBuf> {
        self.layer.map(|layer| self.seen(&layer.dir, Path::new("/packages")))
    }

    /// Where the task finds a dataset.
    pub(crate) fn dataset(&self, dataset: &Dataset) -> PathBuf {
        self.seen(&dataset.source, &dataset.target())
    }

    /// A path as the task sees it: its own, or the host's where the tier has no paths of its own.
    fn seen(&self, source: &Path, target: &Path) -> PathBuf {
        if self.node.tier.maps_paths() { target.to_owned() } else { source.to_owned() }
    }

    /// Where the task finds `manta.light`.
    fn light(&self) -> PathBuf {
        self.seen(&self.node.runtime, Path::new("/manta"))
    }

    fn spec(&self, order: &Order, template: Option<String>) -> SandboxSpec {
        let node = self.node;
        let mut mounts = self.environment.mounts().to_vec();
        mounts.push(own_mount(self.code, PathBuf::from("/code")));
        mounts.push(own_mount(&node.runtime, PathBuf::from("/manta")));
        mounts.extend(self.layer.map(|layer| own_mount(&layer.dir, PathBuf::from("/packages"))));
        mounts.extend(self.datasets.iter().map(|dataset| own_mount(&dataset.source, dataset.target())));
        let mut links: Vec<Link> = self.environment.links().to_vec();
        let gpus = self.gpus.clone().unwrap_or_default();
        mounts.extend(gpus.mounts);
        links.extend(gpus.links);
        let (argv, directory) = match self.begins {
            // Not `-I`, which would leave out the seed of hashes: there is nothing in this environment but what is named here.
            Begins::Module { python } => {
                let (python, boot) = (python.display().to_string(), self.light().join("boot.py").display().to_string());
                (vec![python, "-s".to_owned(), "-B".to_owned(), boot], None)
            }
            Begins::Program(program) => (program.argv.clone(), program.directory.clone()),
        };
        let resources = order.resources;
        SandboxSpec {
            id: order.name(),
            tier: node.tier,
            argv,
            env: self.environment(order),
            directory,
            mounts,
            devices: gpus.devices,
            links,
            tmp: TmpLimits { bytes: resources.tmp_bytes, inodes: resources.bounds.tmp_files },
            limits: Limits { memory_bytes: resources.memory_bytes, pids: resources.pids, cpu: resources.cpu },
            hostname: node.name.to_string(),
            template,
        }
    }

    fn environment(&self, order: &Order) -> Vec<(String, String)> {
        let threads = format!("{:.0}", order.resources.cpu.floor().max(1.0));
        let asked = self.environment.variables();
        let mut fixed = fixed_environment(asked, &threads);
        fixed.push(("MANTA_CODE".to_owned(), self.code().display().to_string()));
        // What a library of tracing looks for; the task has no network to send anything by.
        fixed.extend(order.trace_parent.map(|parent| ("TRACEPARENT".to_owned(), parent.to_string())));
        fixed.extend(self.told(order));
        let gpus = self.gpus.iter().flat_map(|access| &access.env);
        let free = gpus.chain(asked).filter(|(name, _)| fixed.iter().all(|(taken, _)| taken != name)).cloned();
        let free: Vec<_> = free.collect();
        fixed.into_iter().chain(free).collect()
    }

    /// What a program of an image is told of its task, which a module learns from `manta.light`.
    fn told(&self, order: &Order) -> Vec<(String, String)> {
        if !self.is_program() {
            return Vec::new();
        }
        let asked = self.environment.variables().iter().rev().find(|(name, _)| name == "PYTHONPATH");
        let light = self.light().display().to_string();
        let python_path = asked.map_or_else(|| light.clone(), |(_, path)| format!("{path}:{light}"));
        let told = [
            ("PYTHONPATH", python_path),
            ("MANTA_SOCKET", "3".to_owned()),
            ("MANTA_SWARM", order.swarm_name.clone()),
            ("MANTA_TASK", order.task.clone()),
            ("MANTA_NODE", self.node.name.to_string()),
            ("MANTA_ITERATION", order.iteration.to_string()),
        ];
        let mut told: BTreeMap<String, String> =
            told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for dataset in self.datasets {
            let path = self.dataset(dataset).display().to_string();
            told.insert(format!("MANTA_DATASET_{}", variable(&dataset.name)), path);
        }
        told.into_iter().collect()
    }

    /// Waits until it is known whether this host contains tasks.
    ///
    /// # Errors
    /// A sentence why it does not.
    pub(crate) async fn contained(&self) -> Result<(), String> {
        self.node.containment.held().await
    }

    /// What the attempt may be forked from, where its module permits it.
    ///
    /// # Errors
    /// Why there is nothing.
    async fn template(&self, order: &Order) -> Result<Option<String>, String> {
        if self.strict || !self.node.zygotes.has_any() {
            return Ok(None);
        }
        if self.is_program() {
            return Err("an image's own program starts cold".to_owned());
        }
        if self.gpus.is_some() {
            return Err("a task that has GPUs starts cold: a driver's state cannot be forked".to_owned());
        }
        if let Some(why) = self.layer.and_then(|layer| self.environment.contested(&layer.installed)) {
            return Err(why);
        }
        self.node.zygotes.template(self.node, self.environment, &order.image).await
    }

    /// Starts the attempt's process.
    pub(crate) async fn start(
        &self,
        order: &Order,
        light: OwnedFd,
        outputs: (OwnedFd, OwnedFd),
    ) -> Result<Hold, SandboxError> {
        let (stdout, stderr) = outputs;
        let (template, why_cold) = match self.template(order).await {
            Ok(template) => (template, None),
            Err(why) => (None, Some(why)),
        };
        match self.node.engine.start(self.spec(order, template), light, stdout, stderr).await {
            Ok(mut running) => {
                running.start.instead = running.start.instead.or(why_cold);
                let (engine, engine_lost) = (Arc::clone(&self.node.engine), self.node.engine_lost.clone());
                let Running { id, start, exit } = running;
                Ok(Hold {
                    engine,
                    engine_lost: Some(engine_lost),
                    id,
                    start,
                    exit,
                    is_program: self.is_program(),
                    ended: false,
                })
            }
            Err(error) => {
                if matches!(error, SandboxError::LauncherGone) {
                    self.node.engine_lost.cancel();
                }
                Err(error)
            }
        }
    }
}

/// What every program of a task finds in its environment, and so does the zygote that it may be forked from.
pub(crate) fn fixed_environment(asked: &[(String, String)], threads: &str) -> Vec<(String, String)> {
    let path = asked.iter().rev().find(|(name, _)| name == "PATH").map_or("/usr/bin:/bin", |(_, path)| path);
    let fixed = [
        ("PYTHONHASHSEED", HASH_SEED),
        ("TZ", "UTC"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("HOME", "/tmp"),
        ("PATH", path),
        ("OMP_NUM_THREADS", threads),
        ("OPENBLAS_NUM_THREADS", threads),
        ("MKL_NUM_THREADS", threads),
    ];
    fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// A name as a part of a variable's: letters in upper case, and all but letters and digits of ASCII as `_`.
fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// A read-only mount of what the agent owns.
pub(crate) fn own_mount(source: &Path, target: PathBuf) -> Mount {
    Mount { source: source.to_owned(), target, access: MountAccess::Owner }
}

/// The seed of Python's hashes, by which sets of strings are in order, in every task: what is forked has its zygote's.
pub const HASH_SEED: &str = "1";

/// A running sandbox. Letting go of it kills all that runs inside.
pub(crate) struct Hold {
    engine: Arc<dyn Engine>,
    /// Cancelled when the engine is found to be gone, where the node cannot do without it.
    engine_lost: Option<CancellationToken>,
    id: String,
    start: Start,
    exit: oneshot::Receiver<Exit>,
    is_program: bool,
    ended: bool,
}

/// A sandbox that another program goes on with.
pub(crate) struct LeftRunning {
    /// What runs it.
    pub(crate) engine: Arc<dyn Engine>,
    /// Its id.
    pub(crate) id: String,
    /// How it was started.
    pub(crate) start: Start,
    /// Whether it is an image's own program.
    pub(crate) is_program: bool,
    /// Tells how it ended.
    pub(crate) exit: oneshot::Receiver<Exit>,
}

impl Hold {
    /// Goes on with a sandbox that another program started.
    pub(crate) fn take_over(left: LeftRunning) -> Self {
        let LeftRunning { engine, id, start, is_program, exit } = left;
        Self { engine, engine_lost: None, id, start, exit, is_program, ended: false }
    }

    /// Lets go of it, and leaves it running.
    pub(crate) fn leave(mut self) -> LeftRunning {
        self.ended = true;
        let (nobody, exit) = (oneshot::channel().1, &mut self.exit);
        let exit = std::mem::replace(exit, nobody);
        let (engine, id, start) = (Arc::clone(&self.engine), self.id.clone(), self.start.clone());
        LeftRunning { engine, id, start, is_program: self.is_program, exit }
    }

    /// How it was started.
    pub(crate) fn start(&self) -> &Start {
        &self.start
    }

    /// Whether the image's own program runs inside, and no module.
    pub(crate) const fn is_program(&self) -> bool {
        self.is_program
    }

    /// Waits for the end of everything inside.
    pub(crate) async fn exit(&mut self) -> Exit {
        let exit = (&mut self.exit).await.unwrap_or(Exit::lost());
        self.ended = true;
        if exit.how == ExitHow::Lost
            && self.engine.is_gone()
            && let Some(lost) = &self.engine_lost
        {
            lost.cancel();
        }
        exit
    }

    /// What kills it, for use while its end is waited for.
    pub(crate) fn killer(&self) -> impl Fn() + use<> {
        let (engine, id) = (Arc::clone(&self.engine), self.id.clone());
        move || engine.kill(&id)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.ended {
            self.engine.kill(&self.id);
        }
    }
}
