//! The datasets that this node offers, each checked before it is offered.
mod offered;
mod schema;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use manta_api::{DatasetSchema, DatasetView};
use manta_sandbox::Engine;
use manta_types::name::check_component;

pub(crate) use offered::Offered;

use crate::NodeError;
use crate::supervisor::blocking;

/// Files looked at when a directory's size is told; what lies beyond is not counted.
const FILES_MEASURED_MAX: usize = 100_000;

/// A dataset that tasks on this node may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dataset {
    /// What modules call it.
    pub(crate) name: String,
    /// Where it is on the host: absolute, no symbolic link.
    pub(crate) source: PathBuf,
    /// Whether it is one file or a directory.
    pub(crate) form: Form,
    /// Bytes.
    pub(crate) size: u64,
    /// What its values look like, where that can be told.
    pub(crate) schema: Option<DatasetSchema>,
}

/// What a dataset is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One file.
    File,
    /// A directory.
    Directory,
}

impl Dataset {
    /// Where a task finds it inside its sandbox.
    pub(crate) fn target(&self) -> PathBuf {
        Path::new("/data").join(&self.name)
    }

    /// A file of it that was changed after a moment: its path in the dataset, or its name where it is the dataset. Looks at
    /// [`FILES_MEASURED_MAX`] files at most. Blocks.
    pub(crate) fn changed_since(&self, moment: SystemTime) -> Option<PathBuf> {
        let moment = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_changed = |metadata: &fs::Metadata| {
            let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
            Duration::new(seconds, u32::try_from(metadata.ctime_nsec()).unwrap_or_default()) >= moment
        };
        if self.form == Form::File {
            let metadata = fs::metadata(&self.source).ok()?;
            return is_changed(&metadata).then(|| self.file_name().into());
        }
        let mut changed = None;
        for_each(vec![fs::read_dir(&self.source).ok()?], |entry, metadata| {
            if changed.is_none() && metadata.is_file() && is_changed(metadata) {
                changed = entry.path().strip_prefix(&self.source).ok().map(Path::to_owned);
            }
        });
        changed
    }

    /// What others are told of it.
    pub(crate) fn view(&self) -> DatasetView {
        let (name, form) = (self.name.clone(), self.form.name().to_owned());
        DatasetView { name, form, size: self.size, schema: self.schema.clone() }
    }

    /// The name of its file or directory on the host, which tells its form.
    pub(crate) fn file_name(&self) -> String {
        self.source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

impl Form {
    /// Its name in the node protocol.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
        }
    }
}

/// Checks that every dataset is there and that a task could read it.
pub(crate) async fn check_all(
    asked: &BTreeMap<String, PathBuf>,
    engine: &dyn Engine,
) -> Result<BTreeMap<String, Dataset>, NodeError> {
    let mut datasets = BTreeMap::new();
    for (name, path) in asked {
        datasets.insert(name.clone(), check(name, path, engine).await?);
    }
    Ok(datasets)
}

/// Checks that a dataset is there and that a task could read it.
pub(crate) async fn check(name: &str, path: &Path, engine: &dyn Engine) -> Result<Dataset, NodeError> {
    let (owned, place) = (name.to_owned(), path.to_owned());
    let dataset = blocking(move || inspect(&owned, &place)).await?;
    engine.check_mount(&dataset.source).await.map_err(|error| NodeError::DatasetPath {
        name: name.to_owned(),
        path: path.to_owned(),
        reason: format!("a task could not read it: {error}"),
        cure: if engine.runs_containers() {
            format!("let everybody read it: chmod --recursive o+rX {}", path.display())
        } else {
            format!("let this user read it: chmod --recursive u+rX {}", path.display())
        },
    })?;
    Ok(dataset)
}

