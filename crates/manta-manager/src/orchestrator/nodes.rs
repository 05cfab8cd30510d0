//! The nodes that ever joined: who has which name, and what each said of itself.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use manta_api::policy::PolicyForm;
use manta_engine::NodeDescription;
use manta_store::NodeRecord;
use manta_types::{NodeDuty, NodeId, NodeName, Runtime};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ManagerError;

/// What a node says of itself; its JSON form is what the store keeps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NodeProfile {
    /// What `labels` of a task are compared with.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Name → form (`file`, `directory`).
    #[serde(default)]
    pub datasets: BTreeMap<String, String>,
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

    /// What decisions need of it.
    pub(crate) fn describe(&self, name: &NodeName) -> NodeDescription {
        NodeDescription {
            name: name.clone(),
            labels: self.labels.clone(),
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

/// A node that joined.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownNode {
    /// Its id.
    pub id: NodeId,
    /// What it said of itself when it last connected.
    pub profile: NodeProfile,
    /// When it first joined; wall clock, ms since 1970.
    pub joined_ms: u64,
    /// What it is used for.
    pub duty: NodeDuty,
    /// How long its attempts could still run when it began to drain, in milliseconds; absent without a deadline.
    pub drain_left_ms: Option<u64>,
}

impl KnownNode {
    /// Reads a stored node.
    pub(crate) fn parse(record: &NodeRecord) -> Result<Self, ManagerError> {
        let profile = serde_json::from_str(&record.description).map_err(|error| ManagerError::Unreadable {
            what: format!("description of node `{}`", record.name),
            problem: error.to_string(),
        })?;
        let NodeRecord { id, joined_ms, duty, drain_left_ms, .. } = *record;
        Ok(Self { id, profile, joined_ms, duty, drain_left_ms })
    }

    /// The form in which the store keeps it.
    pub(crate) fn record(&self, name: &NodeName) -> NodeRecord {
        let description = serde_json::to_string(&self.profile).expect("text keys and finite numbers: always JSON");
        let Self { id, joined_ms, duty, drain_left_ms, .. } = *self;
        NodeRecord { id, name: name.clone(), description, joined_ms, duty, drain_left_ms }
    }
}

/// Why a node may not join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectRefusal {
    /// Another node has the name.
    #[error(
        "the name `{name}` belongs to another node; choose another name, or start this one with the data directory that \
         it joined with"
    )]
    NameTaken {
        /// The name.
        name: NodeName,
    },
    /// The node has greeted again since.
    #[error("node `{name}` has greeted the manager again since it sent this greeting, which came late")]
    Overtaken {
        /// The node.
        name: NodeName,
    },
    /// It was revoked.
    #[error(
        "node `{name}` was revoked, and stays so; another may join under another name, with a data directory of its own"
    )]
    Revoked {
        /// The node.
        name: NodeName,
    },
    /// Names never change.
    #[error(
        "this node joined as `{name}`, and names do not change; start it with that name, or with a new data directory"
    )]
    Renamed {
        /// The name that it has.
        name: NodeName,
    },
}

/// Which greeting of a node it is; they may come out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// The process of the agent: a version 7 UUID, so processes are in order while their clock is.
    pub process: Uuid,
    /// Counts the process's greetings.
    pub dial: u64,
}

impl Greeting {
    /// Whether it was sent before another that was heard already. In one process that is certain. Of two processes, the
    /// clock says which is the older; it may have been set back, so this counts only while the other's session is open:
    /// one that is gone ends within a lease, and then the other is heard.
    fn is_before(self, newest: Self, is_connected: bool) -> bool {
        if self.process == newest.process {
            self.dial <= newest.dial
        } else {
            is_connected && self.process < newest.process
        }
    }
}

/// The nodes by name, and the ids given out that no node has confirmed yet.
#[derive(Debug, Default)]
pub(super) struct NodeTable {
    pub(super) known: BTreeMap<NodeName, KnownNode>,
    unconfirmed: BTreeSet<NodeName>,
    /// The newest greeting of each node that was let in since the start.
    greetings: BTreeMap<NodeName, Greeting>,
}

impl NodeTable {
    pub(super) fn new(known: BTreeMap<NodeName, KnownNode>) -> Self {
        Self { known, ..Self::default() }
    }

