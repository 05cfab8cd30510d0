//! Calls by which people sign in; none needs a token.
use manta_api::{SignInAnswer, SignInBegun, SignInOutcome, SignInRequest, SignInReturned, SignInView};

use crate::{Client, ClientError};

/// Each of these fails when the manager refuses, cannot be reached, or answers what this client cannot read.
impl Client {
    /// Where people sign in at the manager, and whether they can now.
    ///
    /// # Errors
    /// As for every call; not found, where they cannot at all.
    pub async fn sign_in(&self) -> Result<SignInView, ClientError> {
        self.get_json("/sign-in").await
    }

    /// Begins a sign-in in a browser that is sent back there, or, without an address, on another device.
    ///
    /// # Errors
    /// As for every call.
    pub async fn begin_sign_in(&self, redirect: Option<&str>) -> Result<SignInBegun, ClientError> {
        self.ask_json("/sign-in", &SignInRequest { redirect: redirect.map(str::to_owned) }).await
    }

    /// Ends a sign-in with what the browser brought back, or asks whether it is over on the other device.
    ///
    /// # Errors
    /// As for every call.
    pub async fn end_sign_in(
        &self,
        ticket: &str,
        returned: Option<SignInReturned>,
    ) -> Result<SignInOutcome, ClientError> {
        self.ask_json("/sign-in/end", &SignInAnswer { ticket: ticket.to_owned(), returned }).await
    }
}
