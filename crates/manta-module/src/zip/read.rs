//! Reads an archive that others made, as hostile input.
use std::collections::BTreeSet;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{
    ARCHIVE_BYTES_MAX, ArchiveError, CENTRAL, CENTRAL_BYTES, DEFLATED, END, END_BYTES, ENTRIES_MAX, FILE_TYPE,
    FLAG_UTF8, FOLDER, HOST_DOS, HOST_UNIX, LOCAL, LOCAL_BYTES, RATIO_MAX, REGULAR, STORED, UNPACKED_BYTES_MAX,
    of_entry, whole,
};
use crate::path::{check_path, collision, fold};

/// Bytes that are unpacked at once.
const PIECE_BYTES: usize = 64 << 10;
/// Flags that change nothing of how an entry is read: how hard it was compressed, and UTF-8.
const FLAGS_ALLOWED: u16 = 0b110 | FLAG_UTF8;
/// Extra fields that give an entry another size or name than its header: ZIP64, and the Unicode comment and path.
const EXTRAS_REFUSED: [u16; 3] = [0x0001, 0x6375, 0x7075];
const DOS_FOLDER: u32 = 0x10;

/// An archive whose structure is sound; its contents are checked as they are unpacked.
#[derive(Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    files: Vec<ArchiveFile>,
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Its path, which keeps every rule of a bundle's paths.
    pub path: String,
    /// Its bytes, unpacked, as the archive says; [`Archive::unpack`] gives so many or fails.
    pub size: u64,
    start: usize,
    packed: usize,
    crc: u32,
    is_deflated: bool,
}

/// What the directory says of an entry, and the local header once more.
struct Entry<'a> {
    flags: u16,
    method: u16,
    time: u32,
    crc: u32,
    packed: u32,
    size: u32,
    name: &'a [u8],
    extra: &'a [u8],
}

impl<'a> Archive<'a> {
    /// Reads the structure: the directory, every local header against it, and every rule of names and sizes.
    ///
    /// # Errors
    /// The first thing that is not as it should be, with the entry's name.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ArchiveError> {
        if bytes.len() as u64 > ARCHIVE_BYTES_MAX {
            return Err(whole(format!("has {} bytes; {ARCHIVE_BYTES_MAX} are the limit", bytes.len())));
        }
        let (count, directory) = end(bytes)?;
        let (mut next, mut place, mut unpacked) = (0, directory, 0u64);
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (entry, attributes, offset) = central(bytes, &mut place)?;
            let name = entry.name()?;
            let refuse = |problem: &str| of_entry(name, problem);
            if offset != next {
                return Err(refuse("does not follow the entry before it: something overlaps it or lies between"));
            }
            let start = local(bytes, next, directory, name, &entry)?;
            let end = start.checked_add(entry.packed as usize).filter(|end| *end <= directory);
            next = end.ok_or_else(|| refuse("reaches into the directory"))?;
            entry.check(name)?;
            let is_folder = kind(name, attributes)?;
            let path = if is_folder { &name[..name.len() - 1] } else { name };
            check_path(path).map_err(|problem| refuse(&problem.to_string()))?;
            if is_folder {
                if entry.size != 0 || entry.packed != 0 {
                    return Err(refuse("is a folder and has content"));
                }
                folders.push(path.to_owned());
                continue;
            }
            unpacked += u64::from(entry.size);
            if unpacked > UNPACKED_BYTES_MAX {
                return Err(refuse(&format!(
                    "brings the files to {unpacked} bytes; {UNPACKED_BYTES_MAX} are the limit"
                )));
            }
            let (path, size, crc) = (path.to_owned(), u64::from(entry.size), entry.crc);
            let (packed, is_deflated) = (entry.packed as usize, entry.method == DEFLATED);
            files.push(ArchiveFile { path, size, start, packed, crc, is_deflated });
        }
        if next != directory {
            return Err(whole("has bytes between its last entry and its directory"));
        }
        if place != bytes.len() - END_BYTES {
            return Err(whole("has a directory whose length is not what its end record says"));
        }
        check_names(&files, &folders)?;
        Ok(Self { bytes, files })
    }

    /// Its files, in the archive's order; folders are not among them.
    pub fn files(&self) -> &[ArchiveFile] {
        &self.files
    }

    /// Unpacks a file, piece by piece, and checks that it is what the archive says.
    ///
    /// # Errors
    /// When it is longer, shorter or other than that, or `take` fails; what was taken is not to be trusted then.
    pub fn unpack(
        &self,
        file: &ArchiveFile,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ArchiveError> {
        let packed = &self.bytes[file.start..file.start + file.packed];
        let mut crc = Crc::new();
        if file.is_deflated {
            let refuse = |problem: &str| of_entry(&file.path, problem);
            let (mut inflate, mut piece) = (Decompress::new(false), vec![0; PIECE_BYTES]);
            loop {
                let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
                let rest = &packed[usize::try_from(before_in).unwrap_or(usize::MAX).min(packed.len())..];
                let status = inflate.decompress(rest, &mut piece, FlushDecompress::None);
                let status = status.map_err(|error| refuse(&format!("cannot be unpacked: {error}")))?;
                let made = usize::try_from(inflate.total_out() - before_out).unwrap_or(0);
                if inflate.total_out() > file.size {
                    return Err(refuse(&format!("unpacks to more than the {} bytes that it declares", file.size)));
                }
                crc.update(&piece[..made]);
                take(&piece[..made])?;
                match status {
                    Status::StreamEnd => break,
                    _ if made == 0 && inflate.total_in() == before_in => {
                        return Err(refuse("is cut off: its compressed data does not end"));
                    }
                    _ => {}
                }
            }
            if inflate.total_in() != packed.len() as u64 {
                return Err(refuse("has bytes behind its compressed data"));
            }
            if inflate.total_out() != file.size {
                return Err(refuse(&format!("unpacks to {} bytes and declares {}", inflate.total_out(), file.size)));
            }
        } else {
            crc.update(packed);
            packed.chunks(PIECE_BYTES).try_for_each(&mut take)?;
        }
        if crc.sum() == file.crc { Ok(()) } else { Err(of_entry(&file.path, "is damaged: its checksum is another")) }
    }
}

