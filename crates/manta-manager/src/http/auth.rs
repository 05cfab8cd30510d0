//! The guard before every route: the host is ours, the token is known, and the route's row in the table lets its bearer in.
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};
use manta_api::{ErrorCode, Problem};
use tonic::Status;

use super::host::check_host;
use super::problem::respond;
use super::routes::{Access, access_of};
use crate::app::App;
use crate::tokens::Role;

/// Lets a request pass, or answers it with the reason why not.
pub(super) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let access = path.and_then(|path| access_of(request.method(), &path));
    match admit(&app, &request, access) {
        Ok(role) => {
            if let Some(role) = role {
                request.extensions_mut().insert(role);
            }
            next.run(request).await
        }
        Err(problem) if is_grpc(request.headers()) => to_status(&problem).into_http(),
        Err(problem) => respond(&problem),
    }
}

fn admit(app: &App, request: &Request, access: Option<Access>) -> Result<Option<Role>, Problem> {
    check_host(&app.address, request.uri(), request.headers())?;
    if let Some(Access::Open) = access {
        return Ok(None);
    }
    let role = bearer(request.headers()).and_then(|token| app.tokens.role_of(token)).ok_or_else(|| {
        Problem::new(ErrorCode::Unauthorized, "the request carries no token that this manager knows").hint(
            "send `authorization: Bearer <token>`; the token is in the file `token` of the manager's data directory",
        )
    })?;
    match access {
        Some(Access::Only(roles)) if !roles.contains(&role) => {
            let kind = role.name();
            Err(Problem::new(ErrorCode::Forbidden, format!("a {kind} token may not do that")))
        }
        _ => Ok(Some(role)),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn to_status(problem: &Problem) -> Status {
    match problem.status {
        401 => Status::unauthenticated(&problem.message),
        _ => Status::permission_denied(&problem.message),
    }
}
