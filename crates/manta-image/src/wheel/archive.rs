//! One wheel: checked as a whole before anything of it is made.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use manta_module::{WheelName, normalised};
use zip::ZipArchive;

use super::answer::{Distribution, WheelFile};
use super::place::{Place, place};
use super::{RATIO_FREE_BYTES, RATIO_MAX};
use crate::beneath::Inner;
use crate::digest::Hashing;

/// Bytes of a wheel's `WHEEL` file.
const WHEEL_BYTES_MAX: u64 = 64 << 10;
/// Bytes that are read at once; most files of a wheel are smaller.
const WINDOW_BYTES: usize = 128 << 10;
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// A file that several readers can be at different places of, each with a window of it in memory.
#[derive(Clone)]
pub(super) struct Shared {
    file: Arc<File>,
    length: u64,
    at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Shared {
    fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), length, at: 0, window: Vec::new(), window_at: 0 })
    }

    /// What of the window lies ahead.
    fn ahead(&self) -> &[u8] {
        let skipped = self.at.checked_sub(self.window_at).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| self.window.get(skipped..)).unwrap_or_default()
    }
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ahead().is_empty() {
            self.window.resize(WINDOW_BYTES, 0);
            let read = self.file.read_at(&mut self.window, self.at)?;
            self.window.truncate(read);
            self.window_at = self.at;
        }
        let read = (&mut self.ahead()).read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Shared {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

/// A wheel that keeps every rule which can be checked without unpacking it.
pub(super) struct Wheel {
    pub(super) name: String,
    pub(super) distribution: Distribution,
    pub(super) archive: ZipArchive<Shared>,
    pub(super) entries: Vec<Entry>,
}

/// A file of a wheel, and where it goes.
pub(super) struct Entry {
    pub(super) index: usize,
    pub(super) path: Inner,
    pub(super) size: u64,
    pub(super) executable: bool,
}

impl Wheel {
    /// Reads a wheel's directory and checks it, and its content against its digest.
    ///
    /// # Errors
    /// A sentence that names the wheel and what is wrong with it.
    pub(super) fn open(asked: &WheelFile, file: File) -> Result<Self, String> {
        let refuse = |problem: &str| format!("the wheel `{}` is refused: {problem}", asked.name);
        let unreadable = |error: &dyn std::fmt::Display| refuse(&format!("it cannot be read: {error}"));
        let shared = Shared::new(file).map_err(|error| unreadable(&error))?;
        let (_, digest, _) = digest_of(shared.clone()).map_err(|error| unreadable(&error))?.finish();
        if digest.hex() != asked.sha256 {
            return Err(refuse(&format!("its SHA-256 is {}, and its lock says {}", digest.hex(), asked.sha256)));
        }
        let name: WheelName = asked.name.parse().map_err(|problem| format!("the wheel `{}` {problem}", asked.name))?;
        let distribution = Distribution { name: name.distribution, version: name.version.to_string() };
        let length = shared.length;
        let mut archive = ZipArchive::new(shared).map_err(|error| unreadable(&error))?;
        let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
        let info = dist_info(&names, &distribution.name).map_err(|problem| refuse(&problem))?;
        check_format(&mut archive, &info).map_err(|problem| refuse(&problem))?;
        let data = format!("{}.data", info.trim_end_matches(".dist-info"));
        let (mut entries, mut unpacked) = (Vec::new(), 0u64);
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..archive.len() {
            let Some(entry) = entry_of(&mut archive, index, &data).map_err(|problem| refuse(&problem))? else {
                continue;
            };
            if !seen.insert(entry.path.clone()) {
                return Err(refuse(&format!("it names `{}` twice", entry.path.as_path().display())));
            }
            unpacked = unpacked.saturating_add(entry.size);
            if unpacked > RATIO_FREE_BYTES && unpacked / RATIO_MAX > length {
                let problem = format!(
                    "it becomes more than {RATIO_MAX} times as large as its {length} packed bytes, as only bombs do"
                );
                return Err(refuse(&problem));
            }
            entries.push(entry);
        }
        Ok(Self { name: asked.name.clone(), distribution, archive, entries })
    }
}

/// Unpacks one file: exactly as many bytes as the archive says, whose checksum is the one that it says.
pub(super) fn unpack(
    archive: &mut ZipArchive<Shared>,
    entry: &Entry,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
    buffer: &mut [u8],
) -> io::Result<()> {
    let file = archive.by_index(entry.index).map_err(io::Error::other)?;
    // One byte more than there should be: a reader that stops early would hide it, and check no checksum.
    let mut limited = file.take(entry.size + 1);
    let mut left = entry.size;
    loop {
        let read = match limited.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            break;
        }
        let more = || io::Error::other("it is longer than the archive says");
        left = left.checked_sub(read as u64).ok_or_else(more)?;
        take(&buffer[..read])?;
    }
    if left == 0 { Ok(()) } else { Err(io::Error::other("it is shorter than the archive says")) }
}

