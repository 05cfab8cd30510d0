//! Why a manager cannot start, or had to stop.
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use manta_api::ErrorCode;
use manta_engine::RestoreError;
use manta_store::{BlobError, CommitError, StoreError};
use manta_types::ClusterId;

/// What ends a manager, or keeps it from starting.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// Any address of this machine, and no name to call it by.
    #[error("others cannot call the manager at `{0}`: its certificate needs the name or address that they use")]
    NoPublicName(SocketAddr),
    /// A certificate or key that cannot be used.
    #[error("the certificate `{}` cannot be used: {problem}", path.display())]
    CertificateUnusable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// An address that is no address.
    #[error("`{0}` is no address to listen on")]
    Listen(String),
    /// Another process has the address.
    #[error("another process listens on `{0}` already")]
    AddressInUse(String),
    /// The address cannot be had for another reason.
    #[error("cannot listen on `{address}`: {source}")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The data directory or a file in it cannot be used.
    #[error("cannot use `{path}`: {source}")]
    DataDir {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A living manager holds the data directory.
    #[error("another manager{} has the data directory `{path}`", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    DataDirLocked {
        /// The directory.
        path: String,
        /// Whose it is.
        pid: Option<u32>,
    },
    /// A token that others can read.
    #[error("the secret in `{path}` can be read by others: its mode is {mode:03o}, 600 is needed")]
    TokenMode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A token file that holds none.
    #[error("the token in `{path}` cannot be used: {problem}")]
    TokenUnusable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: &'static str,
    },
    /// The state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blobs cannot be read.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// A change could not be made durable.
    #[error("a change could not be stored, so the manager stopped: {0}")]
    Commit(#[from] CommitError),
    /// A stored history that this build cannot follow.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A stored record that this build cannot read.
    #[error("the stored {what} cannot be read: {problem}")]
    Unreadable {
        /// Which record.
        what: String,
        /// Why.
        problem: String,
    },
    /// Something is where a backup or a data directory was to be made.
    #[error("`{}` is there already, and nothing is overwritten", .0.display())]
    TargetExists(PathBuf),
    /// A backup that cannot be used.
    #[error("the backup `{}` cannot be used: {problem}", path.display())]
    NotWhole {
        /// The backup.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The name of the first cluster is that of another.
    #[error("the cluster `{0}` was added to this manager, so it cannot be the one that it starts with")]
    NotFirst(ClusterId),
    /// It is on its way down.
    #[error("the manager is stopping")]
    Stopping,
    /// Our own fault.
    #[error("internal error: {0}")]
    Internal(String),
}

impl ManagerError {
    /// The catalogue's entry.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::CertificateUnusable { .. } => ErrorCode::Untrusted,
            Self::NoPublicName(_) | Self::Listen(_) | Self::NotFirst(_) => ErrorCode::BadArgument,
            Self::AddressInUse(_) => ErrorCode::PortInUse,
            Self::DataDirLocked { .. } => ErrorCode::DataDirLocked,
            Self::Stopping => ErrorCode::Unreachable,
            Self::TargetExists(_) => ErrorCode::Conflict,
            Self::NotWhole { .. } => ErrorCode::Corrupt,
            Self::Internal(_) => ErrorCode::Internal,
            Self::Store(StoreError::Corrupt { .. })
            | Self::Blobs(BlobError::Damaged { .. })
            | Self::Unreadable { .. }
            | Self::Restore(_) => ErrorCode::Corrupt,
            Self::Store(StoreError::Version { .. }) => ErrorCode::VersionMismatch,
            _ => ErrorCode::Storage,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoPublicName(_) => "give it with --public-name, as --public-name manager.example".to_owned(),
            Self::CertificateUnusable { .. } => {
                "give a chain and its key in PEM form, the authority's certificate last".to_owned()
            }
            Self::Listen(_) => "write 127.0.0.1:7766, 0.0.0.0:7766, [::1]:7766 or unix:/path/to/socket".to_owned(),
            Self::AddressInUse(_) => "end that process, or choose another address (port 0 takes a free one)".to_owned(),
            Self::NotFirst(_) => {
                "start it with the `--cluster` that it had before, else without; all clusters are served".to_owned()
            }
            Self::Stopping => "try again when it is back".to_owned(),
            Self::DataDirLocked { .. } => "end that manager, or give this one a data directory of its own".to_owned(),
            Self::TargetExists(_) => "name a folder that is not there yet".to_owned(),
            Self::NotWhole { .. } => "use another backup; nothing was changed".to_owned(),
            Self::TokenMode { path, .. } => {
                format!("chmod 600 '{}'; if others may have read it, remove it and a new one is made", path.display())
            }
            Self::TokenUnusable { path, .. } => format!("remove '{}', and a new one is made", path.display()),
            Self::Store(StoreError::Corrupt { .. }) | Self::Unreadable { .. } | Self::Restore(_) => {
                "nothing was changed or removed; bring a backup into a new directory with `manta manager restore`"
                    .to_owned()
            }
            Self::Store(StoreError::Version { .. }) => {
                "start it with the version that wrote it, or bring a backup of before into a new directory with \
                 `manta manager restore`"
                    .to_owned()
            }
            _ => return None,
        })
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
