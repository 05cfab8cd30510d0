//! Users and tokens: who may do what in a cluster, and the secrets that prove it.
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use manta_api::version::PRODUCT;
use manta_api::{
    ErrorCode, NewTokenView, Problem, QuotaRequest, RoleRequest, TokenRequest, TokenView, UserRequest, WhoView,
};
use serde::Serialize;

use super::audit::made;
use super::call::{Answer, Call, json, parse};
use crate::app::App;
use crate::bearer::{Identity, User};
use crate::clusters::no_cluster;
use crate::keys::Idempotency;
use crate::people::{Asker, Changed, Decided, Fresh, Known, make};
use crate::quotas;

pub(super) async fn whoami(app: App, call: Call) -> Answer {
    let User { name, role, cluster: _, token, expires_ms } = user_of(&call)?;
    let (cluster, manager_version) = (app.cluster.as_str().to_owned(), PRODUCT.to_owned());
    json(StatusCode::OK, &WhoView { name, role, cluster, token, expires_ms, manager_version })
}

pub(super) async fn users(app: App, call: Call) -> Answer {
    let user = user_of(&call)?;
    json(StatusCode::OK, &app.people.ask(|known| known.users(asker(&app, &user))))
}

pub(super) async fn add_user(app: App, mut call: Call) -> Answer {
    let body = call.bytes().await?;
    let (user, idempotency) = (user_of(&call)?, call.idempotency([b"add user ", &body[..]].concat())?);
    let request: UserRequest = parse("request's body", &body)?;
    let asker = asker(&app, &user);
    let answer = change(&app, asker, idempotency, |known| known.add_user(asker, &request)).await?;
    Ok(made(answer, request.name))
}

pub(super) async fn set_role(app: App, mut call: Call) -> Answer {
    let (name, body) = (call.param("name").to_owned(), call.bytes().await?);
    let words = [b"set role ", name.as_bytes(), b" ", &body[..]].concat();
    let (user, idempotency) = (user_of(&call)?, call.idempotency(words)?);
    let request: RoleRequest = parse("request's body", &body)?;
    let asker = asker(&app, &user);
    let answer = change(&app, asker, idempotency, |known| known.set_role(asker, &name, &request)).await?;
    Ok(made(answer, request.role.name()))
}

pub(super) async fn remove_user(app: App, call: Call) -> Answer {
    let name = call.param("name").to_owned();
    let (user, idempotency) = (user_of(&call)?, call.idempotency(format!("remove user {name}"))?);
    let asker = asker(&app, &user);
    change(&app, asker, idempotency, |known| known.remove_user(asker, &name)).await
}

pub(super) async fn tokens(app: App, call: Call) -> Answer {
    let user = user_of(&call)?;
    json(StatusCode::OK, &app.people.ask(|known| known.tokens(asker(&app, &user))))
}

pub(super) async fn add_token(app: App, mut call: Call) -> Answer {
    let body = call.bytes().await?;
    let (user, idempotency) = (user_of(&call)?, call.idempotency([b"add token ", &body[..]].concat())?);
    let request: TokenRequest = parse("request's body", &body)?;
    let asker = asker(&app, &user);
    secret(&app, asker, idempotency, |known, fresh| known.add_token(asker, &request, fresh)).await
}

pub(super) async fn revoke(app: App, call: Call) -> Answer {
    let id = call.param("id").to_owned();
    let (user, idempotency) = (user_of(&call)?, call.idempotency(format!("revoke token {id}"))?);
    let asker = asker(&app, &user);
    change(&app, asker, idempotency, |known| known.revoke(asker, &id)).await
}

pub(super) async fn rotate(app: App, call: Call) -> Answer {
    let id = call.param("id").to_owned();
    let (user, idempotency) = (user_of(&call)?, call.idempotency(format!("rotate token {id}"))?);
    let asker = asker(&app, &user);
    secret(&app, asker, idempotency, |known, fresh| known.rotate(asker, &id, fresh)).await
}

pub(super) async fn quotas(app: App, _call: Call) -> Answer {
    json(StatusCode::OK, &quotas::view(&app).await?)
}

pub(super) async fn set_quota(app: App, mut call: Call) -> Answer {
    let body = call.bytes().await?;
    let (user, idempotency) = (user_of(&call)?, call.idempotency([b"set quota ", &body[..]].concat())?);
    let request: QuotaRequest = parse("request's body", &body)?;
    let asker = asker(&app, &user);
    change(&app, asker, idempotency, |_| Known::set_quota(asker, &request)).await?;
    let limit = request.limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    Ok(made(json(StatusCode::OK, &quotas::view(&app).await?)?, format!("{} {limit}", request.name)))
}

/// Makes a change, and shows what became of it.
async fn change<T: Serialize>(
    app: &App,
    asker: Asker<'_>,
    idempotency: Option<Idempotency>,
    decide: impl FnOnce(&Known) -> Decided<T>,
) -> Answer {
    match app.people.change(asker, idempotency, |known| still_there(app).and_then(|()| decide(known))).await? {
        Changed::Now(view) => json(StatusCode::OK, &view),
        Changed::Before(answer) => {
            let mut response = Response::new(Body::from(answer));
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            Ok(response)
        }
    }
}

/// Makes a token, and shows it this once.
async fn secret(
    app: &App,
    asker: Asker<'_>,
    idempotency: Option<Idempotency>,
    decide: impl FnOnce(&Known, &Fresh) -> Decided<TokenView>,
) -> Answer {
    let fresh = make()?;
    let decided = |known: &Known| still_there(app).and_then(|()| decide(known, &fresh));
    match app.people.change(asker, idempotency, decided).await? {
        Changed::Now(token) => {
            let object = format!("{} of {} as {}", token.id, token.user, token.role);
            let mut response = json(StatusCode::CREATED, &NewTokenView { token, secret: fresh.text })?;
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(made(response, object))
        }
        Changed::Before(_) => {
            let sentence = "a token was made under this idempotency key already, and it was shown then";
            Err(Problem::new(ErrorCode::Conflict, sentence)
                .hint("`manta token ls` lists it; revoke it, and make another under a new key"))
        }
    }
}

/// Refuses a change that was under way when its cluster went: nobody is left in a cluster that is gone.
fn still_there(app: &App) -> Result<(), Problem> {
    if app.stop.is_cancelled() { Err(no_cluster(app.cluster.as_str())) } else { Ok(()) }
}

fn asker<'a>(app: &'a App, user: &'a User) -> Asker<'a> {
    Asker { user, cluster: &app.cluster, now_ms: app.clock.now().wall_ms }
}

fn user_of(call: &Call) -> Result<User, Problem> {
    match &call.identity {
        Identity::User(user) => Ok(user.clone()),
        other => Err(Problem::new(ErrorCode::Forbidden, format!("{other} is no user"))),
    }
}
