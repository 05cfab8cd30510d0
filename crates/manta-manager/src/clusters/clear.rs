//! What is left of clusters: of one that goes all of it, of one that was never added the folder.
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use manta_store::{ClusterChange, ClusterRecord, Transaction};
use manta_types::{SwarmId, crash_point};

use super::start::folder_of;
use super::{Clusters, Shared};
use crate::ManagerError;
use crate::open::CLUSTERS;

/// Swarms that are removed in one transaction.
const SWARMS_AT_ONCE: usize = 100;

impl Clusters {
    /// Removes all that is left of a cluster that is going, its row last: what is cut off goes on at the next start.
    pub(super) async fn clear(&self, record: &ClusterRecord) -> Result<(), ManagerError> {
        let (shared, name) = (self.shared(), &record.name);
        shared.people.forget(name).await?;
        crash_point!("manager.cluster.users_gone");
        if let Some(registrar) = &shared.registrar {
            registrar.forget(name).await?;
        }
        crash_point!("manager.cluster.nodes_gone");
        let of = name.clone();
        let swarms = shared.store.run(move |store| store.swarms(&of)).await??;
        let swarms: Vec<SwarmId> = swarms.into_iter().map(|swarm| swarm.id).collect();
        for purged in swarms.chunks(SWARMS_AT_ONCE) {
            let transaction = Transaction { purged: purged.to_vec(), ..Transaction::default() };
            let of = name.clone();
            shared.store.run(move |store| store.commit(&of, &transaction)).await??;
        }
        crash_point!("manager.cluster.swarms_gone");
        let of = name.clone();
        shared.logs.run(move |store| store.forget(&of)).await??;
        crash_point!("manager.cluster.logs_gone");
        let folder = folder_of(&shared.data_dir, record);
        blocking(move || remove_all(&folder).map_err(|source| ManagerError::DataDir { path: folder, source }))
            .await??;
        crash_point!("manager.cluster.blobs_gone");
        let transaction = Transaction { clusters: vec![ClusterChange::Gone(name.clone())], ..Transaction::default() };
        let first = self.first().cluster.clone();
        shared.store.run(move |store| store.commit(&first, &transaction)).await??;
        crash_point!("manager.cluster.gone");
        Ok(())
    }
}

/// Removes the folders of clusters that were being added when the manager ended, and are in no row. What holds a file stays.
pub(super) async fn sweep(shared: &Shared, records: &[ClusterRecord]) -> Result<(), ManagerError> {
    let known: BTreeSet<PathBuf> = records.iter().map(|record| folder_of(&shared.data_dir, record)).collect();
    let all = shared.data_dir.join(CLUSTERS);
    blocking(move || {
        let Ok(found) = fs::read_dir(&all) else { return };
        for folder in found.flatten().map(|entry| entry.path()).filter(|path| !known.contains(path)) {
            match remove_empty(&folder) {
                Ok(()) => {
                    tracing::info!(folder = %folder.display(), "the folder of a cluster that never was is removed")
                }
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "a folder is of no cluster, and stays");
                }
            }
        }
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ManagerError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ManagerError::Internal(error.to_string()))
}

/// Removes whatever lies there.
fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => fs::remove_file(path),
        other => other,
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a folder of empty folders, and fails at the first thing that is none.
fn remove_empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        remove_empty(&entry?.path())?;
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_empty_folders_are_swept_and_whatever_lies_there_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, full, file) = (dir.path().join("a@1"), dir.path().join("b@2"), dir.path().join("c@3"));
        fs::create_dir_all(empty.join("blobs/00")).unwrap();
        fs::create_dir_all(full.join("blobs/00")).unwrap();
        fs::write(full.join("blobs/00/x"), "x").unwrap();
        fs::write(&file, "x").unwrap();
        remove_empty(&empty).unwrap();
        assert!(remove_empty(&full).is_err() && remove_empty(&file).is_err());
        assert!(!empty.exists() && full.join("blobs/00/x").exists() && file.exists());
        for path in [&empty, &full, &file] {
            remove_all(path).unwrap();
            assert!(!path.exists());
        }
    }
}
