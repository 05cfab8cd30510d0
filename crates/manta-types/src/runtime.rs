//! Which interpreter on which kind of machine: what packages were locked for, and what a node has.
use std::fmt;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};

/// The highest number that the third part of a Python's version is thought to have.
const PATCH_MAX: u64 = 99;

/// A Python, by its minor version, on a kind of machine: `3.11 on x86_64-manylinux_2_28`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// Major and minor version.
    pub python: PythonVersion,
    /// The machine and its C library.
    pub platform: Platform,
}

impl Runtime {
    /// Whether what was locked for `wanted` runs here.
    pub fn runs(&self, wanted: &Self) -> bool {
        self.python == wanted.python && self.platform.runs(&wanted.platform)
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Python {} on {}", self.python, self.platform)
    }
}

/// A minor version of Python; its text is `3.11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PythonVersion {
    /// 3.
    pub major: u16,
    /// As in 3.`minor`.
    pub minor: u16,
}
text_form!(PythonVersion);

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for PythonVersion {
    type Err = RuntimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = pair(text, '.').map(|(major, minor)| Self { major, minor });
        read.filter(|version| version.major == 3).ok_or_else(|| RuntimeError::Python(clip(text)))
    }
}

/// Versions of Python, as PEP 440 writes them, of which one is needed: `>=3.10,<3.14`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonRange {
    /// As it was written: a manifest's digest depends on it.
    text: String,
    specifiers: VersionSpecifiers,
}
text_form!(PythonRange);

impl PythonRange {
    /// Whether a Python is one of them. Of `3.11` the rest is not known, so that any of 3.11 will do; a text that is no
    /// version is nothing to judge by, and is one of them.
    pub fn may_hold(&self, python: &str) -> bool {
        let Ok(version) = python.parse::<Version>() else { return true };
        let &[major, minor] = version.release() else { return self.specifiers.contains(&version) };
        (0..=PATCH_MAX).any(|patch| self.specifiers.contains(&Version::new([major, minor, patch])))
    }
}

impl fmt::Display for PythonRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PythonRange {
    type Err = RuntimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let specifiers = text.parse::<VersionSpecifiers>().ok().filter(|specifiers| !specifiers.is_empty());
        let specifiers = specifiers.ok_or_else(|| RuntimeError::Range(clip(text)))?;
        Ok(Self { text: text.to_owned(), specifiers })
    }
}

/// Whether two names of a processor's architecture mean the same: `amd64` and `x86_64`, `arm64` and `aarch64`.
pub fn is_same_architecture(one: &str, other: &str) -> bool {
    let usual = |name: &str| match name {
        "amd64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        name => name.to_owned(),
    };
    usual(one) == usual(other)
}

/// A kind of machine: its processor and the oldest C library; its text is `x86_64-manylinux_2_28` or `x86_64-musllinux_1_2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// `x86_64`, `aarch64`, …
    pub machine: String,
    /// The C library.
    pub library: Library,
}
text_form!(Platform);

/// A C library and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Library {
    /// Of most distributions; major and minor version.
    Glibc(u16, u16),
    /// Of Alpine and the like; major and minor version.
    Musl(u16, u16),
}

impl Library {
    /// Whether what needs `wanted` finds it here.
    pub const fn has(self, wanted: Self) -> bool {
        let (found, needed) = match (self, wanted) {
            (Self::Glibc(major, minor), Self::Glibc(other, least))
            | (Self::Musl(major, minor), Self::Musl(other, least)) => ((major, minor), (other, least)),
            _ => return false,
        };
        found.0 == needed.0 && found.1 >= needed.1
    }
}

impl Platform {
    /// Whether what was made for `wanted` runs here.
    pub fn runs(&self, wanted: &Self) -> bool {
        self.machine == wanted.machine && self.library.has(wanted.library)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, major, minor) = match self.library {
            Library::Glibc(major, minor) => ("manylinux", major, minor),
            Library::Musl(major, minor) => ("musllinux", major, minor),
        };
        write!(f, "{}-{family}_{major}_{minor}", self.machine)
    }
}

