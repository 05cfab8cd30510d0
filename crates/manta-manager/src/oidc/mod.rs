//! Sign-ins at an issuer of identities (OpenID Connect): the manager is the issuer's client, keeps its secret, exchanges codes
//! and judges ID tokens. What a person gets is a token of the manager's own.
mod claims;
mod fetch;
mod settings;
mod ticket;
mod verdict;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use manta_api::{ErrorCode, Problem, SignInBegun, SignInReturned, SignInView};
use manta_types::limits;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
    CoreDeviceAuthorizationResponse, CoreGrantType, CoreIdToken, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType, CoreTokenResponse,
};
use openidconnect::{
    AdditionalProviderMetadata, AuthType, AuthorizationCode, ClientId, ClientSecret, DeviceAuthorizationUrl,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce, PkceCodeChallenge, ProviderMetadata, RedirectUrl,
    Scope, TokenResponse,
};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

pub(crate) use self::claims::Person;
use self::fetch::{Fetch, is_fit};
pub use self::settings::OidcSettings;
use self::ticket::{Key, Ticket, ends_ms};
use self::verdict::{away, refused, verdict};
use crate::ManagerError;
use crate::clock::Clock;
use crate::error::chain;

/// How long what the issuer says of itself is believed; its keys are asked for again at once where they do not fit.
const KNOWN_FOR_MS: u64 = 5 * 60 * 1000;

/// What the issuer says of itself beside what OpenID Connect Discovery names (RFC 8628).
#[derive(Debug, Clone, Serialize, Deserialize)]
struct DeviceEndpoint {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_authorization_endpoint: Option<DeviceAuthorizationUrl>,
}

impl AdditionalProviderMetadata for DeviceEndpoint {}

type About = ProviderMetadata<
    DeviceEndpoint,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;
type Client =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// The issuer of identities of a running manager.
pub(crate) struct Issuer {
    pub(crate) settings: OidcSettings,
    fetch: Fetch,
    key: Key,
    known: Mutex<Option<(u64, Arc<About>)>>,
    at_once: Semaphore,
    /// Tickets that are used, until they are over anyway.
    used: Mutex<BTreeMap<String, u64>>,
}

/// How far a sign-in is.
pub(crate) enum Progress {
    /// The person is not done; so many seconds are to pass before the next question.
    Waiting(u64),
    /// The issuer says who it is.
    Known(Person),
}

impl Issuer {
    /// Nothing is sent before somebody signs in.
    pub(crate) fn new(settings: OidcSettings) -> Result<Self, ManagerError> {
        settings.check().map_err(|(_, sentence)| ManagerError::Internal(sentence))?;
        Ok(Self {
            fetch: Fetch::new(&settings)?,
            settings,
            key: Key::new()?,
            known: Mutex::default(),
            at_once: Semaphore::new(limits::SIGN_INS_AT_ONCE_MAX),
            used: Mutex::default(),
        })
    }

