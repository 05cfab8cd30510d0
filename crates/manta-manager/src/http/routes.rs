//! The one table of routes. The router, the guard and the OpenAPI document are all made from it, so that a route without
//! a row of who may use it cannot exist.
use std::collections::BTreeMap;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};
use http::Method;
use manta_api::node::node_gateway_server::NodeGatewayServer;
use manta_api::{ErrorCode, Problem};
use manta_types::Role;
use manta_types::limits::NODE_MESSAGE_BYTES_MAX;

use super::access::Access;
use super::auth::guard;
use super::call::{Answering, Call, handle};
use super::problem::respond;
use super::{
    attempts, audit, blobs, clusters, events, health, join, logs, modules, nodes, people, plan, replays, rollouts,
    sign_in, swarms, why,
};
use crate::app::App;
use crate::clusters::Clusters;
use crate::gateway::Gateway;

/// What answers a route.
#[derive(Clone, Copy)]
pub(super) enum Serves {
    /// One call, one answer.
    Call(fn(App, Call) -> Answering),
    /// The node gateway.
    Gateway,
}

/// What a body holds, for the OpenAPI document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Nothing,
    /// JSON of the named schema.
    Json(&'static str),
    /// A JSON array of the named schema.
    List(&'static str),
    /// The same, or a stream of server-sent events.
    Events(&'static str),
    Bytes,
    /// The text form of OpenMetrics.
    Metrics,
}

/// A row of the table.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) serves: Serves,
    pub(super) summary: &'static str,
    pub(super) takes: Content,
    pub(super) gives: Content,
    pub(super) query: &'static [&'static str],
    /// Whether it is done once under an idempotency key.
    pub(super) is_change: bool,
}

impl Route {
    /// Whether the audit log has it: what changes something, and what lets a node or a person in.
    pub(super) fn is_noted(&self) -> bool {
        self.is_change
            || matches!(
                self.path,
                "/v1/join" | "/v1/clusters/{cluster}/join-tokens" | "/v1/clusters/{cluster}/sign-in/end"
            )
    }
}

const VIEWER: Access = Access::Users(Role::Viewer);
const DEVELOPER: Access = Access::Users(Role::Developer);
const OPERATOR: Access = Access::Users(Role::Operator);
const ADMIN: Access = Access::Users(Role::Admin);
const ADMINISTRATOR: Access = Access::Administrator;
const NODE: Access = Access::Nodes;

macro_rules! route {
    (change $method:ident $($row:tt)*) => { route!(@ true, $method $($row)*) };
    (@ $is_change:literal, $method:ident $path:literal $access:expr, $handler:path, $summary:literal, $takes:expr => $gives:expr $(, [$($query:literal),+])?) => {
        Route {
            method: Method::$method,
            path: $path,
            access: $access,
            serves: Serves::Call(|app, call| Box::pin($handler(app, call))),
            summary: $summary,
            takes: $takes,
            gives: $gives,
            query: &[$($($query),+)?],
            is_change: $is_change,
        }
    };
    ($method:ident $($row:tt)*) => { route!(@ false, $method $($row)*) };
}