/// How many entries there are, and where the directory begins.
fn end(bytes: &[u8]) -> Result<(usize, usize), ArchiveError> {
    let not_at_end = "does not end with the end record of a ZIP: it is none, is cut off, or has something behind";
    let at = bytes.len().checked_sub(END_BYTES).ok_or_else(|| whole("is no ZIP: it is too short"))?;
    if long(bytes, at) != END || short(bytes, at + 20) != 0 {
        return Err(whole(not_at_end));
    }
    if short(bytes, at + 4) != 0 || short(bytes, at + 6) != 0 || short(bytes, at + 8) != short(bytes, at + 10) {
        return Err(whole("is one part of several"));
    }
    let count = usize::from(short(bytes, at + 10));
    if count == 0 {
        return Err(whole("is empty"));
    }
    if count > ENTRIES_MAX {
        return Err(whole(format!("has {count} entries or more; {ENTRIES_MAX} are the limit")));
    }
    let (size, offset) = (long(bytes, at + 12) as usize, long(bytes, at + 16) as usize);
    if offset.checked_add(size) != Some(at) {
        return Err(whole("has something before, behind or beside its directory, or a second one"));
    }
    Ok((count, offset))
}

/// The directory's next entry, its attributes (host above, the host's own below), and the offset of its local header.
fn central<'a>(bytes: &'a [u8], place: &mut usize) -> Result<(Entry<'a>, (u16, u32), usize), ArchiveError> {
    let limit = bytes.len() - END_BYTES;
    let at = *place;
    if at + CENTRAL_BYTES > limit || long(bytes, at) != CENTRAL {
        return Err(whole("has a directory with fewer entries than its end record says"));
    }
    let lengths = [short(bytes, at + 28), short(bytes, at + 30), short(bytes, at + 32)].map(usize::from);
    let name_at = at + CENTRAL_BYTES;
    let next = name_at + lengths.iter().sum::<usize>();
    if next > limit {
        return Err(whole("has a directory that is cut off"));
    }
    let (name, extra) = (&bytes[name_at..name_at + lengths[0]], name_at + lengths[0]);
    let extra = &bytes[extra..extra + lengths[1]];
    let entry = Entry::read(bytes, at + 6, name, extra);
    if lengths[2] != 0 || short(bytes, at + 34) != 0 {
        return Err(of_entry(entry.name()?, "has a comment or lies in another part"));
    }
    *place = next;
    let host = short(bytes, at + 4) >> 8;
    Ok((entry, (host, long(bytes, at + 38)), long(bytes, at + 42) as usize))
}

/// Where the content of an entry begins, once its local header says what the directory does.
fn local(bytes: &[u8], at: usize, limit: usize, shown: &str, listed: &Entry<'_>) -> Result<usize, ArchiveError> {
    let refuse = |problem: &str| of_entry(shown, problem);
    if at + LOCAL_BYTES > limit || long(bytes, at) != LOCAL {
        return Err(refuse("is in the directory and not in its place"));
    }
    let (name, extra) = (usize::from(short(bytes, at + 26)), usize::from(short(bytes, at + 28)));
    let name_at = at + LOCAL_BYTES;
    let start = name_at + name + extra;
    if start > limit {
        return Err(refuse("reaches into the directory"));
    }
    let found =
        Entry::read(bytes, at + 4, &bytes[name_at..name_at + name], &bytes[name_at + name..name_at + name + extra]);
    let differs = [
        ("name", found.name != listed.name),
        ("flags", found.flags != listed.flags),
        ("method", found.method != listed.method),
        ("time", found.time != listed.time),
        ("checksum", found.crc != listed.crc),
        ("size", found.packed != listed.packed || found.size != listed.size),
    ];
    if let Some((what, _)) = differs.iter().find(|(_, differs)| *differs) {
        return Err(refuse(&format!("has another {what} in its own header than in the directory")));
    }
    check_extra(shown, found.extra)?;
    Ok(start)
}

