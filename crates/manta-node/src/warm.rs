//! Warm starts on this node: which images get a zygote, what it imports, and how many sandboxes wait in it.
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use manta_sandbox::{HostImage, Mount, Template, Tier};
use manta_types::NodeName;

use crate::agent::Node;
use crate::image::Environment;
use crate::runner::{HASH_SEED, own_mount};

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
    /// Where the agent is root; a task waits until what it is forked from is there.
    On {
        /// As for [`Warm::Auto`].
        standbys: Option<u32>,
    },
}

/// The zygotes that this node asked its engine for.
pub(crate) struct Zygotes {
    /// Tasks that wait in each; without it there are none.
    standbys: Option<u32>,
    /// Whether a task waits for its zygote.
    is_awaited: bool,
    /// Why there is no warm start, for the node's notes.
    reason: Option<String>,
    asked: Mutex<BTreeSet<&'static str>>,
}

impl Zygotes {
    /// Decides by setting, tier and memory that nobody uses.
    pub(crate) fn new(warm: Warm, tier: Tier, available_bytes: u64) -> Self {
        let is_awaited = matches!(warm, Warm::On { .. });
        let decided = |standbys, reason: Option<&str>| {
            let reason = reason.map(str::to_owned);
            Self { standbys, is_awaited, reason, asked: Mutex::default() }
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

    /// [`Zygotes::asked_for`], and where the setting says so waits until the zygote is there.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn template(
        &self,
        node: &Node,
        environment: &Environment<'_>,
        image: &str,
    ) -> Result<Option<String>, String> {
        if let Some(containment) = node.warm_containment.as_ref().filter(|_| self.is_awaited) {
            containment.held().await?;
        }
        let template = self.asked_for(node, environment, image)?;
        if self.is_awaited && template.is_some() {
            // An engine that is gone is noticed by the start that follows.
            let _ = node.engine.warmth().await;
        }
        Ok(template)
    }

    /// The template from which tasks of an image may be started; its zygote is asked for when it is needed first.
    ///
    /// Only images of the host have one: a stored image is held for one attempt, and a zygote would outlive it.
    ///
    /// # Errors
    /// Why such a task starts cold though this node starts others warm.
    fn asked_for(&self, node: &Node, environment: &Environment<'_>, image: &str) -> Result<Option<String>, String> {
        let Some((standbys, containment)) = self.standbys.zip(node.warm_containment.as_ref()) else { return Ok(None) };
        let Environment::Host(_) = environment else { return Err("stored images have no zygote".to_owned()) };
        let Some((name, preload)) = preload_of(image) else { return Err(format!("`{image}` has no zygote")) };
        containment.held_already()?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.contains(name) {
            // An engine that is gone is noticed by the start that follows.
            let template = template(&node.name, node.images.host(), &node.runtime, name, preload, standbys);
            if let Err(error) = node.engine.keep_warm(template) {
                tracing::warn!(image = name, %error, "no zygote can be asked for");
            }
            asked.insert(name);
        }
        Ok(Some(name.to_owned()))
    }

    /// What containment of warm starts is checked with, where there are any.
    pub(crate) fn probed(&self, node: &NodeName, image: &HostImage, runtime: &Path) -> Option<Template> {
        self.standbys.map(|standbys| template(node, image, runtime, "latest", &[], standbys))
    }
}

/// The plain name of an image, without registry and version, and what its zygote imports.
fn preload_of(image: &str) -> Option<(&'static str, &'static [&'static str])> {
    let short = image.strip_prefix("manta_light:").unwrap_or(image);
    let name = short.split([':', '>', '=', '<']).next()?;
    PRELOADS.into_iter().find(|(known, _)| *known == name)
}

fn template(
    node: &NodeName,
    image: &HostImage,
    runtime: &Path,
    name: &str,
    preload: &[&str],
    standbys: u32,
) -> Template {
    let runtime = own_mount(runtime, "/manta".into());
    let python = image.python().display().to_string();
    let fixed = [python.as_str(), "-s", "-B", "/manta/zygote.py"];
    let environment = [
        ("PYTHONHASHSEED", HASH_SEED),
        ("TZ", "UTC"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("HOME", "/tmp"),
        ("PATH", "/usr/bin:/bin"),
        // With one thread it can be forked; each task raises it to what it has.
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("MKL_NUM_THREADS", "1"),
    ];
    let mounts: Vec<Mount> = image.mounts().iter().cloned().chain([runtime]).collect();
    Template {
        name: name.to_owned(),
        argv: fixed.iter().chain(preload).map(|part| (*part).to_owned()).collect(),
        env: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        mounts,
        links: image.links().to_vec(),
        hostname: node.to_string(),
        memory_bytes: ZYGOTE_BYTES_MAX,
        standbys,
        forks_max: FORKS_MAX,
        age_ms_max: AGE_MS_MAX,
        reserve_bytes: RESERVE_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: u64 = 64 << 30;

    #[test]
    fn standbys_follow_the_setting_and_else_the_memory() {
        let standbys = |standbys, bytes| Zygotes::new(Warm::Auto { standbys }, Tier::Full, bytes).standbys;
        assert_eq!(standbys(None, PLENTY), Some(2));
        assert_eq!(standbys(None, 4 << 30), Some(1));
        assert_eq!(standbys(None, AVAILABLE_BYTES_MIN), Some(0));
        assert_eq!(standbys(None, AVAILABLE_BYTES_MIN - 1), None);
        assert_eq!(standbys(Some(3), AVAILABLE_BYTES_MIN), Some(3));
        assert_eq!(Zygotes::new(Warm::On { standbys: None }, Tier::Full, 1).standbys, Some(0));
        assert_eq!(Zygotes::new(Warm::Off, Tier::Full, PLENTY).standbys, None);
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
        assert!(Zygotes::new(auto, Tier::Rootless, PLENTY).note().unwrap().contains("must be root"));
        assert!(Zygotes::new(auto, Tier::Full, 1).note().unwrap().contains("memory"));
        assert_eq!(Zygotes::new(Warm::Off, Tier::Full, PLENTY).note(), None);
    }
}