/// Every route.
pub(super) static ROUTES: &[Route] = {
    use Content::{Bytes, Events, Json, List, Metrics, Nothing};
    &[
        route!(GET "/healthz" Access::Open, health::live, "Whether the manager serves", Nothing => Nothing),
        route!(GET "/readyz" Access::Open, health::ready, "Whether the manager can take work: 200, or 503 with what stands in the way",
            Nothing => Json("ReadyView")),
        route!(GET "/metrics" VIEWER, health::metrics, "What the manager counts, in the form that Prometheus reads",
            Nothing => Metrics),
        route!(POST "/v1/join" Access::Open, join::join, "Let a node in for a token, which is used by that",
            Json("JoinRequest") => Json("CertificateView")),
        route!(POST "/v1/renew" Access::Nodes, join::renew, "Renew the certificate of the node that shows it",
            Json("RenewRequest") => Json("CertificateView")),
        route!(GET "/v1/clusters" ADMINISTRATOR, clusters::list, "All clusters of the manager", Nothing => List("ClusterView")),
        route!(change POST "/v1/clusters" ADMINISTRATOR, clusters::add, "Add a cluster",
            Json("ClusterRequest") => Json("ClusterView")),
        route!(change POST "/v1/clusters/{cluster}/remove" ADMINISTRATOR, clusters::remove,
            "Remove a cluster that is not in use, with all that is stored of it", Nothing => Json("ClusterRemovedView"), ["damaged"]),
        route!(POST "/v1/clusters/{cluster}/join-tokens" Access::Users(Role::Operator), join::make_token,
            "Make a token that lets one node join; each call makes another", Json("JoinTokenRequest") => Json("JoinTokenView")),
        route!(POST "/v1/clusters/{cluster}/blobs/missing" Access::UsersAndNodes(Role::Developer), blobs::missing, "Which blobs are not stored",
            Json("Digests") => Json("Missing")),
        route!(PUT "/v1/clusters/{cluster}/blobs/{digest}" Access::UsersAndNodes(Role::Developer), blobs::put, "Store a blob", Bytes => Nothing),
        route!(GET "/v1/clusters/{cluster}/blobs/{digest}" Access::UsersAndNodes(Role::Viewer), blobs::get, "Read a blob, or one range of it", Nothing => Bytes),
        route!(GET "/v1/clusters/{cluster}/blobs/{digest}/received" Access::UsersAndNodes(Role::Developer), blobs::received,
            "How much is kept of an upload that broke off: its rest is put with a `Content-Range`", Nothing => Json("Received")),
        route!(HEAD "/v1/clusters/{cluster}/blobs/{digest}" Access::UsersAndNodes(Role::Viewer), blobs::head, "Whether a blob is stored, and its size",
            Nothing => Nothing),
        route!(change POST "/v1/clusters/{cluster}/swarms" DEVELOPER, swarms::submit, "Deploy a swarm",
            Json("SwarmSubmission") => Json("SwarmView")),
        route!(POST "/v1/clusters/{cluster}/swarms/plan" VIEWER, plan::plan, "What a swarm would do, before anything runs",
            Json("PlanRequest") => Json("PlanView")),
        route!(GET "/v1/clusters/{cluster}/swarms" VIEWER, swarms::list, "All swarms, oldest first", Nothing => List("SwarmView")),
        route!(GET "/v1/clusters/{cluster}/swarms/{id}" VIEWER, swarms::show, "One swarm, as it is or as it was at an event", Nothing => Json("SwarmView"),
            ["at"]),
        route!(change POST "/v1/clusters/{cluster}/swarms/{id}/stop" DEVELOPER, swarms::stop, "End a swarm", Nothing => Json("SwarmView")),
        route!(change POST "/v1/clusters/{cluster}/swarms/{id}/retry" DEVELOPER, swarms::retry, "Let a new swarm go on where one that failed stopped",
            Nothing => Json("SwarmView")),
        route!(change POST "/v1/clusters/{cluster}/swarms/{id}/pause" DEVELOPER, swarms::pause, "Hold a swarm: what runs may end, nothing starts",
            Nothing => Json("SwarmView")),
        route!(change POST "/v1/clusters/{cluster}/swarms/{id}/resume" DEVELOPER, swarms::resume, "Let a paused swarm go on",
            Nothing => Json("SwarmView")),
        route!(GET "/v1/clusters/{cluster}/swarms/{id}/why" VIEWER, why::swarm, "Why a swarm or one of its tasks is as it is",
            Nothing => Json("WhyView"), ["task", "iteration"]),
        route!(GET "/v1/clusters/{cluster}/attempts/{id}/why" VIEWER, why::attempt, "Why an attempt is as it is",
            Nothing => Json("WhyView")),
        route!(GET "/v1/clusters/{cluster}/swarms/{id}/events" VIEWER, events::read, "A swarm's history", Nothing => Events("EventView"),
            ["after", "follow"]),
        route!(GET "/v1/clusters/{cluster}/swarms/{id}/logs" VIEWER, logs::read, "A swarm's log", Nothing => Events("LogLine"),
            ["after", "follow", "task", "node", "iteration", "level", "attempt", "source"]),
        route!(GET "/v1/clusters/{cluster}/swarms/{id}/results" VIEWER, swarms::results, "What attempts published",
            Nothing => List("ResultView")),
        route!(GET "/v1/clusters/{cluster}/swarms/{id}/globals" VIEWER, swarms::globals, "A swarm's globals as they are now",
            Nothing => List("GlobalView")),
        route!(change POST "/v1/clusters/{cluster}/swarms/{id}/rollouts" DEVELOPER, rollouts::start,
            "Roll out another version of a task's module", Json("RolloutRequest") => Json("RolloutView")),
        route!(GET "/v1/clusters/{cluster}/swarms/{id}/rollouts" VIEWER, rollouts::list, "A swarm's rollouts, oldest first",
            Nothing => List("RolloutView")),
        route!(change POST "/v1/clusters/{cluster}/swarms/{id}/rollouts/{task}/hold" DEVELOPER, rollouts::hold, "Let a task's rollout stay at its step",
            Nothing => Json("RolloutView")),
        route!(change POST "/v1/clusters/{cluster}/swarms/{id}/rollouts/{task}/resume" DEVELOPER, rollouts::resume, "Let a held rollout go on as its gates say",
            Nothing => Json("RolloutView")),
        route!(change POST "/v1/clusters/{cluster}/swarms/{id}/rollouts/{task}/promote" DEVELOPER, rollouts::promote,
            "Let a rollout take its next step, or its last, whatever its gates say", Nothing => Json("RolloutView"), ["full"]),
        route!(change POST "/v1/clusters/{cluster}/swarms/{id}/rollouts/{task}/revert" DEVELOPER, rollouts::revert, "Take a rollout back",
            Nothing => Json("RolloutView")),
        route!(change POST "/v1/clusters/{cluster}/swarms/{id}/rollback" DEVELOPER, rollouts::back,
            "Run the version again that a task ran before its last rollout that completed",
            Json("RollbackRequest") => Json("RolloutView")),
        route!(GET "/v1/clusters/{cluster}/rollouts" VIEWER, rollouts::list_all, "All rollouts of all swarms",
            Nothing => List("RolloutView")),
        route!(change POST "/v1/clusters/{cluster}/modules" DEVELOPER, modules::publish,
            "Publish a version of a module, for ever; its bundle is stored", Json("PublishRequest") => Json("ModuleVersionView")),
        route!(GET "/v1/clusters/{cluster}/modules" VIEWER, modules::list, "All modules, or those that a text is in, by name",
            Nothing => List("ModuleView"), ["after", "limit", "search"]),
        route!(GET "/v1/clusters/{cluster}/modules/{name}" VIEWER, modules::show, "All versions of a module, the newest first",
            Nothing => List("ModuleVersionView")),
        route!(GET "/v1/clusters/{cluster}/modules/{name}/chosen" VIEWER, modules::choose,
            "The version of a module that a version, a range or a tag means; without one, the newest",
            Nothing => Json("ModuleVersionView"), ["version"]),
        route!(GET "/v1/clusters/{cluster}/modules/{name}/users" VIEWER, modules::users, "The swarms that pin a version of a module",
            Nothing => List("ModuleUseView")),
        route!(change POST "/v1/clusters/{cluster}/modules/{name}/marks" DEVELOPER, modules::mark,
            "Say something of a version from now on: yanked, deprecated, a tag, a signature",
            Json("MarkRequest") => Json("ModuleVersionView")),
        route!(GET "/v1/clusters/{cluster}/signatures/{bundle}" NODE, modules::signatures, "The signatures of a bundle",
            Nothing => Json("BundleSignatures")),
        route!(GET "/v1/clusters/{cluster}/nodes" VIEWER, nodes::list, "All nodes, by name", Nothing => List("NodeView")),
        route!(GET "/v1/clusters/{cluster}/nodes/{name}" VIEWER, nodes::show, "One node, and all that is known of it",
            Nothing => Json("NodeDetailView")),
        route!(change POST "/v1/clusters/{cluster}/nodes/{name}/labels" OPERATOR, nodes::label,
            "Give a node labels and take others from it; those that it gives itself stay", Json("LabelRequest") => Json("NodeView")),
        route!(change POST "/v1/clusters/{cluster}/nodes/{name}/remove" OPERATOR, nodes::remove,
            "Let go of a node that is gone or revoked", Nothing => Json("NodeRemovedView")),
        route!(change POST "/v1/clusters/{cluster}/nodes/{name}/drain" OPERATOR, nodes::drain, "Take a node out of use: what runs may end, nothing new comes",
            Nothing => Json("NodeView"), ["deadline_ms"]),
        route!(change POST "/v1/clusters/{cluster}/nodes/{name}/resume" OPERATOR, nodes::resume, "Take a node into use again",
            Nothing => Json("NodeView")),
        route!(change POST "/v1/clusters/{cluster}/nodes/{name}/revoke" OPERATOR, nodes::revoke,
            "Take a node's identity away, for good: what runs there counts no more", Nothing => Json("NodeView")),
        route!(GET "/v1/clusters/{cluster}/attempts/{id}" VIEWER, attempts::show, "One attempt, however long it is over",
            Nothing => Json("AttemptView")),
        route!(change POST "/v1/clusters/{cluster}/attempts/{id}/replay" DEVELOPER, replays::order,
            "Run a past attempt again on its node; nothing of it counts", Nothing => Json("ReplayView")),
        route!(GET "/v1/clusters/{cluster}/replays/{id}" VIEWER, replays::show, "One replay", Nothing => Json("ReplayView")),
        route!(change POST "/v1/clusters/{cluster}/replays/{id}/stop" DEVELOPER, replays::stop, "End a replay",
            Nothing => Json("ReplayView")),
        route!(GET "/v1/clusters/{cluster}/replays/{id}/events" VIEWER, replays::events, "What a replay told",
            Nothing => Events("ReplayEvent"), ["after", "follow"]),
        route!(GET "/v1/clusters/{cluster}/replays/{id}/inputs" NODE, replays::inputs,
            "What a replayed attempt could read", Nothing => Json("AttemptInputs")),
        route!(GET "/v1/clusters/{cluster}/attempts/{id}/inputs" NODE, attempts::inputs, "What an attempt may read",
            Nothing => Json("AttemptInputs")),
        route!(GET "/v1/clusters/{cluster}/whoami" VIEWER, people::whoami, "Whose token the request carries, and what it may do",
            Nothing => Json("WhoView")),
        route!(GET "/v1/clusters/{cluster}/sign-in" Access::Open, sign_in::show, "Where people sign in, and whether they can now",
            Nothing => Json("SignInView")),
        route!(POST "/v1/clusters/{cluster}/sign-in" Access::Open, sign_in::begin, "Begin a sign-in in a browser or on another device",
            Json("SignInRequest") => Json("SignInBegun")),
        route!(POST "/v1/clusters/{cluster}/sign-in/end" Access::Open, sign_in::end,
            "End a sign-in with a token, which is shown this once, or (202) hear how long to wait", Json("SignInAnswer") => Json("SignInOutcome")),
        route!(GET "/v1/clusters/{cluster}/users" ADMIN, people::users, "All users, by name", Nothing => List("UserView")),
        route!(change POST "/v1/clusters/{cluster}/users" ADMIN, people::add_user, "Add a user", Json("UserRequest") => Json("UserView")),
        route!(change POST "/v1/clusters/{cluster}/users/{name}/role" ADMIN, people::set_role,
            "Give a user another role, at once for all their tokens", Json("RoleRequest") => Json("UserView")),
        route!(change POST "/v1/clusters/{cluster}/users/{name}/remove" ADMIN, people::remove_user,
            "Remove a user with all their tokens", Nothing => Json("UserView")),
        route!(GET "/v1/clusters/{cluster}/tokens" VIEWER, people::tokens, "One's own tokens; for an admin, everybody's",
            Nothing => List("TokenView")),
        route!(change POST "/v1/clusters/{cluster}/tokens" VIEWER, people::add_token,
            "Make a token, which is shown this once; under a key that was used already, a conflict", Json("TokenRequest") => Json("NewTokenView")),
        route!(change POST "/v1/clusters/{cluster}/tokens/{id}/revoke" VIEWER, people::revoke, "End a token at once",
            Nothing => Json("TokenView")),
        route!(change POST "/v1/clusters/{cluster}/tokens/{id}/rotate" VIEWER, people::rotate,
            "Make a token in the place of another, which ends at once", Nothing => Json("NewTokenView")),
        route!(GET "/v1/clusters/{cluster}/quotas" VIEWER, people::quotas, "All quotas, and what is used of each",
            Nothing => List("QuotaView")),
        route!(change POST "/v1/clusters/{cluster}/quotas" ADMIN, people::set_quota, "Set a quota, or lift it",
            Json("QuotaRequest") => List("QuotaView")),
        route!(GET "/v1/clusters/{cluster}/audit" ADMIN, audit::read, "The newest records of the audit log, in order",
            Nothing => List("AuditView"), ["after", "since_ms", "user", "limit"]),
        route!(GET "/v1/clusters/{cluster}/audit/verdict" ADMIN, audit::verdict,
            "Whether every record of the audit log is what was written", Nothing => Json("AuditVerdictView"), ["seq"]),
        Route {
            method: Method::POST,
            path: "/manta.node.v1.NodeGateway/{*rest}",
            access: NODE,
            serves: Serves::Gateway,
            summary: "The node protocol (gRPC)",
            takes: Nothing,
            gives: Nothing,
            query: &[],
            is_change: false,
        },
    ]
};

