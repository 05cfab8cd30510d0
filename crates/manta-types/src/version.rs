//! Versions of modules, or of Manta, as somebody wants them: one, a range, or the newest.
use semver::{Version, VersionReq};

use crate::name::printable;

/// The versions of a module, or of Manta, that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionRange {
    /// The newest that is no pre-release.
    Newest,
    /// Exactly this one, pre-release or not.
    Exact(Version),
    /// One of a range, such as `>=1.1,<2` or `^1.2`.
    Range(VersionReq),
}

/// A text that is neither a version nor a range of versions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is `{text}`, which is neither a version like 1.2.0 nor a range like `>=1.1,<2` or `^1.2`: {problem}")]
pub struct RangeError {
    /// The text, escaped and cut.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

impl VersionRange {
    /// Reads `1.2.0`, `=1.2.0`, `^1.2`, `>=1.1,<2` or `*`; a version alone means exactly that one.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        if let Ok(version) = Version::parse(text) {
            return Ok(Self::Exact(version));
        }
        VersionReq::parse(text).map(Self::Range).map_err(|error| {
            let problem = error.to_string();
            RangeError { text: printable(text, 64), problem }
        })
    }

    /// Whether a version is one of these. Pre-releases are in a range only where the range names one of the same release.
    pub fn holds(&self, version: &Version) -> bool {
        match self {
            Self::Newest => version.pre.is_empty(),
            Self::Exact(wanted) => version.cmp_precedence(wanted).is_eq(),
            Self::Range(range) => range.matches(version),
        }
    }

    /// Whether a text is a version, and one of these.
    pub fn holds_text(&self, version: &str) -> bool {
        Version::parse(version).is_ok_and(|version| self.holds(&version))
    }
}

impl std::fmt::Display for VersionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Newest => f.write_str("any version"),
            Self::Exact(version) => write!(f, "{version}"),
            Self::Range(range) => write!(f, "{range}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_is_in_it_and_no_text_that_is_no_version() {
        let least = VersionRange::parse(">=1.2").unwrap();
        for (version, is_held) in [
            ("1.2.0", true),
            ("2.0.0", true),
            ("1.1.9", false),
            ("1.3.0-rc.1", false),
            ("0.0.0+ab", false),
            ("2", false),
        ] {
            assert_eq!(least.holds_text(version), is_held, "{version}");
        }
        let exact = VersionRange::parse("1.2.0").unwrap();
        assert!(exact.holds_text("1.2.0+build") && !exact.holds_text("1.2.1"));
        let error = VersionRange::parse("1.x.y").unwrap_err().to_string();
        assert!(error.contains("neither a version like 1.2.0 nor a range"), "{error}");
    }
}
