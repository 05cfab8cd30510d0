//! The OpenAPI document of the public API, made from the table of routes and the types of `manta-api`.
use http::Method;
use manta_api::{
    AttemptView, AuditVerdictView, AuditView, BundleSignatures, CertificateView, ClusterLostView, ClusterRemovedView,
    ClusterRequest, ClusterView, GlobalView, JoinRequest, JoinTokenRequest, JoinTokenView, LabelRequest, LogLine,
    MarkRequest, ModuleUseView, ModuleVersionView, ModuleView, NewTokenView, NodeDetailView, NodeRemovedView, NodeView,
    PlanRequest, PlanView, Problem, PublishRequest, QuotaRequest, QuotaView, ReadyView, RenewRequest, ReplayView,
    ResultView, RoleRequest, RollbackRequest, RolloutRequest, RolloutView, SignInAnswer, SignInBegun, SignInOutcome,
    SignInRequest, SignInReturned, SignInView, SwarmSubmission, SwarmView, TokenRequest, TokenView, UserRequest,
    UserView, WhoView, WhyView, version,
};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr, Required,
    ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::access::Access;
use super::call::{KEY_HEADER, TRACE_HEADER};
use super::routes::{Content, ROUTES, Route, Serves};

const BEARER: &str = "token";
/// What a key of a change means.
const KEY_RULE: &str = "\
1 to 255 characters of ASCII that the client chooses. The same request under the same key is done once: repeated, also at the \
same time or after a restart, it is answered with success and shows the swarm, node or replay as it is now (a new swarm with \
201 the first time, with 200 after that). Another request under the key (another path, query or submission) is a conflict, \
409. A request that is refused leaves its key unused. Keys go with the swarm or the replay that they concern, those of nodes, \
modules and clusters when the manager forgets swarms of that age.";
/// What a span that a submission is sent under means.
const TRACE_RULE: &str = "\
The span under which it is sent, as W3C Trace Context has it: where the submission itself names none in `traceparent`, the swarm is \
part of that trace, under that span. One that is malformed is ignored, and it is no part of what makes the same request.";

/// The OpenAPI document, as pretty JSON.
pub fn openapi() -> String {
    let mut paths = PathsBuilder::new();
    for row in ROUTES.iter().filter(|row| matches!(row.serves, Serves::Call(_))) {
        paths = paths.path(row.path, PathItem::new(method(&row.method), operation(row)));
    }
    let info = InfoBuilder::new().title("Manta").version(version::PRODUCT);
    let info = info.description(Some("The public API of a Manta manager. Errors are RFC 9457 problem details."));
    let document = OpenApiBuilder::new().info(info.build()).paths(paths.build()).components(Some(components())).build();
    let mut text = document.to_pretty_json().expect("a document of texts: always JSON");
    text.push('\n');
    text
}

fn components() -> utoipa::openapi::Components {
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let mut parts = ComponentsBuilder::new().security_scheme(BEARER, bearer);
    parts = add::<Problem>(parts);
    parts = add::<SwarmSubmission>(parts);
    parts = add::<SwarmView>(parts);
    parts = add::<NodeView>(parts);
    parts = add::<ReadyView>(parts);
    parts = add::<JoinTokenRequest>(parts);
    parts = add::<JoinTokenView>(parts);
    parts = add::<JoinRequest>(parts);
    parts = add::<RenewRequest>(parts);
    parts = add::<CertificateView>(parts);
    parts = add::<NodeDetailView>(parts);
    parts = add::<NodeRemovedView>(parts);
    parts = add::<LabelRequest>(parts);
    parts = add::<LogLine>(parts);
    parts = add::<ResultView>(parts);
    parts = add::<GlobalView>(parts);
    parts = add::<WhyView>(parts);
    parts = add::<AttemptView>(parts);
    parts = add::<ReplayView>(parts);
    parts = add::<PlanRequest>(parts);
    parts = add::<PlanView>(parts);
    parts = add::<RolloutRequest>(parts);
    parts = add::<RollbackRequest>(parts);
    parts = add::<RolloutView>(parts);
    parts = add::<PublishRequest>(parts);
    parts = add::<MarkRequest>(parts);
    parts = add::<BundleSignatures>(parts);
    parts = add::<ModuleView>(parts);
    parts = add::<ModuleVersionView>(parts);
    parts = add::<ModuleUseView>(parts);
    parts = add::<ClusterRequest>(parts);
    parts = add::<ClusterView>(parts);
    parts = add::<ClusterLostView>(parts);
    parts = add::<ClusterRemovedView>(parts);
    parts = add::<WhoView>(parts);
    parts = add::<SignInView>(parts);
    parts = add::<SignInRequest>(parts);
    parts = add::<SignInBegun>(parts);
    parts = add::<SignInReturned>(parts);
    parts = add::<SignInAnswer>(parts);
    parts = add::<SignInOutcome>(parts);
    parts = add::<UserRequest>(parts);
    parts = add::<RoleRequest>(parts);
    parts = add::<UserView>(parts);
    parts = add::<TokenRequest>(parts);
    parts = add::<TokenView>(parts);
    parts = add::<NewTokenView>(parts);
    parts = add::<QuotaView>(parts);
    parts = add::<QuotaRequest>(parts);
    parts = add::<AuditView>(parts);
    parts = add::<AuditVerdictView>(parts);
    let digests = || ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String)).build();
    parts = parts.schema("Digests", ObjectBuilder::new().property("digests", digests()).required("digests").build());
    parts = parts.schema("Missing", ObjectBuilder::new().property("missing", digests()).required("missing").build());
    let number = ObjectBuilder::new().schema_type(Type::Integer).build();
    parts = parts.schema("Received", ObjectBuilder::new().property("received", number).required("received").build());
    parts = parts.schema("EventView", event_view());
    parts = parts.schema("ReplayEvent", replay_event());
    parts.schema("AttemptInputs", ObjectBuilder::new().schema_type(Type::Object).build()).build()
}

