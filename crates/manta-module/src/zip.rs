//! The ZIP form of a bundle: written one way, and read only where every reader must see the same archive.
//!
//! An archive is the local entries from the first byte on, in the order of the directory, then the directory, then its end
//! record, and nothing else: each byte belongs to one thing, and what is said twice is the same. So it makes no difference
//! whether a reader begins at the first byte or at the last, and nothing can hide between, before or behind.
//!
//! Entries are stored, not compressed, with one time and one mode: the bytes depend on the files alone, not on a library.
mod read;
mod write;

use manta_types::limits;

pub use read::{Archive, ArchiveFile};
pub use write::write;

/// The manifest's name in an archive; it is the first entry.
pub const MANIFEST_FILE: &str = "MANTA.json";
/// The folder of an archive's signatures, which are of its manifest and so none of the bundle's files.
pub const SIGNATURES_FOLDER: &str = "MANTA.signatures";
/// The folder of the locks and wheels that a module depends on, each under its digest.
pub const PACKAGES_FOLDER: &str = "MANTA.packages";
/// Bytes of an archive.
pub const ARCHIVE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of all its files, unpacked.
pub const UNPACKED_BYTES_MAX: u64 = 256 << 20;
/// Entries, folders among them: the files of a bundle, their folders, the manifest, its signatures, and its locks with their
/// wheels.
pub const ENTRIES_MAX: usize = 2 * limits::BUNDLE_FILES_MAX
    + limits::SIGNATURES_PER_VERSION_MAX
    + limits::LOCKS_PER_MODULE_MAX * (limits::WHEELS_PER_LOCK_MAX + 1)
    + 1;
/// How many times larger than its packed form an entry may be.
pub const RATIO_MAX: u64 = 100;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: usize = 22;
/// The version of the format that knows folders and deflate, and nothing later.
const VERSION_NEEDED: u16 = 20;
/// General purpose flag: the name is UTF-8.
const FLAG_UTF8: u16 = 1 << 11;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const HOST_DOS: u16 = 0;
const HOST_UNIX: u16 = 3;
const FILE_TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// Why an archive is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive as a whole.
    #[error("the archive {0}")]
    Whole(String),
    /// One entry of it.
    #[error("the archive's entry `{entry}` {problem}")]
    Entry {
        /// Its name, escaped and cut.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Whoever takes the bytes, or gives them.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn whole(problem: impl Into<String>) -> ArchiveError {
    ArchiveError::Whole(problem.into())
}

fn of_entry(name: &str, problem: impl Into<String>) -> ArchiveError {
    ArchiveError::Entry { entry: manta_types::name::printable(name, 96), problem: problem.into() }
}

#[cfg(test)]
mod tests;
