//! The nodes that ever joined: who has which name, and what is kept of each.
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use manta_api::{LabelRequest, NEVER_CONNECTED, NodeEventView, REVOKED};
use manta_engine::NodeDescription;
use manta_store::{Enrolment, NodeRecord};
use manta_types::{NodeDuty, NodeId, NodeName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::profile::NodeProfile;
use crate::ManagerError;

/// Happenings of a node that are remembered.
const EVENTS_MAX: usize = 50;

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
    /// Labels that people gave it.
    pub labels: BTreeMap<String, String>,
    /// Whether a person let go of it: it is shown no more, and comes back with its agent, unless it is revoked.
    pub is_removed: bool,
}

/// What the store keeps of a node as text.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    profile: NodeProfile,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    given_labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
}

impl KnownNode {
    /// A node that joined with a token and never connected: of itself it said nothing yet.
    pub(crate) fn enrolled(member: Enrolment) -> Self {
        let Enrolment { node: _, node_id: id, labels, joined_ms, flag: _ } = member;
        let profile = NodeProfile { labels, notes: vec![NEVER_CONNECTED.to_owned()], ..NodeProfile::default() };
        let (duty, labels) = (NodeDuty::Active, BTreeMap::new());
        Self { id, profile, joined_ms, duty, drain_left_ms: None, labels, is_removed: false }
    }

    /// What decisions need of it.
    pub(crate) fn describe(&self, name: &NodeName) -> NodeDescription {
        self.profile.describe(name, &self.labels)
    }

    /// Reads a stored node.
    pub(crate) fn parse(record: &NodeRecord) -> Result<Self, ManagerError> {
        let stored: Stored = serde_json::from_str(&record.description).map_err(|error| ManagerError::Unreadable {
            what: format!("description of node `{}`", record.name),
            problem: error.to_string(),
        })?;
        let NodeRecord { id, joined_ms, duty, drain_left_ms, .. } = *record;
        let Stored { profile, given_labels: labels, removed: is_removed } = stored;
        Ok(Self { id, profile, joined_ms, duty, drain_left_ms, labels, is_removed })
    }

    /// The form in which the store keeps it.
    pub(crate) fn record(&self, name: &NodeName) -> NodeRecord {
        let (profile, given_labels, removed) = (self.profile.clone(), self.labels.clone(), self.is_removed);
        let stored = Stored { profile, given_labels, removed };
        let description = serde_json::to_string(&stored).expect("text keys and finite numbers: always JSON");
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
        "node `{name}` {revoked}; another may join under another name, with a data directory of its own",
        revoked = REVOKED
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
    /// What happened to each since the start.
    pub(super) events: BTreeMap<NodeName, VecDeque<NodeEventView>>,
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
        let is_removed = false;
        let node = match self.known.get(name) {
            Some(known) => KnownNode { id, profile, is_removed, ..known.clone() },
            None => {
                let (duty, drain_left_ms, labels) = (NodeDuty::Active, None, BTreeMap::new());
                KnownNode { id, profile, joined_ms: wall_ms, duty, drain_left_ms, labels, is_removed }
            }
        };
        if self.known.get(name) == Some(&node) {
            return None;
        }
        let record = node.record(name);
        self.known.insert(name.clone(), node);
        Some(record)
    }

    /// Gives a node labels and takes others from it; the record to store.
    ///
    /// # Errors
    /// The label that the node gives itself.
    pub(super) fn label(&mut self, name: &NodeName, asked: &LabelRequest) -> Result<Option<NodeRecord>, String> {
        let Some(node) = self.known.get_mut(name) else { return Ok(None) };
        let own = |key: &&String| node.profile.labels.contains_key(*key);
        if let Some(key) = asked.set.keys().chain(&asked.unset).find(own) {
            return Err(key.clone());
        }
        node.labels.retain(|key, _| !asked.unset.contains(key));
        node.labels.extend(asked.set.clone());
        Ok(Some(node.record(name)))
    }

    /// Makes a node known that was let go of, or that never connected; what it is then.
    pub(super) fn make_known(&mut self, name: &NodeName, enrolled: Option<&KnownNode>) -> Option<&KnownNode> {
        let node = match self.known.entry(name.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(enrolled?.clone()),
        };
        node.is_removed = false;
        Some(node)
    }

    /// Lets go of a node; the record to store, for its name and id stay its own.
    pub(super) fn remove(&mut self, name: &NodeName) -> Option<NodeRecord> {
        let node = self.known.get_mut(name)?;
        node.is_removed = true;
        self.events.remove(name);
        Some(node.record(name))
    }

    /// Remembers what happened to a node.
    pub(super) fn tell(&mut self, name: &NodeName, time_ms: u64, message: String) {
        let events = self.events.entry(name.clone()).or_default();
        if events.len() >= EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(NodeEventView { time_ms, message });
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

    #[test]
    fn labels_that_people_give_last_and_the_nodes_own_cannot_be_given() {
        let name = NodeName::new("a").unwrap();
        let own =
            |key: &str| NodeProfile { labels: [(key.to_owned(), "own".to_owned())].into(), ..NodeProfile::default() };
        let give = |key: &str| LabelRequest { set: [(key.to_owned(), "given".to_owned())].into(), unset: Vec::new() };
        let mut table = NodeTable::default();
        table.update(&name, id(1), own("site"), 5);
        assert_eq!(table.label(&name, &give("site")), Err("site".to_owned()));
        let record = table.label(&name, &give("rack")).unwrap().unwrap();
        assert_eq!(KnownNode::parse(&record).unwrap(), table.known[&name], "it is stored with them");
        table.update(&name, id(1), own("rack"), 6);
        assert_eq!(table.known[&name].describe(&name).labels["rack"], "own", "the site's own count first");
        table.update(&name, id(1), own("site"), 7);
        assert_eq!(table.known[&name].describe(&name).labels["rack"], "given");
        let taken = LabelRequest { unset: vec!["rack".to_owned()], ..LabelRequest::default() };
        table.label(&name, &taken).unwrap();
        assert_eq!(table.known[&name].describe(&name).labels.len(), 1);
        let record = table.remove(&name).unwrap();
        assert!(KnownNode::parse(&record).unwrap().is_removed);
        assert!(table.update(&name, id(1), own("site"), 8).is_some() && !table.known[&name].is_removed, "it came back");
    }
}
