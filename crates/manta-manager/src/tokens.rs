//! The two secrets in a manager's data directory: one for its first administrator, one for nodes.
//!
//! Each is 256 random bits in a file that only its owner reads, kept across restarts; the running manager holds nothing
//! but their SHA-256 digests and compares in constant time.
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ManagerError;

/// The file in the data directory that holds the first administrator's token.
pub const TOKEN_FILE: &str = "token";
/// The file in the data directory that holds the token of nodes.
pub const NODE_TOKEN_FILE: &str = "node-token";

const TOKEN_BYTES: usize = 32;
const TOKEN_FILE_BYTES_MAX: u64 = 256;

/// Whose of the two a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bearer {
    /// The first administrator.
    Administrator,
    /// A node's agent.
    Node,
}

/// Digests of the tokens that this manager accepts.
#[derive(Clone)]
pub(crate) struct Tokens {
    user: [u8; 32],
    node: [u8; 32],
}

impl Tokens {
    /// Reads both tokens from the data directory, making those that are not there yet.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, ManagerError> {
        let user = digest(&load_or_make(&data_dir.join(TOKEN_FILE))?);
        let node = digest(&load_or_make(&data_dir.join(NODE_TOKEN_FILE))?);
        Ok(Self { user, node })
    }

    /// Whose token that is. Takes the same time whichever differs, and wherever.
    pub(crate) fn bearer_of(&self, token: &str) -> Option<Bearer> {
        let given = digest(token);
        let (user, node) = (given.ct_eq(&self.user), given.ct_eq(&self.node));
        if bool::from(user) {
            Some(Bearer::Administrator)
        } else if bool::from(node) {
            Some(Bearer::Node)
        } else {
            None
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(***)")
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn load_or_make(path: &Path) -> Result<String, ManagerError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => {
            Err(ManagerError::TokenUnusable { path: path.into(), problem: "it is not a plain file" })
        }
        Ok(meta) if meta.mode() & 0o077 != 0 => {
            Err(ManagerError::TokenMode { path: path.into(), mode: meta.mode() & 0o777 })
        }
        Ok(_) => read(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path),
        Err(source) => Err(ManagerError::DataDir { path: path.into(), source }),
    }
}

fn read(path: &Path) -> Result<String, ManagerError> {
    let failed = |source| ManagerError::DataDir { path: path.into(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text)).map_err(failed)?;
    let token = text.trim();
    if token.len() < 2 * TOKEN_BYTES || !token.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(ManagerError::TokenUnusable { path: path.into(), problem: "it does not hold a token" });
    }
    Ok(token.to_owned())
}

/// Makes a token; a crash never leaves half of one.
fn make(path: &Path) -> Result<String, ManagerError> {
    let failed = |source| ManagerError::DataDir { path: path.into(), source };
    let mut bits = [0u8; TOKEN_BYTES];
    getrandom::fill(&mut bits).map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    let token: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(path, &format!("{token}\n"))?;
    Ok(token)
}

/// Writes a file for this user only, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), ManagerError> {
    let fresh = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(|source| ManagerError::DataDir { path: path.into(), source })
}

/// The permission bits of a file that others can read; nothing where it is private or missing.
pub(crate) fn loose_mode(path: &Path) -> Option<u32> {
    let mode = fs::symlink_metadata(path).ok()?.mode() & 0o777;
    Some(mode).filter(|mode| mode & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn tokens_are_kept_and_tell_administrator_from_node() {
        let dir = tempfile::tempdir().unwrap();
        let first = Tokens::open(dir.path()).unwrap();
        let user = fs::read_to_string(dir.path().join(TOKEN_FILE)).unwrap();
        let node = fs::read_to_string(dir.path().join(NODE_TOKEN_FILE)).unwrap();
        assert_ne!(user, node);
        let again = Tokens::open(dir.path()).unwrap();
        for tokens in [first, again] {
            assert_eq!(tokens.bearer_of(user.trim()), Some(Bearer::Administrator));
            assert_eq!(tokens.bearer_of(node.trim()), Some(Bearer::Node));
            assert_eq!(tokens.bearer_of(&user), None, "with its newline it is another text");
            assert_eq!(tokens.bearer_of(""), None);
        }
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Tokens::open(dir.path()).unwrap();
        let path = dir.path().join(TOKEN_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Tokens::open(dir.path()).unwrap_err();
        assert!(matches!(error, ManagerError::TokenMode { mode: 0o640, .. }), "{error}");
        assert!(error.hint().unwrap().contains("chmod 600"));
    }

    #[test]
    fn an_empty_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(TOKEN_FILE), "\n").unwrap();
        fs::set_permissions(dir.path().join(TOKEN_FILE), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Tokens::open(dir.path()), Err(ManagerError::TokenUnusable { .. })));
    }
}