/// The row of a request; nothing where the table has none.
pub(super) fn row_of(method: &Method, path: &str) -> Option<&'static Route> {
    let find = |method: &Method| ROUTES.iter().find(|row| row.path == path && row.method == *method);
    find(method).or_else(|| if method == Method::HEAD { find(&Method::GET) } else { None })
}

/// The router, made from the table, behind the guard.
pub(crate) fn router(clusters: &Clusters) -> Router {
    let mut paths: BTreeMap<&str, MethodRouter> = BTreeMap::new();
    for row in ROUTES {
        let filter = MethodFilter::try_from(row.method.clone()).expect("the table holds standard methods only");
        let methods = paths.remove(row.path).unwrap_or_else(|| MethodRouter::new().fallback(no_such_method));
        let methods = match row.serves {
            Serves::Call(call) => {
                let (clusters, query) = (clusters.clone(), row.query);
                methods.on(filter, move |request: Request| handle(clusters, call, query, request))
            }
            Serves::Gateway => {
                let gateway = NodeGatewayServer::new(Gateway);
                methods.on_service(filter, gateway.max_decoding_message_size(NODE_MESSAGE_BYTES_MAX))
            }
        };
        paths.insert(row.path, methods);
    }
    let router = paths.into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    router.fallback(no_such_route).layer(from_fn_with_state(clusters.clone(), guard))
}

