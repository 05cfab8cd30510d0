//! Bytes named by their BLAKE3 digest: written once, checked while they are written, never changed.
mod contract;
mod dir;
mod faulty;
mod memory;
mod stream;

pub use contract::{BlobError, BlobRead, BlobStore, BlobWriter};
pub use dir::DirBlobs;
pub use faulty::FaultyBlobs;
pub use memory::MemoryBlobs;
pub use stream::BlobStream;
