//! Values as descriptors: what a task sends is checked and taken into the cache, what it reads is lent to it.
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use manta_types::limits::BLOB_BYTES_MAX;
use manta_types::{AttemptLimit, Digest};
use rustix::fs::{FileType, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};

use super::message::Denied;
use crate::cache::{Cache, Pin};
use crate::supervisor::blocking;
use crate::words::bytes;

/// Bytes in a block as a file's status counts them.
const BLOCK_BYTES: u64 = 512;

/// How a value is lent to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lending {
    /// As the cache's own file, opened for reading: the task runs as another user, who cannot open it again for writing.
    CacheFile,
    /// As a sealed copy in memory, shared by all tasks: the task runs as the agent's user.
    SealedMemory,
}

/// How much an attempt may publish, and has published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Bytes that it may publish in all.
    pub(crate) most: u64,
    /// Bytes of these that are taken.
    pub(crate) taken: u64,
}

/// Values on their way in and out of tasks.
pub(crate) struct Values {
    cache: Arc<Cache>,
    lending: Lending,
    lent: Mutex<HashMap<Digest, Weak<OwnedFd>>>,
}

impl Values {
    /// `other_user`: whether tasks run as another user than the agent.
    pub(crate) fn new(cache: Arc<Cache>, other_user: bool) -> Self {
        let lending = if other_user { Lending::CacheFile } else { Lending::SealedMemory };
        Self { cache, lending, lent: Mutex::default() }
    }

    /// Takes in what a task sent, if there is room. Only memory that nobody can change any more is read.
    pub(crate) async fn accept(&self, fd: OwnedFd, room: Room) -> Result<Pin, Denied> {
        let cache = Arc::clone(&self.cache);
        blocking(move || {
            let size = check_sealed(&fd, room)?;
            check_disk(&cache, size)?;
            let content = FromStart { file: File::from(fd), offset: 0 };
            cache.take_in(content).map_err(|error| {
                tracing::warn!(%error, "a value could not be kept");
                Denied::by_node("node_storage", format!("the node could not keep the value: {error}"))
            })
        })
        .await
    }

