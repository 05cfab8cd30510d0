//! A laboratory for attacks: real launchers, one for each tier this machine offers, and Python one-liners run in them.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use manta_sandbox::{
    Exit, ExitHow, HostImage, Launcher, Limits, Mount, MountAccess, Running, SandboxSpec, StartWay, Template, Tier,
    TmpLimits,
};
use rustix::fs::{FileType, Mode};
use rustix::process::Pid;

/// The launcher program of this crate.
pub(crate) const LAUNCHER: &str = env!("CARGO_BIN_EXE_sandbox-launcher");

/// Uid of an ordinary user that owns nothing.
pub(crate) const NOBODY: &str = "65534";

/// An interpreter that everybody may run.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// One launcher in one tier.
pub(crate) struct Lab {
    pub(crate) launcher: Launcher,
    pub(crate) tier: Tier,
    /// How its sandboxes are started.
    pub(crate) way: StartWay,
    pub(crate) image: HostImage,
    pub(crate) dir: tempfile::TempDir,
    count: std::cell::Cell<u32>,
}

/// What a finished task left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Every tier that can be tried here, and the full one in each way of starting: root tries all, by way of an ordinary user too; a
/// user tries the last two.
pub(crate) fn all_tiers() -> Vec<Lab> {
    let cold = offered_tiers().into_iter().map(|(tier, as_nobody)| Lab::new(tier, as_nobody));
    cold.chain(warm_labs()).collect()
}

/// The tiers of [`all_tiers`], each with whether an ordinary user is taken for it.
pub(crate) fn offered_tiers() -> Vec<(Tier, bool)> {
    let wanted: &[(Tier, bool)] = if is_root() {
        &[(Tier::Full, false), (Tier::Rootless, true), (Tier::Reduced, false), (Tier::Reduced, true)]
    } else {
        &[(Tier::Rootless, false), (Tier::Reduced, false)]
    };
    wanted.iter().copied().filter(|(tier, as_nobody)| is_offered(*tier, *as_nobody)).collect()
}

/// The full tier, once for each warm way of starting.
pub(crate) fn warm_labs() -> Vec<Lab> {
    if !is_root() || !is_offered(Tier::Full, false) {
        eprintln!("skipped: warm starts need the full tier");
        return Vec::new();
    }
    vec![Lab::warm(StartWay::Fork, &[]), Lab::warm(StartWay::Standby, &[])]
}

/// Whether this host gives that user the tier; says what is missing where it does not.
fn is_offered(tier: Tier, as_nobody: bool) -> bool {
    static BEST: [OnceLock<Option<Tier>>; 2] = [const { OnceLock::new() }; 2];
    let best = BEST[usize::from(as_nobody)]
        .get_or_init(|| spawn_launcher(as_nobody).probe_blocking().ok().and_then(|report| report.tier));
    let offered = tier == Tier::Reduced || *best == Some(tier);
    if !offered {
        eprintln!("skipped: the {} tier needs namespaces, which this host refuses to this user", tier.name());
    }
    offered
}

/// The tiers that have namespaces.
pub(crate) fn namespaced_tiers() -> Vec<Lab> {
    all_tiers().into_iter().filter(|lab| lab.tier.maps_paths()).collect()
}

/// The tier of root, or nothing with a word why.
pub(crate) fn full_tier() -> Option<Lab> {
    if !is_root() {
        eprintln!("skipped: the full tier needs root");
        return None;
    }
    if !is_offered(Tier::Full, false) {
        return None;
    }
    Some(Lab::new(Tier::Full, false))
}

/// A launcher that runs as this user, or as nobody.
pub(crate) fn spawn_launcher(as_nobody: bool) -> Launcher {
    if !as_nobody {
        return Launcher::spawn(Path::new(LAUNCHER), &[]).unwrap();
    }
    let args = [&as_nobody_arguments()[..], &[LAUNCHER]].concat();
    Launcher::spawn(Path::new("/usr/bin/setpriv"), &args).unwrap()
}

/// Arguments of `setpriv` that run what follows them as an ordinary user.
pub(crate) const fn as_nobody_arguments() -> [&'static str; 6] {
    ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"]
}

impl Lab {
    pub(crate) fn new(tier: Tier, as_nobody: bool) -> Self {
        Self::with_launcher(spawn_launcher(as_nobody), tier)
    }

