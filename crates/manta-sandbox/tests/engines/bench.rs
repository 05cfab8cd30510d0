//! A workbench for one engine: specs that run Python programs, and what they left.

use std::cell::Cell;
use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use manta_sandbox::{
    ContainerEngine, ContainerSettings, Containers, Engine, Exit, HostImage, Launcher, Limits, Mount, MountAccess,
    Running, SandboxSpec, Tier, TmpLimits,
};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::runtime::Runtime;

use crate::daemon::Daemon;

/// The program of this crate that is launcher and entry.
const PROGRAM: &str = env!("CARGO_BIN_EXE_sandbox-launcher");
/// An interpreter that everybody may run.
const PYTHON: &str = "/usr/bin/python3";

/// Every container engine.
pub(crate) const ENGINES: [ContainerEngine; 3] =
    [ContainerEngine::Docker, ContainerEngine::Podman, ContainerEngine::Gvisor];

/// One engine, and what its sandboxes are made of.
pub(crate) struct Bench {
    pub(crate) runtime: Runtime,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) tier: Tier,
    pub(crate) image: HostImage,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) daemon: Option<Daemon>,
    count: Cell<u32>,
}

/// What a finished sandbox left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A sandbox that runs, and our ends of what leads into it.
pub(crate) struct Started {
    pub(crate) running: Running,
    pub(crate) light: UnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Does something with every engine that this machine can start.
pub(crate) fn with_each(check: impl Fn(&Bench)) {
    let builtin = Launcher::spawn(Path::new(PROGRAM), &[]).unwrap();
    check(&Bench::new(|_| Arc::new(builtin), None));
    for engine in ENGINES {
        with(engine, &check);
    }
}

/// Does something with a container engine, if this machine can start it.
pub(crate) fn with(engine: ContainerEngine, check: impl Fn(&Bench)) {
    let Some(daemon) = Daemon::start(engine) else { return };
    let mut bench = Bench::over(settings(&daemon, "agent"));
    bench.daemon = Some(daemon);
    check(&bench);
}

/// What an agent of a daemon is told.
pub(crate) fn settings(daemon: &Daemon, agent: &str) -> ContainerSettings {
    ContainerSettings {
        engine: daemon.engine,
        socket: daemon.socket(),
        dir: daemon.agent_dir(agent),
        program: PROGRAM.into(),
        args: vec!["entry".to_owned()],
    }
}

impl Bench {
    /// A bench for an engine that somebody else has started.
    pub(crate) fn over(settings: ContainerSettings) -> Self {
        let open = move |runtime: &Runtime| -> Arc<dyn Engine> {
            Arc::new(runtime.block_on(Containers::open(settings)).unwrap_or_else(|error| panic!("{error}")))
        };
        Self::new(open, None)
    }

    fn new(open: impl FnOnce(&Runtime) -> Arc<dyn Engine>, daemon: Option<Daemon>) -> Self {
        let runtime = Runtime::new().unwrap();
        let engine = open(&runtime);
        let report = runtime.block_on(engine.probe()).unwrap();
        let tier = report.tier.unwrap_or_else(|| panic!("{} contains nothing: {report:?}", engine.name()));
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let image = HostImage::probe(Path::new(PYTHON)).unwrap();
        Self { runtime, engine, tier, image, dir, daemon, count: Cell::new(0) }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.engine.name()
    }

    /// A spec that runs a Python program with generous limits.
    pub(crate) fn spec(&self, program: &str) -> SandboxSpec {
        self.count.set(self.count.get() + 1);
        let python = self.image.python().display().to_string();
        SandboxSpec {
            id: format!("bench_{}", self.count.get()),
            tier: self.tier,
            argv: vec![python, "-I".into(), "-B".into(), "-c".into(), program.into()],
            env: [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            mounts: self.image.mounts().to_vec(),
            directory: None,
            devices: Vec::new(),
            links: self.image.links().to_vec(),
            tmp: TmpLimits { bytes: 32 << 20, inodes: 4096 },
            limits: Limits { memory_bytes: 256 << 20, pids: 64, cpu: 2.0 },
            hostname: "task".into(),
            template: None,
        }
    }

    /// A file that everybody may read, and a mount of its directory.
    pub(crate) fn dataset(&self, content: &str) -> (PathBuf, Mount) {
        let source = self.dir.path().join("data");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("rows.csv"), content).unwrap();
        let mount = Mount { source: source.clone(), target: "/data/rows".into(), access: MountAccess::Owner };
        (source, mount)
    }

    pub(crate) fn start(&self, spec: SandboxSpec) -> Started {
        let (stdout, task_stdout) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (stderr, task_stderr) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (light, task_light) = UnixStream::pair().unwrap();
        let started = self.runtime.block_on(self.engine.start(spec, task_light.into(), task_stdout, task_stderr));
        let running = started.unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        Started { running, light, stdout, stderr }
    }

    pub(crate) fn run(&self, spec: SandboxSpec) -> Outcome {
        let started = self.start(spec);
        self.finish(started)
    }

    pub(crate) fn python(&self, program: &str) -> Outcome {
        self.run(self.spec(program))
    }

    /// Runs a program that must succeed, and answers with what it printed.
    pub(crate) fn must(&self, program: &str) -> String {
        let outcome = self.python(program);
        assert_eq!(outcome.exit.how, manta_sandbox::ExitHow::Exited(0), "{}: {outcome:?}", self.name());
        outcome.stdout.trim_end().to_owned()
    }

    /// Waits for the end, reading all that is written.
    pub(crate) fn finish(&self, started: Started) -> Outcome {
        let Started { running, light, stdout, stderr } = started;
        let read = |pipe: OwnedFd| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                fs::File::from(pipe).read_to_end(&mut bytes).unwrap();
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let (stdout, stderr) = (read(stdout), read(stderr));
        let limited = async { tokio::time::timeout(std::time::Duration::from_secs(60), running.exit).await };
        let exit = self.runtime.block_on(limited).expect("it ends within a minute").unwrap();
        drop(light);
        Outcome { exit, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    }
}

impl Started {
    /// The next line of standard output.
    pub(crate) fn line(&self) -> String {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while rustix::io::read(&self.stdout, &mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.runtime.block_on(self.engine.close());
    }
}