fn digest_of(file: Shared) -> io::Result<Hashing<Shared>> {
    let mut hashing = Hashing::new(file);
    io::copy(&mut hashing, &mut io::sink())?;
    Ok(hashing)
}

/// The one directory with the wheel's own metadata.
fn dist_info(names: &[String], distribution: &str) -> Result<String, String> {
    let tops = names.iter().filter_map(|name| name.split_once('/')).map(|(top, _)| top);
    let found: std::collections::BTreeSet<&str> = tops.filter(|top| top.ends_with(".dist-info")).collect();
    let mut found = found.into_iter();
    let (Some(info), None) = (found.next(), found.next()) else {
        return Err("it has not one directory with its metadata, `.dist-info`".to_owned());
    };
    let named = info.split('-').next().map(normalised);
    if named.as_deref() != Some(distribution) {
        return Err(format!("its metadata is that of another package, `{info}`"));
    }
    Ok(info.to_owned())
}

/// Whether it is a wheel of the format that is known.
fn check_format(archive: &mut ZipArchive<Shared>, info: &str) -> Result<(), String> {
    let mut text = String::new();
    let file = archive.by_name(&format!("{info}/WHEEL")).map_err(|_| "it has no file `WHEEL`".to_owned())?;
    let read = file.take(WHEEL_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| format!("its file `WHEEL` cannot be read: {error}"))?;
    let version = text.lines().find_map(|line| line.strip_prefix("Wheel-Version:")).map(str::trim);
    match version {
        Some(version) if version.split('.').next() == Some("1") => Ok(()),
        Some(other) => {
            Err(format!("it is a wheel of format {}, and 1 is known", other.chars().take(16).collect::<String>()))
        }
        None => Err("its file `WHEEL` does not say of which format it is".to_owned()),
    }
}

/// An entry and where it goes; nothing for directories, which files bring along, and for what is left out.
fn entry_of(archive: &mut ZipArchive<Shared>, index: usize, data: &str) -> Result<Option<Entry>, String> {
    let file = archive.by_index_raw(index).map_err(|error| format!("entry {index} cannot be read: {error}"))?;
    let name = std::str::from_utf8(file.name_raw()).map_err(|_| format!("the name of entry {index} is no UTF-8"))?;
    let shown: String = name.chars().take(200).flat_map(char::escape_debug).collect();
    if file.encrypted() {
        return Err(format!("`{shown}` is encrypted"));
    }
    let kind = file.unix_mode().map_or(0, |mode| mode & KIND);
    let plain = name.strip_suffix('/');
    let placed = place(plain.unwrap_or(name), data);
    if plain.is_some() {
        return match placed {
            // The roots of its parts are no path of their own.
            Ok(_) => Ok(None),
            Err(_)
                if name.trim_end_matches('/').strip_prefix(data).is_some_and(|rest| rest.matches('/').count() < 2) =>
            {
                Ok(None)
            }
            Err(problem) => Err(format!("the path `{shown}` {problem}")),
        };
    }
    if kind != 0 && kind != REGULAR {
        return Err(format!("`{shown}` is a link or a device"));
    }
    let executable = file.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
    let size = file.size();
    let entry = |path, executable| Some(Entry { index, path, size, executable });
    match placed.map_err(|problem| format!("the path `{shown}` {problem}"))? {
        Place::At(path) if path.depth() == 0 => Err(format!("the path `{shown}` names nothing")),
        Place::At(path) => Ok(entry(path, executable)),
        Place::Script(path) => Ok(entry(path, true)),
        Place::Nowhere => Ok(None),
    }
}
