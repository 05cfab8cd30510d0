//! What an attempt has published so far: nothing of it counts before the manager accepts the attempt.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use manta_types::limits::{FAILED_RESULTS_BYTES_MAX, FAILED_RESULTS_MAX, METRICS_PER_ATTEMPT_MAX, NAME_BYTES_MAX};
use manta_types::{Blob, NodeName};
use serde::{Deserialize, Serialize};

use super::values::Values;
use crate::cache::Pin;

/// An attempt's writes, kept on this node until they are delivered.
#[derive(Default)]
pub(crate) struct Staged {
    /// In the order in which the names were first published.
    pub(crate) results: Vec<(String, Pin)>,
    /// By name.
    pub(crate) globals: BTreeMap<String, Pin>,
    /// By name; never leaves the node.
    pub(crate) state: BTreeMap<String, Pin>,
    /// Names of state that it read as an earlier attempt had left it.
    pub(crate) state_read: BTreeSet<String>,
    /// Asked for by `schedule_next_iter`, all calls united: task → its nodes, where any call named some. However often
    /// a task asks, this is no larger than the swarm and its cluster.
    pub(crate) next_iterations: BTreeMap<Option<String>, Option<BTreeSet<NodeName>>>,
    /// Asked for by `stop_swarm`.
    pub(crate) stop_swarm: bool,
    /// The newest value of each metric that it logged; of so many names at most, and finite.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// Where each result stands: a task may publish a name as often as it likes, and each time costs the same.
    places: HashMap<String, usize>,
    /// Bytes of all values.
    bytes: u64,
}

/// What was published, as one program leaves it to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StagedLeft {
    results: Vec<(String, Blob)>,
    globals: BTreeMap<String, Blob>,
    state: BTreeMap<String, Blob>,
    state_read: BTreeSet<String>,
    next_iterations: Vec<(Option<String>, Option<BTreeSet<NodeName>>)>,
    stop_swarm: bool,
    metrics: BTreeMap<String, f64>,
    bytes: u64,
}

impl Staged {
    /// Publishes a result; a second one of the name takes the first one's place.
    pub(crate) fn publish(&mut self, name: String, value: Pin) {
        self.bytes = self.bytes.saturating_add(size(&value));
        match self.places.get(&name) {
            Some(place) => {
                let before = std::mem::replace(&mut self.results[*place].1, value);
                self.bytes = self.bytes.saturating_sub(size(&before));
            }
            None => {
                self.places.insert(name.clone(), self.results.len());
                self.results.push((name, value));
            }
        }
    }

    /// Writes a global.
    pub(crate) fn set_global(&mut self, name: String, value: Pin) {
        let added = size(&value);
        let before = self.globals.insert(name, value);
        self.bytes = self.bytes.saturating_add(added).saturating_sub(before.as_ref().map_or(0, size));
    }

    /// Keeps a value as state.
    pub(crate) fn set_state(&mut self, name: String, value: Pin) {
        let added = size(&value);
        let before = self.state.insert(name, value);
        self.bytes = self.bytes.saturating_add(added).saturating_sub(before.as_ref().map_or(0, size));
    }

    /// Asks for one more iteration.
    pub(crate) fn ask_iteration(&mut self, task: Option<String>, nodes: Option<BTreeSet<NodeName>>) {
        let asked = self.next_iterations.entry(task).or_default();
        if let Some(nodes) = nodes {
            asked.get_or_insert_default().extend(nodes);
        }
    }

    /// Notes a metric's newest value; one that is not finite leaves none.
    pub(crate) fn note_metric(&mut self, name: &str, value: Option<f64>) {
        let Some(value) = value.filter(|value| value.is_finite()) else {
            self.metrics.remove(name);
            return;
        };
        let has_room = self.metrics.len() < METRICS_PER_ATTEMPT_MAX && name.len() <= NAME_BYTES_MAX;
        match self.metrics.get_mut(name) {
            Some(known) => *known = value,
            None if has_room => drop(self.metrics.insert(name.to_owned(), value)),
            None => {}
        }
    }

    /// What of it another program needs to go on with it.
    pub(crate) fn hand_over(&self) -> StagedLeft {
        let blobs = |pins: &BTreeMap<String, Pin>| pins.iter().map(|(name, pin)| (name.clone(), pin.blob())).collect();
        StagedLeft {
            results: self.results.iter().map(|(name, pin)| (name.clone(), pin.blob())).collect(),
            globals: blobs(&self.globals),
            state: blobs(&self.state),
            state_read: self.state_read.clone(),
            next_iterations: self.next_iterations.clone().into_iter().collect(),
            stop_swarm: self.stop_swarm,
            metrics: self.metrics.clone(),
            bytes: self.bytes,
        }
    }

