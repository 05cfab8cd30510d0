//! State that tasks keep on this node: per swarm and alias, changed only by attempts that were accepted.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use manta_types::{Blob, Digest, SwarmId, crash_point};
use serde::{Deserialize, Serialize};

use crate::home::{private_dir, replace, sync_dir};

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

    /// Makes an accepted attempt's changes part of the state, synced; doing it twice is as doing it once. The values are
    /// taken from a directory where each is named by its digest, and is synced. Blocks.
    pub(crate) fn commit(
        &self,
        swarm: SwarmId,
        alias: &str,
        changes: &BTreeMap<String, Blob>,
        values: &Path,
    ) -> io::Result<()> {
        let dir = self.dir(swarm, alias);
        private_dir(&dir)?;
        let mut index = read(&dir)?;
        alias.clone_into(&mut index.alias);
        for (name, blob) in changes {
            keep(&values.join(blob.digest.to_string()), &dir.join(blob.digest.to_string()))?;
            index.values.insert(name.clone(), *blob);
        }
        dir.ancestors().take_while(|above| above.starts_with(&self.root)).try_for_each(sync_dir)?;
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

/// Gives a synced value a second name here, or copies it where the disk has no second names.
fn keep(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => {
            let fresh = to.with_extension("new");
            fs::copy(from, &fresh)?;
            File::open(&fresh)?.sync_all()?;
            fs::rename(fresh, to)
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
    use super::*;

    fn swarm(n: u128) -> SwarmId {
        SwarmId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn state_is_kept_per_swarm_and_alias_and_outlives_where_it_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let (values, store) = (dir.path().join("values"), StateStore::new(dir.path().join("state")));
        let change = |value: &str| {
            private_dir(&values).unwrap();
            let digest = Digest::from_bytes(*blake3::hash(value.as_bytes()).as_bytes());
            fs::write(values.join(digest.to_string()), value).unwrap();
            BTreeMap::from([("momentum".to_owned(), Blob { digest, size: value.len() as u64 })])
        };
        store.commit(swarm(1), "worker/[0]", &change("first"), &values).unwrap();
        let second = change("second");
        for _ in 0..2 {
            store.commit(swarm(1), "worker/[0]", &second, &values).unwrap();
        }
        fs::remove_dir_all(&values).unwrap();
        let (blob, path) = store.get(swarm(1), "worker/[0]", "momentum").unwrap().unwrap();
        assert_eq!((blob.size, fs::read(&path).unwrap()), (6, b"second".to_vec()));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
        assert!(store.get(swarm(1), "other", "momentum").unwrap().is_none());
        assert!(store.get(swarm(2), "worker/[0]", "momentum").unwrap().is_none());
    }
}
