//! The text of a token: `mnt_u_<id>_<secret>`, whose end proves that it was copied whole.
use sha2::{Digest, Sha256};

use crate::ManagerError;

/// What every token of a user begins with, for whoever looks for leaked ones.
const PREFIX: &str = "mnt_u_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// Characters of the checksum behind the secret.
const CHECKSUM_CHARS: usize = 8;

/// A token that was just made.
pub(crate) struct Fresh {
    /// What names it.
    pub(crate) id: String,
    /// All of it.
    pub(crate) text: String,
    /// What is kept of it.
    pub(crate) digest: [u8; 32],
}

/// A text that was shown as a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown<'a> {
    /// Well-formed; the id in it.
    Token(&'a str),
    /// Meant to be one, and cut or changed.
    Damaged,
    /// Something else.
    Other,
}

/// A new token: 64 bits that name it and 256 that nobody guesses.
pub(crate) fn make() -> Result<Fresh, ManagerError> {
    let mut bits = [0u8; ID_BYTES + SECRET_BYTES];
    getrandom::fill(&mut bits).map_err(|error| ManagerError::Internal(format!("no random numbers: {error}")))?;
    let (id, secret) = bits.split_at(ID_BYTES);
    let id = hex(id);
    let mut text = format!("{PREFIX}{id}_{}", hex(secret));
    text.push_str(&checksum(&text));
    let digest = digest(&text);
    Ok(Fresh { id, text, digest })
}

/// What is kept of a token.
pub(super) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Reads a text as a token.
pub(super) fn read(text: &str) -> Shown<'_> {
    let Some(rest) = text.strip_prefix(PREFIX) else { return Shown::Other };
    let is_whole = text.is_ascii()
        && text.len() == PREFIX.len() + 2 * (ID_BYTES + SECRET_BYTES) + 1 + CHECKSUM_CHARS
        && text.split_at(text.len() - CHECKSUM_CHARS).1 == checksum(&text[..text.len() - CHECKSUM_CHARS]);
    match rest.split_once('_') {
        Some((id, _)) if is_whole && id.len() == 2 * ID_BYTES => Shown::Token(id),
        _ => Shown::Damaged,
    }
}

fn checksum(text: &str) -> String {
    hex(&digest(text)[..CHECKSUM_CHARS / 2])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_no_two_are_alike() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert_eq!(read(&one.text), Shown::Token(&one.id));
        assert_ne!((&one.id, &one.text), (&other.id, &other.text));
        assert_eq!(one.digest, digest(&one.text));
        assert_eq!(one.text.len(), 95);
    }

    #[test]
    fn one_wrong_character_or_a_lost_end_is_noticed() {
        let text = make().unwrap().text;
        for index in PREFIX.len()..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[index] = if wrong[index] == b'0' { b'1' } else { b'0' };
            assert_eq!(read(std::str::from_utf8(&wrong).unwrap()), Shown::Damaged, "at {index}");
            assert_eq!(read(&text[..index]), Shown::Damaged, "until {index}");
        }
        assert_eq!(read("mnt_u_ä"), Shown::Damaged);
        assert_eq!(read(&"0".repeat(64)), Shown::Other);
    }
}