    /// What another program left, whose values are in the cache.
    ///
    /// # Errors
    /// One sentence, where one of them is not there any more.
    pub(crate) async fn take_over(left: StagedLeft, values: &Values) -> Result<Self, String> {
        let mut staged = Self::default();
        for (name, blob) in left.results {
            staged.publish(name, values.find(blob.digest).await?);
        }
        for (name, blob) in left.globals {
            staged.set_global(name, values.find(blob.digest).await?);
        }
        for (name, blob) in left.state {
            staged.set_state(name, values.find(blob.digest).await?);
        }
        let StagedLeft { state_read, next_iterations, stop_swarm, metrics, bytes, .. } = left;
        let next_iterations = next_iterations.into_iter().collect();
        Ok(Self { state_read, next_iterations, stop_swarm, metrics, bytes, ..staged })
    }

    /// Whether a result of that name was published.
    pub(crate) fn has_result(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Every value that the manager must have before the attempt can be reported.
    pub(crate) fn to_upload(&self) -> impl Iterator<Item = &Pin> {
        self.results.iter().map(|(_, pin)| pin).chain(self.globals.values())
    }

    /// Bytes of all values, each publication counted.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is left of a failed attempt's writes: the results that were published last, for people, as many as the limits allow.
    /// Nothing else of it can count.
    pub(crate) fn of_failed(self) -> Self {
        let (mut count, mut bytes) = (0, 0_u64);
        let mut results: Vec<(String, Pin)> = self.results.into_iter().rev().collect();
        results.retain(|(_, value)| {
            let fits = count < FAILED_RESULTS_MAX && bytes.saturating_add(size(value)) <= FAILED_RESULTS_BYTES_MAX;
            if fits {
                count += 1;
                bytes += size(value);
            }
            fits
        });
        results.reverse();
        Self { results, state_read: self.state_read, ..Self::default() }
    }
}

fn size(value: &Pin) -> u64 {
    value.blob().size
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use manta_types::Digest;

    use super::*;
    use crate::cache::Cache;
    use crate::remote::{BlobSource, RemoteError};

    struct Nowhere;

    #[async_trait]
    impl BlobSource for Nowhere {
        async fn fetch_to(&self, _: Digest, _: &mut tokio::fs::File) -> Result<u64, RemoteError> {
            Err(RemoteError::Refused("no such blob".to_owned()))
        }
    }

    fn cache(dir: &tempfile::TempDir) -> Arc<Cache> {
        Arc::new(Cache::open(dir.path(), Arc::new(Nowhere), 1 << 20).unwrap())
    }

    fn names(staged: &Staged) -> Vec<&str> {
        staged.results.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn each_name_counts_once_with_its_last_value() {
        let dir = tempfile::tempdir().unwrap();
        let value = |bytes: &[u8]| cache(&dir).take_in(bytes).unwrap();
        let mut staged = Staged::default();
        staged.publish("a".to_owned(), value(b"first"));
        staged.publish("b".to_owned(), value(b"1"));
        staged.publish("a".to_owned(), value(b"22"));
        staged.set_global("a".to_owned(), value(b"333"));
        staged.set_global("a".to_owned(), value(b"4444"));
        staged.set_state("a".to_owned(), value(b"55555"));
        assert_eq!((names(&staged), staged.bytes()), (vec!["a", "b"], 2 + 1 + 4 + 5));
        assert!(staged.has_result("a") && !staged.has_result("c"));
    }

    #[test]
    fn of_a_failed_attempt_the_last_results_are_left_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(&dir);
        let mut staged = Staged::default();
        for number in 0..=FAILED_RESULTS_MAX {
            staged.publish(format!("r{number}"), cache.take_in(&b"value"[..]).unwrap());
        }
        staged.set_global("g".to_owned(), cache.take_in(&b"g"[..]).unwrap());
        staged.set_state("s".to_owned(), cache.take_in(&b"s"[..]).unwrap());
        staged.state_read.insert("read".to_owned());
        staged.stop_swarm = true;
        staged.ask_iteration(None, None);
        let left = staged.of_failed();
        assert_eq!((left.results.len(), names(&left)[0]), (FAILED_RESULTS_MAX, "r1"));
        assert!(
            left.globals.is_empty() && left.state.is_empty() && left.next_iterations.is_empty() && !left.stop_swarm
        );
        assert_eq!(left.state_read.len(), 1, "what was read is told of a replay that failed");
    }
}
