//! Nodes, and whether the manager serves at all.
use axum::body::Body;
use axum::response::Response;
use http::StatusCode;

use super::call::{Answer, Call, json};
use crate::app::App;
use crate::view;

pub(super) async fn health(app: App, _call: Call) -> Answer {
    let text = app.space.shortage().map_or("ok\n".to_owned(), |shortage| format!("disk full: {shortage}\n"));
    Ok(Response::new(Body::from(text)))
}

pub(super) async fn list(app: App, _call: Call) -> Answer {
    let nodes = app.handle.ask(|view| view.engine.nodes().map(|node| view::node(view, node)).collect::<Vec<_>>());
    json(StatusCode::OK, &nodes.await?)
}
