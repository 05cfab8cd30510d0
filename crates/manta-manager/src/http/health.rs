//! Whether the manager lives, whether it can work, and what it counts.
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use manta_api::ReadyView;
use manta_api::version::SCHEMA_VERSION;

use super::call::{Answer, Call, json};
use super::problem::internal;
use crate::app::App;
use crate::bearer::Identity;
use crate::metrics::{self, CONTENT_TYPE, Now};

/// The process answers.
pub(super) async fn live(app: App, _call: Call) -> Answer {
    let text = app.space.shortage().map_or("ok\n".to_owned(), |shortage| format!("disk full: {shortage}\n"));
    Ok(Response::new(Body::from(text)))
}

/// Work can be taken and kept, or what stands in the way. Whoever asks may be nobody, so no cluster is named.
pub(super) async fn ready(app: App, call: Call) -> Answer {
    let handles: Vec<_> = call.clusters.all().iter().map(|app| app.handle.clone()).collect();
    let obstacles = app.readiness.obstacles(&handles, call.clusters.damaged(), &app.store, &app.logs, &app.space).await;
    let ready = obstacles.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &ReadyView { schema_version: SCHEMA_VERSION, ready, obstacles })
}

/// All metrics of all clusters for the administrator, and for a user those of their own, in the form that Prometheus reads.
pub(super) async fn metrics(app: App, call: Call) -> Answer {
    let is_everywhere = matches!(&call.identity, Identity::User(user) if user.cluster.is_none());
    let asked = if is_everywhere { call.clusters.all() } else { vec![app.clone()] };
    let mut texts = Vec::new();
    for of in asked {
        match of.handle.ask(Now::of).await {
            Ok(now) => texts.push(of.metrics.text(&of.cluster, &now).map_err(internal)?),
            // It went meanwhile.
            Err(_) if of.stop.is_cancelled() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let text = metrics::together(app.space.free_bytes(), &texts).map_err(internal)?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    Ok(response)
}
