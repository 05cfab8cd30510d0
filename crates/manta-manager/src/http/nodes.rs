//! Nodes, and whether the manager serves at all.
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use manta_api::{ErrorCode, Problem};
use manta_engine::Input;
use manta_types::name::nearest;
use manta_types::{NodeDuty, NodeName};

use super::call::{Answer, Call, clip, json};
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

pub(super) async fn drain(app: App, call: Call) -> Answer {
    let deadline = call.query::<u64>("deadline_ms")?.map(Duration::from_millis);
    let reason = "drained by a user".to_owned();
    let drains = |duty| matches!(duty, NodeDuty::Draining | NodeDuty::Drained);
    change(&app, call.param("name"), drains, |node| Input::Drain { node, deadline, reason }).await
}

pub(super) async fn resume(app: App, call: Call) -> Answer {
    let reason = "taken into use by a user".to_owned();
    change(&app, call.param("name"), |duty| duty == NodeDuty::Active, |node| Input::ResumeNode { node, reason }).await
}

/// Gives a node a duty, which it may have already; any other outcome is a conflict.
async fn change(
    app: &App,
    wanted: &str,
    is_wanted: impl Fn(NodeDuty) -> bool,
    input: impl FnOnce(NodeName) -> Input,
) -> Answer {
    let wanted = wanted.to_owned();
    let known = app.handle.ask(move |view| {
        let names = || view.engine.nodes().map(|node| node.name().as_str());
        let found = view.engine.nodes().map(manta_engine::Node::name).find(|name| name.as_str() == wanted).cloned();
        found.ok_or_else(|| {
            let problem = Problem::new(ErrorCode::NotFound, format!("there is no node `{}`", clip(&wanted)));
            match nearest(&wanted, names()) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint("`manta node ls` lists them"),
            }
        })
    });
    let name = known.await??;
    app.handle.step(input(name.clone())).await?;
    let shown = app.handle.ask(move |view| {
        let node = view.engine.nodes().find(|node| *node.name() == name)?;
        Some((node.duty(), view::node(view, node)))
    });
    let (duty, node) = shown.await?.ok_or_else(|| Problem::new(ErrorCode::NotFound, "the node is gone"))?;
    if is_wanted(duty) {
        return json(StatusCode::OK, &node);
    }
    Err(Problem::new(ErrorCode::Conflict, format!("node `{}` is {duty}, and stays so", node.name)))
}
