//! One entry of a layer at a time: what it may be, and how it is made below the layer's directory.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use tar::{Entry, EntryType};

use super::answer::Unpacked;
use super::decompress::{Budget, Limited};
use crate::Sha256;
use crate::beneath::{self, Inner};

/// Bytes of a link's target, as the kernel has it.
const TARGET_BYTES_MAX: usize = 4095;
/// Paths that a layer may take away from those below it.
const REMOVED_MAX: usize = 100_000;
/// Marks a path that is taken away.
const WHITEOUT: &[u8] = b".wh.";
/// Marks a directory of which nothing below shows through.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bookkeeping of a file system that layers were once made with.
const BOOKKEEPING: &[u8] = b".wh..wh.";
/// How often an entry of the same name is replaced before something else must be wrong.
const TRIES: usize = 3;
const COPY_BYTES: usize = 256 << 10;

/// Makes entries below a directory.
pub(super) struct Extractor<'a> {
    root: BorrowedFd<'a>,
    budget: Budget,
    /// The directory of the last entry, open: neighbours come one after another.
    last: Option<(PathBuf, OwnedFd)>,
    /// Modes and times that directories get once nothing more is put into them.
    directories: Vec<(Inner, Mode, u64)>,
    buffer: Vec<u8>,
    made: Unpacked,
}

impl<'a> Extractor<'a> {
    pub(super) fn new(root: &'a OwnedFd, budget: Budget) -> Self {
        let made = Unpacked { digest: Sha256::of(b""), bytes: 0, entries: 0, removed: Vec::new(), opaque: Vec::new() };
        Self { root: root.as_fd(), budget, last: None, directories: Vec::new(), buffer: vec![0; COPY_BYTES], made }
    }

    /// Entries so far.
    pub(super) fn entries(&self) -> u64 {
        self.made.entries
    }

