//! How good each node's connection is, as the nodes tell with their heartbeats; in memory alone, while a session lasts.
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use manta_types::NodeName;

/// The connections of nodes that have a session and told how good it is.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<BTreeMap<NodeName, f64>>);

impl Links {
    /// Takes what a node tells, in [0, 1]; 0 or anything else is nothing.
    pub(crate) fn note(&self, node: &NodeName, quality: f64) {
        if quality > 0.0 && quality <= 1.0 {
            self.all().insert(node.clone(), quality);
        }
    }

    /// How good a node's connection is, where it has one and told.
    pub(crate) fn of(&self, node: &NodeName) -> Option<f64> {
        self.all().get(node).copied()
    }

    /// A session ended.
    pub(crate) fn forget(&self, node: &NodeName) {
        self.all().remove(node);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<NodeName, f64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
