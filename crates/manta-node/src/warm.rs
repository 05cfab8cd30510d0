//! Warm starts on this node: which images get a zygote, what it imports, and how many sandboxes wait in it.
mod images;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use manta_sandbox::{Engine, HostImage, Link, Mount, Template, Tier};
use manta_types::NodeName;
use tokio_util::sync::CancellationToken;

use crate::agent::Node;
use crate::containment::Containment;
use crate::image::Environment;
use crate::runner::{fixed_environment, own_mount};
use crate::supervisor::Supervisor;
use images::WarmImages;

/// The host's curated images, and what their zygotes import; tensorflow starts threads, which a fork would lose, so only what it is
/// built on.
const PRELOADS: [(&str, &[&str]); 5] = [
    ("latest", &[]),
    ("numpy", &["numpy"]),
    ("pytorch", &["numpy", "torch"]),
    ("sklearn", &["numpy", "sklearn"]),
    ("tensorflow", &["numpy"]),
];

/// Memory of one zygote; torch takes half a gigabyte.
const ZYGOTE_BYTES_MAX: u64 = 2 << 30;
/// A node with less memory in use of nobody keeps no zygote.
const AVAILABLE_BYTES_MIN: u64 = 1 << 30;
/// A node with less keeps no sandbox waiting in its zygotes, and forks when a task comes.
const AVAILABLE_BYTES_SOME: u64 = 2 << 30;
/// A node with less keeps one sandbox waiting in each zygote, another two.
const AVAILABLE_BYTES_PLENTY: u64 = 8 << 30;
/// Tasks of one zygote, and its milliseconds, before another takes its place.
const FORKS_MAX: u32 = 1000;
const AGE_MS_MAX: u64 = 30 * 60 * 1000;
/// Milliseconds after which a zygote that no task used ends.
const IDLE_MS_MAX: u64 = 20 * 60 * 1000;
/// Where glibc is told how to behave.
const TUNABLES: &str = "GLIBC_TUNABLES";
/// Memory that warm starts leave to others.
const RESERVE_BYTES: u64 = 512 << 20;

/// Whether and how tasks are started warm: forked from a process that has imported their image's packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warm {
    /// Every task's interpreter is started anew.
    Off,
    /// Where the agent is root, and memory is free.
    Auto {
        /// Tasks that wait ready in each such process; chosen by memory where it is not given.
        standbys: Option<u32>,
    },
    /// Where the agent is root; a task waits until warm starts are known to be contained.
    On {
        /// As for [`Warm::Auto`].
        standbys: Option<u32>,
    },
}

/// The zygotes that this node asked its engine for.
pub(crate) struct Zygotes {
    /// Tasks that wait in each; without it there are none.
    standbys: Option<u32>,
    /// Whether a task waits until containment is known.
    is_awaited: bool,
    /// Why there is no warm start, for the node's notes.
    reason: Option<String>,
    asked: Mutex<BTreeSet<&'static str>>,
    images: WarmImages,
}

/// How this node keeps zygotes.
#[derive(Clone, Copy)]
struct Kept<'a> {
    /// Tasks that wait in each.
    standbys: u32,
    /// Whether a task waits until containment is known.
    is_awaited: bool,
    /// What is known of what the host's own forks.
    containment: &'a Containment,
}

impl Zygotes {
    /// Decides by setting, tier and memory that nobody uses.
    pub(crate) fn new(warm: Warm, tier: Tier, available_bytes: u64, supervisor: &Supervisor) -> Self {
        let is_awaited = matches!(warm, Warm::On { .. });
        let decided = |standbys, reason: Option<&str>| {
            let reason = reason.map(str::to_owned);
            let images = WarmImages::new(supervisor.clone());
            Self { standbys, is_awaited, reason, asked: Mutex::default(), images }
        };
        let none = |reason| decided(None, reason);
        let (Warm::Auto { standbys } | Warm::On { standbys }) = warm else { return none(None) };
        if tier != Tier::Full {
            return none(Some(
                "tasks start cold: a warm start gives each task a uid of its own, for which the agent must be root",
            ));
        }
        if !is_awaited && available_bytes < AVAILABLE_BYTES_MIN {
            return none(Some("tasks start cold: less than 1 GiB of memory is free (`--warm on` overrules it)"));
        }
        let by_memory = match available_bytes {
            ..AVAILABLE_BYTES_SOME => 0,
            AVAILABLE_BYTES_SOME..AVAILABLE_BYTES_PLENTY => 1,
            _ => 2,
        };
        decided(Some(standbys.unwrap_or(by_memory)), None)
    }