/// Looks at one dataset.
fn inspect(name: &str, path: &Path) -> Result<Dataset, NodeError> {
    check_component("dataset", name).map_err(|error| NodeError::DatasetName(error.to_string()))?;
    let refuse = |error: &io::Error| {
        let (reason, cure) = explain(path, error);
        NodeError::DatasetPath { name: name.to_owned(), path: path.to_owned(), reason, cure }
    };
    let source = path.canonicalize().map_err(|e| refuse(&e))?;
    let metadata = source.metadata().map_err(|e| refuse(&e))?;
    let (form, size) = if metadata.is_dir() {
        (Form::Directory, measure(&source).map_err(|e| refuse(&e))?)
    } else if metadata.is_file() {
        File::open(&source).map_err(|e| refuse(&e))?;
        (Form::File, metadata.len())
    } else {
        return Err(refuse(&io::Error::other("it is neither a file nor a directory")));
    };
    let schema = schema::of(&source, form);
    Ok(Dataset { name: name.to_owned(), source, form, size, schema })
}

fn explain(path: &Path, error: &io::Error) -> (String, String) {
    match error.kind() {
        io::ErrorKind::NotFound => {
            ("there is nothing at that path".to_owned(), "give the path of an existing file or directory".to_owned())
        }
        io::ErrorKind::PermissionDenied => {
            let mode = path.metadata().map(|m| format!(" (mode {:o})", m.mode() & 0o7777)).unwrap_or_default();
            let cure = format!("let this user read it: chmod --recursive u+rX {}", path.display());
            (format!("this user may not read it{mode}"), cure)
        }
        _ => (error.to_string(), "give the path of a readable file or directory".to_owned()),
    }
}

/// The size of what lies in a directory, which must be readable itself; what lies deeper is counted where it can be.
fn measure(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for_each(vec![fs::read_dir(directory)?], |_, metadata| bytes += metadata.len());
    Ok(bytes)
}

/// Gives all that is not a directory to `look`, down to the depths of a directory, but for what lies beyond so many entries.
fn for_each(mut waiting: Vec<fs::ReadDir>, mut look: impl FnMut(&fs::DirEntry, &fs::Metadata)) {
    let mut seen = 0;
    while let Some(entries) = waiting.pop() {
        for entry in entries.flatten() {
            seen += 1;
            if seen > FILES_MEASURED_MAX {
                return;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.extend(fs::read_dir(entry.path()).ok()),
                Ok(metadata) => look(&entry, &metadata),
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_directories_are_measured() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/part-7.npy"), b"12345").unwrap();
        let file = inspect("digits", &dir.path().join("sub/part-7.npy")).unwrap();
        assert_eq!((file.form, file.size), (Form::File, 5));
        let tree = inspect("digits", dir.path()).unwrap();
        assert_eq!((tree.form, tree.size), (Form::Directory, 5));
    }

    #[test]
    fn a_file_that_was_changed_is_found_and_one_that_was_not_is_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        let part = dir.path().join("sub/part-7.npy");
        fs::write(&part, b"12345").unwrap();
        fs::write(dir.path().join("old"), b"").unwrap();
        let datasets = [inspect("digits", dir.path()).unwrap(), inspect("digits", &part).unwrap()];
        let (long_ago, later) = (SystemTime::UNIX_EPOCH, SystemTime::now() + Duration::from_secs(3600));
        assert!(datasets.iter().all(|dataset| dataset.changed_since(long_ago).is_some()));
        assert!(datasets.iter().all(|dataset| dataset.changed_since(later).is_none()));
        fs::remove_file(dir.path().join("old")).unwrap();
        assert_eq!(datasets[0].changed_since(long_ago).as_deref(), Some(Path::new("sub/part-7.npy")));
        assert_eq!(datasets[1].changed_since(long_ago).as_deref(), Some(Path::new("part-7.npy")));
    }

    #[test]
    fn a_missing_dataset_is_refused_with_path_reason_and_cure() {
        let error = inspect("digits", Path::new("/nowhere/digits.npy")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the dataset `digits` at `/nowhere/digits.npy` cannot be offered: there is nothing at that path"
        );
        assert!(error.hint().is_some());
        assert!(matches!(inspect("../etc", Path::new("/etc")), Err(NodeError::DatasetName(_))));
    }
}
