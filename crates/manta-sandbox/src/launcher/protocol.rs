//! Messages between agent and launcher: JSON over one SEQPACKET socket, descriptors beside them. Private to one release.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Exit, HostReport, SandboxSpec, Start, StartError, Template, Warmth};

/// Largest message; the socket's buffers are made to fit.
pub(crate) const MESSAGE_BYTES_MAX: usize = 128 << 10;

/// Descriptors beside the start of a sandbox: light, stdout, stderr.
pub(super) const START_FDS: usize = 3;

/// Descriptors beside any message, far below the kernel's own limit.
pub(crate) const MESSAGE_FDS_MAX: usize = 128;

/// What an agent asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Start a sandbox; three descriptors ride along.
    Start(Box<SandboxSpec>),
    /// Make ready what sandboxes can be started from.
    KeepWarm(Box<Template>),
    /// End what was made ready under that name.
    LetGo { template: String },
    /// End a sandbox.
    Kill { id: String },
    /// Find out what the host can do.
    Probe,
    /// Tell what is ready, as soon as nothing is in the making.
    Warmth,
    /// Find out whether a task could read a path.
    CheckMount { source: PathBuf },
}

/// What a launcher tells. Answers to requests of one kind come in the order of the requests.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// A sandbox runs, or could not be started.
    Started { id: String, result: Result<Start, StartError> },
    /// A sandbox has ended.
    Exited { id: String, exit: Exit },
    /// The answer to [`Request::Probe`].
    Probed(HostReport),
    /// The answer to [`Request::Warmth`].
    Warmth(Vec<Warmth>),
    /// The answer to [`Request::CheckMount`].
    MountChecked(Result<(), StartError>),
}

/// Sends one encoded message with descriptors.
pub(crate) fn send(socket: impl AsFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    assert!(message.len() <= MESSAGE_BYTES_MAX, "callers check the size");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)), "the space is for this many");
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(message)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map(|_| ()).map_err(io::Error::from),
        }
    }
}

/// What was received: a message, its descriptors, and whose it is where the socket asks for credentials.
pub(crate) struct Received<T> {
    pub(crate) message: T,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) sender: Option<Pid>,
}

/// Receives one message and its descriptors; `None` when the other side has closed the socket.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    Ok(receive_all(socket, buffer, RecvFlags::empty())?.map(|received| (received.message, received.fds)))
}

/// [`receive`] with all that is to be known; with `DONTWAIT` it fails as `WouldBlock` when nothing has come.
pub(crate) fn receive_all<T: DeserializeOwned>(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<Option<Received<T>>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS_MAX), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result?,
        }
    };
    let (mut fds, mut sender) = (Vec::new(), None);
    for message in ancillary.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
            RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials.pid),
            _ => {}
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::other("a message was cut short"));
    }
    let message = serde_json::from_slice(&buffer[..received.bytes]).map_err(io::Error::other)?;
    Ok(Some(Received { message, fds, sender }))
}

/// Makes room for the largest message in a socket's buffer.
pub(crate) fn make_room(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_send_buffer_size(socket, 2 * MESSAGE_BYTES_MAX)?)
}
