//! What can go wrong when speaking to a manager, with the catalogue's code and the exit code for each.
use std::io;
use std::path::PathBuf;

use manta_api::{ErrorCode, Problem};
use manta_types::Digest;

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The manager answered, and refused.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The manager did not answer, or broke off.
    #[error("the manager at `{endpoint}` cannot be reached: {source}")]
    Unreachable {
        /// Its address.
        endpoint: String,
        /// The innermost cause.
        source: io::Error,
    },
    /// One side does not trust the other.
    #[error("the manager at `{endpoint}` and this side do not trust each other: {why}")]
    Untrusted {
        /// Its address.
        endpoint: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The manager answered something else than this client understands.
    #[error("the manager at `{endpoint}` gave an answer that this client cannot read: {what}")]
    Protocol {
        /// Its address.
        endpoint: String,
        /// What was wrong.
        what: String,
    },
    /// The bytes that came are not those asked for.
    #[error("the bytes that came for blob `{digest}` have another digest")]
    DigestMismatch {
        /// The blob.
        digest: Digest,
    },
    /// More bytes than the caller wants to hold.
    #[error("the blob `{digest}` is larger than {limit} bytes")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// The caller's limit.
        limit: u64,
    },
    /// A local file cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The caller's own writer failed.
    #[error("what came from the manager cannot be written: {0}")]
    Write(#[source] io::Error),
}

impl ClientError {
    pub(crate) fn problem(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }

    /// The catalogue's entry, where this build knows it.
    pub fn error_code(&self) -> Option<ErrorCode> {
        Some(match self {
            Self::Problem(problem) => return problem.error_code(),
            Self::Unreachable { .. } => ErrorCode::Unreachable,
            Self::Untrusted { .. } => ErrorCode::Untrusted,
            Self::Protocol { .. } => ErrorCode::VersionMismatch,
            Self::DigestMismatch { .. } => ErrorCode::DigestMismatch,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::File { .. } | Self::Write(_) => ErrorCode::Storage,
        })
    }

    /// `MANTA-0601`.
    pub fn code(&self) -> &str {
        match self {
            Self::Problem(problem) => &problem.code,
            other => other.error_code().map_or("MANTA-0900", ErrorCode::code),
        }
    }

    /// The exit code of a command that ends with it.
    pub fn exit(&self) -> u8 {
        let by_status = || match self {
            Self::Problem(problem) => match problem.status {
                401 | 403 => 6,
                404 => 3,
                409 => 8,
                413 | 422 => 4,
                400 => 2,
                _ => 1,
            },
            _ => 1,
        };
        self.error_code().map_or_else(by_status, ErrorCode::exit)
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => problem.hint.as_deref(),
            Self::Unreachable { .. } => {
                Some("start one with `manta manager run --data-dir DIR`, or point MANTA_MANAGER at the one that runs")
            }
            Self::Protocol { .. } => Some("compare `manta --version` on both sides"),
            _ => None,
        }
    }

    /// Whether the manager may have taken the call although no answer came: the connection was there and broke.
    pub fn may_have_been_heard(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ),
            _ => false,
        }
    }

    /// Whether the same call may succeed in a while.
    pub fn is_transient(&self) -> bool {
        match self {
            // A clock may be set, a certificate renewed.
            Self::Unreachable { .. } | Self::Untrusted { .. } => true,
            // What is damaged stays so until a backup is brought back.
            Self::Problem(problem) if problem.error_code() == Some(ErrorCode::Corrupt) => false,
            Self::Problem(problem) => matches!(problem.status, 429 | 500 | 502..=504),
            _ => false,
        }
    }
}

/// The innermost error of a chain, as an `io::Error`.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match cause.downcast_ref::<io::Error>() {
        Some(io) => io::Error::new(io.kind(), io.to_string()),
        None => io::Error::other(cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_code_and_an_exit_code() {
        let refused =
            ClientError::problem(Problem::new(ErrorCode::NotFound, "there is no swarm `x`").hint("see `manta ls`"));
        assert_eq!((refused.code(), refused.exit(), refused.hint()), ("MANTA-0301", 3, Some("see `manta ls`")));
        let away = ClientError::Unreachable { endpoint: "unix:/x".into(), source: io::ErrorKind::NotFound.into() };
        assert_eq!((away.code(), away.exit(), away.is_transient()), ("MANTA-0601", 5, true));
        let is_transient = |code| ClientError::problem(Problem::new(code, "m")).is_transient();
        assert!(is_transient(ErrorCode::Internal) && !is_transient(ErrorCode::Corrupt));
        let mut future = Problem::new(ErrorCode::NotFound, "m");
        (future.code, future.status) = ("MANTA-0999".into(), 403);
        assert_eq!(ClientError::problem(future).exit(), 6);
    }
}
