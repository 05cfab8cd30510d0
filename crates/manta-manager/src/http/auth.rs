//! The guard before every route: the host is ours, the token is known, and the route's row in the table lets its bearer in.
//! What is denied, and what becomes of every change, is in the audit log before anybody is told.
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use manta_api::{ErrorCode, Problem};
use tonic::Status;

use super::access::Access;
use super::audit::Asked;
use super::certified;
use super::host::check_host;
use super::problem::{internal, respond};
use super::routes::{Route, row_of};
use crate::app::App;
use crate::bearer::Identity;
use crate::clusters::{Clusters, no_cluster, not_yours};
use crate::people::a;
use crate::quotas::admit_call;

/// The beginning of what belongs to a cluster.
const IN_A_CLUSTER: &str = "/v1/clusters/";

/// A request that is not let in.
struct Denied {
    who: Identity,
    problem: Problem,
}

/// A request that is let in, and to which cluster; to none where the one that it names is not served.
struct Entered {
    who: Identity,
    app: Option<App>,
}

/// Lets a request pass, or answers it with the reason why not.
pub(super) async fn guard(State(clusters): State<Clusters>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let row = path.as_deref().and_then(|path| row_of(request.method(), path));
    let people = Arc::clone(&clusters.shared().people);
    let mut asked = Asked::of(&clusters, &request, row);
    let Entered { who: identity, app } = match admit(&clusters, &mut request, row, &mut asked) {
        Ok(entered) => entered,
        Err(Denied { who, problem }) => {
            let is_grpc = is_grpc(request.headers());
            let noted = people.note_denial(asked.entry(&who, &problem.code)).await;
            let problem = noted.map_or_else(Problem::from, |()| problem);
            return if is_grpc { to_status(&problem).into_http() } else { respond(&problem) };
        }
    };
    if let Err(error) = people.used(&identity, asked.time_ms).await {
        return respond(&error.into());
    }
    request.extensions_mut().insert(identity.clone());
    if let Some(app) = app {
        request.extensions_mut().insert(app);
    }
    if !row.is_some_and(Route::is_noted) {
        return next.run(request).await;
    }
    // Whoever goes away over the answer does not get out of the record.
    let answering = tokio::spawn(async move {
        let response = next.run(request).await;
        if response.status() == StatusCode::ACCEPTED {
            // Nothing has come of it yet.
            return Ok(response);
        }
        let entry = asked.entry_of(&identity, &response);
        // Strangers cannot fill the log: what they are refused is counted beyond a limit, as every denial is.
        let is_denial = identity == Identity::Nobody && !response.status().is_success();
        let noted = if is_denial { people.note_denial(entry).await } else { people.note(entry).await };
        noted.map(|()| response)
    });
    match answering.await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => respond(&error.into()),
        Err(error) => respond(&internal(error)),
    }
}

fn admit(
    clusters: &Clusters,
    request: &mut Request,
    row: Option<&Route>,
    asked: &mut Asked,
) -> Result<Entered, Denied> {
    let stranger = |problem| Denied { who: Identity::Nobody, problem };
    let shared = clusters.shared();
    check_host(&shared.address, &shared.public_names, request.uri(), request.headers()).map_err(stranger)?;
    let named = named_cluster(request).map(str::to_owned);
    if row.is_some_and(|row| row.access == Access::Open) {
        // Strangers do not learn which clusters there are: a route that minds compares the names itself.
        let app = named.as_deref().and_then(|named| clusters.get(named)).unwrap_or_else(|| clusters.first().clone());
        asked.concerns(&app.cluster);
        return Ok(Entered { who: Identity::Nobody, app: Some(app) });
    }
    if let Some((certified, app)) = certified::node(clusters, request, row.map(|row| row.path)).map_err(stranger)? {
        request.extensions_mut().insert(certified);
        asked.concerns(&app.cluster);
        return node_enters(app, named.as_deref(), row);
    }
    let token = bearer(request.headers()).unwrap_or_default();
    let who = shared.people.identify(token, asked.time_ms).map_err(stranger)?;
    let denied = |problem| Err(Denied { who: who.clone(), problem });
    let user = match &who {
        Identity::User(user) => user,
        Identity::Node if certified::peer(request).is_some_and(|peer| peer.is_remote) => {
            let sentence = "the token that all nodes share is for nodes of the manager's own machine, not for an address \
                            that others reach";
            let problem = Problem::new(ErrorCode::Forbidden, sentence);
            return denied(problem.hint("join the node with a token of `manta node token`"));
        }
        _ => return node_enters(clusters.first().clone(), named.as_deref(), row),
    };
    // Whoever looks for another cluster does not get into its log: a name there is one of its own.
    if let Some(own) = &user.cluster {
        asked.concerns(own);
    }
    // What belongs to no cluster is asked of the asker's own.
    let app = match (&user.cluster, named.as_deref()) {
        (Some(own), Some(named)) if own.as_str() != named => return denied(not_yours(named, own)),
        (Some(own), _) => clusters.get(own.as_str()),
        (None, Some(named)) if row.is_none_or(|row| row.access != Access::Administrator) => clusters.get(named),
        (None, _) => Some(clusters.first().clone()),
    };
    match row {
        Some(row) if !row.access.admits(&who) => return denied(forbidden(&who, row.access)),
        _ => {}
    }
    // Whoever has the manager's own token can lift a quota that keeps everybody else out.
    if let Some(app) = app.as_ref().filter(|_| user.cluster.is_some())
        && let Err(problem) = admit_call(app)
    {
        return denied(problem);
    }
    Ok(Entered { who, app })
}

/// Lets a node of a cluster use the routes that are for nodes: there, and where no cluster is named.
fn node_enters(app: App, named: Option<&str>, row: Option<&Route>) -> Result<Entered, Denied> {
    let who = Identity::Node;
    if let Some(named) = named.filter(|named| *named != app.cluster.as_str()) {
        return Err(Denied { who, problem: no_cluster(named) });
    }
    match row.filter(|row| !row.access.admits(&who)) {
        Some(row) => Err(Denied { problem: forbidden(&who, row.access), who }),
        None => Ok(Entered { who, app: Some(app) }),
    }
}

/// The cluster that a request's path names.
pub(super) fn named_cluster(request: &Request) -> Option<&str> {
    request.uri().path().strip_prefix(IN_A_CLUSTER)?.split('/').next()
}

fn forbidden(who: &Identity, access: Access) -> Problem {
    let sentence = match (who, access) {
        (Identity::User(user), Access::Users(least) | Access::UsersAndNodes(least)) => {
            format!("your token is {}'s here, and that takes {}", a(user.role), a(least))
        }
        (Identity::User(_), Access::Administrator) => {
            "clusters are made and removed by the manager's administrator alone, not by a cluster's admin".to_owned()
        }
        (Identity::User(_), _) => "a user token may not do that".to_owned(),
        _ => "a node may not do that".to_owned(),
    };
    let problem = Problem::new(ErrorCode::Forbidden, sentence);
    match (who, access) {
        (_, Access::Administrator) => {
            problem.hint("the administrator's token is in the file `token` of the manager's data directory")
        }
        (Identity::Node, _) => problem.hint(
            "this is what nodes show (the token in `node-token`, or a certificate), and a user's token is meant: the file \
             `token` in the manager's data directory, beside `node-token`",
        ),
        _ => problem,
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
        // It may come right, so whoever dials goes on dialling.
        500.. => Status::unavailable(&problem.message),
        _ => Status::permission_denied(&problem.message),
    }
}
