//! Archives of modules: whatever is read must be what two other readers see, one from the first byte and one from the last.
use std::collections::BTreeMap;

use flate2::{Decompress, FlushDecompress, Status};
use manta_module::digest_of;
use manta_module::zip::{Archive, UNPACKED_BYTES_MAX, write};
use manta_testkit::sim::Chance;

use crate::manifest::over;
use crate::run::Target;

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";

/// The target.
pub(crate) struct Zip;

/// Entries by name, with their contents; folders have none.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

impl Target for Zip {
    fn name(&self) -> &'static str {
        "zip"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let files = BTreeMap::from([
            ("worker.py".to_owned(), b"def main(): pass\n".to_vec()),
            ("data/\u{e9}.bin".to_owned(), vec![7; 300]),
            ("empty".to_owned(), Vec::new()),
        ]);
        let mut stored = Vec::new();
        let content = |blob: &manta_types::Blob| {
            let found = files.values().find(|bytes| digest_of(bytes) == blob.digest);
            Ok(found.expect("the manifest is of these files").clone())
        };
        write(&mut stored, &over(&files), &["{}".to_owned()], content).expect("memory takes everything");
        vec![stored, by_hand(&[("a/", b"", false), ("a/b.py", b"x = 1\n", true), ("c", &[0; 4000], true)])]
    }

    /// A field of a header gets another value, in one place or in both that say it.
    fn made(&self, chance: &mut Chance, base: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = base.to_vec();
        let headers: Vec<usize> = (0..bytes.len().saturating_sub(4))
            .filter(|at| [LOCAL, CENTRAL, END].iter().any(|sign| bytes[*at..].starts_with(sign)))
            .collect();
        if headers.is_empty() {
            return None;
        }
        for _ in 0..chance.pick(&[1, 1, 2, 3]) {
            let header = headers[chance.index(headers.len())];
            let (at, length) = chance.pick(&[
                (4, 2),
                (6, 2),
                (8, 2),
                (10, 4),
                (14, 4),
                (18, 4),
                (22, 4),
                (26, 2),
                (28, 2),
                (30, 4),
                (32, 2),
                (38, 4),
                (42, 4),
                (46, 4),
            ]);
            let known = bytes.len() as u64;
            let value = chance.pick(&[0, 1, 8, 20, 0x800, 0xffff, 0xffff_ffff, known, known - 22]);
            let value = if chance.one_in(3) { value } else { chance.between(0, 70) };
            if let Some(field) = bytes.get_mut(header + at..header + at + length) {
                field.copy_from_slice(&value.to_le_bytes()[..length]);
            }
        }
        Some(bytes)
    }

    fn ending(&self, input: &[u8]) -> Result<String, String> {
        let archive = match Archive::read(input) {
            Ok(archive) => archive,
            Err(error) => return Ok(error.to_string()),
        };
        let (mut ours, mut total): (Entries, u64) = (Vec::new(), 0);
        for file in archive.files() {
            let mut content = Vec::new();
            let taken = archive.unpack(file, |piece| {
                content.extend_from_slice(piece);
                Ok(())
            });
            total += content.len() as u64;
            if total > UNPACKED_BYTES_MAX {
                return Err(format!("it unpacks to {total} bytes"));
            }
            if let Err(error) = taken {
                return Ok(error.to_string());
            }
            if content.len() as u64 != file.size {
                return Err(format!("`{}` says {} bytes and has {}", file.path, file.size, content.len()));
            }
            ours.push((file.path.clone().into_bytes(), content));
        }
        let readers = [("first", forwards(input)), ("last", backwards(input))];
        for (from, theirs) in readers {
            let mut theirs = theirs.ok_or_else(|| format!("a reader from the {from} byte sees no archive"))?;
            theirs.retain(|(name, _)| !name.ends_with(b"/"));
            if theirs != ours {
                let names: Vec<_> = theirs.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
                return Err(format!("a reader from the {from} byte sees another archive: {names:?}"));
            }
        }
        Ok(format!("read: {} files", ours.len()))
    }
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)).ok()
}

