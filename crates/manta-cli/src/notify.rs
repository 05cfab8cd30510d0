//! What a service manager is told by systemd's protocol of notification: that this process serves, still works, and ends.
//! Without `NOTIFY_SOCKET` in the environment nobody is told.
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Whom to tell, and how often.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// Between two signs of life; none where nobody watches for them.
    every: Option<Duration>,
}

impl Notifier {
    /// The service manager that the environment names. One that cannot be spoken to is said in the log.
    pub(crate) fn from_environment() -> Self {
        let named = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let socket = named.and_then(|name| {
            open(&name)
                .inspect_err(|error| tracing::warn!(socket = ?name, %error, "the service manager cannot be told"))
                .ok()
        });
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        // Half of the time, so that one that comes late is not the end.
        let every =
            number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0).map(|usec| Duration::from_micros(usec / 2));
        Self { socket, every }
    }

    /// Says that this process serves, as soon as the future is first polled, that it lives for as long as it is, and that it ends
    /// when `ended` resolves. To be polled by whoever serves, and not before.
    pub(crate) async fn beside(self, ended: impl Future<Output = ()> + Send) {
        self.say("READY=1");
        let living = async {
            let Some(every) = self.every else { return std::future::pending().await };
            let mut ticks = tokio::time::interval(every);
            loop {
                ticks.tick().await;
                self.say("WATCHDOG=1");
            }
        };
        tokio::select! {
            () = living => {}
            () = ended => {}
        }
        self.say("STOPPING=1");
    }

    fn say(&self, word: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(word.as_bytes(), address) {
            tracing::warn!(word, %error, "the service manager cannot be told");
        }
    }
}

/// A socket's name begins with `/`, or with `@` where it is in no file system.
fn open(name: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    Ok((UnixDatagram::unbound()?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let size = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..size]).into_owned()
    }

    #[tokio::test]
    async fn who_watches_hears_that_it_serves_lives_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier =
            Notifier { socket: Some(open(&path.into_os_string()).unwrap()), every: Some(Duration::from_millis(1)) };
        let (end, ended) = tokio::sync::oneshot::channel();
        let telling = tokio::spawn(notifier.beside(async {
            let _ = ended.await;
        }));
        let socket = tokio::task::spawn_blocking(move || {
            assert_eq!([heard(&socket), heard(&socket)], ["READY=1", "WATCHDOG=1"]);
            socket
        });
        let socket = socket.await.unwrap();
        end.send(()).unwrap();
        telling.await.unwrap();
        let last = std::iter::repeat_with(|| heard(&socket)).find(|word| word != "WATCHDOG=1");
        assert_eq!(last.as_deref(), Some("STOPPING=1"));
    }
}
