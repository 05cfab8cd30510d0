//! The agent's side of the socket that leads into a container: made before it, and closed to all others once its entry came in.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::Pid;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

use super::protocol::{FromEntry, ToEntry};
use crate::launcher::protocol::{MESSAGE_BYTES_MAX, make_room, receive_all, send};

/// A socket that waits for one entry; its file is removed with it.
pub(super) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Makes the socket in a directory that nobody else may enter; the uid of the entry is another than ours.
    pub(super) fn open(dir: &Path, name: &str) -> io::Result<Self> {
        let path = dir.join(name);
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let opened = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // An address is shorter than many a data directory's path.
        let short = format!("/proc/self/fd/{}/{name}", std::os::fd::AsRawFd::as_raw_fd(&opened));
        bind(&socket, &SocketAddrUnix::new(short)?)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        listen(&socket, 1)?;
        Ok(Self { listener: UnixListener::from_std(socket.into())?, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the entry comes in; nobody else can afterwards.
    pub(super) async fn accept(self) -> io::Result<Line> {
        let (socket, _unnamed) = self.listener.accept().await?;
        make_room(&socket)?;
        let pid = socket.peer_cred()?.pid().and_then(Pid::from_raw);
        Ok(Line { socket, pid })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Nobody can come in through a file whose socket is closed, and the next start of an agent removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The way to an entry that has come in. Closing it ends everything in its container.
pub(super) struct Line {
    socket: UnixStream,
    pid: Option<Pid>,
}

impl Line {
    /// The entry's process, where it can be seen from here.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Sends an order; the socket has room for the few there are.
    pub(super) fn send(&self, order: &ToEntry, fds: &[OwnedFd]) -> io::Result<()> {
        let message = serde_json::to_vec(order).map_err(io::Error::other)?;
        if message.len() > MESSAGE_BYTES_MAX {
            let bytes = message.len();
            return Err(io::Error::other(format!("its description takes {bytes} bytes; {MESSAGE_BYTES_MAX} fit")));
        }
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        send(&self.socket, &message, &fds)
    }

    /// What the entry tells next; `None` when it is gone.
    pub(super) async fn receive(&self) -> io::Result<Option<FromEntry>> {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let receive = || receive_all(&self.socket, &mut buffer, RecvFlags::DONTWAIT);
        let received = self.socket.async_io(Interest::READABLE, receive).await?;
        Ok(received.map(|received| received.message))
    }
}
