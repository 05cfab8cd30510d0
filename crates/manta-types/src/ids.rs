//! Typed 128-bit ids (UUIDv7 in store and wire, `sw_…` in Crockford base32 for people).
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED_LEN: usize = 26;

/// A text that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected} id")]
pub struct IdError {
    /// What was given.
    pub text: String,
    /// The kind of id that was expected, with its article.
    pub expected: &'static str,
}

fn encode(id: u128) -> [u8; ENCODED_LEN] {
    let mut text = [0u8; ENCODED_LEN];
    for (position, letter) in text.iter_mut().enumerate() {
        let shift = 5 * (ENCODED_LEN - 1 - position);
        *letter = ALPHABET[(id >> shift) as usize & 31];
    }
    text
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != ENCODED_LEN {
        return None;
    }
    let mut id: u128 = 0;
    for (position, letter) in text.bytes().enumerate() {
        let value = ALPHABET.iter().position(|known| *known == letter.to_ascii_lowercase())? as u128;
        if position == 0 && value > 7 {
            return None;
        }
        id = id << 5 | value;
    }
    Some(id)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The prefix that people see before the id.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps a UUID that the caller made (version 7 for new things).
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID as stored and sent.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The id as 16 bytes, most significant first.
            pub const fn bytes(self) -> [u8; 16] {
                *self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = encode(self.0.as_u128());
                f.write_str($prefix)?;
                f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        crate::text_form!($name);

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(decode)
                    .map(|id| Self(Uuid::from_u128(id)))
                    .ok_or_else(|| IdError { text: text.chars().take(64).collect(), expected: $kind })
            }
        }
    };
}

id!(/// One deployed swarm.
    SwarmId, "sw_", "a swarm");
id!(/// One node, for as long as its agent keeps its data directory.
    NodeId, "nd_", "a node");
id!(/// One try at an assignment.
    AttemptId, "at_", "an attempt");
id!(/// One replay of a past attempt.
    ReplayId, "rp_", "a replay");

/// The name of an isolated group of nodes, swarms and modules; `default` is the first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(String);

impl ClusterId {
    /// Checks and wraps a cluster's name.
    ///
    /// # Errors
    /// When the name is not 1 to 63 lower-case letters, digits and inner hyphens.
    pub fn new(name: &str) -> Result<Self, crate::NameError> {
        crate::name::check_label("cluster", name)?;
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterId {
    type Err = crate::NameError;

    fn from_str(name: &str) -> Result<Self, crate::NameError> {
        Self::new(name)
    }
}

crate::text_form!(ClusterId);

impl Default for ClusterId {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        for value in [0, 1, u128::MAX, 0x0190_1234_5678_7abc_8def_0123_4567_89ab] {
            let id = SwarmId::from_uuid(Uuid::from_u128(value));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let node = NodeId::from_uuid(Uuid::from_u128(7)).to_string();
        assert_eq!(node.parse::<SwarmId>().unwrap_err().to_string(), format!("`{node}` is not a swarm id"));
    }

    #[test]
    fn ids_sort_as_their_texts_do() {
        let (early, late) = (SwarmId::from_uuid(Uuid::from_u128(9)), SwarmId::from_uuid(Uuid::from_u128(1 << 100)));
        assert!(early < late && early.to_string() < late.to_string());
    }
}
