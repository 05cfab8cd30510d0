//! State that tasks keep on this node: per swarm and alias, changed only by attempts that were accepted.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use manta_types::{Blob, Digest, SwarmId, crash_point};
use serde::{Deserialize, Serialize};

use crate::home::{gone_already, private_dir, replace, sync_dir};

/// What a directory's name begins with while it is removed.
const FORGOTTEN: &str = "old-";

/// The state of every swarm's tasks on this node.
///
/// `<root>/<swarm>/<digest of the alias>/` holds `state.json` (name → value) and one file for each value, named by its
/// digest. `state.json` is replaced in one step, after the values it names are there. What is forgotten loses its name
/// before it is removed, so that it is there wholly or not at all.
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
    /// The state in a directory; what an earlier agent had begun to forget is removed.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(FORGOTTEN) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The swarms under whose names state is kept. Blocks.
    pub(crate) fn swarms(&self) -> io::Result<Vec<SwarmId>> {
        let entries = fs::read_dir(&self.root)?;
        let swarm =
            |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
        entries.filter_map(|entry| swarm(entry).transpose()).collect()
    }

    /// Forgets what is kept under a swarm's name, synced; doing it twice is as doing it once. Blocks.
    pub(crate) fn forget(&self, swarm: SwarmId) -> io::Result<()> {
        let old = self.root.join(format!("{FORGOTTEN}{swarm}"));
        gone_already(fs::remove_dir_all(&old))?;
        gone_already(fs::rename(self.root.join(swarm.to_string()), &old))?;
        sync_dir(&self.root)?;
        crash_point!("node.state.unnamed");
        gone_already(fs::remove_dir_all(&old))
    }

    /// What a task has kept: name → value. Blocks.
    pub(crate) fn kept(&self, swarm: SwarmId, alias: &str) -> io::Result<BTreeMap<String, Blob>> {
        Ok(read(&self.dir(swarm, alias))?.values)
    }

    /// The file of a value that a task has kept.
    pub(crate) fn file(&self, swarm: SwarmId, alias: &str, digest: Digest) -> PathBuf {
        self.dir(swarm, alias).join(digest.to_string())
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

    fn opened(dir: &Path) -> StateStore {
        private_dir(&dir.join("state")).unwrap();
        StateStore::open(&dir.join("state")).unwrap()
    }

    #[test]
    fn state_is_kept_per_swarm_and_alias_and_outlives_where_it_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let (values, store) = (dir.path().join("values"), opened(dir.path()));
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
        let blob = store.kept(swarm(1), "worker/[0]").unwrap()["momentum"];
        let path = store.file(swarm(1), "worker/[0]", blob.digest);
        assert_eq!((blob.size, fs::read(&path).unwrap()), (6, b"second".to_vec()));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
        assert!(store.kept(swarm(1), "other").unwrap().is_empty());
        assert!(store.kept(swarm(2), "worker/[0]").unwrap().is_empty());
    }
    #[test]
    fn forgotten_state_is_gone_wholly_and_what_a_crash_left_of_it_goes_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let (values, store) = (dir.path().join("values"), opened(dir.path()));
        private_dir(&values).unwrap();
        for n in 1..=3 {
            store.commit(swarm(n), "worker", &BTreeMap::new(), &values).unwrap();
        }
        for _ in 0..2 {
            store.forget(swarm(1)).unwrap();
        }
        // The agent died when the name was gone and the rest was not.
        let half = dir.path().join("state").join(format!("old-{}", swarm(2)));
        fs::rename(dir.path().join("state").join(swarm(2).to_string()), &half).unwrap();
        assert_eq!(store.swarms().unwrap(), [swarm(3)]);
        assert_eq!(opened(dir.path()).swarms().unwrap(), [swarm(3)]);
        assert!(!half.exists());
    }
}