    /// A value that an attempt published while another program served it.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) async fn find(&self, digest: Digest) -> Result<Pin, String> {
        let lost =
            || format!("the value {}, which it had published, is not in this node's cache any more", digest.short());
        self.cache.find(digest).await.ok_or_else(lost)
    }

    /// A descriptor of a blob's content, fetched first where this node lacks it.
    pub(crate) async fn lend(&self, digest: Digest) -> Result<Arc<OwnedFd>, Denied> {
        let pin = self.cache.fetch(digest).await.map_err(|error| unavailable(&error))?;
        self.lend_file(digest, pin.open().map_err(|error| unavailable(&error))?).await
    }

    /// A descriptor of a file's content that this node keeps elsewhere.
    pub(crate) async fn lend_file(&self, digest: Digest, file: File) -> Result<Arc<OwnedFd>, Denied> {
        if self.lending == Lending::CacheFile {
            return Ok(Arc::new(file.into()));
        }
        if let Some(fd) = self.lent().get(&digest).and_then(Weak::upgrade) {
            return Ok(fd);
        }
        let sealed = blocking(move || seal_copy(file)).await;
        let fd = Arc::new(sealed.map_err(|error| unavailable(&error))?);
        let mut lent = self.lent();
        lent.retain(|_, fd| fd.strong_count() > 0);
        lent.insert(digest, Arc::downgrade(&fd));
        Ok(fd)
    }

    fn lent(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Weak<OwnedFd>>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> Denied {
    Denied::by_node("value_unavailable", error.to_string())
}

/// Refuses what would fill the disk: a task must not keep this node from writing what it must.
fn check_disk(cache: &Cache, size: u64) -> Result<(), Denied> {
    let failed = |error| Denied::by_node("node_storage", format!("the node's disk cannot be looked at: {error}"));
    let room = cache.room().map_err(failed)?;
    if size <= room {
        return Ok(());
    }
    let (size, room) = (bytes(size), bytes(room));
    Err(Denied::by_node(
        "node_storage",
        format!("the node's disk is full: it has room for {room}, and the value has {size}"),
    ))
}

/// Refuses whatever its sender could still change or cut while it is read; answers its size.
fn check_sealed(fd: &OwnedFd, room: Room) -> Result<u64, Denied> {
    let needed = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
    let refuse = |why: &str| Err(Denied::new("not_a_value", format!("a value must be sent as sealed memory: {why}")));
    match fcntl_get_seals(fd) {
        Ok(seals) if seals.contains(needed) => {}
        Ok(_) => return refuse("its seals are missing"),
        Err(_) => return refuse("it is something else"),
    }
    let stat = fstat(fd).map_err(|error| Denied::new("not_a_value", error.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return refuse("it is something else");
    }
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > BLOB_BYTES_MAX {
        let words = format!("the value has {}; {} are the limit", bytes(size), bytes(BLOB_BYTES_MAX));
        return Err(Denied::new("resource_exhausted", words));
    }
    if room.taken.saturating_add(size) > room.most {
        let (size, taken, most) = (bytes(size), bytes(room.taken), bytes(room.most));
        let words = format!("the value has {size}; an attempt may publish {most}, and {taken} are taken");
        return Err(Denied::exhausted(AttemptLimit::Published, words));
    }
    // Memory that was never written costs its sender nothing, and would cost this node's disk all that it claims to be.
    let written = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES);
    if written < size { refuse("parts of it were never written") } else { Ok(size) }
}

/// Memory that a task writes a value into, and has counted against its own limit.
pub(super) fn lend_memory() -> Result<Arc<OwnedFd>, Denied> {
    fresh_memory()
        .map(Arc::new)
        .map_err(|error| Denied::by_node("node_storage", format!("the node has no memory: {error}")))
}

/// What a task has written into [`lend_memory`], which nobody can change any more.
pub(super) fn take_back(memory: &OwnedFd) -> Result<OwnedFd, Denied> {
    seal(memory).and_then(|()| memory.try_clone()).map_err(|error| {
        Denied::new("not_a_value", format!("the memory of a value must be free to be sealed: {error}"))
    })
}

fn fresh_memory() -> io::Result<OwnedFd> {
    Ok(memfd_create("manta-value", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

fn seal(memory: &OwnedFd) -> io::Result<()> {
    Ok(fcntl_add_seals(memory, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?)
}

/// Copies a file into memory that nobody can change.
fn seal_copy(mut file: File) -> io::Result<OwnedFd> {
    let mut memory = File::from(fresh_memory()?);
    io::copy(&mut file, &mut memory)?;
    let memory = OwnedFd::from(memory);
    seal(&memory)?;
    Ok(memory)
}

/// Reads a file from its start, wherever its sender has moved the shared offset to.
struct FromStart {
    file: File,
    offset: u64,
}

impl io::Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};

    use async_trait::async_trait;

    use super::*;
    use crate::remote::{BlobSource, RemoteError};

    const ROOM: Room = Room { most: 1 << 20, taken: 1000 };

    struct Nowhere;

    #[async_trait]
    impl BlobSource for Nowhere {
        async fn fetch_to(&self, _: Digest, _: &mut tokio::fs::File) -> Result<u64, RemoteError> {
            Err(RemoteError::Refused("no such blob".to_owned()))
        }
    }

    fn values(dir: &tempfile::TempDir, other_user: bool) -> Values {
        Values::new(Arc::new(Cache::open(dir.path(), Arc::new(Nowhere), 1 << 20).unwrap()), other_user)
    }

    fn memory(content: &[u8], seals: SealFlags) -> OwnedFd {
        let mut file = File::from(memfd_create("value", MemfdFlags::ALLOW_SEALING).unwrap());
        file.write_all(content).unwrap();
        fcntl_add_seals(&file, seals).unwrap();
        file.into()
    }

    fn read(fd: &OwnedFd) -> String {
        let (mut file, mut content) = (File::from(fd.try_clone().unwrap()), String::new());
        file.rewind().unwrap();
        file.read_to_string(&mut content).unwrap();
        content
    }

    #[tokio::test]
    async fn sealed_memory_comes_back_as_it_went_in_and_cannot_be_written() {
        for other_user in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let values = values(&dir, other_user);
            let pin = values
                .accept(memory(b"a value", SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW), ROOM)
                .await
                .unwrap();
            let lent = values.lend(pin.blob().digest).await.unwrap();
            assert_eq!(read(&lent), "a value");
            assert!(File::from(lent.try_clone().unwrap()).write(b"x").is_err());
        }
    }

    #[tokio::test]
    async fn tasks_share_one_copy_in_memory_while_one_of_them_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let values = values(&dir, false);
        let pin = values
            .accept(memory(b"a model", SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL), ROOM)
            .await
            .unwrap();
        let (first, second) =
            (values.lend(pin.blob().digest).await.unwrap(), values.lend(pin.blob().digest).await.unwrap());
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[tokio::test]
    async fn what_its_sender_could_still_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let values = values(&dir, true);
        let half = memory(b"a value", SealFlags::SHRINK | SealFlags::GROW);
        let pipe = rustix::pipe::pipe().unwrap().0;
        let file = OwnedFd::from(tempfile::tempfile().unwrap());
        for fd in [half, pipe, file] {
            assert_eq!(values.accept(fd, ROOM).await.err().unwrap().kind, "not_a_value");
        }
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let values = values(&dir, true);
        let sealed = |content: &[u8]| memory(content, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW);
        values.accept(sealed(&[0; 24]), Room { most: 1024, taken: 1000 }).await.unwrap();
        let denied = values.accept(sealed(&[0; 25]), Room { most: 1024, taken: 1000 }).await.err().unwrap();
        let words = "the value has 25 bytes; an attempt may publish 1 KiB, and 1000 bytes are taken";
        assert_eq!((denied.kind, denied.message.as_str()), ("resource_exhausted", words));
    }

    #[tokio::test]
    async fn memory_that_was_never_written_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let values = values(&dir, true);
        let file = File::from(memfd_create("value", MemfdFlags::ALLOW_SEALING).unwrap());
        file.set_len(1 << 19).unwrap();
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW).unwrap();
        let denied = values.accept(file.into(), ROOM).await.err().unwrap();
        assert_eq!(denied.kind, "not_a_value");
        assert!(denied.message.contains("never written"), "{}", denied.message);
    }
}
