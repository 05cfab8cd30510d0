//! All nodes, by name, and those that can be used in the order of their load.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use manta_types::{Digest, NodeName, NodeState, SignedBy, Timestamp};

use crate::node::{Node, Signatures};

/// The nodes that ever joined.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// In the order in which they joined; one that is removed keeps its place, and nobody finds it there.
    nodes: Vec<Node>,
    /// Where a node is: hashed, since every event asks for nodes by name, and an ordered map of names is slow to search.
    index: HashMap<NodeName, usize>,
    by_name: BTreeMap<NodeName, usize>,
    /// Usable nodes: connected before cut off, then least busy first, then those that joined first.
    usable: BTreeSet<(bool, u64, usize)>,
    /// Rises when a node can do what it could not do before.
    version: u64,
    /// Who signed what.
    signatures: Signatures,
    /// Rules that are taken out.
    #[cfg(feature = "planted-bugs")]
    pub(crate) bugs: crate::Bugs,
}

impl Fleet {
    /// Whether a version on trial is taken back before it fails its task: always, unless that rule is taken out.
    pub(crate) const fn rescues(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        return !self.bugs.no_rescue;
        #[cfg(not(feature = "planted-bugs"))]
        true
    }

    pub(crate) fn get(&self, name: &NodeName) -> Option<&Node> {
        self.index.get(name).map(|at| &self.nodes[*at])
    }

    pub(crate) fn contains(&self, name: &NodeName) -> bool {
        self.index.contains_key(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &NodeName> {
        self.by_name.keys()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.by_name.values().map(|at| &self.nodes[*at])
    }

    /// Usable nodes, those first that work is best moved to.
    pub(crate) fn by_load(&self) -> impl Iterator<Item = &Node> {
        self.usable.iter().map(|(_, _, at)| &self.nodes[*at])
    }

    /// Tells one state of the fleet from a later one in which more is possible.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// Makes a node known, in place of what was known under its name.
    pub(crate) fn insert(&mut self, mut node: Node) {
        node.signatures = Signatures::clone(&self.signatures);
        let name = node.name().clone();
        let at = *self.index.entry(name.clone()).or_insert(self.nodes.len());
        if let Some(before) = self.nodes.get(at) {
            self.usable.remove(&rank(before, at));
        }
        if node.is_usable() {
            self.usable.insert(rank(&node, at));
        }
        match self.nodes.get_mut(at) {
            Some(before) => *before = node,
            None => self.nodes.push(node),
        }
        self.by_name.insert(name, at);
        self.version += 1;
    }

    /// Makes a node unknown.
    pub(crate) fn remove(&mut self, name: &NodeName) {
        let Some(at) = self.index.remove(name) else { return };
        self.usable.remove(&rank(&self.nodes[at], at));
        self.by_name.remove(name);
    }

    /// Changes a node, and what follows from it; nothing where it is not known.
    pub(crate) fn change<R>(&mut self, name: &NodeName, change: impl FnOnce(&mut Node) -> R) -> Option<R> {
        let at = *self.index.get(name)?;
        let node = &mut self.nodes[at];
        let (was_usable, before) = (node.is_usable(), rank(node, at));
        let done = change(node);
        let (is_usable, after) = (node.is_usable(), rank(node, at));
        if was_usable && (!is_usable || before != after) {
            self.usable.remove(&before);
        }
        if is_usable && (!was_usable || before != after) {
            self.usable.insert(after);
        }
        self.version += u64::from(is_usable && !was_usable);
        Some(done)
    }

    /// Notes that a node that is online was heard, which changes nothing else; whether it was online.
    pub(crate) fn note_heard(&mut self, name: &NodeName, now: Timestamp) -> bool {
        let Some(at) = self.index.get(name) else { return false };
        let node = Some(&mut self.nodes[*at]).filter(|node| node.state() == NodeState::Online);
        node.map(|node| node.last_heard = now).is_some()
    }

    /// Changes all nodes in a way that leaves their order as it is.
    pub(crate) fn for_each(&mut self, change: impl FnMut(&mut Node)) {
        self.nodes.iter_mut().for_each(change);
    }

    /// Notes who signed a bundle: nodes that refused it may think otherwise now.
    pub(crate) fn note_signed(&mut self, bundle: Digest, signatures: Vec<SignedBy>) {
        std::sync::Arc::make_mut(&mut self.signatures).insert(bundle, signatures);
        for node in &mut self.nodes {
            node.signatures = Signatures::clone(&self.signatures);
            node.refused.remove(&bundle);
        }
        self.version += 1;
    }

    /// Notes that a node may offer more than before.
    pub(crate) const fn note_news(&mut self) {
        self.version += 1;
    }
}

fn rank(node: &Node, at: usize) -> (bool, u64, usize) {
    (!node.connected, node.busy(), at)
}
