//! What a manager is told when it starts, and the address that it listens on.
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use manta_types::{ClusterId, limits};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::identity::SiteCertificate;
use crate::{ManagerError, OidcSettings};

/// What a manager is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where state, blobs, logs and tokens live.
    pub data_dir: PathBuf,
    /// Where clients and nodes find it.
    pub listen: Listen,
    /// How it is recognised there.
    pub tls: TlsSettings,
    /// The cluster that it runs.
    pub cluster: ClusterId,
    /// Whether the data directory goes with it.
    pub ephemeral: bool,
    /// How long swarms that have ended are kept.
    pub keep: Keep,
    /// How many swarms may run at once; the others wait for their turn. At least one.
    pub swarms_running_max: usize,
    /// Where the traces of swarms go as they end; nowhere where absent.
    pub collector: Option<Collector>,
    /// Where people sign in; they cannot where absent.
    pub oidc: Option<OidcSettings>,
}

/// A collector of traces, which speaks OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// The address that takes traces.
    pub url: String,
    /// Headers of each request: names and values.
    pub headers: Vec<(String, String)>,
}

/// How a manager is recognised on a TCP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The names and addresses by which nodes and users call it; they are told the first.
    pub public_names: Vec<String>,
    /// The site's own certificate, in place of one of the manager's own authority.
    pub site: Option<SiteCertificate>,
    /// How long certificates are valid that the manager issues, its own and those of nodes; they are renewed after half of it.
    /// At least a second.
    pub certificates_for: Duration,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { public_names: Vec::new(), site: None, certificates_for: limits::CERTIFICATE_FOR }
    }
}

/// How long swarms that have ended are kept, with their histories, results and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Days after their end.
    pub days: u32,
    /// How many of them at most, the newest; all where absent.
    pub swarms: Option<u64>,
}

impl Default for Keep {
    fn default() -> Self {
        Self { days: limits::KEEP_DAYS, swarms: None }
    }
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address; port 0 takes a free one. On one that is not loopback, nothing but TLS is spoken.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = ManagerError;

    fn from_str(text: &str) -> Result<Self, ManagerError> {
        match text.strip_prefix("unix:") {
            Some("") => Err(ManagerError::Listen(text.to_owned())),
            Some(path) => Ok(Self::Unix(path.into())),
            None => {
                let bare = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
                let address = bare.unwrap_or(text);
                let address = address.replacen("localhost:", "127.0.0.1:", 1);
                address.parse().map(Self::Tcp).map_err(|_| ManagerError::Listen(text.to_owned()))
            }
        }
    }
}

impl Listen {
    /// Whether other machines reach it.
    pub const fn is_remote(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().is_loopback())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) if self.is_remote() => write!(f, "https://{address}"),
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address that is ours: connections wait in its queue until the manager runs.
#[derive(Debug)]
pub struct Bound {
    pub(crate) socket: Socket,
    address: Listen,
}

/// The listening socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Bound {
    /// What clients are told: `http://127.0.0.1:43121` or `unix:/path`.
    pub fn url(&self) -> String {
        self.address.to_string()
    }

    /// What nodes and users elsewhere are told: over TLS, under its first public name.
    pub fn public_url(&self, tls: &TlsSettings) -> String {
        match (&self.address, tls.public_names.first()) {
            (Listen::Tcp(address), Some(name)) if name.contains(':') => format!("https://[{name}]:{}", address.port()),
            (Listen::Tcp(address), Some(name)) => format!("https://{name}:{}", address.port()),
            (Listen::Tcp(address), None) => format!("https://{address}"),
            (Listen::Unix(_), _) => self.url(),
        }
    }

    /// The address, with the port that was taken.
    pub const fn address(&self) -> &Listen {
        &self.address
    }
}

/// Takes an address. The socket file of a manager that is gone is replaced.
///
/// # Errors
/// When the address is in use, or cannot be had.
pub async fn bind(listen: &Listen) -> Result<Bound, ManagerError> {
    match listen {
        Listen::Tcp(address) => {
            let socket = TcpListener::bind(address).await.map_err(|error| refused(listen, error))?;
            let address = Listen::Tcp(socket.local_addr().map_err(|error| refused(listen, error))?);
            Ok(Bound { socket: Socket::Tcp(socket), address })
        }
        Listen::Unix(path) => {
            clear_stale(path).await.map_err(|error| refused(listen, error))?;
            let bind = || {
                let socket = UnixListener::bind(path)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
                Ok(socket)
            };
            let socket = bind().map_err(|error| refused(listen, error))?;
            Ok(Bound { socket: Socket::Unix(socket), address: listen.clone() })
        }
    }
}

fn refused(listen: &Listen, source: io::Error) -> ManagerError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ManagerError::AddressInUse(listen.to_string()),
        _ => ManagerError::Bind { address: listen.to_string(), source },
    }
}

/// Removes a socket file that nobody listens on.
async fn clear_stale(path: &Path) -> io::Result<()> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_what_they_print() {
        for text in ["http://127.0.0.1:7766", "http://[::1]:0", "unix:/run/manta.sock"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for bad in ["", "unix:", "7766", "example.org:1"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn others_are_told_the_public_name_and_tls() {
        let bound = bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let port = bound.url().rsplit_once(':').unwrap().1.to_owned();
        let named = |name: &str| TlsSettings { public_names: vec![name.to_owned()], ..TlsSettings::default() };
        assert_eq!(bound.public_url(&named("m.example")), format!("https://m.example:{port}"));
        assert_eq!(bound.public_url(&named("2001:db8::1")), format!("https://[2001:db8::1]:{port}"));
        assert_eq!("0.0.0.0:7766".parse::<Listen>().unwrap().to_string(), "https://0.0.0.0:7766");
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_cure() {
        let first = bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = bind(first.address()).await.unwrap_err();
        assert_eq!(error.code().code(), "MANTA-0602");
        assert!(error.to_string().contains(&first.url()), "{error}");
        assert!(error.hint().unwrap().contains("port 0"));
    }

    #[tokio::test]
    async fn a_stale_socket_file_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let listen = Listen::Unix(dir.path().join("m.sock"));
        let first = bind(&listen).await.unwrap();
        assert_eq!(bind(&listen).await.unwrap_err().code().code(), "MANTA-0602");
        drop(first);
        bind(&listen).await.unwrap();
    }
}