    /// Asks once, as the manager starts, so that its log says where nobody can sign in.
    pub(crate) async fn ask_once(
        self: Arc<Self>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<(), ManagerError> {
        let asked = stop.run_until_cancelled(self.view(clock.now().wall_ms)).await;
        if let Some(SignInView { issuer, problem: Some(problem), .. }) = asked {
            tracing::warn!(issuer, problem, "nobody can sign in; all else is served");
        }
        Ok(())
    }

    /// How people sign in, and whether they can now.
    pub(crate) async fn view(&self, now_ms: u64) -> SignInView {
        let problem = self.about(now_ms, KNOWN_FOR_MS).await.err().map(|problem| problem.message);
        let OidcSettings { issuer, redirect, device, .. } = &self.settings;
        SignInView { issuer: issuer.clone(), redirect: redirect.clone(), device: *device, problem }
    }

    /// Begins a sign-in in a browser that is sent back there.
    ///
    /// # Errors
    /// When browsers are not sent there, or the issuer does not answer.
    pub(crate) async fn begin(&self, redirect: &str, now_ms: u64) -> Result<SignInBegun, Problem> {
        let redirect = self.redirect(redirect)?;
        let about = self.about(now_ms, KNOWN_FOR_MS).await?;
        let Ticket { text, state, nonce, verifier } = self.key.make(&redirect, now_ms)?;
        let client = self.client(&about).set_redirect_uri(redirect);
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let fixed = state.clone();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let (url, _, _) = client
            .authorize_url(flow, move || fixed, move || nonce)
            .add_scopes(self.scopes())
            .set_pkce_challenge(challenge)
            .url();
        Ok(SignInBegun {
            ticket: text,
            url: url.to_string(),
            state: Some(state.into_secret()),
            user_code: None,
            expires_s: limits::SIGN_IN_WITHIN.as_secs(),
            wait_s: None,
        })
    }

    /// Begins a sign-in on another device (RFC 8628).
    ///
    /// # Errors
    /// When that is not allowed or not offered, or the issuer does not answer.
    pub(crate) async fn begin_on_device(&self, now_ms: u64) -> Result<SignInBegun, Problem> {
        self.allow_device()?;
        let about = self.about(now_ms, KNOWN_FOR_MS).await?;
        let Some(url) = about.additional_metadata().device_authorization_endpoint.clone() else {
            let sentence = format!("the issuer `{}` offers no sign-in on another device", self.settings.issuer);
            return Err(Problem::new(ErrorCode::NotFound, sentence).hint("leave `--device` away"));
        };
        let client = self.client(&about).set_device_authorization_url(url);
        let asked = client.exchange_device_code().add_scopes(self.scopes()).request_async(&self.fetch);
        let told: CoreDeviceAuthorizationResponse = {
            let _permit = self.at_once.acquire().await;
            asked.await.map_err(|error| verdict::token(&self.settings.issuer, error))?
        };
        let complete = told.verification_uri_complete().map(|url| url.secret().clone());
        let url = complete.unwrap_or_else(|| told.verification_uri().to_string());
        // The page is opened and printed at the client, which believes the manager.
        if !url.parse::<Url>().is_ok_and(|url| is_fit(&url)) {
            return Err(refused("the issuer names a page for another device that is neither https nor loopback"));
        }
        Ok(SignInBegun {
            ticket: told.device_code().secret().clone(),
            url,
            state: None,
            user_code: Some(told.user_code().secret().clone()),
            expires_s: told.expires_in().as_secs().min(limits::SIGN_IN_WITHIN.as_secs()),
            wait_s: Some(told.interval().as_secs().max(1)),
        })
    }

    /// Ends a sign-in with what the browser brought back.
    ///
    /// # Errors
    /// When it does not belong to the ticket, or to a person whom the issuer vouches for.
    pub(crate) async fn end(&self, ticket: &str, back: SignInReturned, now_ms: u64) -> Result<Person, Problem> {
        let redirect = self.redirect(&back.redirect)?;
        let known = self.key.of(ticket.to_owned(), &redirect);
        let ends_ms = ends_ms(ticket).unwrap_or(0);
        if !bool::from(known.state.secret().as_bytes().ct_eq(back.state.as_bytes())) {
            let sentence = "the state that the browser brought back does not belong to this sign-in";
            return Err(refused(sentence));
        }
        if ends_ms <= now_ms {
            let minutes = limits::SIGN_IN_WITHIN.as_secs() / 60;
            return Err(refused(&format!("the sign-in took longer than {minutes} minutes (sign_in_within)")));
        }
        let held = Held::take(&self.used, ticket, ends_ms, now_ms)?;
        let _permit = self.at_once.acquire().await;
        let about = self.about(now_ms, KNOWN_FOR_MS).await?;
        let client = self.client(&about).set_redirect_uri(redirect);
        let exchange = client
            .exchange_code(AuthorizationCode::new(back.code))
            .map_err(|error| away(&self.settings.issuer, &error.to_string()))?
            .set_pkce_verifier(known.verifier);
        let told = exchange.request_async(&self.fetch).await;
        let told = told.map_err(|error| verdict::token(&self.settings.issuer, error))?;
        let person = self.judge(&about, &told, Some(&known.nonce), now_ms).await?;
        held.keep();
        Ok(person)
    }

    /// Asks once whether the person is done on the other device.
    ///
    /// # Errors
    /// When they said no, took too long, or are nobody whom the issuer vouches for.
    pub(crate) async fn end_on_device(&self, ticket: &str, now_ms: u64) -> Result<Progress, Problem> {
        self.allow_device()?;
        let about = self.about(now_ms, KNOWN_FOR_MS).await?;
        let client = self.client(&about);
        // All that the question needs of what the issuer told is its code.
        let told = serde_json::json!({
            "device_code": ticket, "user_code": "", "verification_uri": self.settings.issuer,
            "expires_in": limits::SIGN_IN_WITHIN.as_secs(),
        });
        let told: CoreDeviceAuthorizationResponse =
            serde_json::from_value(told).map_err(|error| refused(&format!("the ticket cannot be used: {error}")))?;
        let question = client
            .exchange_device_access_token(&told)
            .map_err(|error| away(&self.settings.issuer, &error.to_string()))?;
        // It would ask again and again; the client does that, so that nobody holds a request of the manager's.
        let (waits, mut waiting) = mpsc::unbounded_channel();
        let sleep = move |wait: Duration| {
            // Nobody listens once the answer is there.
            let _ = waits.send(wait);
            std::future::pending::<()>()
        };
        let _permit = self.at_once.acquire().await;
        let answer = tokio::select! {
            answer = question.request_async(&self.fetch, sleep, None) => answer,
            Some(wait) = waiting.recv() => return Ok(Progress::Waiting(wait.as_secs())),
        };
        let told = answer.map_err(|error| verdict::token(&self.settings.issuer, error))?;
        Ok(Progress::Known(self.judge(&about, &told, None, now_ms).await?))
    }

    /// Whether the issuer's token says who it is, and may be believed. Without a nonce it came for a device code, over the
    /// manager's own connection, and belongs to no browser.
    async fn judge(
        &self,
        about: &About,
        told: &CoreTokenResponse,
        nonce: Option<&Nonce>,
        now_ms: u64,
    ) -> Result<Person, Problem> {
        let token = told.id_token().ok_or_else(|| refused("the issuer's answer has no ID token"))?;
        let first = verdict(&self.client(about), token, nonce, now_ms);
        let subject = match first {
            // Its keys may be others by now.
            Err(doubt) if doubt.is_of_keys => {
                let about = self.about(now_ms, 0).await?;
                verdict(&self.client(&about), token, nonce, now_ms)
            }
            told => told,
        };
        let subject = subject.map_err(|doubt| refused(&doubt.sentence))?;
        claims::person(&CoreIdToken::to_string(token), &subject, &self.settings).map_err(|sentence| refused(&sentence))
    }

    /// What the issuer says of itself, at most so old.
    async fn about(&self, now_ms: u64, age_ms: u64) -> Result<Arc<About>, Problem> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, about)) = known.filter(|(at_ms, _)| now_ms.saturating_sub(*at_ms) < age_ms) {
            return Ok(about);
        }
        let address = IssuerUrl::new(self.settings.issuer.clone());
        let address = address.map_err(|error| away(&self.settings.issuer, &error.to_string()))?;
        let asked = About::discover_async(address, &self.fetch).await;
        let about = Arc::new(asked.map_err(|error| away(&self.settings.issuer, &chain(&error)))?);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((now_ms, Arc::clone(&about)));
        Ok(about)
    }

    fn client(&self, about: &About) -> Client {
        let OidcSettings { client_id, client_secret, .. } = &self.settings;
        let secret = client_secret.clone().map(ClientSecret::new);
        let client = CoreClient::from_provider_metadata(about.clone(), ClientId::new(client_id.clone()), secret);
        let ways = about.token_endpoint_auth_methods_supported();
        let only_in_body = ways.is_some_and(|ways| {
            let takes = |way| ways.contains(&way);
            takes(CoreClientAuthMethod::ClientSecretPost) && !takes(CoreClientAuthMethod::ClientSecretBasic)
        });
        client.set_auth_type(if only_in_body { AuthType::RequestBody } else { AuthType::BasicAuth })
    }

    fn scopes(&self) -> Vec<Scope> {
        self.settings.scopes.iter().cloned().map(Scope::new).collect()
    }

    /// An address to which browsers are sent back.
    fn redirect(&self, asked: &str) -> Result<RedirectUrl, Problem> {
        let allowed = &self.settings.redirect;
        let parts = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.path().to_owned());
        let (given, known) = (asked.parse::<Url>().ok(), allowed.parse::<Url>().ok());
        let fits = given.zip(known).is_some_and(|(given, known)| {
            let is_bare = given.query().is_none() && given.fragment().is_none() && given.username().is_empty();
            is_bare && parts(&given) == parts(&known) && known.port().is_none_or(|port| given.port() == Some(port))
        });
        if fits && let Ok(url) = RedirectUrl::new(asked.to_owned()) {
            return Ok(url);
        }
        let shown = manta_types::name::printable(asked, 120);
        let sentence = format!("browsers are sent back to `{allowed}`, and not to `{shown}`");
        Err(Problem::new(ErrorCode::BadRequest, sentence))
    }

    fn allow_device(&self) -> Result<(), Problem> {
        if self.settings.device {
            return Ok(());
        }
        let sentence = "this manager lets nobody sign in on another device";
        let hint = "leave `--device` away, or have `device = true` written in the manager's [oidc]";
        Err(Problem::new(ErrorCode::Forbidden, sentence).hint(hint))
    }
}

/// A ticket that nobody else uses meanwhile, nor afterwards where that is kept.
struct Held<'a> {
    used: &'a Mutex<BTreeMap<String, u64>>,
    ticket: Option<String>,
}

impl<'a> Held<'a> {
    fn take(used: &'a Mutex<BTreeMap<String, u64>>, ticket: &str, ends_ms: u64, now_ms: u64) -> Result<Self, Problem> {
        let mut all = used.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, ends_ms| *ends_ms > now_ms);
        match all.insert(ticket.to_owned(), ends_ms) {
            None => Ok(Self { used, ticket: Some(ticket.to_owned()) }),
            Some(_) => Err(refused("this sign-in is over already: a code counts once")),
        }
    }

    fn keep(mut self) {
        self.ticket = None;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
        }
    }
}
