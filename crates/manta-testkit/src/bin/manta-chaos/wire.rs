//! A relay between one node and the manager that can delay, cut, slow down and freeze what passes.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The word that makes this program the far end of a wire: `__forward SOCKET ADDRESS`.
pub(crate) const FORWARD: &str = "__forward";
/// Bytes that are read in one go.
const CHUNK_BYTES: usize = 4096;
/// How often a frozen relay looks whether it may go on.
const THAW_EVERY: Duration = Duration::from_millis(20);

/// What is done to what passes.
#[derive(Debug, Default)]
struct Faults {
    delay_ms: AtomicU64,
    /// Bytes after which a connection is cut, wherever in a message that is; 0: never.
    cut_after: AtomicU64,
    /// Bytes each second and direction; 0: as many as come.
    rate: AtomicU64,
    frozen: AtomicBool,
    cuts: AtomicU64,
}

/// A relay that listens.
#[derive(Debug)]
pub(crate) struct Wire {
    faults: Arc<Faults>,
    /// Raised to cut every connection that is open.
    generation: watch::Sender<u64>,
    accepting: JoinHandle<()>,
    address: String,
}

impl Wire {
    /// Listens on that address, port 0 for a free one, and leads to the manager's socket.
    pub(crate) async fn listen(address: &str, manager: &Path) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await.with_context(|| format!("listening on {address}"))?;
        let address = listener.local_addr()?.to_string();
        let faults = Arc::new(Faults::default());
        let (generation, watched) = watch::channel(0);
        let accepting = tokio::spawn(accept(listener, manager.to_owned(), Arc::clone(&faults), watched));
        Ok(Self { faults, generation, accepting, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Everything arrives so much later.
    pub(crate) fn delay(&self, by: Duration) {
        self.faults.delay_ms.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// So many bytes a second pass in each direction; 0: as many as come.
    pub(crate) fn rate(&self, bytes: u64) {
        self.faults.rate.store(bytes, Ordering::SeqCst);
    }

    /// Each connection is cut after so many bytes; 0: never.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.faults.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// Connections cut so far for having passed too many bytes.
    pub(crate) fn cuts(&self) -> u64 {
        self.faults.cuts.load(Ordering::SeqCst)
    }

    /// Nothing passes, and no side is told: half-open connections.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.faults.frozen.store(frozen, Ordering::SeqCst);
    }

    /// Cuts all connections now.
    pub(crate) fn cut(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, manager: PathBuf, faults: Arc<Faults>, watched: watch::Receiver<u64>) {
    // A listener fails only for want of descriptors; the next connection may fare better.
    loop {
        if let Ok((node, _)) = listener.accept().await {
            let (manager, faults, mut watched) = (manager.clone(), Arc::clone(&faults), watched.clone());
            tokio::spawn(async move {
                watched.mark_unchanged();
                tokio::select! {
                    () = relay(node, &manager, &faults) => {}
                    _ = watched.changed() => {}
                }
            });
        }
    }
}

/// The other end, a process in a node's network namespace: what the node says to this socket goes to the relay over TCP. A
/// node that dialled the relay itself would name a host that is not the manager.
///
/// # Errors
/// When the socket cannot be had.
pub(crate) async fn forward(socket: &Path, relay: &str) -> Result<()> {
    let listener = UnixListener::bind(socket).with_context(|| format!("listening on `{}`", socket.display()))?;
    loop {
        let (mut node, _) = listener.accept().await?;
        let relay = relay.to_owned();
        tokio::spawn(async move {
            // Either end may break off at any time: that is what this is for.
            if let Ok(mut stream) = TcpStream::connect(relay).await {
                let _ = tokio::io::copy_bidirectional(&mut node, &mut stream).await;
            }
        });
    }
}

/// Both directions, until one ends; then both are cut, as when a cable is pulled and put in again.
async fn relay(node: TcpStream, manager: &Path, faults: &Faults) {
    // A manager that is away is away: the node's connection ends, and it dials again.
    let Ok(manager) = UnixStream::connect(manager).await else { return };
    let ((from_node, to_node), (from_manager, to_manager)) = (node.into_split(), manager.into_split());
    let passed = AtomicU64::new(0);
    tokio::select! {
        () = pump(from_node, to_manager, faults, &passed) => {}
        () = pump(from_manager, to_node, faults, &passed) => {}
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, faults: &Faults, passed: &AtomicU64) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        while faults.frozen.load(Ordering::SeqCst) {
            tokio::time::sleep(THAW_EVERY).await;
        }
        tokio::time::sleep(Duration::from_millis(faults.delay_ms.load(Ordering::SeqCst))).await;
        let rate = faults.rate.load(Ordering::SeqCst);
        if rate > 0 {
            tokio::time::sleep(Duration::from_secs_f64(read as f64 / rate as f64)).await;
        }
        let before = passed.fetch_add(read as u64, Ordering::SeqCst);
        let cut_after = faults.cut_after.load(Ordering::SeqCst);
        let keep = if cut_after == 0 {
            read
        } else {
            read.min(usize::try_from(cut_after.saturating_sub(before)).unwrap_or(read))
        };
        if to.write_all(&chunk[..keep]).await.is_err() {
            return;
        }
        if keep < read {
            faults.cuts.fetch_add(1, Ordering::SeqCst);
            return;
        }
    }
}
