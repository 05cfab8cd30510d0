//! Which nodes were turned away for their release when they dialled last, and in which words; in memory alone, until they are let in.
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use manta_types::NodeName;

/// Nodes of which that is remembered; of further ones only the log tells.
const NODES_MAX: usize = 10_000;

/// The nodes that were turned away.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<NodeName, String>>);

impl Refusals {
    /// Notes that a node was turned away; whether that is news.
    pub(crate) fn note(&self, node: &NodeName, why: &str) -> bool {
        let mut all = self.all();
        let is_known = all.get(node).is_some_and(|known| known == why);
        if !is_known && (all.len() < NODES_MAX || all.contains_key(node)) {
            all.insert(node.clone(), why.to_owned());
        }
        !is_known
    }

    /// Why a node was turned away, where it was.
    pub(crate) fn of(&self, node: &str) -> Option<String> {
        let node = NodeName::new(node).ok()?;
        self.all().get(&node).cloned()
    }

    /// A node was let in.
    pub(crate) fn forget(&self, node: &NodeName) {
        self.all().remove(node);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<NodeName, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_news_once_and_again_after_the_node_was_let_in() {
        let (refusals, node) = (Refusals::default(), NodeName::new("a").unwrap());
        assert!(refusals.note(&node, "too old") && !refusals.note(&node, "too old"));
        assert!(refusals.note(&node, "too new"));
        assert_eq!(refusals.of("a").as_deref(), Some("too new"));
        refusals.forget(&node);
        assert_eq!((refusals.of("a"), refusals.note(&node, "too new")), (None, true));
    }
}
