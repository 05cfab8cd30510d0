//! Names of images in a store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ImageError;

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 255;

/// What modules and people call an image: `numpy`, `team/model:3`. Lower-case letters, digits and `. _ - / :`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

impl ImageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |problem| Err(ImageError::Name { name: text.chars().take(100).collect(), problem });
        let (path, tag) = match text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
            Some((path, tag)) => (path, Some(tag)),
            None => (text, None),
        };
        if text.len() > NAME_BYTES_MAX {
            return refuse("it is longer than 255 bytes");
        }
        if path == "sha256" {
            return refuse("it would be taken for a digest");
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let inner = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-' | b':');
        let part = |part: &str| {
            part.bytes().next().is_some_and(plain) && part.bytes().last().is_some_and(plain) && part.bytes().all(inner)
        };
        if !path.split('/').all(part) {
            return refuse("it consists of lower-case letters, digits and `.`, `_`, `-`, in parts between `/`");
        }
        let tag_fits = |tag: &str| {
            !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if tag.is_some_and(|tag| !tag_fits(tag)) {
            return refuse("after `:` come letters, digits, `.`, `_` and `-`");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ImageName {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_other_tools_use() {
        for good in ["numpy", "team/model:3", "localhost:5000/a/b:V1.2", "python:3.12-slim"] {
            assert!(good.parse::<ImageName>().is_ok(), "{good}");
        }
        let digest = format!("sha256:{}", "0".repeat(64));
        for bad in ["", "Numpy", "a//b", "/a", "a:", "a b", "-a", "a\n", "é", &digest, &"a".repeat(256)] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
    }
}