fn add<T: ToSchema + PartialSchema>(parts: ComponentsBuilder) -> ComponentsBuilder {
    let mut used: Vec<(String, RefOr<Schema>)> = Vec::new();
    T::schemas(&mut used);
    parts.schemas_from_iter(used).schema(T::name(), T::schema())
}

fn event_view() -> Schema {
    let of = |kind| ObjectBuilder::new().schema_type(kind).build();
    let view = ObjectBuilder::new()
        .property("seq", of(Type::Integer))
        .property("time_ms", of(Type::Integer))
        .property("task_name", of(Type::String))
        .property("node_name", of(Type::String))
        .property("message", of(Type::String))
        .property("event", of(Type::Object));
    let required = ["seq", "time_ms", "message", "event"];
    required.into_iter().fold(view, ObjectBuilder::required).build().into()
}

fn replay_event() -> Schema {
    let of = |kind| ObjectBuilder::new().schema_type(kind).build();
    let event = ObjectBuilder::new().property("seq", of(Type::Integer)).property("kind", of(Type::String));
    ["seq", "kind"].into_iter().fold(event, ObjectBuilder::required).build().into()
}

fn operation(row: &Route) -> utoipa::openapi::path::Operation {
    let mut operation = OperationBuilder::new().summary(Some(row.summary));
    let named = row.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let text = || ObjectBuilder::new().schema_type(Type::String).build();
    for name in named {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
        operation = operation.parameter(parameter.schema(Some(text())));
    }
    for name in row.query {
        let parameter = ParameterBuilder::new().name(*name).parameter_in(ParameterIn::Query).required(Required::False);
        operation = operation.parameter(parameter.schema(Some(text())));
    }
    if row.is_change {
        let key = ParameterBuilder::new().name(KEY_HEADER).parameter_in(ParameterIn::Header).required(Required::False);
        operation = operation.parameter(key.description(Some(KEY_RULE)).schema(Some(text())));
    }
    if row.takes == Content::Json("SwarmSubmission") {
        let span = ParameterBuilder::new().name(TRACE_HEADER).parameter_in(ParameterIn::Header);
        let span = span.required(Required::False).description(Some(TRACE_RULE)).schema(Some(text()));
        operation = operation.parameter(span);
    }
    if row.takes != Content::Nothing {
        let body = bodies(row.takes)
            .into_iter()
            .fold(RequestBodyBuilder::new(), |body, (kind, content)| body.content(kind, content));
        operation = operation.request_body(Some(body.required(Some(Required::True)).build()));
    }
    let good = ResponseBuilder::new().description("As asked");
    let good = bodies(row.gives).into_iter().fold(good, |answer, (kind, content)| answer.content(kind, content));
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let bad =
        ResponseBuilder::new().description("A problem, with its code").content("application/problem+json", problem);
    operation = operation.response("2XX", good.build()).response("default", bad.build());
    match row.access {
        Access::Open => operation.build(),
        _ => operation.security(SecurityRequirement::new(BEARER, [""; 0])).build(),
    }
}

fn bodies(content: Content) -> Vec<(&'static str, utoipa::openapi::Content)> {
    let of = |schema: RefOr<Schema>| ContentBuilder::new().schema(Some(schema)).build();
    let named = |name| RefOr::Ref(Ref::from_schema_name(name));
    let list = |name| RefOr::T(Schema::from(ArrayBuilder::new().items(named(name)).build()));
    match content {
        Content::Nothing => Vec::new(),
        Content::Json(name) => vec![("application/json", of(named(name)))],
        Content::List(name) => vec![("application/json", of(list(name)))],
        Content::Events(name) => vec![("application/json", of(list(name))), ("text/event-stream", of(named(name)))],
        Content::Metrics => {
            let text = ObjectBuilder::new().schema_type(Type::String).build();
            vec![("application/openmetrics-text", of(RefOr::T(text.into())))]
        }
        Content::Bytes => {
            let bytes = ObjectBuilder::new().schema_type(Type::String).content_media_type("application/octet-stream");
            vec![("application/octet-stream", of(RefOr::T(bytes.build().into())))]
        }
    }
}

fn method(method: &Method) -> HttpMethod {
    match method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "HEAD" => HttpMethod::Head,
        _ => HttpMethod::Get,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_and_every_schema_that_it_names_is_in_the_document() {
        let document: serde_json::Value = serde_json::from_str(&openapi()).unwrap();
        for row in ROUTES.iter().filter(|row| matches!(row.serves, Serves::Call(_))) {
            let operation = &document["paths"][row.path][row.method.as_str().to_lowercase()];
            assert_eq!(operation["summary"], row.summary, "{} {}", row.method, row.path);
            assert_eq!(operation["security"].is_array(), row.access != Access::Open);
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let takes_span = parameters.iter().any(|parameter| parameter["name"] == TRACE_HEADER);
            assert_eq!(takes_span, row.summary == "Deploy a swarm", "{} {}", row.method, row.path);
        }
        let text = document.to_string();
        for named in text.split("#/components/schemas/").skip(1).map(|rest| &rest[..rest.find('"').unwrap()]) {
            assert!(document["components"]["schemas"][named].is_object(), "{named}");
        }
    }
}
