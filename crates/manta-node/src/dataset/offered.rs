//! Which datasets are offered now. The site adds and removes them while the agent runs; those that it added are kept in a file
//! of the data directory and offered again after a restart.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use manta_api::ErrorCode;
use serde::{Deserialize, Serialize};

use super::Dataset;
use crate::NodeError;
use crate::home::replace;

/// Datasets that a node may offer.
pub(crate) const DATASETS_MAX: usize = 1000;

/// The datasets that are offered. An attempt holds those that it opens, whatever is offered meanwhile.
pub(crate) struct Offered {
    file: PathBuf,
    all: RwLock<BTreeMap<String, Entry>>,
}

#[derive(Clone)]
struct Entry {
    dataset: Arc<Dataset>,
    /// Whether the agent was started with it.
    from_start: bool,
}

/// The file of those that were added.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    datasets: BTreeMap<String, PathBuf>,
}

impl Offered {
    /// Those that the agent was started with, where those that were added are kept in that file.
    pub(crate) fn new(file: PathBuf, datasets: BTreeMap<String, Dataset>) -> Self {
        let entry = |dataset| Entry { dataset: Arc::new(dataset), from_start: true };
        let all = datasets.into_iter().map(|(name, dataset)| (name, entry(dataset)));
        Self { file, all: RwLock::new(all.collect()) }
    }

    /// Those that were added before the start, by name and path.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn kept(file: &Path) -> Result<BTreeMap<String, PathBuf>, NodeError> {
        let failed = |source| NodeError::DataDir { path: file.to_owned(), source };
        match std::fs::read(file) {
            Ok(bytes) => {
                let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| failed(io::Error::other(error)))?;
                Ok(kept.datasets)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Takes one back that was added before the start, unless the agent was started with another of its name.
    pub(crate) fn take_back(&self, dataset: Dataset) {
        let entry = Entry { dataset: Arc::new(dataset), from_start: false };
        self.write().entry(entry.dataset.name.clone()).or_insert(entry);
    }

    /// One by its name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Dataset>> {
        self.read().get(name).map(|entry| Arc::clone(&entry.dataset))
    }

    /// The names of all.
    pub(crate) fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// All, each with how many hold it beside this list, and whether the agent was started with it.
    pub(crate) fn all(&self) -> Vec<(Arc<Dataset>, usize, bool)> {
        let all = self.read();
        let told = all.values().map(|entry| {
            let holders = Arc::strong_count(&entry.dataset) - 1;
            (Arc::clone(&entry.dataset), holders, entry.from_start)
        });
        told.collect()
    }

    /// Offers one, also after a restart.
    ///
    /// # Errors
    /// When there is another of that name or there are too many, which is told in words, or when that cannot be kept.
    pub(crate) fn add(&self, dataset: Dataset) -> Result<(), AddError> {
        let mut all = self.write();
        let name = dataset.name.clone();
        if let Some(other) = all.get(&name) {
            return Err(AddError::Taken { path: other.dataset.source.clone() });
        }
        if all.len() >= DATASETS_MAX {
            return Err(AddError::TooMany);
        }
        all.insert(name.clone(), Entry { dataset: Arc::new(dataset), from_start: false });
        self.keep(&all).map_err(|source| {
            all.remove(&name);
            AddError::Disk { path: self.file.clone(), source }
        })
    }

    /// Offers one no more; whether the agent was started with it, so that it comes back with the next start, or nothing where it
    /// is not there.
    ///
    /// # Errors
    /// When that cannot be kept.
    pub(crate) fn remove(&self, name: &str) -> io::Result<Option<bool>> {
        let mut all = self.write();
        let Some(entry) = all.remove(name) else { return Ok(None) };
        if let Err(error) = self.keep(&all) {
            all.insert(name.to_owned(), entry);
            return Err(error);
        }
        Ok(Some(entry.from_start))
    }

    fn keep(&self, all: &BTreeMap<String, Entry>) -> io::Result<()> {
        let added = all.iter().filter(|(_, entry)| !entry.from_start);
        let datasets = added.map(|(name, entry)| (name.clone(), entry.dataset.source.clone())).collect();
        replace(&self.file, &serde_json::to_vec(&Kept { datasets }).map_err(io::Error::other)?)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Entry>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Entry>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AddError {
    /// The error's entry in the catalogue.
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Taken { .. } => ErrorCode::Conflict,
            Self::TooMany => ErrorCode::TooLarge,
            Self::Disk { .. } => ErrorCode::Storage,
        }
    }
}

/// Why a dataset is not offered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddError {
    /// Another has its name.
    #[error("a dataset of that name is offered already: `{path}`")]
    Taken {
        /// Where that one is.
        path: PathBuf,
    },
    /// There are too many.
    #[error("this node offers {DATASETS_MAX} datasets, which is the limit")]
    TooMany,
    /// It could not be kept.
    #[error("it cannot be kept in `{path}`: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
