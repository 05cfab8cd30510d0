//! What a sandbox is made from ([`SandboxSpec`]) and how it ended ([`Exit`]). Private protocol between agent and launcher.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{StartError, mounts};

/// Mounts and links that one sandbox may have, each.
const ENTRIES_MAX: usize = 256;

/// Device nodes beyond its own that one sandbox may have.
const DEVICES_MAX: usize = 64;

/// Targets the sandbox makes itself; nothing may be mounted on or below them.
const RESERVED_TARGETS: [&str; 2] = ["/proc", "/dev"];

/// What the sandbox makes in `/dev` beside device nodes.
const MADE_IN_DEV: [&str; 5] = ["/dev/shm", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr"];

/// How strongly a task is contained, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Namespaces made by root, each running task under a host uid of its own.
    Full,
    /// Namespaces made by an ordinary user; the task's files are read with the agent's own uid.
    Rootless,
    /// No namespaces: system-call filter, Landlock and resource limits only.
    Reduced,
}

impl Tier {
    /// Whether mounts appear at their targets; if not, `argv` and `env` must name the real source paths.
    pub const fn maps_paths(self) -> bool {
        !matches!(self, Self::Reduced)
    }

    /// Whether it contains tasks as strongly as `floor`, or more so.
    pub const fn is_at_least(self, floor: Self) -> bool {
        self.rank() >= floor.rank()
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Full => 2,
            Self::Rootless => 1,
            Self::Reduced => 0,
        }
    }

    /// The tier's name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Rootless => "rootless",
            Self::Reduced => "reduced",
        }
    }
}

/// Everything that one attempt gets. What is not named here does not exist for the task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Unique among running sandboxes; 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub id: String,
    /// The tier to run in; one that the host report named.
    pub tier: Tier,
    /// Absolute path of the program, then its arguments.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Absolute path inside of the directory that the program begins in; `None` is the scratch. Only where paths are mapped, and
    /// for cold starts.
    #[serde(default)]
    pub directory: Option<String>,
    /// Read-only files and directories.
    pub mounts: Vec<Mount>,
    /// Devices beside those that every task has; a task that has any starts cold.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Symbolic links made in the sandbox's root, as on merged-usr systems.
    pub links: Vec<Link>,
    /// Size of the private `/tmp` and of `/dev/shm`, each.
    pub tmp: TmpLimits,
    /// Limits on the whole process tree.
    pub limits: Limits,
    /// Host name inside.
    pub hostname: String,
    /// Name of the template it may be started from, which its launcher was told before; `None` starts it cold.
    pub template: Option<String>,
}

/// A file or directory that the task may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path on the host; must exist and not be a symbolic link itself.
    pub source: PathBuf,
    /// Absolute path inside; `/proc`, `/dev` and what lies below them are the sandbox's own.
    pub target: PathBuf,
    /// Whose permissions count.
    pub access: MountAccess,
}

/// Whose permissions a task has on a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountAccess {
    /// The owner's of the mounted file or directory, so that 0600 and 0700 can be read: datasets, code, environments.
    Owner,
    /// The owner's where owners can be mapped, else everybody's: parts of an image, of which its root may have some alone.
    OwnerOrOther,
    /// Everybody's: system directories, whose private files stay private.
    Other,
}

/// A character device that the task may read, write and control.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Device {
    /// Absolute path of the node on the host; not of a link.
    pub source: PathBuf,
    /// Absolute path inside, below `/dev`.
    pub target: PathBuf,
}

/// A symbolic link inside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Where the link lies; absolute.
    pub path: PathBuf,
    /// What it points to; absolute or relative.
    pub to: PathBuf,
}

/// Size of a temporary file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpLimits {
    /// Bytes, also counted as memory of the task.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// Limits on a task's process tree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory including temporary files; without cgroups, private memory of each process.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Cores' worth of CPU time, more than 0; not enforced without cgroups.
    pub cpu: f64,
}

