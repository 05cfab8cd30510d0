//! Fetches files of a lock into the cache, each named by the SHA-256 that it turned out to have.
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use manta_module::LockedFile;
use manta_types::{Blob, Digest};
use reqwest::{Client, StatusCode};
use sha2::{Digest as _, Sha256};

use super::cached::Store;
use super::{Network, Task, index};
use crate::bundle::name_file;
use crate::out::say;

/// Files that are fetched at once.
const AT_ONCE: usize = 6;
/// How long an index may take to be reached, and to send the next bytes.
const CONNECT_MAX: Duration = Duration::from_secs(15);
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A download of so many bytes is said.
const SAID_BYTES: u64 = 8 << 20;

/// Has every file in the cache, and says what each is, in their order.
///
/// # Errors
/// One sentence: which file, and why it is not to be had.
pub(super) async fn fetch_all(task: &Task<'_>, files: &[LockedFile]) -> Result<Vec<Blob>, String> {
    let is_here = |file: &LockedFile| file.sha256().is_some_and(|sha256| task.store.wheel(sha256).is_file());
    let missing = files.iter().filter(|file| !is_here(file));
    let (count, bytes) = missing.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.size.unwrap_or(0)));
    if bytes > SAID_BYTES {
        say(&format!("fetching {count} packages, {} MB", bytes / 1_000_000));
    }
    stream::iter(files).map(|file| fetch(task, file)).buffered(AT_ONCE).try_collect().await
}

/// Has one file in the cache.
pub(super) async fn fetch(task: &Task<'_>, file: &LockedFile) -> Result<Blob, String> {
    let name = &file.name;
    // It becomes a file's name: nothing but digits may.
    let sha256 = file.sha256().ok_or_else(|| format!("its lock has no SHA-256 of `{name}`"))?;
    let place = task.store.wheel(sha256);
    if place.is_file() {
        return name_file(&place).map_err(|failure| failure.message);
    }
    let url = file.url.as_deref().ok_or_else(|| format!("its lock does not say where `{name}` comes from"))?;
    let failed = |error: &dyn std::fmt::Display| {
        let (error, url) = (index::without_credentials(&error.to_string()), index::without_credentials(url));
        format!("`{name}` cannot be fetched from {url}: {error}")
    };
    let mut taking = Taking::new(task.store).map_err(|error| failed(&error))?;
    match url.strip_prefix("file://") {
        Some(path) => taking.copy(&path_of(path)).map_err(|error| failed(&error))?,
        None if task.network == Network::Closed => {
            return Err(failed(&"the network is closed (--offline, UV_OFFLINE)"));
        }
        None => download(url, &mut taking).await.map_err(|error| failed(&error))?,
    }
    taking.keep(sha256, &place).map_err(|error| failed(&error))
}

/// The path of a `file://` URL.
fn path_of(url: &str) -> PathBuf {
    PathBuf::from(url.replace("%20", " ").replace("%2B", "+").replace("%25", "%"))
}

async fn download(url: &str, taking: &mut Taking) -> Result<(), String> {
    static CLIENT: LazyLock<Result<Client, String>> = LazyLock::new(|| {
        // Fails where the program has one already, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().connect_timeout(CONNECT_MAX).read_timeout(SILENCE_MAX);
        client.user_agent(concat!("manta/", env!("CARGO_PKG_VERSION"))).build().map_err(|error| error.to_string())
    });
    let client = CLIENT.as_ref().map_err(Clone::clone)?;
    let mut request = client.get(url);
    if let Some((user, password)) = index::credentials(url) {
        request = request.basic_auth(user, Some(password));
    }
    let mut response = request.send().await.map_err(|error| words(&error))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err("the index gives it to nobody it does not know; put user and password into its URL".to_owned());
        }
        other => return Err(format!("the index answers {other}")),
    }
    while let Some(bytes) = response.chunk().await.map_err(|error| words(&error))? {
        taking.write_all(&bytes).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// An error and what it comes from: the outermost alone says little.
fn words(error: &reqwest::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), std::error::Error::source(error));
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

/// A file that is being taken in.
struct Taking {
    file: tempfile::NamedTempFile,
    sha256: Sha256,
    blake3: blake3::Hasher,
}

impl Taking {
    fn new(store: &Store) -> std::io::Result<Self> {
        Ok(Self { file: store.fresh("wheels")?, sha256: Sha256::new(), blake3: blake3::Hasher::new() })
    }

    fn copy(&mut self, path: &Path) -> std::io::Result<()> {
        std::io::copy(&mut std::fs::File::open(path)?, self).map(drop)
    }

    /// Puts the file in its place, if it is what its lock says.
    fn keep(self, sha256: &str, place: &Path) -> Result<Blob, String> {
        let found = hex(&self.sha256.finalize());
        if found != sha256 {
            return Err(format!("its SHA-256 is {found}, and its lock says {sha256}"));
        }
        self.file.persist(place).map_err(|error| error.to_string())?;
        Ok(Blob { digest: Digest::from_bytes(*self.blake3.finalize().as_bytes()), size: self.blake3.count() })
    }
}

impl std::io::Write for Taking {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.blake3.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
