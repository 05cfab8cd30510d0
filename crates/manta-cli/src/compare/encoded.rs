//! An encoded value in a file: its header in memory, its buffers where they are.
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use manta_api::ErrorCode;
use manta_api::value::{Header, PREFIX_BYTES, Place, Tree, header_bytes};

use super::Difference;
use crate::report::Failure;

/// Bytes of two headers that are shown where they part.
const SHOWN_BYTES: usize = 40;

/// A value whose buffers are still in its file.
#[derive(Debug)]
pub(super) struct Encoded {
    path: PathBuf,
    file: File,
    header: Vec<u8>,
    pub(super) tree: Tree,
    buffers: Vec<Place>,
}

impl Encoded {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let broken = |problem: &str| broken(path, problem);
        let unreadable = |error| unreadable(path, &error);
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut prefix = [0; PREFIX_BYTES];
        if size < PREFIX_BYTES as u64 {
            return Err(broken("it is too short"));
        }
        file.read_exact_at(&mut prefix, 0).map_err(unreadable)?;
        let length = header_bytes(&prefix, size).map_err(|error| broken(&error.to_string()))?;
        let mut header = vec![0; usize::try_from(length).map_err(|_| broken("its header is too long"))?];
        file.read_exact_at(&mut header, PREFIX_BYTES as u64).map_err(unreadable)?;
        let Header { tree, buffers } = Header::parse(&header, size).map_err(|error| broken(&error.to_string()))?;
        Ok(Self { path: path.to_owned(), file, header, tree, buffers })
    }

    /// A buffer's offset and size.
    pub(super) fn place(&self, index: &Tree) -> Result<(u64, u64), Failure> {
        let place = index.count().and_then(|index| self.buffers.get(usize::try_from(index).ok()?));
        let place = place.map(|place| (place.offset, place.bytes));
        place.ok_or_else(|| self.broken("an entry refers to a buffer that is not there"))
    }

    /// Fills `into` with the file's bytes from an offset on.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Failure> {
        self.file.read_exact_at(into, offset).map_err(|error| unreadable(&self.path, &error))
    }

    /// The error of a value that breaks a rule of the format.
    pub(super) fn broken(&self, problem: &str) -> Failure {
        broken(&self.path, problem)
    }
}

fn broken(path: &Path, problem: &str) -> Failure {
    Failure::new(ErrorCode::DigestMismatch, format!("the value in `{}` is not one: {problem}", path.display()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::file("the value cannot be read from", path, error)
}

/// Where two headers part, for values whose trees read the same.
pub(super) fn headers(a: &Encoded, b: &Encoded) -> Option<Difference> {
    let at = a.header.iter().zip(&b.header).position(|(a, b)| a != b);
    let at = at.or_else(|| (a.header.len() != b.header.len()).then(|| a.header.len().min(b.header.len())))?;
    let shown = |header: &[u8]| {
        let from = at.saturating_sub(SHOWN_BYTES / 2);
        let part = &header[from.min(header.len())..(from + SHOWN_BYTES).min(header.len())];
        format!("…{}…", String::from_utf8_lossy(part))
    };
    Some(Difference {
        path: String::new(),
        what: "encoding",
        index: None,
        original: shown(&a.header),
        replayed: shown(&b.header),
        spread: None,
    })
}
