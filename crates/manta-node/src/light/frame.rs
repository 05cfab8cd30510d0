//! Frames on the attempt's socket: a length, that many bytes of JSON, and at most one descriptor on the first byte.
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use manta_types::limits::{LIGHT_FRAME_BYTES_MAX, LIGHT_MESSAGE_BYTES_MAX};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes of a body that are made room for before they have arrived.
const BODY_BYTES_FIRST: usize = 64 << 10;

/// What arrived: a body, and the descriptor that came with it.
#[derive(Debug)]
pub(crate) struct Frame {
    /// JSON, or what claims to be.
    pub(crate) body: Vec<u8>,
    /// At most one.
    pub(crate) fd: Option<OwnedFd>,
}

/// Why no frame could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The task sent what no frame looks like.
    #[error("{0}")]
    Garbage(&'static str),
    /// The socket failed.
    #[error("the task's socket failed: {0}")]
    Socket(#[from] io::Error),
}

/// The agent's end of an attempt's socket.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: UnixStream,
}

impl Channel {
    /// A pair of connected ends: the agent's, and the task's, which blocks.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let ours = std::os::unix::net::UnixStream::from(ours);
        ours.set_nonblocking(true)?;
        Ok((Self { socket: UnixStream::from_std(ours)? }, theirs))
    }

    /// The agent's end that another program served before.
    pub(crate) fn take_over(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: UnixStream::from_std(fd.into())? })
    }

    /// For the program that serves it next.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(self.socket.into_std()?.into())
    }

    /// Waits until something can be read, be it the end.
    pub(crate) async fn peek(&self) -> io::Result<()> {
        let mut first = [0u8; 1];
        let mut peek = || Ok(recv(&self.socket, &mut first, RecvFlags::PEEK)?.0);
        self.socket.async_io(Interest::READABLE, || again(&mut peek)).await.map(drop)
    }

    /// The next frame, or nothing when the task has closed its end.
    pub(crate) async fn receive(&self) -> Result<Option<Frame>, FrameError> {
        let mut head = [0u8; 4];
        let (mut filled, fd) = self.receive_first(&mut head).await?;
        if filled == 0 {
            return Ok(None);
        }
        while filled < head.len() {
            match self.receive_some(&mut head[filled..]).await? {
                0 => return Err(FrameError::Garbage("closed its socket inside a frame")),
                more => filled += more,
            }
        }
        let length = u32::from_le_bytes(head) as usize;
        if length > LIGHT_MESSAGE_BYTES_MAX {
            return Err(FrameError::Garbage("sent a frame larger than 4 MiB"));
        }
        let mut body = vec![0; length.min(BODY_BYTES_FIRST)];
        let mut filled = 0;
        while filled < length {
            if filled == body.len() {
                body.resize(length.min(2 * filled), 0);
            }
            match self.receive_some(&mut body[filled..]).await? {
                0 => return Err(FrameError::Garbage("closed its socket inside a frame")),
                more => filled += more,
            }
        }
        Ok(Some(Frame { body, fd }))
    }

    /// Sends a frame, with a descriptor on its first byte.
    pub(crate) async fn send(&self, body: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), FrameError> {
        assert!(body.len() <= LIGHT_FRAME_BYTES_MAX, "answers are bounded where they are made");
        let head = u32::try_from(body.len()).expect("bounded in the line above").to_le_bytes();
        let total = head.len() + body.len();
        let mut sent = self.writable(|socket| send_part(socket, [&head, body], fd)).await?;
        while sent < total {
            let rest = if sent < head.len() { [&head[sent..], body] } else { [&[], &body[sent - head.len()..]] };
            sent += self.writable(|socket| send_part(socket, rest, None)).await?;
        }
        Ok(())
    }

    async fn writable<T>(&self, mut send: impl FnMut(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        self.socket.async_io(Interest::WRITABLE, || again(|| send(self.socket.as_fd()))).await
    }

    /// Reads the frame's first bytes and what rides on them.
    async fn receive_first(&self, head: &mut [u8; 4]) -> Result<(usize, Option<OwnedFd>), FrameError> {
        let mut receive = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = recvmsg(&self.socket, &mut [IoSliceMut::new(head)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let mut fds: Vec<OwnedFd> = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = message {
                    fds.extend(some);
                }
            }
            Ok((received.bytes, received.flags, fds))
        };
        let received = self.socket.async_io(Interest::READABLE, || again(&mut receive)).await;
        let (bytes, flags, mut fds) = match received {
            // The task died with answers unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok((0, None)),
            other => other?,
        };
        if flags.contains(ReturnFlags::CTRUNC) || fds.len() > 1 {
            return Err(FrameError::Garbage("sent more than one descriptor with a frame"));
        }
        Ok((bytes, fds.pop()))
    }

    async fn receive_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut receive = || Ok(recv(&self.socket, &mut *buffer, RecvFlags::empty())?.0);
        self.socket.async_io(Interest::READABLE, || again(&mut receive)).await
    }
}

fn send_part(socket: BorrowedFd<'_>, parts: [&[u8]; 2], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)), "there is room for one");
    }
    let parts = parts.map(IoSlice::new);
    Ok(sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?)
}

/// Repeats what a signal broke off.
fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::unix::net::UnixStream as Blocking;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        file
    }

    #[tokio::test]
    async fn a_frame_arrives_whole_with_its_descriptor() {
        let (ours, theirs) = Channel::pair().unwrap();
        let body = vec![b'x'; 300_000];
        let theirs = std::thread::spawn(move || {
            let head = u32::try_from(body.len()).unwrap().to_le_bytes();
            let fd = file(b"value");
            let sent = send_part(theirs.as_fd(), [&head, &body], Some(fd.as_fd())).unwrap();
            Blocking::from(theirs).write_all(&body[sent - 4..]).unwrap();
        });
        let frame = ours.receive().await.unwrap().unwrap();
        assert_eq!(frame.body.len(), 300_000);
        let mut content = String::new();
        File::from(frame.fd.unwrap()).read_to_string(&mut content).unwrap();
        assert_eq!(content, "value");
        theirs.join().unwrap();
        assert!(ours.receive().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_large_answer_is_read_whole_by_a_blocking_task() {
        let (ours, theirs) = Channel::pair().unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            Blocking::from(theirs).read_to_end(&mut all).unwrap();
            all
        });
        ours.send(&vec![b'y'; 2_000_000], Some(file(b"v").as_fd())).await.unwrap();
        drop(ours);
        let all = reader.join().unwrap();
        assert_eq!(all.len(), 2_000_004);
        assert_eq!(u32::from_le_bytes(all[..4].try_into().unwrap()), 2_000_000);
    }

    #[tokio::test]
    async fn oversized_truncated_and_overloaded_frames_are_garbage() {
        let (ours, theirs) = Channel::pair().unwrap();
        Blocking::from(theirs).write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert!(matches!(ours.receive().await, Err(FrameError::Garbage(_))));

        let (ours, theirs) = Channel::pair().unwrap();
        Blocking::from(theirs).write_all(&[9, 0, 0, 0, b'{']).unwrap();
        assert!(matches!(ours.receive().await, Err(FrameError::Garbage(_))));

        let (ours, theirs) = Channel::pair().unwrap();
        let (one, other) = (file(b"1"), file(b"2"));
        let fds = [one.as_fd(), other.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&theirs, &[IoSlice::new(&[2, 0, 0, 0, b'{', b'}'])], &mut control, SendFlags::empty()).unwrap();
        assert!(matches!(ours.receive().await, Err(FrameError::Garbage(_))));
    }
}
