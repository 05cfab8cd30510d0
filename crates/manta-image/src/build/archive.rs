//! Writes an image as an OCI layout in a tar archive, with the `manifest.json` by which older Dockers load it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::stage::Stage;
use super::{Built, libraries};
use crate::digest::Hashing;
use crate::source::blob_name;
use crate::{ImageName, Platform, Sha256};

/// When images are said to be made: their bytes do not depend on it.
const CREATED: &str = "1970-01-01T00:00:00Z";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A packed layer.
struct Packed {
    path: PathBuf,
    unpacked: Sha256,
    digest: Sha256,
    bytes: u64,
}

/// Packs the layers that are not empty, and writes all to `path`.
pub(super) fn write(
    path: &Path,
    name: &ImageName,
    stage: &Stage<'_>,
    built: &Built,
    has_others: bool,
) -> io::Result<()> {
    let mut layers = vec![pack(&stage.base)?];
    if fs::read_dir(&stage.packages)?.next().is_some() {
        layers.push(pack(&stage.packages)?);
    }
    let config = config(name, stage, built, has_others, &layers).to_string();
    let described =
        |kind: &str, digest: Sha256, bytes: u64| json!({"mediaType": kind, "digest": digest, "size": bytes});
    let packed: Vec<Value> = layers.iter().map(|layer| described(LAYER, layer.digest, layer.bytes)).collect();
    let config_digest = Sha256::of(config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": described(CONFIG, config_digest, config.len() as u64), "layers": packed,
    })
    .to_string();
    let manifest_digest = Sha256::of(manifest.as_bytes());
    let full = format!("{name}:latest");
    let mut index = described(MANIFEST, manifest_digest, manifest.len() as u64);
    index["annotations"] = json!({"io.containerd.image.name": format!("docker.io/library/{full}"), "org.opencontainers.image.ref.name": "latest"});
    let names: Vec<String> = layers.iter().map(|layer| blob_name(layer.digest)).collect();
    let saved = json!([{"Config": blob_name(config_digest), "RepoTags": [full], "Layers": names}]).to_string();
    let index = json!({"schemaVersion": 2, "manifests": [index]}).to_string();

    let fresh = path.with_extension("new");
    let mut archive = Builder::new(File::create(&fresh)?);
    for (name, content) in [
        ("oci-layout".to_owned(), r#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json".to_owned(), index.as_str()),
        ("manifest.json".to_owned(), saved.as_str()),
        (blob_name(config_digest), config.as_str()),
        (blob_name(manifest_digest), manifest.as_str()),
    ] {
        append(&mut archive, Path::new(&name), content.len() as u64, content.as_bytes())?;
    }
    for layer in &layers {
        append(&mut archive, Path::new(&blob_name(layer.digest)), layer.bytes, File::open(&layer.path)?)?;
    }
    archive.into_inner()?.sync_all()?;
    fs::rename(fresh, path)
}

fn config(name: &ImageName, stage: &Stage<'_>, built: &Built, has_others: bool, layers: &[Packed]) -> Value {
    let platform = Platform::of_this_machine();
    let mut path: Vec<String> = vec!["/usr/local/bin".to_owned(), "/usr/bin".to_owned(), "/bin".to_owned()];
    let own = stage.interpreter.new_prefix().join("bin").display().to_string();
    path.retain(|dir| *dir != own);
    path.insert(0, own);
    let mut env = vec![format!("PATH={}", path.join(":")), "LANG=C.UTF-8".to_owned()];
    if has_others {
        env.push(format!("LD_LIBRARY_PATH={}", libraries::OTHERS));
    }
    let packages: Vec<String> = built.packages.iter().map(|(name, version)| format!("{name}=={version}")).collect();
    json!({
        "created": CREATED, "architecture": platform.architecture, "os": platform.os,
        "config": {
            "Env": env, "Cmd": ["python3"], "WorkingDir": "/tmp",
            "Labels": {"manta.image": name, "manta.python": built.python, "manta.packages": packages.join(" ")},
        },
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| layer.unpacked).collect::<Vec<_>>()},
        "history": layers.iter().map(|_| json!({"created": CREATED, "created_by": "manta image build"})).collect::<Vec<_>>(),
    })
}

/// Packs a directory as a layer beside it.
fn pack(directory: &Path) -> io::Result<Packed> {
    let path = directory.with_extension("tar.gz");
    let packer = GzEncoder::new(Hashing::new(File::create(&path)?), Compression::default());
    let mut builder = Builder::new(Hashing::new(packer));
    append_tree(&mut builder, directory, Path::new(""))?;
    let (packer, unpacked, _) = builder.into_inner()?.finish();
    let (mut file, digest, bytes) = packer.finish()?.finish();
    file.flush()?;
    Ok(Packed { path, unpacked, digest, bytes })
}

/// Appends what is in a directory, sorted, with one owner and no times.
fn append_tree<W: io::Write>(builder: &mut Builder<W>, root: &Path, inner: &Path) -> io::Result<()> {
    let mut names: Vec<OsString> =
        fs::read_dir(root.join(inner))?.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    for name in names {
        let inner = inner.join(name);
        let path = root.join(&inner);
        let found = fs::symlink_metadata(&path)?;
        if found.is_symlink() {
            let mut header = header(EntryType::Symlink, 0o777, 0);
            builder.append_link(&mut header, &inner, fs::read_link(&path)?)?;
        } else if found.is_dir() {
            let mode = if inner == Path::new("tmp") { 0o1777 } else { 0o755 };
            builder.append_data(&mut header(EntryType::Directory, mode, 0), &inner, io::empty())?;
            append_tree(builder, root, &inner)?;
        } else {
            let mode = if found.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
            builder.append_data(&mut header(EntryType::Regular, mode, found.len()), &inner, File::open(&path)?)?;
        }
    }
    Ok(())
}

fn append<W: io::Write>(builder: &mut Builder<W>, name: &Path, bytes: u64, content: impl io::Read) -> io::Result<()> {
    builder.append_data(&mut header(EntryType::Regular, 0o644, bytes), name, content)
}

fn header(kind: EntryType, mode: u32, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
