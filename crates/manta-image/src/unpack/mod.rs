//! Unpacking one layer: a confined process reads it and makes files below one directory; its parent believes nothing unseen.

mod answer;
mod child;
mod decompress;
mod entry;
mod jail;
mod parent;

pub use child::unpacker_main;
pub use jail::confine;
pub use parent::Unpacker;

/// Files, directories and links of one layer.
pub(crate) const ENTRIES_MAX: u64 = 1_000_000;
/// Bytes of one layer, unpacked.
pub(crate) const LAYER_BYTES_MAX: u64 = 64 << 30;
/// How many times larger than its packed form a layer may get, after the first [`RATIO_FREE_BYTES`].
pub(crate) const RATIO_MAX: u64 = 200;
/// Unpacked bytes that are not held against the ratio: small layers of zeros are common.
pub(crate) const RATIO_FREE_BYTES: u64 = 64 << 20;
