//! The value format, as far as it is read without Python: the header, whole and strictly; the buffers stay where they are.
//!
//! Whoever shows or compares values needs no more. What a reader refuses by the header alone is refused here, as by every other
//! reader; what only the buffers tell (that a text is UTF-8, that a table is one) is for whoever makes values of them.
mod check;
mod dtype;
mod json;

use json::Parser;

pub use dtype::{Dtype, Kind};

/// What every value begins with.
pub const MAGIC: [u8; 8] = *b"MANTAVAL";
/// The version of the format that is read and written.
pub const VERSION: u32 = 1;
/// Where the header begins: behind magic, version, a reserved word and the header's length.
pub const PREFIX_BYTES: usize = 24;
/// Bytes of a header.
pub const HEADER_BYTES_MAX: u64 = 64 << 20;
/// Every buffer begins at a multiple of this.
pub const ALIGNMENT: u64 = 64;
/// Containers inside containers.
pub const DEPTH_MAX: usize = 64;
/// Entries of the tree.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Dimensions of an array.
pub const DIMENSIONS_MAX: usize = 64;

/// A rule of the format that bytes break, as a fragment of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

fn refuse<T>(problem: impl Into<String>) -> Result<T, ValueError> {
    Err(ValueError(problem.into()))
}

/// The tree of a header. Keys keep their order, which is part of a dict.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// `null`.
    None,
    /// `true` and `false`.
    Bool(bool),
    /// A number without `.` and `e`.
    Int(i64),
    /// Any other number; finite.
    Float(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Self>),
    /// An object; with the key `$` it stands for something else, by its tag.
    Map(Vec<(String, Self)>),
}

impl Tree {
    /// A field of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The tag of an entry that stands for something else than itself.
    pub fn tag(&self) -> Option<&str> {
        self.get("$").and_then(Self::text)
    }

    /// The entries of an array.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(entries) => Some(entries),
            _ => None,
        }
    }

    /// A string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number from 0 on.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

/// Where a buffer lies in its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its first byte, counted from the value's first.
    pub offset: u64,
    /// How many it has.
    pub bytes: u64,
}

/// A value's header, which keeps to every rule that the header alone can break.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// What the value is made of.
    pub tree: Tree,
    /// Its buffers, in order.
    pub buffers: Vec<Place>,
}

/// How many bytes the header has that follows these first ones of a value of `size` bytes.
///
/// # Errors
/// Where they are not the first of a value, of this version.
pub fn header_bytes(prefix: &[u8; PREFIX_BYTES], size: u64) -> Result<u64, ValueError> {
    let word = |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
    if prefix[..8] != MAGIC {
        return refuse("the magic number is missing");
    }
    if word(8) != VERSION || word(12) != 0 {
        return refuse(format!("format version {} is not {VERSION}", word(8)));
    }
    let bytes = u64::from(word(16)) | u64::from(word(20)) << 32;
    match size.checked_sub(PREFIX_BYTES as u64) {
        Some(rest) if bytes <= HEADER_BYTES_MAX.min(rest) => Ok(bytes),
        _ => refuse(format!("a header of {bytes} bytes is too long")),
    }
}

impl Header {
    /// Reads the header of a value of `size` bytes.
    ///
    /// # Errors
    /// Names the first rule that it breaks.
    pub fn parse(header: &[u8], size: u64) -> Result<Self, ValueError> {
        let Tree::Map(mut fields) = Parser::read(header)? else { return refuse("the header is no object") };
        let mut take = |name: &str| {
            let at = fields.iter().position(|(key, _)| key == name)?;
            Some(fields.swap_remove(at).1)
        };
        let (Some(tree), Some(listed), true) = (take("tree"), take("buffers"), fields.is_empty()) else {
            return refuse("the header is not an object of tree and buffers");
        };
        let buffers = places(&listed, header.len() as u64, size)?;
        check::tree(&tree, &buffers)?;
        Ok(Self { tree, buffers })
    }
}

/// Where the buffers are said to lie, which is where the layout puts them.
fn places(listed: &Tree, header_bytes: u64, size: u64) -> Result<Vec<Place>, ValueError> {
    let said = |pair: &Tree| match pair.list()? {
        [offset, bytes] => Some(Place { offset: offset.count()?, bytes: bytes.count()? }),
        _ => None,
    };
    let read = listed.list().and_then(|pairs| pairs.iter().map(said).collect::<Option<Vec<_>>>());
    let Some(read) = read else { return refuse("the buffers are not a list of offsets and sizes") };
    let mut end = PREFIX_BYTES as u64 + header_bytes;
    for place in &read {
        if place.offset != end.next_multiple_of(ALIGNMENT) || place.bytes > size {
            return refuse("the buffers do not follow each other at multiples of 64");
        }
        end = place.offset + place.bytes;
    }
    // Padding follows the header, not the last buffer.
    let whole = if read.is_empty() { end.next_multiple_of(ALIGNMENT) } else { end };
    if whole == size { Ok(read) } else { refuse("the value's length is not what its header says") }
}

#[cfg(test)]
mod tests;