async fn no_such_route(request: Request) -> Response {
    let path: String = request.uri().path().chars().take(120).collect();
    respond(&Problem::new(ErrorCode::NotFound, format!("there is no route `{path}`")))
}

async fn no_such_method(request: Request) -> Response {
    let mut problem = Problem::new(ErrorCode::BadRequest, format!("`{}` is not done here", request.method()));
    problem.status = 405;
    respond(&problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGN_IN: &str = "/v1/clusters/{cluster}/sign-in";

    #[test]
    fn only_the_checks_of_health_joining_and_signing_in_are_open() {
        let open: Vec<_> = ROUTES.iter().filter(|row| row.access == Access::Open).map(|row| row.path).collect();
        assert_eq!(open, ["/healthz", "/readyz", "/v1/join", SIGN_IN, SIGN_IN, "/v1/clusters/{cluster}/sign-in/end"]);
    }

    #[test]
    fn what_users_post_is_done_once_under_a_key_unless_it_only_asks_or_makes_a_secret() {
        let posts = ROUTES
            .iter()
            .filter(|row| row.method == Method::POST && matches!(row.access, Access::Users(_) | Access::Administrator));
        let asking: Vec<_> = posts.filter(|row| !row.is_change).map(|row| row.path).collect();
        assert_eq!(asking, ["/v1/clusters/{cluster}/join-tokens", "/v1/clusters/{cluster}/swarms/plan"]);
        assert!(ROUTES.iter().filter(|row| row.is_change).all(|row| row.method == Method::POST));
    }

    #[test]
    fn what_the_table_does_not_hold_has_no_row() {
        assert!(row_of(&Method::DELETE, "/v1/clusters/{cluster}/swarms").is_none());
        assert!(row_of(&Method::GET, "/v1/clusters/{cluster}/secrets").is_none());
        let nodes = row_of(&Method::HEAD, "/v1/clusters/{cluster}/nodes").map(|row| row.access);
        assert_eq!(nodes, Some(VIEWER));
    }

    #[test]
    fn no_change_is_open_to_those_who_only_look_on_but_of_their_own_tokens() {
        let looking = ROUTES.iter().filter(|row| row.is_change && row.access == VIEWER);
        assert!(looking.into_iter().all(|row| row.path.starts_with("/v1/clusters/{cluster}/tokens")));
    }
}
