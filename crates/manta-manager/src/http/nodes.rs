//! Nodes: which there are, and what they are used for.
use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use manta_api::{
    ErrorCode, LabelRequest, NOT_BELIEVED, NodeDetailView, NodeRemovedView, NodeView, Problem, TURNED_AWAY,
};
use manta_engine::Node;
use manta_types::name::{NameError, check_name, nearest};
use manta_types::{NodeDuty, NodeName};

use super::call::{Answer, Call, clip, json, parse};
use crate::app::App;
use crate::keys::{self, Idempotency};
use crate::orchestrator::{Change, KnownNode, Refused};
use crate::view;

/// Labels that are given in one call.
const LABELS_MAX: usize = 100;

pub(super) async fn list(app: App, _call: Call) -> Answer {
    let enrolled = enrolled(&app);
    let nodes = app.handle.ask(move |view| {
        let unseen = enrolled.iter().filter(|(name, _)| !view.nodes.contains_key(name));
        let unseen = unseen.map(|(name, node)| view::enrolled(name, node));
        view.engine.nodes().map(|node| view::node(view, node)).chain(unseen).collect::<Vec<_>>()
    });
    let mut nodes: Vec<_> = nodes.await?.into_iter().map(|node| flagged(&app, node)).collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
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
    let name = match seek(&app, call.param("name")).await? {
        Found::Here(name) => name,
        Found::Unseen(name, node) => {
            let seen = flagged(&app, view::enrolled(&name, &node));
            return json(StatusCode::OK, &view::detail(seen, Some(&node)));
        }
        Found::Removed(name) => return Err(unknown(name.as_str(), [])),
    };
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
    let idempotency = call.idempotency(format!("revoke {}", call.param("name")))?;
    let (name, enrolled) = match seek(&app, call.param("name")).await? {
        Found::Here(name) | Found::Removed(name) => (name, None),
        Found::Unseen(name, node) => (name, Some(node)),
    };
    make(&app, name.clone(), Change::Revoke(name, enrolled), idempotency).await
}

async fn change(app: &App, call: Call, request: impl AsRef<[u8]>, change: impl FnOnce(NodeName) -> Change) -> Answer {
    let idempotency = call.idempotency(request)?;
    let name = find(app, call.param("name")).await?;
    make(app, name.clone(), change(name), idempotency).await
}

/// Gives a node a duty, which it may have already; one that was revoked stays so, which is a conflict. What was done under
/// the same key before is done: the answer is the node as it is now.
async fn make(app: &App, name: NodeName, change: Change, idempotency: Option<Idempotency>) -> Answer {
    if keys::done_before(app, idempotency.as_ref()).await?.is_some() {
        return shown(app, name, None).await;
    }
    let is_revocation = matches!(change, Change::Revoke(..));
    let had = if is_revocation { load(app, name.clone()).await? } else { None };
    match app.handle.change(change, idempotency).await? {
        Ok(()) => {
            if let Some(identities) = app.identities.as_ref().filter(|_| is_revocation) {
                identities.members.revoke(&name);
            }
            shown(app, name, had).await
        }
        Err(Refused::KeyUsed { earlier, .. }) => Err(keys::used(&earlier)),
        Err(Refused::OwnLabel(key)) => {
            let sentence = format!("node `{name}` gives itself the label `{key}`, and a site's own labels count first");
            Err(Problem::new(ErrorCode::Conflict, sentence)
                .hint("change it where the node is started: --label KEY=VALUE"))
        }
        Err(_) => {
            let sentence = format!("node `{name}` is revoked, and stays so");
            Err(Problem::new(ErrorCode::Conflict, sentence)
                .hint("join it again under another name, with a data directory of its own"))
        }
    }
}

/// A node of which there is a name.
enum Found {
    /// It connected.
    Here(NodeName),
    /// It was let go of, and comes back with its agent.
    Removed(NodeName),
    /// It joined, and never connected.
    Unseen(NodeName, Box<KnownNode>),
}

/// The nodes that joined with a token, as they are before they connect.
fn enrolled(app: &App) -> BTreeMap<NodeName, KnownNode> {
    let members = app.identities.as_ref().map(|identities| identities.members.all()).unwrap_or_default();
    members.into_iter().map(|member| (member.node.clone(), KnownNode::enrolled(member))).collect()
}

async fn seek(app: &App, wanted: &str) -> Result<Found, Problem> {
    let (wanted, mut enrolled) = (wanted.to_owned(), enrolled(app));
    let found = app.handle.ask(move |view| {
        if let Ok(name) = NodeName::new(&wanted) {
            if view.engine.node(&name).is_some() {
                return Ok(Found::Here(name));
            }
            match (view.nodes.get(&name), enrolled.remove(&name)) {
                (Some(known), _) if known.duty != NodeDuty::Revoked => return Ok(Found::Removed(name)),
                (None, Some(node)) => return Ok(Found::Unseen(name, Box::new(node))),
                _ => {}
            }
        }
        let unseen = enrolled.keys().filter(|name| !view.nodes.contains_key(name));
        Err(unknown(&wanted, view.engine.nodes().map(Node::name).chain(unseen)))
    });
    found.await?
}

/// A node that connected.
async fn find(app: &App, wanted: &str) -> Result<NodeName, Problem> {
    match seek(app, wanted).await? {
        Found::Here(name) => Ok(name),
        Found::Removed(name) => Err(unknown(name.as_str(), [])),
        Found::Unseen(name, _) => {
            let sentence = format!("node `{name}` joined and has never connected, so that it can only be revoked");
            let hint = format!("start its agent, or take its identity away: manta node revoke {name}");
            Err(Problem::new(ErrorCode::Conflict, sentence).hint(hint))
        }
    }
}

fn unknown<'a>(wanted: &str, known: impl IntoIterator<Item = &'a NodeName>) -> Problem {
    let problem = Problem::new(ErrorCode::NotFound, format!("there is no node `{}`", clip(wanted)));
    match nearest(wanted, known.into_iter().map(NodeName::as_str)) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint("`manta node ls` lists them"),
    }
}

/// How many attempts a node has, where it has any.
async fn load(app: &App, name: NodeName) -> Result<Option<u32>, Problem> {
    let load = app.handle.ask(move |view| view.engine.node(&name).map(Node::load));
    Ok(load.await?.filter(|attempts| *attempts > 0))
}

async fn shown(app: &App, name: NodeName, attempts_revoked: Option<u32>) -> Answer {
    let node = app.handle.ask(move |view| view.engine.node(&name).map(|node| view::node(view, node)));
    let node = flagged(app, node.await?.ok_or_else(gone)?);
    json(StatusCode::OK, &NodeView { attempts_revoked, ..node })
}
