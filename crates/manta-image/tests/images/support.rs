//! Makes images of all forms, right and wrong.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use manta_image::{Sha256, Store, Unpacker};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A store with a confined unpacker, and room for sources beside it.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let unpacker = Unpacker::new(PathBuf::from(env!("CARGO_BIN_EXE_image-unpacker")), Vec::new());
        let store = Store::new(dir.path().join("store"), unpacker);
        Self { dir, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Files and directories of a part of the store.
    pub(crate) fn left(&self, part: &str) -> Vec<String> {
        let entries = fs::read_dir(self.store.root().join(part));
        entries.into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// A layer that is being written.
pub(crate) struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// An entry of any kind; the path and target are written as they are, whatever they are.
    pub(crate) fn entry(mut self, kind: EntryType, path: &str, target: &str, content: &[u8], mode: u32) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, "", content, 0o644)
    }

    pub(crate) fn program(self, path: &str) -> Self {
        self.entry(EntryType::Regular, path, "", b"#!/bin/true\n", 0o755)
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"", 0o755)
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"", 0o777)
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, b"", 0o644)
    }

    pub(crate) fn tar(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// This machine's processor as images name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The configuration of an image of such layers.
pub(crate) fn config(layers: &[Vec<u8>]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Sha256::of(layer).to_string()).collect();
    json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

/// An OCI layout that is being written.
pub(crate) struct Layout(pub(crate) PathBuf);

impl Layout {
    pub(crate) fn new(path: PathBuf) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(path)
    }

    pub(crate) fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest = Sha256::of(bytes);
        fs::write(self.0.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": kind, "digest": digest.to_string(), "size": bytes.len()})
    }

    pub(crate) fn manifest(&self, config: &Value, packed: &[Vec<u8>]) -> Value {
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let layers: Vec<Value> =
            packed.iter().map(|layer| self.blob("application/vnd.oci.image.layer.v1.tar+gzip", layer)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": layers,
        });
        self.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes())
    }

    pub(crate) fn index(&self, manifests: &[Value]) -> &Path {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(self.0.join("index.json"), index.to_string()).unwrap();
        &self.0
    }

    /// A layout of one image with gzip layers.
    pub(crate) fn image(path: PathBuf, layers: &[Vec<u8>]) -> PathBuf {
        let layout = Self::new(path);
        let packed: Vec<Vec<u8>> = layers.iter().map(|layer| gzip(layer)).collect();
        let manifest = layout.manifest(&config(layers), &packed);
        layout.index(&[manifest]).to_owned()
    }
}

/// Packs a directory as an archive.
pub(crate) fn packed(from: &Path, to: PathBuf) -> PathBuf {
    let mut builder = Builder::new(fs::File::create(&to).unwrap());
    builder.append_dir_all(".", from).unwrap();
    builder.finish().unwrap();
    to
}

/// An image with a Python, in two layers.
pub(crate) fn python_layers() -> Vec<Vec<u8>> {
    let base = Layer::new()
        .dir("usr/")
        .dir("usr/bin/")
        .program("usr/bin/python3.12")
        .link("usr/bin/python3", "python3.12")
        .link("bin", "usr/bin")
        .dir("etc/")
        .file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh")
        .file("etc/removed", b"below")
        .dir("etc/hidden/")
        .file("etc/hidden/below", b"below")
        .tar();
    let top = Layer::new()
        .dir("etc/")
        .file("etc/.wh.removed", b"")
        .dir("etc/hidden/")
        .file("etc/hidden/.wh..wh..opq", b"")
        .file("etc/hidden/above", b"above")
        .file("etc/added", b"above")
        .hard_link("etc/same", "etc/added")
        .tar();
    vec![base, top]
}
