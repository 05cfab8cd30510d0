//! Journals on disk: ends that wait for the manager's answer, with the values that become state if it accepts them.
//!
//! `<root>/<attempt>/` holds the file `journal` and one file for each value, named by its digest. It gets its name when
//! it is whole and synced, and loses it before it is removed, so that a journal is there wholly or not at all, whatever
//! is cut short. What is there and is not whole was damaged from outside: it is set aside and named, never guessed at.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use manta_types::{AttemptId, Digest, crash_point};

use crate::desk::Journal;
use crate::home::{gone_already, private_dir, sync_dir, write_synced};

/// What the first line of a journal begins with; the rest of it is the digest of what follows.
const FORMAT: &str = "manta-journal 1 ";
/// Where damaged journals are moved to.
const DAMAGED: &str = "damaged";
/// What a directory's name begins with before it is whole, and while it is removed.
const UNFINISHED: [&str; 2] = ["new-", "old-"];

/// How a value comes into a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// As a second name of the cache's file.
    Linked,
    /// As a copy: a file whose sync failed once may say that the next one went well, and not be whole.
    Copied,
}

/// The journals of this node. Everything here blocks.
#[derive(Debug, Clone)]
pub(crate) struct Journals {
    root: PathBuf,
}

/// What an earlier agent left.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Journals that were not answered.
    pub(crate) journals: Vec<Arc<Journal>>,
    /// A sentence for each that is damaged: which, why, and where it is now.
    pub(crate) damaged: Vec<String>,
}

impl Journals {
    pub(crate) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Reads what is there, drops what is unfinished, and sets aside what is damaged.
    pub(crate) fn load(&self) -> io::Result<Loaded> {
        let mut loaded = Loaded { journals: Vec::new(), damaged: Vec::new() };
        let entries: Vec<fs::DirEntry> = fs::read_dir(&self.root)?.collect::<io::Result<_>>()?;
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if UNFINISHED.iter().any(|prefix| name.starts_with(prefix)) {
                fs::remove_dir_all(entry.path())?;
            } else if let Ok(attempt) = name.parse::<AttemptId>() {
                match read(attempt, &entry.path()) {
                    Ok(journal) => loaded.journals.push(Arc::new(journal)),
                    Err(problem) => loaded.damaged.push(self.put_by(&name, &problem)?),
                }
            }
        }
        loaded.journals.sort_by_key(|journal| journal.attempt.id);
        Ok(loaded)
    }

    /// Lays out a journal on disk, with the values that it keeps as state: their digests, and where they are now. It is none
    /// before it has its name.
    pub(crate) fn lay_out(&self, journal: &Journal, files: &BTreeMap<Digest, PathBuf>, how: Values) -> io::Result<()> {
        let attempt = journal.attempt.id;
        let fresh = self.fresh(attempt);
        // An earlier try may have left it, up to the last step: nothing was said of it.
        self.remove(attempt)?;
        private_dir(&fresh)?;
        for (digest, file) in files {
            keep_value(file, &fresh.join(digest.to_string()), how)?;
        }
        crash_point!("node.journal.values_kept");
        let content = serde_json::to_vec_pretty(journal)?;
        let head = format!("{FORMAT}{}\n", blake3::hash(&content).to_hex());
        write_synced(&fresh.join("journal"), &[head.as_bytes(), &content])?;
        sync_dir(&fresh)?;
        crash_point!("node.journal.written");
        Ok(())
    }

    /// Gives the journal that was laid out its name.
    pub(crate) fn name(&self, attempt: AttemptId) -> io::Result<()> {
        fs::rename(self.fresh(attempt), self.place(attempt))?;
        sync_dir(&self.root)?;
        crash_point!("node.journal.synced");
        Ok(())
    }

    fn fresh(&self, attempt: AttemptId) -> PathBuf {
        self.root.join(format!("{}{attempt}", UNFINISHED[0]))
    }

    /// The directory where the values of a journal are.
    pub(crate) fn place(&self, attempt: AttemptId) -> PathBuf {
        self.root.join(attempt.to_string())
    }

    /// Removes a journal, if there is one, and what is left of one.
    pub(crate) fn remove(&self, attempt: AttemptId) -> io::Result<()> {
        let [fresh, old] = UNFINISHED.map(|prefix| self.root.join(format!("{prefix}{attempt}")));
        for left in [&fresh, &old] {
            gone_already(fs::remove_dir_all(left))?;
        }
        match fs::rename(self.place(attempt), &old) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return sync_dir(&self.root),
            renamed => renamed?,
        }
        sync_dir(&self.root)?;
        crash_point!("node.journal.unnamed");
        gone_already(fs::remove_dir_all(&old))
    }

    /// Where the operator finds the journals of a generation that was undone.
    pub(crate) fn aside(&self, generation: u64) -> PathBuf {
        self.root.join(format!("set-aside-{generation}"))
    }

    /// Moves a journal of a history that was undone to where the operator finds it.
    pub(crate) fn set_aside(&self, attempt: AttemptId, generation: u64) -> io::Result<PathBuf> {
        let aside = self.aside(generation);
        private_dir(&aside)?;
        let place = aside.join(attempt.to_string());
        gone_already(fs::rename(self.place(attempt), &place))?;
        sync_dir(&aside)?;
        sync_dir(&self.root)?;
        Ok(place)
    }

    /// Sets a damaged journal aside, and names it.
    fn put_by(&self, name: &str, problem: &str) -> io::Result<String> {
        let damaged = self.root.join(DAMAGED);
        private_dir(&damaged)?;
        let place = (0u32..).map(|n| damaged.join(format!("{name}.{n}"))).find(|place| !place.exists());
        let place = place.ok_or_else(|| io::Error::other("no name is free"))?;
        fs::rename(self.root.join(name), &place)?;
        sync_dir(&self.root)?;
        let place = place.display();
        Ok(format!("the report of attempt `{name}` is damaged ({problem}) and is not sent; it was moved to {place}"))
    }
}

/// Reads a journal, and makes sure that all of it is there.
fn read(attempt: AttemptId, dir: &Path) -> Result<Journal, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let bytes = fs::read(dir.join("journal")).map_err(|error| words(&error))?;
    let line = bytes.iter().position(|byte| *byte == b'\n').ok_or("its first line is cut")?;
    let (head, content) = (&bytes[..line], &bytes[line + 1..]);
    let said = std::str::from_utf8(head).ok().and_then(|head| head.strip_prefix(FORMAT));
    let said = said.ok_or_else(|| format!("its first line does not begin with `{FORMAT}`"))?;
    if blake3::hash(content).to_hex().as_str() != said {
        return Err("its content does not have the digest that it names".to_owned());
    }
    let journal: Journal = serde_json::from_slice(content).map_err(|error| words(&error))?;
    if journal.attempt.id != attempt {
        return Err(format!("it is the report of attempt `{}`", journal.attempt.id));
    }
    for (name, blob) in &journal.left.state {
        let digest = digest_of(&dir.join(blob.digest.to_string()));
        match digest {
            Ok(digest) if digest == blob.digest => {}
            Ok(_) => return Err(format!("the value of its state `{name}` has changed")),
            Err(error) => return Err(format!("the value of its state `{name}` cannot be read: {error}")),
        }
    }
    Ok(journal)
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
}

/// Gives a file a second name, synced; a copy where that is asked for, or where the disk has no second names.
fn keep_value(from: &Path, to: &Path, how: Values) -> io::Result<()> {
    if how == Values::Copied || fs::hard_link(from, to).is_err() {
        fs::copy(from, to)?;
    }
    File::open(to)?.sync_all()
}

#[cfg(test)]
mod tests;
