//! Whether the manager lives, whether it can work, and what it counts.
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use manta_api::ReadyView;
use manta_api::version::SCHEMA_VERSION;

use super::call::{Answer, Call, json};
use super::problem::internal;
use crate::app::App;
use crate::metrics::{CONTENT_TYPE, Now};
use crate::ready;

/// The process answers.
pub(super) async fn live(app: App, _call: Call) -> Answer {
    let text = app.space.shortage().map_or("ok\n".to_owned(), |shortage| format!("disk full: {shortage}\n"));
    Ok(Response::new(Body::from(text)))
}

/// Work can be taken and kept, or what stands in the way.
pub(super) async fn ready(app: App, _call: Call) -> Answer {
    let obstacles = ready::obstacles(&app.handle, &app.store, &app.space).await;
    let ready = obstacles.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &ReadyView { schema_version: SCHEMA_VERSION, ready, obstacles })
}

/// All metrics, in the form that Prometheus reads.
pub(super) async fn metrics(app: App, _call: Call) -> Answer {
    let mut now = app.handle.ask(Now::of).await?;
    now.free_bytes = app.space.free_bytes();
    let mut response = Response::new(Body::from(app.metrics.text(&now).map_err(internal)?));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    Ok(response)
}
