//! Tickets of sign-ins that began. Nothing is kept of them: what the issuer is told and must bring back is computed from the
//! ticket with a key of this manager's life, so that strangers who begin sign-ins fill nothing.
use manta_types::limits;
use openidconnect::{CsrfToken, Nonce, PkceCodeVerifier};

use crate::ManagerError;

/// Hex digits of chance in a ticket, and of the moment at which it is over.
const CHANCE_CHARS: usize = 32;
const MOMENT_CHARS: usize = 16;

/// The key of this manager's life.
pub(super) struct Key([u8; 32]);

/// What belongs to one ticket.
pub(super) struct Ticket {
    /// What the client holds.
    pub(super) text: String,
    /// What its browser brings back.
    pub(super) state: CsrfToken,
    /// What the issuer puts into the ID token.
    pub(super) nonce: Nonce,
    /// What proves to the issuer who asked (RFC 7636).
    pub(super) verifier: PkceCodeVerifier,
}

impl Key {
    pub(super) fn new() -> Result<Self, ManagerError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| ManagerError::Internal(format!("no random numbers: {error}")))?;
        Ok(Self(key))
    }

    /// A new ticket for a browser that is sent back there.
    pub(super) fn make(&self, redirect: &str, now_ms: u64) -> Result<Ticket, ManagerError> {
        let chance = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
        let (high, low) = chance.map_err(|error| ManagerError::Internal(format!("no random numbers: {error}")))?;
        let within_ms = u64::try_from(limits::SIGN_IN_WITHIN.as_millis()).unwrap_or(u64::MAX);
        let ends_ms = now_ms.saturating_add(within_ms);
        Ok(self.of(format!("{high:016x}{low:016x}{ends_ms:016x}"), redirect))
    }

    /// All that belongs to a ticket, whoever made it: what follows from one that was not made here fits nothing.
    pub(super) fn of(&self, text: String, redirect: &str) -> Ticket {
        let derive = |purpose: &str| {
            let mut hasher = blake3::Hasher::new_keyed(&self.0);
            for part in [purpose, &text, redirect] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
            hasher.finalize().to_hex().to_string()
        };
        let (state, nonce) = (CsrfToken::new(derive("state")), Nonce::new(derive("nonce")));
        let verifier = PkceCodeVerifier::new(derive("verifier"));
        Ticket { text, state, nonce, verifier }
    }
}

/// When a ticket is over; nothing where the text is none.
pub(super) fn ends_ms(text: &str) -> Option<u64> {
    let is_one = text.len() == CHANCE_CHARS + MOMENT_CHARS && text.is_ascii();
    is_one.then(|| u64::from_str_radix(&text[CHANCE_CHARS..], 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_ticket_follows_from_it_its_redirect_and_the_key() {
        let (key, other) = (Key::new().unwrap(), Key::new().unwrap());
        let made = key.make("http://127.0.0.1:1/", 5).unwrap();
        let again = key.of(made.text.clone(), "http://127.0.0.1:1/");
        assert_eq!(made.state.secret(), again.state.secret());
        assert_eq!(made.verifier.secret().len(), 64, "RFC 7636 takes 43 to 128");
        assert_ne!(made.state.secret(), made.nonce.secret());
        let elsewhere = key.of(made.text.clone(), "http://127.0.0.1:2/");
        let later = key.of(format!("{}f", &made.text[..47]), "http://127.0.0.1:1/");
        let of_another_life = other.of(made.text.clone(), "http://127.0.0.1:1/");
        for wrong in [elsewhere, later, of_another_life] {
            assert_ne!(wrong.state.secret(), made.state.secret());
        }
        assert_eq!(ends_ms(&made.text), Some(600_005));
        assert_eq!([ends_ms(""), ends_ms(&made.text[1..]), ends_ms(&"ä".repeat(24))], [None; 3]);
    }
}
