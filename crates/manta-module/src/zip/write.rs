//! Writes an archive; the same files give the same bytes.
use std::collections::BTreeMap;
use std::io::Write;

use flate2::Crc;
use manta_types::{Blob, Digest};

use super::{
    ARCHIVE_BYTES_MAX, ArchiveError, CENTRAL, END, FLAG_UTF8, HOST_UNIX, LOCAL, MANIFEST_FILE, PACKAGES_FOLDER,
    REGULAR, SIGNATURES_FOLDER, STORED, VERSION_NEEDED, of_entry, whole,
};
use crate::BundleManifest;
use crate::path::fold;

/// 1980-01-01, the format's first day, at midnight.
const DATE: u16 = 1 << 5 | 1;
const MODE: u32 = REGULAR | 0o644;

/// Writes a bundle: its manifest, its signatures, its locks and wheels, then its files as the manifest lists them; `content` gives the
/// bytes of one.
///
/// # Errors
/// When a file has the manifest's name, the archive would be too large, or reading or writing fails.
pub fn write(
    out: &mut impl Write,
    manifest: &BundleManifest,
    signatures: &[String],
    mut content: impl FnMut(&Blob) -> std::io::Result<Vec<u8>>,
) -> Result<(), ArchiveError> {
    // A wheel of two locks is there once.
    let packages: BTreeMap<Digest, Blob> = manifest.dependency_blobs().map(|(_, blob)| (blob.digest, blob)).collect();
    let size = packages.values().fold(manifest.total_bytes(), |sum, blob| sum.saturating_add(blob.size));
    if size > ARCHIVE_BYTES_MAX {
        return Err(whole(format!(
            "would hold {size} bytes of files and packages; {ARCHIVE_BYTES_MAX} are the limit: publish the folder itself"
        )));
    }
    let reserved = [MANIFEST_FILE, SIGNATURES_FOLDER, PACKAGES_FOLDER].map(fold);
    let is_reserved = |path: &&String| reserved.iter().any(|name| fold(path).split('/').next() == Some(name));
    if let Some(path) = manifest.files.keys().find(is_reserved) {
        return Err(of_entry(path, "has the name of the archive's own manifest, signatures or packages; rename it"));
    }
    let (mut directory, mut offset) = (Vec::new(), 0);
    offset += entry(out, &mut directory, offset, MANIFEST_FILE, &manifest.canonical_bytes())?;
    for (number, signature) in signatures.iter().enumerate() {
        let name = format!("{SIGNATURES_FOLDER}/{number}.json");
        offset += entry(out, &mut directory, offset, &name, signature.as_bytes())?;
    }
    for (digest, blob) in &packages {
        offset += entry(out, &mut directory, offset, &format!("{PACKAGES_FOLDER}/{digest}"), &content(blob)?)?;
    }
    for (path, blob) in &manifest.files {
        offset += entry(out, &mut directory, offset, path, &content(blob)?)?;
    }
    let count = u16::try_from(manifest.files.len() + packages.len() + signatures.len() + 1)
        .map_err(|_| whole("would hold more than 65535 entries"))?;
    let mut end = Vec::new();
    put(&mut end, &[Field::Long(END), Field::Short(0), Field::Short(0), Field::Short(count), Field::Short(count)]);
    put(&mut end, &[Field::Long(length(directory.len())?), Field::Long(offset), Field::Short(0)]);
    out.write_all(&directory)?;
    out.write_all(&end)?;
    Ok(())
}

enum Field {
    Short(u16),
    Long(u32),
}

fn put(bytes: &mut Vec<u8>, fields: &[Field]) {
    for field in fields {
        match field {
            Field::Short(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            Field::Long(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        }
    }
}

/// Writes one entry, notes it in the directory, and says how many bytes it took.
fn entry(
    out: &mut impl Write,
    directory: &mut Vec<u8>,
    offset: u32,
    path: &str,
    content: &[u8],
) -> Result<u32, ArchiveError> {
    let mut crc = Crc::new();
    crc.update(content);
    let flags = if path.is_ascii() { 0 } else { FLAG_UTF8 };
    let name = u16::try_from(path.len()).map_err(|_| of_entry(path, "has a name that is too long"))?;
    let size = length(content.len())?;
    let mut said_twice = Vec::new();
    put(&mut said_twice, &[Field::Short(VERSION_NEEDED), Field::Short(flags), Field::Short(STORED)]);
    put(&mut said_twice, &[Field::Short(0), Field::Short(DATE), Field::Long(crc.sum())]);
    put(&mut said_twice, &[Field::Long(size), Field::Long(size), Field::Short(name), Field::Short(0)]);
    let mut local = LOCAL.to_le_bytes().to_vec();
    local.extend_from_slice(&said_twice);
    local.extend_from_slice(path.as_bytes());
    put(directory, &[Field::Long(CENTRAL), Field::Short(HOST_UNIX << 8 | VERSION_NEEDED)]);
    directory.extend_from_slice(&said_twice);
    put(directory, &[Field::Short(0), Field::Short(0), Field::Short(0), Field::Long(MODE << 16), Field::Long(offset)]);
    directory.extend_from_slice(path.as_bytes());
    out.write_all(&local)?;
    out.write_all(content)?;
    length(local.len() + content.len())
}

fn length(bytes: usize) -> Result<u32, ArchiveError> {
    u32::try_from(bytes).map_err(|_| whole("would be larger than 4 GiB"))
}