    /// The id under which a node joins. A node whose first welcome was lost on the way asks again without an id and
    /// gets the same one.
    pub(super) fn admit(
        &mut self,
        name: &NodeName,
        id: Option<NodeId>,
        is_connected: bool,
        fresh: NodeId,
    ) -> Result<NodeId, ConnectRefusal> {
        let holder = self.known.get(name).map(|node| node.id);
        match (id, holder) {
            (_, Some(_)) if self.is_revoked(name) => Err(ConnectRefusal::Revoked { name: name.clone() }),
            (Some(id), Some(holder)) if id == holder => Ok(id),
            (None, Some(holder)) if !is_connected && self.unconfirmed.contains(name) => Ok(holder),
            (_, Some(_)) => Err(ConnectRefusal::NameTaken { name: name.clone() }),
            (Some(id), None) => match self.known.iter().find(|(_, node)| node.id == id) {
                Some((name, _)) => Err(ConnectRefusal::Renamed { name: name.clone() }),
                None => Ok(id),
            },
            (None, None) => {
                self.unconfirmed.insert(name.clone());
                Ok(fresh)
            }
        }
    }

    fn is_revoked(&self, name: &NodeName) -> bool {
        self.known.get(name).is_some_and(|node| node.duty == NodeDuty::Revoked)
    }

    /// Whether a greeting is the newest of its node, and then notes it.
    pub(super) fn greet(
        &mut self,
        name: &NodeName,
        greeting: Option<Greeting>,
        is_connected: bool,
    ) -> Result<(), ConnectRefusal> {
        let Some(greeting) = greeting else { return Ok(()) };
        if self.greetings.get(name).is_some_and(|newest| greeting.is_before(*newest, is_connected)) {
            return Err(ConnectRefusal::Overtaken { name: name.clone() });
        }
        self.greetings.insert(name.clone(), greeting);
        Ok(())
    }

    /// A message came under the id, so the node has it.
    pub(super) fn confirm(&mut self, name: &NodeName) {
        self.unconfirmed.remove(name);
    }

    /// Notes what a node is now; the record to store, where that is new.
    pub(super) fn update(
        &mut self,
        name: &NodeName,
        id: NodeId,
        profile: NodeProfile,
        wall_ms: u64,
    ) -> Option<NodeRecord> {
        let known = self.known.get(name);
        let (joined_ms, duty, drain_left_ms) =
            known.map_or((wall_ms, NodeDuty::Active, None), |node| (node.joined_ms, node.duty, node.drain_left_ms));
        let node = KnownNode { id, profile, joined_ms, duty, drain_left_ms };
        if self.known.get(name) == Some(&node) {
            return None;
        }
        let record = node.record(name);
        self.known.insert(name.clone(), node);
        Some(record)
    }

    /// Notes what a node is used for from now on; the record to store, if it is known.
    pub(super) fn change_duty(
        &mut self,
        name: &NodeName,
        duty: NodeDuty,
        drain_left: Option<Duration>,
    ) -> Option<NodeRecord> {
        let node = self.known.get_mut(name)?;
        node.duty = duty;
        node.drain_left_ms = drain_left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        Some(node.record(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> NodeId {
        NodeId::from_uuid(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_name_belongs_to_the_node_that_joined_under_it() {
        let name = NodeName::new("a").unwrap();
        let mut table = NodeTable::default();
        assert_eq!(table.admit(&name, None, false, id(1)), Ok(id(1)));
        assert!(table.update(&name, id(1), NodeProfile::default(), 5).is_some());
        assert!(table.update(&name, id(1), NodeProfile::default(), 9).is_none(), "nothing new");
        assert_eq!(table.admit(&name, None, false, id(2)), Ok(id(1)), "its welcome may have been lost");
        assert!(table.admit(&name, None, true, id(2)).is_err(), "another agent while it is connected");
        table.confirm(&name);
        assert!(table.admit(&name, None, false, id(2)).is_err());
        assert!(table.admit(&name, Some(id(3)), false, id(2)).is_err());
        assert_eq!(table.admit(&name, Some(id(1)), true, id(2)), Ok(id(1)));
        let other = NodeName::new("b").unwrap();
        assert_eq!(table.admit(&other, Some(id(1)), false, id(2)), Err(ConnectRefusal::Renamed { name }));
    }
    #[test]
    fn a_greeting_that_comes_late_is_turned_away_and_a_new_process_is_not() {
        let name = NodeName::new("a").unwrap();
        let mut table = NodeTable::default();
        let mut greet = |process, dial, is_connected| {
            let greeting = Greeting { process: Uuid::from_u128(process), dial };
            table.greet(&name, Some(greeting), is_connected).is_ok()
        };
        assert!(greet(2, 1, false) && greet(2, 3, true));
        assert!(!greet(2, 2, true) && !greet(2, 3, true), "an older dial, and the same once more");
        assert!(!greet(2, 2, false), "not even when no session is open");
        assert!(!greet(1, 9, true), "of an older process");
        assert!(greet(3, 1, true), "the agent was started again");
        assert!(greet(1, 10, false), "the clock was set back before it was started again");
        assert!(table.greet(&name, None, true).is_ok(), "an agent of an older release does not count");
    }
}
