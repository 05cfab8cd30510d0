//! Engines of this machine, each with a root directory and a socket of its own, which end with the test's process.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use manta_sandbox::ContainerEngine;
use serde_json::json;

/// How long an engine may take to answer.
const START_MAX: Duration = Duration::from_secs(60);
/// How long its helpers may outlive it.
const END_MAX: Duration = Duration::from_secs(10);

/// A running engine. Dropping it ends it.
pub(crate) struct Daemon {
    pub(crate) engine: ContainerEngine,
    process: Child,
    dir: tempfile::TempDir,
}

impl Daemon {
    /// Starts an engine, or says why it cannot be started.
    pub(crate) fn start(engine: ContainerEngine) -> Option<Self> {
        let skip = |why: &str| {
            eprintln!("skipped: needs {}: {why}", engine.name());
            None
        };
        if !rustix::process::geteuid().is_root() {
            return skip("root starts it");
        }
        let programs = match engine {
            ContainerEngine::Docker => &["dockerd"][..],
            ContainerEngine::Podman => &["podman"],
            ContainerEngine::Gvisor => &["dockerd", "runsc"],
        };
        let is_there = |program: &&&str| {
            ["/usr/bin", "/usr/sbin", "/usr/local/bin"].iter().any(|dir| Path::new(dir).join(program).exists())
        };
        if let Some(missing) = programs.iter().find(|program| !is_there(program)) {
            return skip(&format!("`{missing}` is not installed"));
        }
        let dir = tempfile::Builder::new().prefix("manta-engine-").tempdir().unwrap();
        let mut command = match engine {
            ContainerEngine::Docker | ContainerEngine::Gvisor => docker(dir.path()),
            ContainerEngine::Podman => podman(dir.path()),
        };
        let log = File::create(dir.path().join("log")).unwrap();
        // Podman's helpers leave notes where they stand.
        command.current_dir(dir.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        let process = command.spawn().unwrap();
        let mut daemon = Self { engine, process, dir };
        let deadline = Instant::now() + START_MAX;
        while !daemon.answers() {
            let ended = daemon.process.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(daemon.dir.path().join("log")).unwrap_or_default();
                return skip(&format!("it does not start: {}", log.lines().last().unwrap_or("it said nothing")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(daemon)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// A directory for one agent's part.
    pub(crate) fn agent_dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join("agents").join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Whether a process of this engine is there: each is told the directory.
    fn helpers_run(&self) -> bool {
        let dir = self.dir.path().as_os_str().as_encoded_bytes();
        let lines =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines.into_iter().any(|line| line.windows(dir.len()).any(|part| part == dir))
    }

    /// What is mounted below the directory, in the order in which it was.
    fn mounts(&self) -> Vec<PathBuf> {
        let told = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let places = told.lines().filter_map(|line| line.split(' ').nth(4));
        // Blanks are written as their octal numbers.
        let places = places.map(|place| PathBuf::from(place.replace(r"\040", " ")));
        places.filter(|place| place.starts_with(self.dir.path())).collect()
    }

    fn answers(&self) -> bool {
        use std::io::{Read as _, Write as _};
        let Ok(mut socket) = std::os::unix::net::UnixStream::connect(self.socket()) else { return false };
        let asked = socket.write_all(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n");
        let mut answer = [0; 12];
        asked.and_then(|()| socket.read_exact(&mut answer)).is_ok() && answer.ends_with(b"200")
    }
}

/// A program that is told to end when the thread that starts it does, as where its test is killed.
fn ends_with_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", program]);
    command
}

fn docker(dir: &Path) -> Command {
    let runsc = json!({ "path": "runsc", "runtimeArgs": ["--host-uds=open", "--network=none"] });
    let settings = json!({ "iptables": false, "ip6tables": false, "bridge": "none", "runtimes": { "runsc": runsc } });
    fs::write(dir.join("daemon.json"), settings.to_string()).unwrap();
    let mut command = ends_with_us("dockerd");
    let option = |name: &str, file: &str| format!("--{name}={}", dir.join(file).display());
    command.args([option("config-file", "daemon.json"), option("data-root", "root"), option("exec-root", "exec")]);
    command.args([option("pidfile", "pid"), format!("--host=unix://{}", dir.join("socket").display())]);
    command
}

fn podman(dir: &Path) -> Command {
    let mut command = ends_with_us("podman");
    let option = |name: &str, file: &str| format!("--{name}={}", dir.join(file).display());
    command.args([option("root", "root"), option("runroot", "run"), option("tmpdir", "tmp")]);
    // Podman's own choice refuses machines whose control groups are of both kinds.
    let runtime =
        if Path::new("/usr/sbin/runc").exists() || Path::new("/usr/bin/runc").exists() { "runc" } else { "crun" };
    command.args(["--runtime", runtime, "--events-backend=file", "system", "service", "--time=0"]);
    command.arg(format!("unix://{}", dir.join("socket").display()));
    command
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It is our child; asked first, so that it takes its own helpers down.
        if let Some(pid) = rustix::process::Pid::from_raw(self.process.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.process.wait();
        let deadline = Instant::now() + END_MAX;
        // What helpers do at last, such as Podman's `container cleanup`, may mount its storage again.
        while self.helpers_run() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Podman leaves its storage mounted on itself.
        for mounted in self.mounts().into_iter().rev() {
            if let Err(error) = rustix::mount::unmount(&mounted, rustix::mount::UnmountFlags::DETACH) {
                eprintln!("`{}` stays mounted: {error}", mounted.display());
            }
        }
    }
}
