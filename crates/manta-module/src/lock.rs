//! Locks of dependencies as they are kept: the part of `pylock.toml` (PEP 751) that names wheels by their digests.
use manta_types::limits;
use serde::{Deserialize, Serialize};

use crate::manifest::clip;

/// A lock. Reading takes what other tools write and keeps what matters here; writing gives the same bytes for the same lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lock {
    /// `1.0`.
    pub lock_version: String,
    /// The tool that resolved it.
    pub created_by: String,
    /// The versions of Python it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_python: Option<String>,
    /// What is installed.
    #[serde(default)]
    pub packages: Vec<Package>,
}

/// A distribution of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it is installed; a lock for one runtime has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    /// The source that it can be built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdist: Option<LockedFile>,
    /// The wheels to choose from; a lock for one runtime has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wheels: Vec<LockedFile>,
}

/// A file of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "FileForm")]
pub struct LockedFile {
    /// Its name.
    pub name: String,
    /// Where it comes from, without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Bytes, where they are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its digests.
    pub hashes: Hashes,
}

/// Digests of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hashes {
    /// 64 lower-case hexadecimal digits; empty where the lock has none.
    #[serde(default)]
    pub sha256: String,
}

#[derive(Deserialize)]
struct FileForm {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    #[serde(default)]
    hashes: Hashes,
}

impl LockedFile {
    /// Its SHA-256, 64 lower-case hexadecimal digits, where the lock has one of that form.
    pub fn sha256(&self) -> Option<&str> {
        Some(self.hashes.sha256.as_str()).filter(|text| is_sha256(text))
    }
}

impl From<FileForm> for LockedFile {
    fn from(form: FileForm) -> Self {
        let place = form.url.as_deref().or(form.path.as_deref()).unwrap_or_default();
        let last = place.split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let name = form.name.unwrap_or_else(|| last.replace("%2B", "+").replace("%2b", "+"));
        Self { name, url: form.url, size: form.size, hashes: form.hashes }
    }
}

/// Why a lock cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Too long.
    #[error("the lock has {0} bytes; {max} are the limit", max = limits::LOCK_BYTES_MAX)]
    TooLarge(u64),
    /// Not TOML, or not of this form.
    #[error("the lock cannot be read as `pylock.toml`: {0}")]
    Form(String),
    /// Made by a later standard.
    #[error("the lock has version `{0}`; this build reads 1.0")]
    Version(String),
}

impl Lock {
    /// Reads a lock.
    ///
    /// # Errors
    /// If it is too long, no TOML, of another form, or of another version than 1.
    pub fn parse(bytes: &[u8]) -> Result<Self, LockError> {
        if bytes.len() as u64 > limits::LOCK_BYTES_MAX {
            return Err(LockError::TooLarge(bytes.len() as u64));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| LockError::Form(error.to_string()))?;
        let lock: Self = toml::from_str(text).map_err(|error| LockError::Form(error.message().to_owned()))?;
        match lock.lock_version.split('.').next() {
            Some("1") => Ok(lock),
            _ => Err(LockError::Version(clip(&lock.lock_version))),
        }
    }

    /// The lock's bytes: the same for the same lock.
    pub fn to_bytes(&self) -> Vec<u8> {
        toml::to_string(self).expect("texts and numbers in tables: always TOML").into_bytes()
    }
}

/// Whether a text is 64 lower-case hexadecimal digits.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11"

[[packages]]
name = "torch"
version = "2.5.1+cpu"
index = "https://example.org/simple"
wheels = [{ url = "https://example.org/torch-2.5.1%2Bcpu-cp311-cp311-linux_x86_64.whl#x", upload-time = 2026-11-18T10:27:17Z, size = 7, hashes = { sha256 = "00" } }]
"#;

    #[test]
    fn what_other_tools_write_is_read_and_written_in_one_form() {
        let lock = Lock::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(lock.packages[0].wheels[0].name, "torch-2.5.1+cpu-cp311-cp311-linux_x86_64.whl");
        assert_eq!(lock.packages[0].wheels[0].sha256(), None, "`00` is no digest that could name a file");
        let written = lock.to_bytes();
        assert_eq!(Lock::parse(&written).unwrap(), lock);
        assert_eq!(Lock::parse(&written).unwrap().to_bytes(), written);
        assert!(!String::from_utf8(written).unwrap().contains("upload-time"));
    }

    #[test]
    fn what_is_no_lock_of_this_version_is_refused() {
        assert!(matches!(Lock::parse(b"packages = 1"), Err(LockError::Form(_))));
        assert!(matches!(Lock::parse(b"\xff"), Err(LockError::Form(_))));
        let later = TEXT.replace("\"1.0\"", "\"2.0\"");
        assert_eq!(Lock::parse(later.as_bytes()), Err(LockError::Version("2.0".into())));
        let long = vec![b' '; usize::try_from(limits::LOCK_BYTES_MAX).unwrap() + 1];
        assert!(matches!(Lock::parse(&long), Err(LockError::TooLarge(_))));
    }
}