    /// Makes one entry, or says in a sentence why it is refused.
    pub(super) fn take<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), String> {
        let bytes = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&bytes).chars().take(200).collect::<String>();
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        self.made.entries += 1;
        let path = Inner::parse(&bytes).map_err(|problem| format!("the path `{shown}` {problem}"))?;
        let failed = |error: Errno| match error {
            Errno::LOOP | Errno::NOTDIR => format!("the path `{shown}` leads through a link or a file"),
            error => format!("`{shown}` cannot be made: {error}"),
        };
        let Some((parent, name)) = path.split() else {
            return if kind.is_dir() { Ok(()) } else { Err("it replaces the root directory by a file".to_owned()) };
        };
        if name.as_bytes().starts_with(WHITEOUT) {
            return self.note(&parent, name, &shown);
        }
        match kind {
            EntryType::Directory => self.make_directory(&path, entry).map_err(failed),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.make_file(&parent, name, entry, &shown)
            }
            EntryType::Symlink => {
                let target = self.target(entry, &shown)?;
                if beneath::climbs_out(&target, parent.depth()) {
                    let target = String::from_utf8_lossy(&target);
                    return Err(format!("the link `{shown}` climbs out of the image, to `{target}`"));
                }
                self.link(&parent, name, OsStr::from_bytes(&target)).map_err(failed)
            }
            EntryType::Link => {
                let target = self.target(entry, &shown)?;
                self.hard_link(&parent, name, &target, &shown)
            }
            EntryType::Char | EntryType::Block => Err(format!("it holds the device node `{shown}`")),
            EntryType::Fifo => Err(format!("it holds the pipe `{shown}`")),
            other => Err(format!("`{shown}` is of the unknown kind {:?}", char::from(other.as_byte()))),
        }
    }

    /// Gives directories their modes, and tells what was made.
    pub(super) fn finish(mut self, digest: Sha256) -> Result<Unpacked, String> {
        self.last = None;
        for (path, mode, modified) in self.directories.drain(..).rev() {
            let set = beneath::open(self.root, path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)
                .and_then(|dir| rustix::fs::fchmod(&dir, mode).and_then(|()| set_time(&dir, modified)));
            set.map_err(|error| format!("`{}` cannot be finished: {error}", path.as_path().display()))?;
        }
        Ok(Unpacked { digest, ..self.made })
    }

    /// The open directory of a path, made where it is missing.
    fn directory(&mut self, path: &Inner) -> Result<BorrowedFd<'_>, Errno> {
        if self.last.as_ref().is_none_or(|(last, _)| last != path.as_path()) {
            let opened = match beneath::open_dir(self.root, path.as_path()) {
                Err(Errno::NOENT) => self.make_all(path)?,
                opened => opened?,
            };
            self.last = Some((path.as_path().to_owned(), opened));
        }
        Ok(self.last.as_ref().expect("set above").1.as_fd())
    }

    /// Makes directories that no entry names before what lies in them.
    fn make_all(&self, path: &Inner) -> Result<OwnedFd, Errno> {
        let mut directory = beneath::open_dir(self.root, std::path::Path::new(""))?;
        for name in path.as_path().components() {
            match rustix::fs::mkdirat(&directory, name.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            directory = beneath::open_dir(&directory, name.as_ref())?;
        }
        Ok(directory)
    }

    fn make_directory<R: Read>(&mut self, path: &Inner, entry: &Entry<'_, R>) -> Result<(), Errno> {
        let (parent, name) = path.split().expect("the root was told apart");
        let mode = Mode::from_raw_mode(entry.header().mode().unwrap_or(0o755) & 0o777 | 0o700);
        let modified = entry.header().mtime().unwrap_or(0);
        let directory = self.directory(&parent)?;
        replacing(directory, name, |directory| {
            match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o700)) {
                Err(Errno::EXIST) if is_directory(directory, name) => Ok(()),
                made => made,
            }
        })?;
        self.directories.push((path.clone(), mode, modified));
        Ok(())
    }

    fn make_file<R: Read>(
        &mut self,
        parent: &Inner,
        name: &OsStr,
        entry: &mut Entry<'_, R>,
        shown: &str,
    ) -> Result<(), String> {
        let failed = |error: io::Error| format!("`{shown}` cannot be made: {error}");
        // Set-id bits and the like go; the owner, who alone counts inside, can always read.
        let mode = Mode::from_raw_mode(entry.header().mode().unwrap_or(0o644) & 0o777 | 0o400);
        let modified = entry.header().mtime().unwrap_or(0);
        let file = self.create(parent, name).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => format!("the path `{shown}` leads through a link or a file"),
            error => failed(error.into()),
        })?;
        let copied = if entry.header().entry_type() == EntryType::GNUSparse {
            // Its holes come out of nothing, so they count like what is read.
            let budget = self.budget.clone();
            self.copy(&mut Limited { inner: entry, budget }, &file)
        } else {
            self.copy(entry, &file)
        };
        copied.map_err(failed)?;
        rustix::fs::fchmod(&file, mode).and_then(|()| set_time(&file, modified)).map_err(|error| failed(error.into()))
    }

    fn create(&mut self, parent: &Inner, name: &OsStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        replacing(self.directory(parent)?, name, |directory| {
            rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))
        })
    }

    fn copy(&mut self, from: &mut impl Read, to: &OwnedFd) -> io::Result<()> {
        loop {
            let read = from.read(&mut self.buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.made.bytes += read as u64;
            let mut rest = &self.buffer[..read];
            while !rest.is_empty() {
                rest = &rest[rustix::io::retry_on_intr(|| rustix::io::write(to, rest))?..];
            }
        }
    }

    fn target<R: Read>(&self, entry: &Entry<'_, R>, shown: &str) -> Result<Vec<u8>, String> {
        let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
        if target.is_empty() || target.len() > TARGET_BYTES_MAX || target.contains(&0) {
            return Err(format!("the link `{shown}` has a target that no link can have"));
        }
        Ok(target)
    }

    fn link(&mut self, parent: &Inner, name: &OsStr, target: &OsStr) -> Result<(), Errno> {
        replacing(self.directory(parent)?, name, |directory| rustix::fs::symlinkat(target, directory, name))
    }

    fn hard_link(&mut self, parent: &Inner, name: &OsStr, target: &[u8], shown: &str) -> Result<(), String> {
        let to = String::from_utf8_lossy(target).into_owned();
        let target =
            Inner::parse(target).map_err(|problem| format!("the hard link `{shown}` to `{to}`, which {problem}"))?;
        let absent = || format!("the hard link `{shown}` to `{to}`, which is no file of the layer");
        let Some((other, other_name)) = target.split() else { return Err(absent()) };
        let from = beneath::open_dir(self.root, other.as_path()).map_err(|_| absent())?;
        if kind_of(from.as_fd(), other_name) != Some(FileType::RegularFile) {
            return Err(absent());
        }
        if target == parent.join(name) {
            return Ok(());
        }
        let linked = self.directory(parent).and_then(|directory| {
            replacing(directory, name, |directory| {
                rustix::fs::linkat(&from, other_name, directory, name, AtFlags::empty())
            })
        });
        match linked {
            // First versions of Landlock keep every link in its directory.
            Err(Errno::XDEV) => self.copy_instead(&from, other_name, parent, name).map_err(|error| error.to_string()),
            linked => linked.map_err(|error| format!("the hard link `{shown}` cannot be made: {error}")),
        }
    }

    fn copy_instead(&mut self, from: &OwnedFd, other: &OsStr, parent: &Inner, name: &OsStr) -> io::Result<()> {
        let opened =
            rustix::fs::openat(from, other, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let stat = rustix::fs::fstat(&opened)?;
        let copy = self.create(parent, name)?;
        let budget = self.budget.clone();
        self.copy(&mut Limited { inner: std::fs::File::from(opened), budget }, &copy)?;
        rustix::fs::fchmod(&copy, Mode::from_raw_mode(stat.st_mode & 0o777))?;
        Ok(set_time(&copy, stat.st_mtime.unsigned_abs())?)
    }

    /// Takes note of what a layer takes away from those below.
    fn note(&mut self, parent: &Inner, name: &OsStr, shown: &str) -> Result<(), String> {
        let text = |path: &Inner| {
            let path = path.as_path().to_str().map(str::to_owned);
            path.ok_or_else(|| format!("`{shown}` takes away a path that is not UTF-8"))
        };
        let bytes = name.as_bytes();
        if self.made.removed.len() + self.made.opaque.len() >= REMOVED_MAX {
            return Err(format!("it takes away more than {REMOVED_MAX} paths"));
        }
        if bytes == OPAQUE {
            self.made.opaque.push(text(parent)?);
        } else if !bytes.starts_with(BOOKKEEPING) {
            let removed = OsString::from(OsStr::from_bytes(&bytes[WHITEOUT.len()..]));
            if removed.is_empty() || removed == "." || removed == ".." {
                return Err(format!("`{shown}` takes away nothing that can be named"));
            }
            self.made.removed.push(text(&parent.join(&removed))?);
        }
        Ok(())
    }
}

/// Makes a name in a directory; what has it already and is no directory goes first.
fn replacing<T>(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    mut make: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
) -> Result<T, Errno> {
    for _ in 0..TRIES {
        match make(directory) {
            Err(Errno::EXIST) => rustix::fs::unlinkat(directory, name, AtFlags::empty())?,
            made => return made,
        }
    }
    Err(Errno::EXIST)
}

fn kind_of(directory: BorrowedFd<'_>, name: &OsStr) -> Option<FileType> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

fn is_directory(directory: BorrowedFd<'_>, name: &OsStr) -> bool {
    kind_of(directory, name) == Some(FileType::Directory)
}

/// Sets when a file was last changed, in seconds since 1970: compiled Python is believed only beside a source of its time.
fn set_time(file: &OwnedFd, modified: u64) -> Result<(), Errno> {
    let time = Timespec { tv_sec: i64::try_from(modified).unwrap_or(0), tv_nsec: 0 };
    rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })
}
