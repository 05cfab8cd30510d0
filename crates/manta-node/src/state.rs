//! State that tasks keep on this node: per swarm and alias, changed only by attempts that were accepted.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use manta_types::{Blob, Digest, SwarmId, crash_point};
use serde::{Deserialize, Serialize};

use crate::cache::Pin;
use crate::home::{private_dir, replace};

/// The state of every swarm's tasks on this node.
///
/// `<root>/<swarm>/<digest of the alias>/` holds `state.json` (name → value) and one file for each value, named by its
/// digest. `state.json` is replaced in one step, after the values it names are there.
#[derive(Debug, Clone)]
pub(crate) struct StateStore {
    root: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    alias: String,
    values: BTreeMap<String, Blob>,
}

impl StateStore {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// What a task has kept under a name: its size and its file.
    pub(crate) fn get(&self, swarm: SwarmId, alias: &str, name: &str) -> io::Result<Option<(Blob, PathBuf)>> {
        let dir = self.dir(swarm, alias);
        Ok(read(&dir)?.values.get(name).map(|blob| (*blob, dir.join(blob.digest.to_string()))))
    }

    /// Makes an accepted attempt's changes part of the state. Blocks.
    pub(crate) fn commit(&self, swarm: SwarmId, alias: &str, changes: &BTreeMap<String, Pin>) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let dir = self.dir(swarm, alias);
        private_dir(&dir)?;
        let mut index = read(&dir)?;
        alias.clone_into(&mut index.alias);
        for (name, pin) in changes {
            keep(&dir, pin)?;
            index.values.insert(name.clone(), pin.blob());
        }
        crash_point!("node.state.values_kept");
        replace(&dir.join("state.json"), &serde_json::to_vec(&index)?)?;
        crash_point!("node.state.committed");
        drop_unnamed(&dir, &index)
    }

    fn dir(&self, swarm: SwarmId, alias: &str) -> PathBuf {
        let alias = blake3::hash(alias.as_bytes()).to_hex();
        self.root.join(swarm.to_string()).join(&alias[..32])
    }
}

fn read(dir: &Path) -> io::Result<Index> {
    match fs::read(dir.join("state.json")) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::default()),
        Err(error) => Err(error),
    }
}

/// Gives a value of the cache a second name here, or copies it where the disk has no second names.
fn keep(dir: &Path, pin: &Pin) -> io::Result<()> {
    let path = dir.join(pin.blob().digest.to_string());
    match fs::hard_link(pin.path(), &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => {
            let fresh = path.with_extension("new");
            fs::copy(pin.path(), &fresh)?;
            fs::rename(fresh, path)
        }
        Ok(()) => Ok(()),
    }
}

fn drop_unnamed(dir: &Path, index: &Index) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let digest = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
        if digest.is_some_and(|digest| index.values.values().all(|blob| blob.digest != digest)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;

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

    #[test]
    fn state_is_kept_per_swarm_and_alias_and_outlives_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let cache_dir = dir.path().join("cache");
        fs::create_dir(&cache_dir).unwrap();
        let cache = Arc::new(Cache::open(&cache_dir, Arc::new(Nowhere)).unwrap());
        let store = StateStore::new(dir.path().join("state"));
        let swarm = SwarmId::from_uuid(uuid::Uuid::from_u128(1));
        let change = |value: &str| BTreeMap::from([("momentum".to_owned(), cache.take_in(value.as_bytes()).unwrap())]);

        store.commit(swarm, "worker/[0]", &change("first")).unwrap();
        store.commit(swarm, "worker/[0]", &change("second")).unwrap();
        fs::remove_dir_all(&cache_dir).unwrap();
        let (blob, path) = store.get(swarm, "worker/[0]", "momentum").unwrap().unwrap();
        assert_eq!((blob.size, fs::read(&path).unwrap()), (6, b"second".to_vec()));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
        assert!(store.get(swarm, "other", "momentum").unwrap().is_none());
        assert!(store.get(SwarmId::from_uuid(uuid::Uuid::from_u128(2)), "worker/[0]", "momentum").unwrap().is_none());
    }
}
