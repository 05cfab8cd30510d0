//! What an attempt may read, for the node that holds it and for nobody else.
use http::StatusCode;
use manta_api::{ErrorCode, Problem};
use manta_types::{AttemptId, NodeName};

use super::call::{Answer, Call, clip, json};
use crate::app::App;
use crate::view;

/// The header in which a node says which one it is.
const NODE_HEADER: &str = "x-manta-node";

pub(super) async fn inputs(app: App, call: Call) -> Answer {
    let bad = |error: String| Problem::new(ErrorCode::BadRequest, error);
    let attempt: AttemptId = call.param("id").parse().map_err(|_| not_held(call.param("id")))?;
    let name = call.header(NODE_HEADER).ok_or_else(|| bad(format!("the header `{NODE_HEADER}` is missing")))?;
    let node = NodeName::new(name).map_err(|error| bad(error.to_string()))?;
    let inputs = app.handle.ask(move |view| view::inputs(view, attempt, &node)).await?;
    json(StatusCode::OK, &inputs.ok_or_else(|| not_held(call.param("id")))?)
}

fn not_held(attempt: &str) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("this node holds no attempt `{}` that may still count", clip(attempt)))
}
