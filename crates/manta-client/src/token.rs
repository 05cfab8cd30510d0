//! The secret that opens the API; it is never printed.
use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a token file; a larger one is not a token.
const TOKEN_BYTES_MAX: usize = 4096;

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// Missing or unreadable.
    #[error("the token file `{path}` cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("the token file `{path}` can be read by others (mode {mode:o})")]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Readable, and no token.
    #[error("the token file `{path}` does not hold one line of text")]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

impl TokenFileError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Loose { path, .. } => Some(format!("chmod 600 {}", path.display())),
            _ => None,
        }
    }
}

impl Token {
    /// Wraps a secret; white space around it is dropped.
    pub fn new(secret: impl AsRef<str>) -> Self {
        Self(secret.as_ref().trim().to_owned())
    }

    /// Reads a token from the file that a manager wrote.
    ///
    /// # Errors
    /// When the file cannot be read, can be read by others, or holds anything but one line of printable ASCII.
    pub fn from_file(path: &Path) -> Result<Self, TokenFileError> {
        let failed = |source| TokenFileError::Read { path: path.to_owned(), source };
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenFileError::Loose { path: path.to_owned(), mode });
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let token = String::from_utf8(text).map(Self::new).ok().filter(Self::is_plain);
        token.ok_or_else(|| TokenFileError::NoToken { path: path.to_owned() })
    }

    /// Whether it can stand in a header.
    pub(crate) fn is_plain(&self) -> bool {
        !self.0.is_empty() && self.0.len() <= TOKEN_BYTES_MAX && self.0.bytes().all(|b| b.is_ascii_graphic())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        assert_eq!(format!("{:?}", Token::new(" s3cret\n")), "***");
        assert_eq!(Token::new(" s3cret\n").expose(), "s3cret");
    }

    #[test]
    fn files_without_a_token_are_refused_by_path() {
        let missing = Token::from_file(Path::new("/nonexistent/token")).unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/token"), "{missing}");
        let binary = Token::from_file(Path::new("/proc/self/environ")).unwrap_err();
        assert!(matches!(binary, TokenFileError::NoToken { .. }), "{binary:?}");
    }

    #[test]
    fn files_that_others_can_read_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        assert_eq!(Token::from_file(file.path()).unwrap(), Token::new("s3cret"));
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        let loose = Token::from_file(file.path()).unwrap_err();
        assert!(loose.to_string().ends_with("can be read by others (mode 640)"), "{loose}");
        assert!(loose.hint().is_some_and(|hint| hint.starts_with("chmod 600 ")));
    }
}
