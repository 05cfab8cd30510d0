//! Attempts: what one was, for users; what it may read, for the node that holds it and for nobody else.
use http::StatusCode;
use manta_api::{ErrorCode, Problem};
use manta_types::{AttemptId, NodeName};

use super::call::{Answer, Call, clip, json};
use super::past;
use crate::app::App;
use crate::view;

/// The header in which a node says which one it is.
const NODE_HEADER: &str = "x-manta-node";

pub(super) async fn show(app: App, call: Call) -> Answer {
    let wanted = call.param("id").to_owned();
    json(StatusCode::OK, &past::find(&app, &wanted).await?.view())
}

pub(super) async fn inputs(app: App, call: Call) -> Answer {
    let attempt: AttemptId = call.param("id").parse().map_err(|_| not_held(call.param("id")))?;
    let node = asking_node(&call)?;
    let inputs = app.handle.ask(move |view| view::inputs(view, attempt, &node)).await?;
    json(StatusCode::OK, &inputs.ok_or_else(|| not_held(call.param("id")))?)
}

/// The node that asks.
pub(super) fn asking_node(call: &Call) -> Result<NodeName, Problem> {
    let bad = |error: String| Problem::new(ErrorCode::BadRequest, error);
    let name = call.header(NODE_HEADER).ok_or_else(|| bad(format!("the header `{NODE_HEADER}` is missing")))?;
    let name = NodeName::new(name).map_err(|error| bad(error.to_string()))?;
    match call.certificate().filter(|shown| shown.node != name) {
        Some(shown) => Err(Problem::new(
            ErrorCode::Forbidden,
            format!("the certificate is of node `{}`, and the request says `{name}`", shown.node),
        )),
        None => Ok(name),
    }
}

fn not_held(attempt: &str) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("this node holds no attempt `{}` that may still count", clip(attempt)))
}