    pub(crate) fn with_launcher(launcher: Launcher, tier: Tier) -> Self {
        let image = HostImage::probe(Path::new(PYTHON)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // Ordinary users reach what tests put there.
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self { launcher, tier, way: StartWay::Cold, image, dir, count: std::cell::Cell::new(0) }
    }

    /// A lab in the full tier whose sandboxes are forked from a zygote that has imported `preload`.
    pub(crate) fn warm(way: StartWay, preload: &[&str]) -> Self {
        Self::warm_with(spawn_launcher(false), way, preload)
    }

    pub(crate) fn warm_with(launcher: Launcher, way: StartWay, preload: &[&str]) -> Self {
        let lab = Self { way, ..Self::with_launcher(launcher, Tier::Full) };
        lab.launcher.keep_warm(lab.template(preload)).unwrap();
        lab.wait_until_warm();
        lab
    }

    pub(crate) fn template(&self, preload: &[&str]) -> Template {
        let python = self.image.python().to_str().unwrap().to_owned();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = |path: &str, target: &str| owner_mount(&fs::canonicalize(source.join(path)).unwrap(), target);
        let own = [
            file("../../python/manta/light/_zygote.py", "/light/_zygote.py"),
            file("tests/sandbox/zygote_main.py", "/light/main.py"),
        ];
        let argv = [&python, "-I", "-B", "/light/main.py"].into_iter().chain(preload.iter().copied());
        Template {
            name: "lab".to_owned(),
            argv: argv.map(str::to_owned).collect(),
            env: vec![("OPENBLAS_NUM_THREADS".to_owned(), "1".to_owned())],
            mounts: self.image.mounts().iter().cloned().chain(own).collect(),
            links: self.image.links().to_vec(),
            hostname: "task".to_owned(),
            memory_bytes: 1 << 30,
            standbys: if self.way == StartWay::Standby { 2 } else { 0 },
            forks_max: u32::MAX,
            age_ms_max: u64::MAX,
            idle_ms_max: u64::MAX,
            reserve_bytes: 0,
        }
    }

    /// A spec of somebody else's, started in the lab's way.
    pub(crate) fn warmed(&self, mut spec: SandboxSpec) -> SandboxSpec {
        if self.way != StartWay::Cold {
            let own = self.spec("");
            let more = own.mounts.into_iter().filter(|mount| !spec.mounts.contains(mount)).collect::<Vec<_>>();
            spec.mounts.extend(more);
            (spec.template, spec.hostname) = (own.template, own.hostname);
            self.wait_until_warm();
        }
        spec
    }

    /// Waits until the next start will be of the lab's way.
    pub(crate) fn wait_until_warm(&self) {
        let waiting = if self.way == StartWay::Standby { 1 } else { 0 };
        let rows = self.launcher.warmth_blocking().unwrap();
        assert!(rows.iter().any(|row| row.zygote.is_ok() && row.waiting >= waiting), "no warm start: {rows:?}");
    }

    /// A spec that runs a Python program with generous limits.
    pub(crate) fn spec(&self, program: &str) -> SandboxSpec {
        self.count.set(self.count.get() + 1);
        let python = self.image.python().to_str().unwrap().to_owned();
        let warm = self.way != StartWay::Cold;
        let template = warm.then(|| self.template(&[]));
        SandboxSpec {
            id: format!("lab_{}", self.count.get()),
            tier: self.tier,
            argv: vec![python, "-I".into(), "-B".into(), "-c".into(), program.into()],
            env: [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("TZ", "UTC")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            mounts: template.map_or_else(|| self.image.mounts().to_vec(), |template| template.mounts),
            directory: None,
            devices: Vec::new(),
            links: self.image.links().to_vec(),
            tmp: TmpLimits { bytes: 32 << 20, inodes: 4096 },
            limits: Limits { memory_bytes: 256 << 20, pids: 64, cpu: 2.0 },
            hostname: "task".into(),
            template: warm.then(|| "lab".to_owned()),
        }
    }

    /// A file in the lab's directory, readable by everybody.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn start(&self, spec: SandboxSpec) -> (Running, Pipes) {
        let pipes = Pipes::new();
        let (light, stdout, stderr) = pipes.task_ends();
        let warm = spec.template.is_some();
        if warm {
            self.wait_until_warm();
        }
        let running = self.launcher.start_blocking(spec, light, stdout, stderr).unwrap();
        let way = if warm { self.way } else { StartWay::Cold };
        assert_eq!(running.start.way, way, "{}", running.start);
        (running, pipes.close_task_ends())
    }

    /// Runs a spec to its end.
    pub(crate) fn run(&self, spec: SandboxSpec) -> Outcome {
        let (running, pipes) = self.start(spec);
        let (stdout, stderr) = pipes.read();
        Outcome { exit: running.exit.blocking_recv().unwrap(), stdout, stderr }
    }

    /// Runs a Python program to its end.
    pub(crate) fn python(&self, program: &str) -> Outcome {
        self.run(self.spec(program))
    }

    /// A device node that gives zeros, which only root can make.
    pub(crate) fn fake_device(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let (mode, zero) = (Mode::from_raw_mode(0o666), rustix::fs::makedev(1, 5));
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::CharacterDevice, mode, zero).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        path
    }

    /// Runs a Python program that must succeed, and returns what it printed.
    pub(crate) fn must(&self, program: &str) -> String {
        let outcome = self.python(program);
        assert_eq!(outcome.exit.how, ExitHow::Exited(0), "{:?}\n{program}\n{}", self.tier, outcome.stderr);
        outcome.stdout.trim().to_owned()
    }

