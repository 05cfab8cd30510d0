//! How nodes come to be: tokens for them, joining, and new certificates.
use http::StatusCode;
use manta_api::{CertificateView, ErrorCode, JoinRequest, JoinTokenRequest, NOT_BELIEVED, Problem, RenewRequest};

use super::audit::concerning;
use super::call::{Answer, Call, json};
use super::problem::{internal, respond};
use crate::app::App;
use crate::identity::{Identities, Refusal};

/// Where certificates are renewed; one that has expired counts here for a while.
pub(super) const RENEW: &str = "/v1/renew";

pub(super) async fn make_token(app: App, call: Call) -> Answer {
    let wanted: JoinTokenRequest = call.json().await?;
    let now_ms = app.clock.now().wall_ms;
    json(StatusCode::CREATED, &identities(&app)?.make_token(wanted, now_ms).await.map_err(problem)?)
}

pub(super) async fn join(_: App, call: Call) -> Answer {
    if !call.is_over_tls() {
        let sentence = "nodes join over TLS, and this connection is plain";
        return Err(Problem::new(ErrorCode::BadRequest, sentence).hint("use `https://`"));
    }
    let clusters = call.clusters.clone();
    let request: JoinRequest = call.json().await?;
    let app = clusters.of_token(&request.token).await?;
    let now_ms = app.clock.now().wall_ms;
    if let Some(other) = known_otherwise(&app, &request).await? {
        return Err(other);
    }
    let joined = answer(identities(&app)?.join(request, now_ms).await);
    Ok(concerning(joined.unwrap_or_else(|problem| respond(&problem)), &app.cluster))
}

pub(super) async fn renew(app: App, call: Call) -> Answer {
    let Some(shown) = call.certificate() else {
        let sentence = "a certificate is renewed over a connection that shows it";
        return Err(Problem::new(ErrorCode::BadRequest, sentence).hint("join with a token first"));
    };
    let request: RenewRequest = call.json().await?;
    let now_ms = app.clock.now().wall_ms;
    let (identities, node) = (identities(&app)?, shown.node.clone());
    let before = identities.members.flag_of(node.as_str());
    let outcome = identities.renew(&shown, request, now_ms).await;
    if let (None, Some(flag)) = (before, identities.members.flag_of(node.as_str())) {
        app.handle.tell(node, format!("it is {NOT_BELIEVED} from now on: {flag}")).await?;
    }
    answer(outcome)
}

/// The refusal of a name that another node has which never joined with a token.
async fn known_otherwise(app: &App, request: &JoinRequest) -> Result<Option<Problem>, Problem> {
    let (name, id) = (request.name.clone(), request.node_id.clone());
    let taken = app.handle.ask(move |view| {
        let known = view.nodes.iter().find(|(known, _)| known.as_str() == name);
        known.is_some_and(|(_, known)| known.id.to_string() != id)
    });
    let problem = || {
        let sentence = format!("the name `{}` belongs to another node", super::call::clip(&request.name));
        let hint = "join under another name, or with the data directory that has it";
        Problem::new(ErrorCode::Conflict, sentence).hint(hint)
    };
    Ok(taken.await?.then(problem))
}

fn answer(outcome: Result<CertificateView, Refusal>) -> Answer {
    json(StatusCode::OK, &outcome.map_err(problem)?)
}

fn identities(app: &App) -> Result<&Identities, Problem> {
    app.identities.as_deref().ok_or_else(|| {
        let sentence = "this manager listens on a Unix socket, where no other machine can join";
        Problem::new(ErrorCode::Conflict, sentence).hint("start it with --listen ADDRESS:PORT")
    })
}

fn problem(refusal: Refusal) -> Problem {
    let told = |code, sentence: String, hint: Option<&str>| {
        let problem = Problem::new(code, sentence);
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    };
    match refusal {
        Refusal::Bad(sentence) => told(ErrorCode::BadRequest, sentence, None),
        Refusal::Unauthorized(sentence, hint) => told(ErrorCode::Unauthorized, sentence, Some(hint)),
        Refusal::Conflict(sentence, hint) => told(ErrorCode::Conflict, sentence, Some(hint)),
        Refusal::Failed(error) => internal(error),
    }
}