/// How a sandbox ended and what it used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// How the task's first process ended.
    pub how: ExitHow,
    /// A process was killed because the memory limit was reached (known only with cgroups).
    pub oom: bool,
    /// Making a process or thread failed because the limit was reached (known only with cgroups).
    pub pids_limit_hit: bool,
    /// It held more than [`FILE_LOCKS`](crate::FILE_LOCKS) locks on files, and was ended for it.
    #[serde(default)]
    pub file_locks_limit_hit: bool,
    /// Its scratch was beyond this limit, and it was ended for it; only where the scratch is no file system of its own.
    pub scratch: Option<ScratchLimit>,
    /// Highest memory use: of the tree with cgroups, else of the largest process.
    pub peak_memory_bytes: u64,
    /// Most processes and threads at one time; 0 where the kernel does not tell.
    pub peak_pids: u32,
    /// CPU time of the whole tree, user and system.
    pub cpu_ms: u64,
}

/// A limit of a task's scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScratchLimit {
    /// The size of all files together.
    Bytes,
    /// Files and directories.
    Files,
}

impl ScratchLimit {
    const WORDS: [(Self, [u8; 5]); 2] = [(Self::Bytes, *b"bytes"), (Self::Files, *b"files")];
    /// Length of its wire form, by which it differs from a wait status.
    pub(crate) const BYTES: usize = 5;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        Self::WORDS.iter().find(|(limit, _)| *limit == self).expect("every limit has its word").1
    }

    /// Reads the wire form; `None` if it is none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::WORDS.iter().find(|(_, word)| word.as_slice() == bytes).map(|(limit, _)| *limit)
    }
}

/// How a task's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitHow {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
    /// The launcher died, and the task with it.
    Lost,
    /// Its container was ended from outside.
    ContainerLost,
    /// The zygote that it was forked from ended, and the task with it.
    ZygoteLost,
}

impl Exit {
    /// The exit of a task whose launcher died.
    pub const fn lost() -> Self {
        Self {
            how: ExitHow::Lost,
            oom: false,
            pids_limit_hit: false,
            file_locks_limit_hit: false,
            scratch: None,
            peak_memory_bytes: 0,
            peak_pids: 0,
            cpu_ms: 0,
        }
    }
}

impl SandboxSpec {
    /// Refuses a spec that no sandbox can be made from.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let refuse = |problem: String| Err(StartError::Spec { problem });
        if !is_id(&self.id) {
            return refuse(format!("the id `{}` is not 1 to 64 letters, digits, `_` or `-`", self.id));
        }
        if !self.argv.first().is_some_and(|program| program.starts_with('/')) {
            return refuse("the program is not an absolute path".to_owned());
        }
        let hostname_fits = (1..=64).contains(&self.hostname.len());
        if !hostname_fits {
            return refuse(format!("the host name `{}` is not 1 to 64 bytes long", self.hostname));
        }
        let limits_fit =
            self.limits.memory_bytes > 0 && self.limits.pids > 0 && self.limits.cpu > 0.0 && self.limits.cpu < 65_536.0;
        if !limits_fit || self.tmp.bytes == 0 || self.tmp.inodes == 0 {
            return refuse("a limit is zero or out of range".to_owned());
        }
        if self.template.is_some() && !self.devices.is_empty() {
            return refuse("a task that has devices of its own starts cold; leave its template out".to_owned());
        }
        if let Some(directory) = &self.directory
            && (self.template.is_some() || !self.tier.maps_paths() || !directory.starts_with('/'))
        {
            let problem = "needs to be an absolute path, a tier that maps paths, and a cold start";
            return refuse(format!("the working directory `{directory}` {problem}"));
        }
        check_mounts(&self.mounts)?;
        check_devices(&self.devices)?;
        check_links(&self.links)
    }
}

/// Whether a text can name a sandbox or a template.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Refuses mounts that no sandbox can have.
pub(crate) fn check_mounts(mounts: &[Mount]) -> Result<(), StartError> {
    if mounts.len() > ENTRIES_MAX {
        return Err(StartError::Spec { problem: format!("more than {ENTRIES_MAX} mounts") });
    }
    mounts.iter().try_for_each(|mount| check_target(&mount.target))?;
    match mounts.iter().find(|mount| !mount.source.is_absolute()) {
        Some(mount) => Err(StartError::Spec {
            problem: format!("the mount source `{}` is not an absolute path", mount.source.display()),
        }),
        None => Ok(()),
    }
}