    /// Evaluates a Python expression that must raise one of `errors` (OSError by its symbolic errno, else the class name).
    pub(crate) fn refused(&self, expression: &str, errors: &[&str]) {
        let program = format!(
            "{PRELUDE}\ntry:\n    print('got', ({expression}))\nexcept OSError as e:\n    print(errno.errorcode.get(e.errno, e))\n\
             except BaseException as e:\n    print(type(e).__name__, e)"
        );
        let said = self.must(&program);
        assert!(
            errors.contains(&said.as_str()),
            "{:?}: `{expression}` gave `{said}`, not one of {errors:?}",
            self.tier
        );
    }
}

/// What every attack may use: modules, and system calls by number that raise OSError.
pub(crate) const PRELUDE: &str = r#"
import ctypes, errno, fcntl, os, platform, signal, socket, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def call(x86_64, aarch64, *args):
    number = x86_64 if platform.machine() == "x86_64" else aarch64
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"#;

/// A read-only mount for the owner's eyes.
pub(crate) fn owner_mount(source: &Path, target: &str) -> Mount {
    Mount { source: source.to_owned(), target: target.into(), access: MountAccess::Owner }
}

/// Both ends of a task's output pipes and light socket.
pub(crate) struct Pipes {
    stdout: (Option<OwnedFd>, OwnedFd),
    stderr: (Option<OwnedFd>, OwnedFd),
    light: (Option<UnixStream>, UnixStream),
}

impl Pipes {
    pub(crate) fn new() -> Self {
        let pipe = || {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
            (Some(write), read)
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        Self { stdout: pipe(), stderr: pipe(), light: (Some(theirs), ours) }
    }

    pub(crate) fn task_ends(&self) -> (OwnedFd, OwnedFd, OwnedFd) {
        let copy = |fd: &Option<OwnedFd>| fd.as_ref().unwrap().try_clone().unwrap();
        (self.light.0.as_ref().unwrap().try_clone().unwrap().into(), copy(&self.stdout.0), copy(&self.stderr.0))
    }

    fn close_task_ends(mut self) -> Self {
        (self.stdout.0, self.stderr.0, self.light.0) = (None, None, None);
        self
    }

    /// The agent's end of the light socket.
    pub(crate) fn light(&self) -> &UnixStream {
        &self.light.1
    }

    /// One line of the task's standard output.
    pub(crate) fn line(&self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while rustix::io::read(&self.stdout.1, &mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// Everything the task writes until it ends, at most a few pages of standard error.
    pub(crate) fn read(self) -> (String, String) {
        let read_all = |fd: OwnedFd| {
            let mut bytes = Vec::new();
            fs::File::from(fd).read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let stderr = std::thread::spawn(move || read_all(self.stderr.1));
        (read_all(self.stdout.1), stderr.join().unwrap())
    }
}

/// Waits until `done`, at most `limit`; says what was waited for if it does not come.
pub(crate) fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain until {what}");
        std::thread::yield_now();
    }
}

/// Whether any process of this machine has `marker` as its name or in its arguments.
pub(crate) fn process_with(marker: &str) -> bool {
    let own = std::process::id().to_string();
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let name = entry.file_name().into_string().unwrap_or_default();
        name != own
            && name.bytes().all(|byte| byte.is_ascii_digit())
            && ["cmdline", "comm"]
                .iter()
                .any(|file| fs::read(entry.path().join(file)).is_ok_and(|text| contains(&text, marker.as_bytes())))
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Directories of control groups that carry `launcher`'s pid.
pub(crate) fn cgroups_of(launcher_pid: u32) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let cgroup_mounts =
        mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    cgroup_mounts
        .flat_map(|mount| fs::read_dir(Path::new(mount).join("manta")).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{launcher_pid}-")))
        .collect()
}

/// Processes below a launcher, but for itself.
pub(crate) fn pids_below(launcher: u32) -> Vec<u32> {
    let mut found = vec![launcher];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let tasks = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        found.extend(tasks.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        next += 1;
    }
    found.remove(0);
    found
}

/// Interpreters that run in process namespaces so many deep: 2 the zygote, 3 its children.
pub(crate) fn child_pids(lab: &Lab, depth: usize) -> Vec<Pid> {
    let runs_zygote = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("/light/main.py"))
    };
    let is_that_deep = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("NSpid:") && line.split_whitespace().count() == depth + 1)
    };
    let pids = pids_below(lab.launcher.pid()).into_iter().filter(|pid| runs_zygote(pid) && is_that_deep(pid));
    pids.filter_map(|pid| Pid::from_raw(pid.cast_signed())).collect()
}

/// The first interpreter of a lab's zygotes.
pub(crate) fn zygote_of(lab: &Lab) -> Pid {
    child_pids(lab, 2).into_iter().next().unwrap()
}