    /// Whether any task starts warm.
    pub(crate) fn has_any(&self) -> bool {
        self.standbys.is_some()
    }

    /// Why no task starts warm though it may, with what would help.
    pub(crate) fn note(&self) -> Option<String> {
        self.reason.clone()
    }

    /// What a person who looks at this node should know of the zygotes of stored images.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.images.notes()
    }

    /// Lets zygotes of images go that were removed, until the agent stops.
    pub(crate) async fn keep(&self, engine: &dyn Engine, stop: &CancellationToken) {
        if self.has_any() {
            self.images.keep(engine, stop).await;
        }
    }

    /// The template from which tasks of an image may be started; its zygote is asked for when it is needed first, and the start waits
    /// while that imports. Where the setting says so, waits until containment is known.
    ///
    /// # Errors
    /// Why such a task starts cold though this node starts others warm.
    pub(crate) async fn template(
        &self,
        node: &Node,
        environment: &Environment<'_>,
        image: &str,
    ) -> Result<Option<String>, String> {
        let Some((standbys, containment)) = self.standbys.zip(node.warm_containment.as_ref()) else { return Ok(None) };
        let kept = Kept { standbys, is_awaited: self.is_awaited, containment };
        if self.is_awaited {
            containment.held().await?;
        }
        containment.held_already()?;
        match environment {
            Environment::Host(_) => self.of_host(node, image, standbys),
            Environment::Stored(stored) => self.images.template(node, stored, kept).await,
        }
        .map(Some)
    }

    fn of_host(&self, node: &Node, image: &str, standbys: u32) -> Result<String, String> {
        let Some((name, preload)) = preload_of(image) else { return Err(format!("`{image}` has no zygote")) };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.insert(name) {
            // An engine that is gone is noticed by the start that follows.
            let template = of_host(&node.name, node.images.host(), &node.runtime, name, preload, standbys);
            if let Err(error) = node.engine.keep_warm(template) {
                tracing::warn!(image = name, %error, "no zygote can be asked for");
            }
        }
        Ok(name.to_owned())
    }

    /// What containment of warm starts is checked with, where there are any.
    pub(crate) fn probed(&self, node: &NodeName, image: &HostImage, runtime: &Path) -> Option<Template> {
        self.standbys.map(|standbys| of_host(node, image, runtime, "latest", &[], standbys))
    }
}

