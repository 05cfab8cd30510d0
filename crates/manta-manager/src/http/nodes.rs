//! Nodes: which there are, and what they are used for.
use std::time::Duration;

use http::StatusCode;
use manta_api::{ErrorCode, NodeView, Problem};
use manta_types::NodeName;
use manta_types::name::nearest;

use super::call::{Answer, Call, clip, json};
use crate::app::App;
use crate::orchestrator::{Change, Refused};
use crate::{keys, view};

pub(super) async fn list(app: App, _call: Call) -> Answer {
    let nodes = app.handle.ask(|view| view.engine.nodes().map(|node| view::node(view, node)).collect::<Vec<_>>());
    let nodes: Vec<_> = nodes.await?.into_iter().map(|node| flagged(&app, node)).collect();
    json(StatusCode::OK, &nodes)
}

/// A node with what is to be said of its identity, before all that it says of itself.
fn flagged(app: &App, mut node: NodeView) -> NodeView {
    let flag = app.identities.as_ref().and_then(|identities| identities.members.flag_of(&node.name));
    if let Some(flag) = flag {
        node.notes.insert(0, format!("not to be believed: {flag}"));
    }
    node
}

pub(super) async fn drain(app: App, call: Call) -> Answer {
    let deadline = call.query::<u64>("deadline_ms")?.map(Duration::from_millis);
    let request = format!("drain within {deadline:?} {}", call.param("name"));
    change(&app, call, &request, |node| Change::Drain(node, deadline)).await
}

pub(super) async fn resume(app: App, call: Call) -> Answer {
    let request = format!("take into use {}", call.param("name"));
    change(&app, call, &request, Change::ResumeNode).await
}

pub(super) async fn revoke(app: App, call: Call) -> Answer {
    let request = format!("revoke {}", call.param("name"));
    change(&app, call, &request, Change::Revoke).await
}

/// Gives a node a duty, which it may have already; one that was revoked stays so, which is a conflict. What was done under
/// the same key before is done: the answer is the node as it is now.
async fn change(app: &App, call: Call, request: &str, change: impl FnOnce(NodeName) -> Change) -> Answer {
    let idempotency = call.idempotency(request)?;
    let name = find(app, call.param("name")).await?;
    if keys::done_before(app, idempotency.as_ref()).await?.is_some() {
        return shown(app, name).await;
    }
    let change = change(name.clone());
    let is_revocation = matches!(change, Change::Revoke(_));
    match app.handle.change(change, idempotency).await? {
        Ok(()) => {
            if let Some(identities) = app.identities.as_ref().filter(|_| is_revocation) {
                identities.members.revoke(&name);
            }
            shown(app, name).await
        }
        Err(Refused::KeyUsed { earlier, .. }) => Err(keys::used(&earlier)),
        Err(_) => {
            let sentence = format!("node `{name}` is revoked, and stays so");
            Err(Problem::new(ErrorCode::Conflict, sentence).hint("join it again under another name"))
        }
    }
}

async fn find(app: &App, wanted: &str) -> Result<NodeName, Problem> {
    let wanted = wanted.to_owned();
    let found = app.handle.ask(move |view| {
        let mut names = view.engine.nodes().map(manta_engine::Node::name);
        names.find(|name| name.as_str() == wanted).cloned().ok_or_else(|| {
            let problem = Problem::new(ErrorCode::NotFound, format!("there is no node `{}`", clip(&wanted)));
            let names = view.engine.nodes().map(|node| node.name().as_str());
            match nearest(&wanted, names) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint("`manta node ls` lists them"),
            }
        })
    });
    found.await?
}

async fn shown(app: &App, name: NodeName) -> Answer {
    let node = app.handle.ask(move |view| view.engine.node(&name).map(|node| view::node(view, node)));
    let node = node.await?.ok_or_else(|| Problem::new(ErrorCode::NotFound, "the node is gone"))?;
    json(StatusCode::OK, &flagged(app, node))
}
