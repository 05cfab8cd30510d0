//! What earlier attempts kept as state, as it is when this one first asks for it, and what of it stays beside its own.
use std::collections::BTreeMap;

use manta_types::Blob;

use super::message::Denied;
use super::serve::Server;
use crate::supervisor::blocking;

/// The state of a task that an attempt found on its node.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    values: BTreeMap<String, Blob>,
    /// Names that there will be once the attempt is accepted.
    names: usize,
    /// Bytes of the found values that the attempt does not replace.
    bytes: u64,
}

impl Kept {
    pub(crate) fn new(values: BTreeMap<String, Blob>) -> Self {
        let (names, bytes) = (values.len(), values.values().fold(0, |sum: u64, blob| sum.saturating_add(blob.size)));
        Self { values, names, bytes }
    }

    /// The value under a name.
    pub(crate) fn get(&self, name: &str) -> Option<Blob> {
        self.values.get(name).copied()
    }

    /// How many names there will be.
    pub(crate) const fn names(&self) -> usize {
        self.names
    }

    /// Bytes that stay.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Notes that the attempt sets a name for the first time.
    pub(crate) fn set(&mut self, name: &str) {
        match self.values.get(name) {
            Some(found) => self.bytes -= found.size,
            None => self.names += 1,
        }
    }
}

impl Server<'_> {
    /// What earlier attempts kept.
    pub(super) async fn kept(&mut self) -> Result<&mut Kept, Denied> {
        if self.kept.is_none() {
            let (store, swarm, alias) =
                (self.grant.state.clone(), self.grant.order.state_of, self.grant.order.task.clone());
            let found = blocking(move || store.kept(swarm, &alias)).await;
            let found =
                found.map_err(|error| Denied::by_node("node_storage", format!("the state cannot be read: {error}")))?;
            let mut kept = Kept::new(found);
            // What it set while another program served it.
            self.staged.state.keys().for_each(|name| kept.set(name));
            self.kept = Some(kept);
        }
        Ok(self.kept.get_or_insert_default())
    }
}

#[cfg(test)]
mod tests {
    use manta_types::Digest;

    use super::*;

    #[test]
    fn what_is_replaced_does_not_count_twice_and_what_is_new_counts() {
        let blob = |size| Blob { digest: Digest::from_bytes([1; 32]), size };
        let mut kept = Kept::new([("a".to_owned(), blob(10)), ("b".to_owned(), blob(5))].into());
        assert_eq!((kept.names(), kept.bytes(), kept.get("a")), (2, 15, Some(blob(10))));
        kept.set("a");
        kept.set("c");
        assert_eq!((kept.names(), kept.bytes(), kept.get("c")), (3, 5, None));
    }
}
