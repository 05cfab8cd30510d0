//! An encoded value in a file: its header in memory, its buffers where they are.
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use manta_api::ErrorCode;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Difference;
use crate::report::Failure;

const MAGIC: &[u8; 8] = b"MANTAVAL";
const VERSION: u32 = 1;
/// Where the header begins: magic, version, a reserved word, the header's length.
const HEADER_AT: u64 = 24;
/// Bytes of a header, as the format allows them.
const HEADER_BYTES_MAX: u64 = 64 << 20;
/// Bytes of two headers that are shown where they part.
const SHOWN_BYTES: usize = 40;

/// The tree of a header. Keys keep their order, which is part of a dict.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// A field of a map.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The tag of an entry that stands for something else than itself.
    pub(super) fn tag(&self) -> Option<&str> {
        match self.get("$") {
            Some(Self::Text(tag)) => Some(tag),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn count(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry of a value's tree")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Tree, E> {
        i64::try_from(value).map(Tree::Int).map_err(|_| E::custom("a number is beyond 64 bits"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            list.push(entry);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Tree, A::Error> {
        let mut map: Vec<(String, Tree)> = Vec::new();
        while let Some(field) = fields.next_entry()? {
            map.push(field);
        }
        Ok(Tree::Map(map))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

/// A value whose buffers are still in its file.
#[derive(Debug)]
pub(super) struct Encoded {
    path: PathBuf,
    file: File,
    header: Vec<u8>,
    pub(super) tree: Tree,
    /// Offset and size of each buffer, inside the file.
    buffers: Vec<(u64, u64)>,
}

impl Encoded {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let broken = |problem: &str| broken(path, problem);
        let unreadable = |error| unreadable(path, &error);
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut start = [0; 24];
        if size < HEADER_AT {
            return Err(broken("it is too short"));
        }
        file.read_exact_at(&mut start, 0).map_err(unreadable)?;
        let [magic, version, length] = [&start[..8], &start[8..12], &start[16..24]];
        if magic != MAGIC || version != VERSION.to_le_bytes() || start[12..16] != [0; 4] {
            return Err(broken("its first bytes are not those of format version 1"));
        }
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        if length > HEADER_BYTES_MAX || length > size - HEADER_AT {
            return Err(broken("its header is longer than it may be"));
        }
        let mut header = vec![0; usize::try_from(length).map_err(|_| broken("its header is too long"))?];
        file.read_exact_at(&mut header, HEADER_AT).map_err(unreadable)?;
        let Document { tree, buffers } =
            serde_json::from_slice(&header).map_err(|error| broken(&format!("its header: {error}")))?;
        if buffers.iter().any(|(offset, bytes)| offset.checked_add(*bytes).is_none_or(|end| end > size)) {
            return Err(broken("a buffer lies beyond its end"));
        }
        Ok(Self { path: path.to_owned(), file, header, tree, buffers })
    }

    /// A buffer's offset and size.
    pub(super) fn place(&self, index: &Tree) -> Result<(u64, u64), Failure> {
        let place = index.count().and_then(|index| self.buffers.get(usize::try_from(index).ok()?));
        place.copied().ok_or_else(|| self.broken("an entry refers to a buffer that is not there"))
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

/// A header, whole.
#[derive(Debug, serde::Deserialize)]
struct Document {
    tree: Tree,
    buffers: Vec<(u64, u64)>,
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