impl<'a> Entry<'a> {
    /// Reads the fields that both headers have, from `needed to extract` on.
    fn read(bytes: &[u8], at: usize, name: &'a [u8], extra: &'a [u8]) -> Self {
        Self {
            flags: short(bytes, at + 2),
            method: short(bytes, at + 4),
            time: long(bytes, at + 6),
            crc: long(bytes, at + 10),
            packed: long(bytes, at + 14),
            size: long(bytes, at + 18),
            name,
            extra,
        }
    }

    fn name(&self) -> Result<&'a str, ArchiveError> {
        let text = std::str::from_utf8(self.name).ok().filter(|text| text.is_ascii() || self.flags & FLAG_UTF8 != 0);
        text.ok_or_else(|| of_entry(&String::from_utf8_lossy(self.name), "has a name that is not marked as UTF-8"))
    }

    fn check(&self, name: &str) -> Result<(), ArchiveError> {
        let refuse = |problem: &str| of_entry(name, problem);
        if self.flags & 1 != 0 {
            return Err(refuse("is encrypted"));
        }
        if self.flags & 8 != 0 {
            return Err(refuse("says its size only behind its content; make the archive from a file, not in a pipe"));
        }
        if self.flags & !FLAGS_ALLOWED != 0 {
            return Err(refuse("has flags that are not known"));
        }
        match self.method {
            STORED if self.packed != self.size => return Err(refuse("is stored and has two sizes")),
            STORED | DEFLATED => {}
            other => return Err(refuse(&format!("is compressed by method {other}; stored and deflate are known"))),
        }
        if u64::from(self.size) > u64::from(self.packed).max(1) * RATIO_MAX {
            return Err(refuse(&format!("would be more than {RATIO_MAX} times as large as it is packed")));
        }
        check_extra(name, self.extra)
    }
}

/// Extra fields are pairs of a number and bytes to the end; none may change what an entry is.
fn check_extra(name: &str, mut extra: &[u8]) -> Result<(), ArchiveError> {
    while let [a, b, c, d, rest @ ..] = extra {
        let (id, size) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        if EXTRAS_REFUSED.contains(&id) {
            return Err(of_entry(name, "has a second size or name in an extra field"));
        }
        extra = rest.get(size..).ok_or_else(|| of_entry(name, "has an extra field that is cut off"))?;
    }
    if extra.is_empty() { Ok(()) } else { Err(of_entry(name, "has an extra field that is cut off")) }
}

/// Whether an entry is a folder; whatever is neither file nor folder is refused.
fn kind(name: &str, (host, attributes): (u16, u32)) -> Result<bool, ArchiveError> {
    let is_folder = name.ends_with('/');
    let refuse = |problem: &str| of_entry(name, problem);
    match host {
        HOST_UNIX => {
            let mode = attributes >> 16;
            if mode & 0o6000 != 0 {
                return Err(refuse("would run as another user or group (setuid, setgid)"));
            }
            match mode & FILE_TYPE {
                0 => {}
                REGULAR if !is_folder => {}
                FOLDER if is_folder => {}
                REGULAR | FOLDER => {
                    return Err(refuse("is a file by its name and a folder by its mode, or the other way"));
                }
                _ => return Err(refuse("is a link or a device")),
            }
        }
        HOST_DOS => {}
        other => return Err(refuse(&format!("comes from a system that is not known ({other})"))),
    }
    if attributes & DOS_FOLDER != 0 && !is_folder {
        return Err(refuse("is a file by its name and a folder by its attributes"));
    }
    Ok(is_folder)
}

/// No two entries may be one file anywhere, and no file a folder.
fn check_names(files: &[ArchiveFile], folders: &[String]) -> Result<(), ArchiveError> {
    let clash = |one: &str, other: &str| {
        let other = manta_types::name::printable(other, 96);
        of_entry(one, format!("and `{other}` would be one file on some systems, or one lies in the other"))
    };
    if let Some((one, other)) = collision(files.iter().map(|file| file.path.as_str())) {
        return Err(clash(one, other));
    }
    let mut seen: BTreeSet<String> = files.iter().map(|file| fold(&file.path)).collect();
    match folders.iter().find(|folder| !seen.insert(fold(folder))) {
        Some(folder) => Err(clash(folder, folder)),
        None => Ok(()),
    }
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
