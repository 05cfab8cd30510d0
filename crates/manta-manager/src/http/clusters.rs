//! Clusters: which there are, and that others begin or go.
use http::StatusCode;
use manta_api::{ClusterRemovedView, ClusterRequest, ErrorCode, Problem};
use manta_types::ClusterId;

use super::audit::made;
use super::call::{Answer, Call, json, parse};
use crate::app::App;

pub(super) async fn list(_: App, call: Call) -> Answer {
    json(StatusCode::OK, &call.clusters.views().await?)
}

pub(super) async fn add(_: App, mut call: Call) -> Answer {
    let body = call.bytes().await?;
    let idempotency = call.idempotency([b"add cluster ", &body[..]].concat())?;
    let ClusterRequest { name } = parse("request's body", &body)?;
    let name = ClusterId::new(&name).map_err(|error| Problem::new(ErrorCode::BadRequest, error.to_string()))?;
    let clusters = call.clusters.clone();
    // Whoever goes away over the answer leaves no half of a cluster.
    let adding = tokio::spawn(async move { clusters.add(name, idempotency).await });
    let (view, is_new) = adding.await.map_err(super::internal)??;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(made(json(status, &view)?, view.name))
}

pub(super) async fn remove(_: App, call: Call) -> Answer {
    let name = call.param("cluster").to_owned();
    let is_damaged_too = call.query("damaged")?.unwrap_or(false);
    let request = if is_damaged_too { "remove damaged cluster" } else { "remove cluster" };
    let idempotency = call.idempotency(format!("{request} {name}"))?;
    let (clusters, wanted) = (call.clusters.clone(), name.clone());
    let removing = tokio::spawn(async move { clusters.remove(&wanted, is_damaged_too, idempotency).await });
    let lost = removing.await.map_err(super::internal)??;
    json(StatusCode::OK, &ClusterRemovedView { name, lost })
}
