//! Signing in at the issuer of identities: what is offered, the beginning and the end.
use http::{HeaderValue, StatusCode, header};
use manta_api::{ErrorCode, NewTokenView, Problem, SignInAnswer, SignInBegun, SignInOutcome, SignInRequest};
use manta_types::Role;

use super::audit::{SignedIn, made};
use super::call::{Answer, Call, json};
use super::problem::respond;
use crate::app::App;
use crate::bearer::{Identity, User};
use crate::clusters::no_cluster;
use crate::oidc::{Issuer, OidcSettings, Person, Progress};
use crate::people::{Asker, Changed, make};

pub(super) async fn show(app: App, _call: Call) -> Answer {
    let now_ms = app.clock.now().wall_ms;
    json(StatusCode::OK, &issuer(&app)?.view(now_ms).await)
}

pub(super) async fn begin(app: App, call: Call) -> Answer {
    let SignInRequest { redirect } = call.json().await?;
    let (issuer, now_ms) = (issuer(&app)?, app.clock.now().wall_ms);
    let begun: SignInBegun = match redirect {
        Some(redirect) => issuer.begin(&redirect, now_ms).await?,
        None => issuer.begin_on_device(now_ms).await?,
    };
    secret(StatusCode::CREATED, &begun)
}

/// The audit log has who came in, and as whom somebody did not.
pub(super) async fn end(app: App, call: Call) -> Answer {
    let cluster = call.param("cluster").to_owned();
    let SignInAnswer { ticket, returned } = call.json().await?;
    let (issuer, now_ms) = (issuer(&app)?, app.clock.now().wall_ms);
    let person = match returned {
        Some(returned) => issuer.end(&ticket, returned, now_ms).await?,
        None => match issuer.end_on_device(&ticket, now_ms).await? {
            Progress::Known(person) => person,
            Progress::Waiting(wait_s) => {
                return secret(StatusCode::ACCEPTED, &SignInOutcome { token: None, wait_s: Some(wait_s) });
            }
        },
    };
    let named = person.name.clone();
    if cluster != app.cluster.as_str() {
        return Ok(made(respond(&no_cluster(&cluster)), named));
    }
    Ok(let_in(&app, issuer, &person).await.unwrap_or_else(|problem| made(respond(&problem), named)))
}

async fn let_in(app: &App, issuer: &Issuer, person: &Person) -> Answer {
    let cluster = app.cluster.clone();
    let mut user =
        User { name: person.name.clone(), role: Role::Viewer, cluster: Some(cluster), token: None, expires_ms: None };
    let (fresh, signing) = (make()?, user.clone());
    let asker = Asker { user: &signing, cluster: &app.cluster, now_ms: app.clock.now().wall_ms };
    // What the issuer says of groups is for the first cluster; into any other its admins let people in, one by one.
    let role = person.role.filter(|_| app.is_first);
    let default_role = issuer.settings.default_role.filter(|_| app.is_first);
    let (person, settings) =
        (Person { role, ..person.clone() }, OidcSettings { default_role, ..issuer.settings.clone() });
    let decide = |known: &crate::people::Known| known.sign_in(asker, &person, &settings, &fresh);
    let Changed::Now(token) = app.people.change(asker, None, decide).await? else {
        return Err(super::problem::internal("a sign-in has no idempotency key, and was found under one"));
    };
    (user.role, user.token) = (token.role, Some(token.id.clone()));
    let object = format!("{} of {} as {}", token.id, token.user, token.role);
    let token = NewTokenView { token, secret: fresh.text };
    let mut response = secret(StatusCode::OK, &SignInOutcome { token: Some(token), wait_s: None })?;
    response.extensions_mut().insert(SignedIn(Identity::User(user)));
    Ok(made(response, object))
}

/// An answer that nobody in between keeps.
fn secret(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    let mut response = json(status, value)?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn issuer(app: &App) -> Result<&Issuer, Problem> {
    app.issuer.as_deref().ok_or_else(|| {
        Problem::new(ErrorCode::NotFound, "nobody signs in at this manager: it knows no issuer of identities")
            .hint("ask an admin for a token (`manta token new --user NAME`), or start it with --config and [oidc]")
    })
}
