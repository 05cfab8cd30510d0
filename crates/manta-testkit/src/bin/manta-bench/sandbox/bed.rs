//! A launcher and one image to start programs in, cold and warm, and the time until their first line.

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use manta_sandbox::{
    ExitHow, HostImage, Launcher, Limits, Mount, MountAccess, Running, SandboxSpec, StartWay, Template, Tier, TmpLimits,
};

use super::zygote_main;

/// A program's first line.
pub(super) const FIRST_LINE: &str = "import os, time; os.write(1, b'here\\n')";

/// A launcher, an image and a zygote of it.
pub(super) struct Bed {
    pub(super) launcher: Launcher,
    pub(super) image: HostImage,
    mounts: Vec<Mount>,
    dir: tempfile::TempDir,
    count: std::cell::Cell<u32>,
}

/// A program that was started.
pub(super) struct Begun {
    pub(super) running: Running,
    output: fs::File,
    asked: Instant,
}

impl Bed {
    pub(super) fn new(python: &Path) -> Result<Self> {
        let binary = std::env::var_os("MANTA_BINARY").map(PathBuf::from).context("MANTA_BINARY is not set")?;
        let launcher = Launcher::spawn(&binary, &["__launcher"])?;
        let image = HostImage::probe(python)?;
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let light =
            fs::canonicalize("python/manta/light/_zygote.py").context("the bench runs in the checkout's root")?;
        fs::copy(light, dir.path().join("_zygote.py"))?;
        fs::write(dir.path().join("main.py"), zygote_main::SOURCE)?;
        let own = Mount { source: dir.path().to_owned(), target: "/light".into(), access: MountAccess::Owner };
        let mounts = image.mounts().iter().cloned().chain([own]).collect();
        Ok(Self { launcher, image, mounts, dir, count: std::cell::Cell::new(0) })
    }

    /// Keeps a zygote that has imported `modules`, with so many standbys, and waits until they are there.
    pub(super) fn keep(&self, modules: &[&str], standbys: u32) -> Result<()> {
        let python = self.python();
        let argv = [python.as_str(), "-s", "-B", "/light/main.py"].into_iter().chain(modules.iter().copied());
        let threads = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"];
        self.launcher.keep_warm(Template {
            name: "bench".to_owned(),
            argv: argv.map(str::to_owned).collect(),
            env: threads.map(|name| (name.to_owned(), "1".to_owned())).to_vec(),
            mounts: self.mounts.clone(),
            links: self.image.links().to_vec(),
            hostname: "task".to_owned(),
            memory_bytes: 4 << 30,
            standbys,
            forks_max: u32::MAX,
            age_ms_max: u64::MAX,
            idle_ms_max: u64::MAX,
            reserve_bytes: 0,
        })?;
        self.settle(standbys)
    }

    /// Waits until as many sandboxes wait as should.
    pub(super) fn settle(&self, standbys: u32) -> Result<()> {
        let rows = self.launcher.warmth_blocking()?;
        ensure!(rows.iter().any(|row| row.zygote.is_ok() && row.waiting >= standbys), "no warm start: {rows:?}");
        Ok(())
    }

    /// Starts a program in the way that is wanted.
    pub(super) fn begin(&self, way: StartWay, program: &str) -> Result<Begun> {
        self.begin_in(Some(way), program)
    }

    fn begin_in(&self, way: Option<StartWay>, program: &str) -> Result<Begun> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let null = || fs::File::options().write(true).open("/dev/null").map(OwnedFd::from);
        let (light, _agent) = UnixStream::pair()?;
        let spec = self.spec(way != Some(StartWay::Cold), program);
        let asked = Instant::now();
        let running = self.launcher.start_blocking(spec, light.into(), write, null()?)?;
        ensure!(way.is_none_or(|way| running.start.way == way), "it was started {}", running.start);
        Ok(Begun { running, output: read.into(), asked })
    }

    /// Starts a program warm, whichever way is quickest now.
    pub(super) fn begin_any(&self, program: &str) -> Result<Begun> {
        self.begin_in(None, program)
    }

    fn spec(&self, warm: bool, program: &str) -> SandboxSpec {
        self.count.set(self.count.get() + 1);
        let mut env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("HOME".to_owned(), "/tmp".to_owned())];
        env.push(("OPENBLAS_NUM_THREADS".to_owned(), "1".to_owned()));
        SandboxSpec {
            id: format!("bench_{}", self.count.get()),
            tier: Tier::Full,
            argv: [&self.python(), "-s", "-B", "-c", program].map(str::to_owned).to_vec(),
            env,
            mounts: self.mounts.clone(),
            directory: None,
            devices: Vec::new(),
            links: self.image.links().to_vec(),
            tmp: TmpLimits { bytes: 64 << 20, inodes: 4096 },
            limits: Limits { memory_bytes: 2 << 30, pids: 64, cpu: 2.0 },
            hostname: "task".to_owned(),
            template: warm.then(|| "bench".to_owned()),
        }
    }

    fn python(&self) -> String {
        self.image.python().display().to_string()
    }

    /// A directory that goes with it.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Begun {
    /// From the request to the program's first line.
    pub(super) fn first_line(&mut self) -> Result<Duration> {
        hear_line(&mut self.output)?;
        Ok(self.asked.elapsed())
    }

    /// Waits for its end, and gives the rest of what it said.
    pub(super) fn end(mut self) -> Result<String> {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest)?;
        let exit = self.running.exit.blocking_recv()?;
        ensure!(exit.how == ExitHow::Exited(0), "it ended with {:?}", exit.how);
        Ok(rest)
    }
}

/// Waits for the end of a line.
pub(super) fn hear_line(output: &mut impl std::io::Read) -> Result<()> {
    let mut byte = [0];
    while output.read(&mut byte)? == 1 {
        if byte[0] == b'\n' {
            return Ok(());
        }
    }
    bail!("a program ended without a line")
}
