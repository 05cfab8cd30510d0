//! What several tests of stored things are made of.
use manta_module::{BundleMeta, Entry, ModuleResources, Target, digest_of, pack};
use manta_store::{BlobStore, DirBlobs};
use manta_types::{Blob, Digest};

/// Stores bytes, and names them.
pub(crate) fn put(blobs: &DirBlobs, bytes: &[u8]) -> Digest {
    let digest = digest_of(bytes);
    blobs.put(&digest, &mut &*bytes).unwrap();
    digest
}

/// The manifest of a bundle of one file, which holds these bytes.
pub(crate) fn bundle(file: &[u8]) -> Vec<u8> {
    let file = Blob { digest: digest_of(file), size: file.len() as u64 };
    let meta = BundleMeta {
        name: "worker".to_owned(),
        version: Some("1.0.0".to_owned()),
        entry: Entry::Code { file: "worker.py".to_owned(), target: Target::Call("main".to_owned()) },
        image: "latest".to_owned(),
        datasets: Vec::new(),
        resources: ModuleResources::default(),
        isolation: None,
        description: None,
        requires_manta: None,
        images: Vec::new(),
        architectures: Vec::new(),
        requires_python: None,
        dependencies: Vec::new(),
    };
    pack(meta, [("worker.py".to_owned(), file)]).unwrap().bytes.to_vec()
}
