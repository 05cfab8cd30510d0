//! The guard before every route: the host is ours, the token is known, and the route's row in the table lets its bearer in.
//! What is denied, and what becomes of every change, is in the audit log before anybody is told.
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};
use manta_api::{ErrorCode, Problem};
use tonic::Status;

use super::access::Access;
use super::audit::Asked;
use super::call::no_cluster;
use super::certified;
use super::host::check_host;
use super::problem::{internal, respond};
use super::routes::{Route, row_of};
use crate::app::App;
use crate::bearer::Identity;
use crate::people::a;
use crate::quotas::admit_call;

/// The beginning of what belongs to a cluster.
const IN_A_CLUSTER: &str = "/v1/clusters/";

/// A request that is not let in.
struct Denied {
    who: Identity,
    problem: Problem,
}

/// Lets a request pass, or answers it with the reason why not.
pub(super) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let row = path.as_deref().and_then(|path| row_of(request.method(), path));
    let asked = Asked::of(&app, &request, row);
    let identity = match admit(&app, &mut request, row, asked.time_ms) {
        Ok(identity) => identity,
        Err(Denied { who, problem }) => {
            let is_grpc = is_grpc(request.headers());
            let noted = app.people.note_denial(asked.entry(&who, &problem.code)).await;
            let problem = noted.map_or_else(Problem::from, |()| problem);
            return if is_grpc { to_status(&problem).into_http() } else { respond(&problem) };
        }
    };
    if let Err(error) = app.people.used(&identity, asked.time_ms).await {
        return respond(&error.into());
    }
    request.extensions_mut().insert(identity.clone());
    if !row.is_some_and(Route::is_noted) {
        return next.run(request).await;
    }
    // Whoever goes away over the answer does not get out of the record.
    let answering = tokio::spawn(async move {
        let response = next.run(request).await;
        let entry = asked.entry_of(&identity, &response);
        // Strangers cannot fill the log: what they are refused is counted beyond a limit, as every denial is.
        let is_denial = identity == Identity::Nobody && !response.status().is_success();
        let noted = if is_denial { app.people.note_denial(entry).await } else { app.people.note(entry).await };
        noted.map(|()| response)
    });
    match answering.await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => respond(&error.into()),
        Err(error) => respond(&internal(error)),
    }
}

fn admit(app: &App, request: &mut Request, row: Option<&Route>, now_ms: u64) -> Result<Identity, Denied> {
    let stranger = |problem| Denied { who: Identity::Nobody, problem };
    check_host(&app.address, &app.public_names, request.uri(), request.headers()).map_err(stranger)?;
    if row.is_some_and(|row| row.access == Access::Open) {
        return Ok(Identity::Nobody);
    }
    if let Some(certified) = certified::node(app, request, row.map(|row| row.path)).map_err(stranger)? {
        request.extensions_mut().insert(certified);
        return match row.filter(|row| !row.access.admits(&Identity::Node)) {
            Some(row) => Err(Denied { who: Identity::Node, problem: forbidden(&Identity::Node, row.access) }),
            None => Ok(Identity::Node),
        };
    }
    let token = bearer(request.headers()).unwrap_or_default();
    let who = app.people.identify(token, now_ms).map_err(stranger)?;
    let denied = |problem| Err(Denied { who: who.clone(), problem });
    if who == Identity::Node && certified::peer(request).is_some_and(|peer| peer.is_remote) {
        let sentence = "the token that all nodes share is for nodes of the manager's own machine, not for an address that \
                        others reach";
        let problem = Problem::new(ErrorCode::Forbidden, sentence);
        return denied(problem.hint("join the node with a token of `manta node token`"));
    }
    // What belongs to no cluster belongs to the manager's own.
    let named = request.uri().path().strip_prefix(IN_A_CLUSTER).and_then(|rest| rest.split('/').next());
    let cluster = named.unwrap_or(app.cluster.as_str());
    if let Identity::User(user) = &who
        && !user.may_enter(cluster)
    {
        return denied(no_cluster(cluster));
    }
    match row {
        Some(row) if !row.access.admits(&who) => denied(forbidden(&who, row.access)),
        // Whoever has the manager's own token can lift a quota that keeps everybody else out.
        _ if matches!(&who, Identity::User(user) if user.cluster.is_some()) => match admit_call(app) {
            Ok(()) => Ok(who),
            Err(problem) => denied(problem),
        },
        _ => Ok(who),
    }
}

fn forbidden(who: &Identity, access: Access) -> Problem {
    let sentence = match (who, access) {
        (Identity::User(user), Access::Users(least) | Access::UsersAndNodes(least)) => {
            format!("your token is {}'s here, and that takes {}", a(user.role), a(least))
        }
        (Identity::User(_), _) => "a user token may not do that".to_owned(),
        _ => "a node may not do that".to_owned(),
    };
    Problem::new(ErrorCode::Forbidden, sentence)
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
