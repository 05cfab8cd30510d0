//! Nodes: which there are, and what they are used for.
use std::time::Duration;

use http::StatusCode;
use manta_api::{
    ErrorCode, LabelRequest, NOT_BELIEVED, NodeDetailView, NodeRemovedView, NodeView, Problem, TURNED_AWAY,
};
use manta_types::NodeName;
use manta_types::name::{NameError, check_name, nearest};

use super::call::{Answer, Call, clip, json, parse};
use crate::app::App;
use crate::orchestrator::{Change, Refused};
use crate::{keys, view};

/// Labels that are given in one call.
const LABELS_MAX: usize = 100;

pub(super) async fn list(app: App, _call: Call) -> Answer {
    let nodes = app.handle.ask(|view| view.engine.nodes().map(|node| view::node(view, node)).collect::<Vec<_>>());
    let nodes: Vec<_> = nodes.await?.into_iter().map(|node| flagged(&app, node)).collect();
    json(StatusCode::OK, &nodes)
}

/// A node with what is to be said of its identity and its release, before all that it says of itself.
fn flagged(app: &App, mut node: NodeView) -> NodeView {
    let flag = app.identities.as_ref().and_then(|identities| identities.members.flag_of(&node.name));
    if let Some(flag) = flag {
        node.notes.insert(0, format!("{NOT_BELIEVED}: {flag}"));
    }
    if let Some(why) = app.refusals.of(&node.name) {
        node.notes.insert(0, format!("{TURNED_AWAY}: {why}"));
    }
    node
}

pub(super) async fn show(app: App, call: Call) -> Answer {
    let name = find(&app, call.param("name")).await?;
    let link_quality = app.links.of(&name);
    let node = app.handle.ask(move |view| view.engine.node(&name).map(|node| view::node_detail(view, node)));
    let mut node = node.await?.ok_or_else(gone)?;
    node.node = flagged(&app, node.node);
    json(StatusCode::OK, &NodeDetailView { link_quality, ..node })
}

pub(super) async fn label(app: App, mut call: Call) -> Answer {
    let body = call.bytes().await?;
    let request = [format!("label {} ", call.param("name")).as_bytes(), &body].concat();
    // A key that is none comes before a body that is none.
    call.idempotency(&request)?;
    let asked: LabelRequest = parse("request's body", &body)?;
    let bad = |error: NameError| Problem::new(ErrorCode::BadRequest, error.to_string());
    for (key, value) in &asked.set {
        check_name("label", key).and_then(|()| check_name("label", value)).map_err(bad)?;
    }
    if asked.set.len() > LABELS_MAX {
        let sentence = format!("{} labels at once; {LABELS_MAX} are the limit", asked.set.len());
        return Err(Problem::new(ErrorCode::BadRequest, sentence));
    }
    change(&app, call, request, |node| Change::Label(node, asked)).await
}

pub(super) async fn remove(app: App, call: Call) -> Answer {
    let wanted = call.param("name").to_owned();
    let idempotency = call.idempotency(format!("remove {wanted}"))?;
    let removed = |name: String| json(StatusCode::OK, &NodeRemovedView { name });
    if keys::done_before(&app, idempotency.as_ref()).await?.is_some() {
        return removed(wanted);
    }
    let name = find(&app, &wanted).await?;
    match app.handle.change(Change::RemoveNode(name.clone()), idempotency).await? {
        Ok(()) => removed(wanted),
        Err(Refused::KeyUsed { earlier, .. }) => Err(keys::used(&earlier)),
        Err(_) => {
            let state = app.handle.ask({
                let name = name.clone();
                move |view| view.engine.node(&name).map(|node| (node.state().name(), node.load()))
            });
            let (state, load) = state.await?.ok_or_else(gone)?;
            let sentence = match (state, load) {
                ("gone", _) => format!("node `{name}` is still awaited by what was offered to it"),
                _ => format!("node `{name}` is {state}; only a node that is gone or revoked can be removed"),
            };
            let hint = format!("stop its agent and wait until it is gone, or revoke it: manta node revoke {name}");
            Err(Problem::new(ErrorCode::Conflict, sentence).hint(hint))
        }
    }
}

fn gone() -> Problem {
    Problem::new(ErrorCode::NotFound, "the node is gone")
}

pub(super) async fn drain(app: App, call: Call) -> Answer {
    let deadline = call.query::<u64>("deadline_ms")?.map(Duration::from_millis);
    let request = format!("drain within {deadline:?} {}", call.param("name"));
    change(&app, call, request, |node| Change::Drain(node, deadline)).await
}

pub(super) async fn resume(app: App, call: Call) -> Answer {
    let request = format!("take into use {}", call.param("name"));
    change(&app, call, request, Change::ResumeNode).await
}

pub(super) async fn revoke(app: App, call: Call) -> Answer {
    let request = format!("revoke {}", call.param("name"));
    change(&app, call, request, Change::Revoke).await
}

/// Gives a node a duty, which it may have already; one that was revoked stays so, which is a conflict. What was done under
/// the same key before is done: the answer is the node as it is now.
async fn change(app: &App, call: Call, request: impl AsRef<[u8]>, change: impl FnOnce(NodeName) -> Change) -> Answer {
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
        Err(Refused::OwnLabel(key)) => {
            let sentence = format!("node `{name}` gives itself the label `{key}`, and a site's own labels count first");
            Err(Problem::new(ErrorCode::Conflict, sentence)
                .hint("change it where the node is started: --label KEY=VALUE"))
        }
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
    json(StatusCode::OK, &flagged(app, node.await?.ok_or_else(gone)?))
}