impl FromStr for Platform {
    type Err = RuntimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (machine, library) = text.split_once('-')?;
            let library = match library.split_once('_')? {
                ("manylinux", version) => pair(version, '_').map(|(major, minor)| Library::Glibc(major, minor)),
                ("musllinux", version) => pair(version, '_').map(|(major, minor)| Library::Musl(major, minor)),
                _ => None,
            }?;
            let plain = (1..=32).contains(&machine.len())
                && machine.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            plain.then(|| Self { machine: machine.to_owned(), library })
        };
        read().ok_or_else(|| RuntimeError::Platform(clip(text)))
    }
}

/// A text that is no version of Python, or no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// No version.
    #[error("`{0}` is no version of Python like 3.11")]
    Python(String),
    /// No range of versions.
    #[error("`{0}` names no versions of Python as PEP 440 writes them, like `>=3.10`")]
    Range(String),
    /// No platform.
    #[error("`{0}` is no platform like x86_64-manylinux_2_28 or aarch64-musllinux_1_2")]
    Platform(String),
}

/// Two numbers as their shortest decimal forms, so that one version has one text.
fn pair(text: &str, separator: char) -> Option<(u16, u16)> {
    let number = |part: &str| part.parse::<u16>().ok().filter(|number| number.to_string() == part);
    let (one, other) = text.split_once(separator)?;
    Some((number(one)?, number(other)?))
}

fn clip(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn texts_read_back_and_others_are_refused() {
        for text in ["x86_64-manylinux_2_28", "aarch64-musllinux_1_2"] {
            assert_eq!(platform(text).to_string(), text);
        }
        for text in ["x86_64", "x86_64-manylinux_2", "x86_64-manylinux_02_28", "-manylinux_2_28", "X-manylinux_2_28"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert_eq!("3.11".parse::<PythonVersion>().unwrap().to_string(), "3.11");
        for text in ["3", "2.7", "3.11.2", "3.x", "3.07"] {
            assert!(text.parse::<PythonVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_holds_the_pythons_that_it_may_and_keeps_its_text() {
        let range = |text: &str| text.parse::<PythonRange>().unwrap();
        assert_eq!(range(">= 3.10, <3.14").to_string(), ">= 3.10, <3.14");
        for (text, fits, does_not) in [
            (">=3.10,<3.14", ["3.10", "3.10.0", "3.13.9"], ["3.9", "3.9.18", "3.14"]),
            (">=3.11.4", ["3.11", "3.11.4", "3.12"], ["3.10", "3.11.3", "2.7"]),
            ("==3.11.7", ["3.11", "3.11.7", "3.11.7"], ["3.12", "3.11.8", "3.10"]),
            ("~=3.10", ["3.10", "3.12.1", "3.99"], ["3.9.9", "4.0.0", "3.9"]),
        ] {
            let range = range(text);
            assert!(fits.iter().all(|python| range.may_hold(python)), "{text}");
            assert!(!does_not.iter().any(|python| range.may_hold(python)), "{text}");
        }
        assert!(range(">=3.10").may_hold(""), "what is not known is left to who knows");
        for text in ["", "three", "3.10+", ">=3,,"] {
            assert!(text.parse::<PythonRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_architecture_has_two_names() {
        for (one, other) in [("x86_64", "amd64"), ("arm64", "aarch64"), ("riscv64", "riscv64")] {
            assert!(is_same_architecture(one, other) && is_same_architecture(other, one));
        }
        assert!(!is_same_architecture("x86_64", "aarch64"));
    }

    #[test]
    fn a_newer_library_of_the_same_kind_runs_what_was_made_for_an_older_one() {
        let here = platform("x86_64-manylinux_2_36");
        assert!(here.runs(&platform("x86_64-manylinux_2_28")));
        for other in ["x86_64-manylinux_2_38", "aarch64-manylinux_2_28", "x86_64-musllinux_1_2"] {
            assert!(!here.runs(&platform(other)), "{other}");
        }
    }
}