/// Refuses device nodes that no sandbox can have: those that it has anyhow, and what is not plainly below `/dev`.
fn check_devices(devices: &[Device]) -> Result<(), StartError> {
    if devices.len() > DEVICES_MAX {
        return Err(StartError::Spec { problem: format!("more than {DEVICES_MAX} devices") });
    }
    let is_own = |path: &Path| {
        mounts::DEVICES.iter().any(|own| path == Path::new(own)) || MADE_IN_DEV.iter().any(|own| path.starts_with(own))
    };
    let is_plain = |path: &Path| {
        let below = path.strip_prefix("/dev").ok().filter(|below| !below.as_os_str().is_empty());
        below.is_some_and(|below| below.components().all(|component| matches!(component, Component::Normal(_))))
    };
    match devices.iter().find(|device| is_own(&device.target) || !is_plain(&device.target)) {
        Some(device) => Err(StartError::Spec {
            problem: format!("`{}` cannot be a device inside a sandbox", device.target.display()),
        }),
        None => Ok(()),
    }
}

/// Refuses links that no sandbox can have.
pub(crate) fn check_links(links: &[Link]) -> Result<(), StartError> {
    if links.len() > ENTRIES_MAX {
        return Err(StartError::Spec { problem: format!("more than {ENTRIES_MAX} links") });
    }
    links.iter().try_for_each(|link| check_target(&link.path))
}

fn check_target(target: &Path) -> Result<(), StartError> {
    let mut components = target.components();
    let plain = components.next() == Some(Component::RootDir)
        && target.components().count() > 1
        && components.all(|component| matches!(component, Component::Normal(_)));
    if plain && !RESERVED_TARGETS.iter().any(|reserved| target.starts_with(reserved)) && target != Path::new("/tmp") {
        return Ok(());
    }
    Err(StartError::Spec { problem: format!("`{}` cannot be a mount target inside a sandbox", target.display()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> SandboxSpec {
        SandboxSpec {
            id: "at_1".to_owned(),
            tier: Tier::Full,
            argv: vec!["/bin/true".to_owned()],
            env: Vec::new(),
            mounts: Vec::new(),
            directory: None,
            devices: Vec::new(),
            links: Vec::new(),
            tmp: TmpLimits { bytes: 1 << 20, inodes: 64 },
            limits: Limits { memory_bytes: 1 << 20, pids: 1, cpu: 0.5 },
            hostname: "task".to_owned(),
            template: None,
        }
    }

    #[test]
    fn plain_spec_passes_and_survives_its_wire_form() {
        let spec = spec();
        spec.check().unwrap();
        let wire = serde_json::to_vec(&spec).unwrap();
        assert_eq!(serde_json::from_slice::<SandboxSpec>(&wire).unwrap(), spec);
    }

    #[test]
    fn ids_that_could_leave_their_directory_are_refused() {
        for id in ["", "..", "a/b", "a b", &"x".repeat(65)] {
            let spec = SandboxSpec { id: id.to_owned(), ..spec() };
            assert!(spec.check().is_err(), "{id:?}");
        }
    }

    #[test]
    fn mount_targets_stay_inside_and_off_reserved_places() {
        for target in ["/", "code", "/code/../etc", "/proc", "/proc/sys", "/dev/null", "/tmp", "/.."] {
            assert!(check_target(Path::new(target)).is_err(), "{target}");
        }
        for target in ["/code", "/data/digits", "/tmp/environment", "/process"] {
            check_target(Path::new(target)).unwrap();
        }
    }

    #[test]
    fn devices_lie_below_dev_and_are_not_those_that_every_task_has() {
        let device = |path: &str| Device { source: "/dev/nvidia0".into(), target: path.into() };
        for path in ["/dev", "/dev/null", "/dev/shm/x", "/dev/../etc/shadow", "/etc/shadow", "nvidia0", "/dev/fd"] {
            assert!(check_devices(&[device(path)]).is_err(), "{path}");
        }
        check_devices(&[device("/dev/nvidia0"), device("/dev/nvidia-caps/nvidia-cap1")]).unwrap();
        let warm = SandboxSpec { devices: vec![device("/dev/nvidia0")], template: Some("t".to_owned()), ..spec() };
        assert!(warm.check().unwrap_err().to_string().contains("starts cold"));
    }

    #[test]
    fn zero_limits_are_refused() {
        let mut zero = spec();
        zero.limits.cpu = 0.0;
        assert!(zero.check().is_err());
        let mut nan = spec();
        nan.limits.cpu = f64::NAN;
        assert!(nan.check().is_err());
    }
}