/// The plain name of an image, without registry and version, and what its zygote imports.
fn preload_of(image: &str) -> Option<(&'static str, &'static [&'static str])> {
    let short = image.strip_prefix("manta_light:").unwrap_or(image);
    let name = short.split([':', '>', '=', '<']).next()?;
    PRELOADS.into_iter().find(|(known, _)| *known == name)
}

fn of_host(
    node: &NodeName,
    image: &HostImage,
    runtime: &Path,
    name: &str,
    preload: &[&str],
    standbys: u32,
) -> Template {
    let root = (image.python(), image.mounts(), image.links());
    template(
        node,
        root,
        runtime,
        name,
        &preload.iter().map(|module| (*module).to_owned()).collect::<Vec<_>>(),
        standbys,
    )
}

/// A template of a root directory: its interpreter, mounts and links.
fn template(
    node: &NodeName,
    (python, mounts, links): (&Path, &[Mount], &[Link]),
    runtime: &Path,
    name: &str,
    preload: &[String],
    standbys: u32,
) -> Template {
    let runtime = own_mount(runtime, "/manta".into());
    let fixed = [python.display().to_string(), "-s".to_owned(), "-B".to_owned(), "/manta/zygote.py".to_owned()];
    Template {
        name: name.to_owned(),
        argv: fixed.into_iter().chain(preload.iter().cloned()).collect(),
        env: environment(&[]),
        mounts: mounts.iter().cloned().chain([runtime]).collect(),
        links: links.to_vec(),
        hostname: node.to_string(),
        memory_bytes: ZYGOTE_BYTES_MAX,
        standbys,
        forks_max: FORKS_MAX,
        age_ms_max: AGE_MS_MAX,
        idle_ms_max: IDLE_MS_MAX,
        reserve_bytes: RESERVE_BYTES,
    }
}

/// A zygote's environment: what every one has, and what its image asks for besides.
fn environment(asked: &[(String, String)]) -> Vec<(String, String)> {
    // With one thread it can be forked; each task raises it to what it has.
    let mut fixed = fixed_environment(asked, "1");
    // What is forked from it by way of a process that borrows its memory has no restartable sequences, whatever glibc believes.
    let own = asked.iter().rev().find(|(name, _)| name == TUNABLES).map(|(_, value)| format!(":{value}"));
    fixed.push((TUNABLES.to_owned(), format!("glibc.pthread.rseq=0{}", own.unwrap_or_default())));
    let free: Vec<_> = asked.iter().filter(|(name, _)| fixed.iter().all(|(taken, _)| taken != name)).cloned().collect();
    fixed.into_iter().chain(free).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: u64 = 64 << 30;

    fn zygotes(warm: Warm, tier: Tier, available_bytes: u64) -> Zygotes {
        Zygotes::new(warm, tier, available_bytes, &Supervisor::default())
    }

    #[test]
    fn standbys_follow_the_setting_and_else_the_memory() {
        let standbys = |standbys, bytes| zygotes(Warm::Auto { standbys }, Tier::Full, bytes).standbys;
        assert_eq!(standbys(None, PLENTY), Some(2));
        assert_eq!(standbys(None, 4 << 30), Some(1));
        assert_eq!(standbys(None, AVAILABLE_BYTES_MIN), Some(0));
        assert_eq!(standbys(None, AVAILABLE_BYTES_MIN - 1), None);
        assert_eq!(standbys(Some(3), AVAILABLE_BYTES_MIN), Some(3));
        assert_eq!(zygotes(Warm::On { standbys: None }, Tier::Full, 1).standbys, Some(0));
        assert_eq!(zygotes(Warm::Off, Tier::Full, PLENTY).standbys, None);
    }

    #[test]
    fn what_an_image_asks_for_changes_nothing_that_every_zygote_has() {
        let asked = [("PATH", "/opt/bin"), ("OMP_NUM_THREADS", "8"), ("LD_LIBRARY_PATH", "/opt/lib")];
        let env = environment(&asked.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let of = |name: &str| -> Vec<&str> {
            env.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!((of("PATH"), of("OMP_NUM_THREADS")), (vec!["/opt/bin"], vec!["1"]));
        assert_eq!(of("LD_LIBRARY_PATH"), ["/opt/lib"]);
        assert_eq!(of("GLIBC_TUNABLES"), ["glibc.pthread.rseq=0"]);
        let asked = [("GLIBC_TUNABLES".to_owned(), "glibc.malloc.arena_max=1".to_owned())];
        let told: Vec<_> = environment(&asked).into_iter().filter(|(name, _)| name == TUNABLES).collect();
        assert_eq!(told, [(TUNABLES.to_owned(), "glibc.pthread.rseq=0:glibc.malloc.arena_max=1".to_owned())]);
    }

    #[test]
    fn a_version_asks_for_no_zygote_of_its_own() {
        for image in ["numpy", "manta_light:numpy", "numpy>=2.0", "numpy:2.0+"] {
            assert_eq!(preload_of(image), Some(("numpy", ["numpy"].as_slice())), "{image}");
        }
        assert_eq!(preload_of("alpine:3"), None);
    }

    #[test]
    fn a_node_without_warm_starts_says_why_unless_it_was_told_so() {
        let auto = Warm::Auto { standbys: None };
        assert!(zygotes(auto, Tier::Rootless, PLENTY).note().unwrap().contains("must be root"));
        assert!(zygotes(auto, Tier::Full, 1).note().unwrap().contains("memory"));
        assert_eq!(zygotes(Warm::Off, Tier::Full, PLENTY).note(), None);
    }
}
