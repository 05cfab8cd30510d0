//! The files of a source by name, whether they lie in a directory or in a tar archive.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::DOCUMENT_BYTES_MAX;
use crate::beneath::Inner;
use crate::{ImageError, Sha256};

/// Files of an archive that holds images.
const MEMBERS_MAX: usize = 100_000;
/// Links followed for one name.
const LINKS_MAX: usize = 8;

/// A stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Extent {
    /// Opens the file where the stretch begins.
    pub(crate) fn open(&self) -> Result<File, ImageError> {
        let mut file = File::open(&self.path).map_err(ImageError::file(&self.path))?;
        file.seek(SeekFrom::Start(self.offset)).map_err(ImageError::file(&self.path))?;
        Ok(file)
    }
}

/// Files by name.
#[derive(Debug)]
pub(crate) struct Files {
    path: PathBuf,
    /// Members of an archive; nothing for a directory.
    members: Option<HashMap<PathBuf, Member>>,
}

#[derive(Debug)]
enum Member {
    File { offset: u64, length: u64 },
    Link(PathBuf),
}

impl Files {
    /// Opens a directory or a tar archive.
    pub(crate) fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = |error| ImageError::file(path)(error);
        let metadata = std::fs::metadata(path).map_err(failed)?;
        let members = if metadata.is_dir() { None } else { Some(members(path)?) };
        Ok(Self { path: path.to_owned(), members })
    }

    /// Where a file lies; nothing where there is none.
    pub(crate) fn find(&self, name: &str) -> Option<Extent> {
        let inner = Inner::parse(name.as_bytes()).ok()?;
        let Some(members) = &self.members else {
            let path = self.path.join(inner.as_path());
            let metadata = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
            return Some(Extent { path, offset: 0, length: metadata.len() });
        };
        let mut name = inner.as_path().to_owned();
        for _ in 0..LINKS_MAX {
            match members.get(&name)? {
                Member::File { offset, length } => {
                    return Some(Extent { path: self.path.clone(), offset: *offset, length: *length });
                }
                Member::Link(to) => name.clone_from(to),
            }
        }
        None
    }

    /// A small file's content.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let extent = self.find(name).ok_or_else(|| self.problem(format!("it lacks the file `{name}`")))?;
        if extent.length > DOCUMENT_BYTES_MAX {
            return Err(self.problem(format!("its `{name}` is larger than {} MiB", DOCUMENT_BYTES_MAX >> 20)));
        }
        let mut bytes = Vec::new();
        extent.open()?.take(extent.length).read_to_end(&mut bytes).map_err(ImageError::file(&self.path))?;
        Ok(bytes)
    }

    /// A small file's content, which must be what its digest says.
    pub(crate) fn blob(&self, digest: Sha256) -> Result<Vec<u8>, ImageError> {
        let bytes = self.document(&blob_name(digest))?;
        match Sha256::of(&bytes) {
            found if found == digest => Ok(bytes),
            found => Err(ImageError::Digest { what: format!("`{}`", blob_name(digest)), found, told: digest }),
        }
    }

    /// Why the source cannot be used.
    pub(crate) fn problem(&self, problem: String) -> ImageError {
        ImageError::NotAnImage { path: self.path.clone(), problem }
    }
}

/// The name of a blob in an OCI layout.
pub(crate) fn blob_name(digest: Sha256) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn members(path: &Path) -> Result<HashMap<PathBuf, Member>, ImageError> {
    let problem = |problem: String| ImageError::NotAnImage { path: path.to_owned(), problem };
    let unreadable = |error: std::io::Error| problem(format!("it is no tar archive: {error}"));
    let file = File::open(path).map_err(ImageError::file(path))?;
    let mut start = [0; 4];
    let known = file.try_clone().and_then(|mut file| file.read(&mut start)).map_err(ImageError::file(path))?;
    if start[..known].starts_with(&[0x1f, 0x8b]) || start == [0x28, 0xb5, 0x2f, 0xfd] {
        return Err(problem("it is compressed as a whole; uncompress it first, with `gunzip` or `unzstd`".to_owned()));
    }
    let mut file = file;
    file.rewind().map_err(ImageError::file(path))?;
    let mut members = HashMap::new();
    for entry in Archive::new(file).entries_with_seek().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Ok(name) = Inner::parse(&entry.path_bytes()) else { continue };
        let member = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                Member::File { offset: entry.raw_file_position(), length: entry.size() }
            }
            EntryType::Symlink | EntryType::Link => {
                let hard = entry.header().entry_type() == EntryType::Link;
                match link(&name, hard, &entry.link_name_bytes().unwrap_or_default()) {
                    Some(to) => Member::Link(to),
                    None => continue,
                }
            }
            _ => continue,
        };
        members.insert(name.as_path().to_owned(), member);
        if members.len() > MEMBERS_MAX {
            return Err(problem(format!("it has more than {MEMBERS_MAX} files")));
        }
    }
    Ok(members)
}

/// What a link in an archive names: older `docker save` archives have them from one layer to an equal one.
fn link(name: &Inner, is_hard: bool, target: &[u8]) -> Option<PathBuf> {
    let target = std::str::from_utf8(target).ok()?;
    let mut path = if is_hard { PathBuf::new() } else { name.split()?.0.as_path().to_owned() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    Some(path)
}
