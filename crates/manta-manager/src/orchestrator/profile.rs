//! What a node says of itself.
use std::collections::BTreeMap;

use manta_api::DatasetView;
use manta_api::policy::PolicyForm;
use manta_engine::NodeDescription;
use manta_types::{NodeName, Runtime};
use serde::{Deserialize, Serialize};

/// What a node says of itself; its JSON form is what the store keeps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NodeProfile {
    /// What `labels` of a task are compared with.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Name → form (`file`, `directory`).
    #[serde(default)]
    pub datasets: BTreeMap<String, String>,
    /// The same, as far as the node tells what they look like.
    #[serde(default)]
    pub dataset_views: Vec<DatasetView>,
    /// Images that it can make.
    #[serde(default)]
    pub images: Vec<String>,
    /// Image → its digest, or `host:` and a fingerprint of the node's own Python and packages.
    #[serde(default)]
    pub image_digests: BTreeMap<String, String>,
    /// Attempts that it runs at once.
    pub slots: u32,
    /// Processor cores.
    pub cpu_count: f64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Its GPUs.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// How well it contains tasks: `full`, `rootless` or `reduced`.
    #[serde(default)]
    pub tier: String,
    /// What runs its tasks: `builtin`, `docker` or `podman`; empty where the node does not tell.
    #[serde(default)]
    pub engine: String,
    /// Sentences about what its host cannot enforce.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The node protocol that it speaks; 0 where the node did not tell.
    #[serde(default)]
    pub protocol: u32,
    /// The agent's release.
    #[serde(default)]
    pub agent_version: String,
    /// The host's Python.
    #[serde(default)]
    pub python_version: String,
    /// The host's processor and C library; empty where the node did not tell.
    #[serde(default)]
    pub platform: String,
    /// The version of each stored image's Python, as far as it was told.
    #[serde(default)]
    pub image_pythons: BTreeMap<String, String>,
    /// What its site allows there.
    #[serde(default)]
    pub policy: PolicyForm,
}

/// What of a node's profile its site may change while the agent runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Offering {
    /// Name → form (`file`, `directory`).
    pub datasets: BTreeMap<String, String>,
    /// The same, with what they look like.
    pub dataset_views: Vec<DatasetView>,
    /// What its site allows there.
    pub policy: PolicyForm,
}

/// A GPU of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gpu {
    /// For people.
    pub name: String,
    /// Bytes; 0 where the node does not tell.
    pub memory_bytes: u64,
}

impl NodeProfile {
    /// What its images of the host are; of stored ones it is not told.
    fn runtimes(&self) -> BTreeMap<String, Runtime> {
        let python = self.python_version.rsplit_once('.').and_then(|(minor, _)| minor.parse().ok());
        let Some(python) = python else { return BTreeMap::new() };
        let Ok(platform) = self.platform.parse() else { return BTreeMap::new() };
        let runtime = Runtime { python, platform };
        self.of_host().map(|image| (image.clone(), runtime.clone())).collect()
    }

    /// The version of each image's Python.
    fn pythons(&self) -> BTreeMap<String, String> {
        let of_host = self.of_host().filter(|_| !self.python_version.is_empty());
        let mut pythons: BTreeMap<_, _> = of_host.map(|image| (image.clone(), self.python_version.clone())).collect();
        pythons.extend(self.image_pythons.clone());
        pythons
    }

    fn of_host(&self) -> impl Iterator<Item = &String> {
        self.image_digests.iter().filter(|(_, digest)| digest.starts_with("host:")).map(|(image, _)| image)
    }

    /// What decisions need of it, with the labels that people gave it: its own count before them.
    pub(super) fn describe(&self, name: &NodeName, given: &BTreeMap<String, String>) -> NodeDescription {
        NodeDescription {
            name: name.clone(),
            labels: given.iter().chain(&self.labels).map(|(key, value)| (key.clone(), value.clone())).collect(),
            datasets: self.datasets.keys().cloned().collect(),
            images: self.images.clone(),
            runtimes: self.runtimes(),
            pythons: self.pythons(),
            architecture: self.platform.split('-').next().unwrap_or_default().to_owned(),
            slots: self.slots,
            cpu: self.cpu_count,
            memory_bytes: self.memory_bytes,
            // Scratch is memory, but where tasks have no file system of their own.
            tmp_bytes: if self.tier == "reduced" { u64::MAX } else { self.memory_bytes },
            gpus: self.gpus.iter().map(|gpu| gpu.memory_bytes).collect(),
            policy: self.policy.clone().into(),
        }
    }
}
