//! The probe suite: small attempts at what no task may do, run inside a sandbox to see whether it holds.
//!
//! The probes are Python programs of the directory `probes/`, carried in this library and written out by
//! [`ProbeSuite::install`], as every image has Python. The short form needs nothing but a sandbox: an agent runs it to know
//! whether its own host contains tasks. The full form aims at files, listeners and processes that a [`Stage`] puts up
//! outside, and is run outside as well, where a probe must succeed to prove anything.

mod finding;
mod run;
mod stage;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

pub use finding::{Finding, FindingState, Verdict};
pub use run::ProbeError;
pub use stage::Stage;

use crate::{HostImage, Limits, Link, Mount, MountAccess, SandboxSpec, Tier, TmpLimits};

/// Every file of the suite: its path below the directory it is installed in, and its content.
const FILES: &[(&str, &str)] = &[
    ("__main__.py", include_str!("../../probes/__main__.py")),
    ("suite/__init__.py", include_str!("../../probes/suite/__init__.py")),
    ("suite/calls.py", include_str!("../../probes/suite/calls.py")),
    ("suite/descriptors.py", include_str!("../../probes/suite/descriptors.py")),
    ("suite/devices.py", include_str!("../../probes/suite/devices.py")),
    ("suite/files.py", include_str!("../../probes/suite/files.py")),
    ("suite/gvisor.py", include_str!("../../probes/suite/gvisor.py")),
    ("suite/ipc.py", include_str!("../../probes/suite/ipc.py")),
    ("suite/isolation.py", include_str!("../../probes/suite/isolation.py")),
    ("suite/kernel.py", include_str!("../../probes/suite/kernel.py")),
    ("suite/permitted.py", include_str!("../../probes/suite/permitted.py")),
    ("suite/privileges.py", include_str!("../../probes/suite/privileges.py")),
    ("suite/probe.py", include_str!("../../probes/suite/probe.py")),
    ("suite/proc.py", include_str!("../../probes/suite/proc.py")),
    ("suite/processes.py", include_str!("../../probes/suite/processes.py")),
    ("suite/refused.py", include_str!("../../probes/suite/refused.py")),
    ("suite/run.py", include_str!("../../probes/suite/run.py")),
    ("suite/sockets.py", include_str!("../../probes/suite/sockets.py")),
    ("suite/stage.py", include_str!("../../probes/suite/stage.py")),
    ("suite/writing.py", include_str!("../../probes/suite/writing.py")),
    ("suite/allowed.txt", include_str!("../seccomp/allowed.txt")),
    ("suite/refused.txt", include_str!("../seccomp/refused.txt")),
];

/// Where a task with paths of its own finds the suite.
const TARGET: &str = "/probes";
/// What the probes may use; they need little.
const LIMITS: Limits = Limits { memory_bytes: 512 << 20, pids: 64, cpu: 2.0 };
const TMP: TmpLimits = TmpLimits { bytes: 32 << 20, inodes: 4096 };

/// The root directory in which the suite runs, as the sandbox has it.
#[derive(Debug, Clone, Copy)]
pub struct ProbeRoot<'a> {
    /// The interpreter, as the suite sees it.
    pub python: &'a Path,
    /// What is mounted.
    pub mounts: &'a [Mount],
    /// Links in the root.
    pub links: &'a [Link],
    /// Whether all that lies there is an image's own: then a file of the host's is not known by its path.
    pub is_of_image: bool,
}

impl<'a> From<&'a HostImage> for ProbeRoot<'a> {
    fn from(image: &'a HostImage) -> Self {
        Self { python: image.python(), mounts: image.mounts(), links: image.links(), is_of_image: false }
    }
}

/// The probe suite, written out.
#[derive(Debug, Clone)]
pub struct ProbeSuite {
    dir: PathBuf,
}

impl ProbeSuite {
    /// Writes the suite below `dir`, which is made where needed and can be read by everybody afterwards.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn install(dir: &Path) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?;
        DirBuilder::new().recursive(true).mode(0o755).create(dir.join("suite"))?;
        for (name, content) in FILES {
            fs::write(dir.join(name), content)?;
        }
        Ok(Self { dir })
    }

    /// Where the suite lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A sandbox that runs the suite: its short form, or with the targets of a [`Stage`] the full one.
    pub fn spec<'a>(
        &self,
        id: &str,
        tier: Tier,
        root: impl Into<ProbeRoot<'a>>,
        targets: Option<&serde_json::Value>,
    ) -> SandboxSpec {
        let root = root.into();
        let dir = if tier.maps_paths() { Path::new(TARGET) } else { &self.dir };
        let text = |text: &str| text.to_owned();
        let mut argv = vec![root.python.display().to_string(), text("-I"), text("-B"), dir.display().to_string()];
        argv.extend([text("--tier"), text(tier.name())]);
        argv.extend(root.is_of_image.then(|| text("--image")));
        argv.extend(targets.into_iter().flat_map(|targets| [text("--stage"), targets.to_string()]));
        let mut mounts = root.mounts.to_vec();
        mounts.push(Mount { source: self.dir.clone(), target: TARGET.into(), access: MountAccess::Owner });
        SandboxSpec {
            id: id.to_owned(),
            tier,
            argv,
            env: [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("TZ", "UTC")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            mounts,
            directory: None,
            devices: Vec::new(),
            links: root.links.to_vec(),
            tmp: TMP,
            limits: LIMITS,
            hostname: text("probes"),
            template: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_suite_is_carried() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes");
        let names = |dir: &str| -> Vec<String> {
            let entries = fs::read_dir(source.join(dir)).unwrap().flatten();
            let names = entries.map(|entry| format!("{dir}{}", entry.file_name().to_str().unwrap()));
            names.filter(|name| name.ends_with(".py")).collect()
        };
        let mut there = [names(""), names("suite/")].concat();
        let mut carried: Vec<String> =
            FILES.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name.ends_with(".py")).collect();
        there.sort();
        carried.sort();
        assert_eq!(carried, there);
    }

    #[test]
    fn the_suite_is_written_where_it_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let suite = ProbeSuite::install(&dir.path().join("probes")).unwrap();
        assert!(FILES.iter().all(|(name, _)| suite.dir().join(name).is_file()));
    }
}
