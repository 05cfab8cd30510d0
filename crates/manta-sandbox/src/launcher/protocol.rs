//! Messages between agent and launcher: JSON over one SEQPACKET socket, descriptors beside them. Private to one release.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Exit, HostReport, SandboxSpec, StartError};

/// Largest message; the socket's buffers are made to fit.
pub(super) const MESSAGE_BYTES_MAX: usize = 128 << 10;

/// Descriptors beside one message: light, stdout, stderr.
pub(super) const START_FDS: usize = 3;

/// What an agent asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Start a sandbox; three descriptors ride along.
    Start(Box<SandboxSpec>),
    /// End a sandbox.
    Kill { id: String },
    /// Find out what the host can do.
    Probe,
    /// Find out whether a task could read a path.
    CheckMount { source: PathBuf },
}

/// What a launcher tells. Answers to requests of one kind come in the order of the requests.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// A sandbox runs, or could not be started.
    Started { id: String, result: Result<(), StartError> },
    /// A sandbox has ended.
    Exited { id: String, exit: Exit },
    /// The answer to [`Request::Probe`].
    Probed(HostReport),
    /// The answer to [`Request::CheckMount`].
    MountChecked(Result<(), StartError>),
}

/// Sends one encoded message with descriptors.
pub(super) fn send(socket: impl AsFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    assert!(message.len() <= MESSAGE_BYTES_MAX, "callers check the size");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(START_FDS))];
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

/// Receives one message and its descriptors; `None` when the other side has closed the socket.
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(START_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result?,
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::other("a message was cut short"));
    }
    let message = serde_json::from_slice(&buffer[..received.bytes]).map_err(io::Error::other)?;
    Ok(Some((message, fds)))
}

/// Makes room for the largest message in a socket's buffer.
pub(super) fn make_room(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_send_buffer_size(socket, 2 * MESSAGE_BYTES_MAX)?)
}