/// Reads as a program does to which an archive is streamed: local headers, one after the other, until something else comes.
fn forwards(bytes: &[u8]) -> Option<Entries> {
    let (mut at, mut entries) = (0, Vec::new());
    while bytes.get(at..)?.starts_with(&LOCAL) {
        let (method, packed) = (short(bytes, at + 8)?, long(bytes, at + 18)?);
        let name_at = at + 30;
        let body = name_at + short(bytes, at + 26)? + short(bytes, at + 28)?;
        let name = bytes.get(name_at..name_at + short(bytes, at + 26)?)?.to_vec();
        entries.push((name, content(bytes.get(body..body + packed)?, method)?));
        at = body + packed;
    }
    bytes[at..].starts_with(&CENTRAL).then_some(entries)
}

/// Reads as most programs do: the last end record, the directory that it names, and where that says that entries are.
fn backwards(bytes: &[u8]) -> Option<Entries> {
    let end = bytes.windows(4).rposition(|window| window == END)?;
    let (count, mut at) = (short(bytes, end + 10)?, long(bytes, end + 16)?);
    let mut entries = Vec::new();
    for _ in 0..count {
        if !bytes.get(at..)?.starts_with(&CENTRAL) {
            return None;
        }
        let (method, packed, local) = (short(bytes, at + 10)?, long(bytes, at + 20)?, long(bytes, at + 42)?);
        let name = bytes.get(at + 46..at + 46 + short(bytes, at + 28)?)?.to_vec();
        let body = local + 30 + short(bytes, local + 26)? + short(bytes, local + 28)?;
        entries.push((name, content(bytes.get(body..body + packed)?, method)?));
        at += 46 + short(bytes, at + 28)? + short(bytes, at + 30)? + short(bytes, at + 32)?;
    }
    Some(entries)
}

fn content(packed: &[u8], method: usize) -> Option<Vec<u8>> {
    if method == 0 {
        return Some(packed.to_vec());
    }
    let (mut inflate, mut content, mut piece) = (Decompress::new(false), Vec::new(), vec![0; 1 << 16]);
    loop {
        let (taken, made) = (inflate.total_in(), inflate.total_out());
        let rest = packed.get(usize::try_from(taken).ok()?..)?;
        let status = inflate.decompress(rest, &mut piece, FlushDecompress::None).ok()?;
        let more = usize::try_from(inflate.total_out() - made).ok()?;
        content.extend_from_slice(&piece[..more]);
        if status == Status::StreamEnd {
            return Some(content);
        }
        if more == 0 && inflate.total_in() == taken {
            return None;
        }
    }
}

/// An archive as other programs write it: with folders, and compressed.
fn by_hand(entries: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content, is_deflated) in entries {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let packed = if *is_deflated { deflated(content) } else { content.to_vec() };
        let method: u16 = if *is_deflated { 8 } else { 0 };
        let sizes = [crc.sum(), length(packed.len()), length(content.len())];
        let mut shared = [20u16, 0, method, 0, 1 << 5 | 1].map(u16::to_le_bytes).concat();
        shared.extend(sizes.map(u32::to_le_bytes).concat());
        shared.extend([u16::try_from(name.len()).expect("names are short"), 0].map(u16::to_le_bytes).concat());
        directory.extend(CENTRAL);
        directory.extend((3u16 << 8 | 20).to_le_bytes());
        directory.extend(&shared);
        directory.extend([0; 6]);
        let mode: u32 = if name.ends_with('/') { 0o040_755 } else { 0o100_644 };
        directory.extend([mode << 16, length(bytes.len())].map(u32::to_le_bytes).concat());
        directory.extend(name.as_bytes());
        bytes.extend(LOCAL);
        bytes.extend(&shared);
        bytes.extend(name.as_bytes());
        bytes.extend(packed);
    }
    let start = length(bytes.len());
    bytes.extend(&directory);
    bytes.extend(END);
    let count = u16::try_from(entries.len()).expect("a few entries");
    bytes.extend([0, 0, count, count].map(u16::to_le_bytes).concat());
    bytes.extend([length(directory.len()), start].map(u32::to_le_bytes).concat());
    bytes.extend([0, 0]);
    bytes
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a small archive")
}

fn deflated(content: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("memory takes everything")
}
