//! Swarms: deploy, list, show, stop, pause, resume, and what they left.
use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use manta_api::{ErrorCode, Problem, SwarmView};
use manta_engine::SwarmRun;
use manta_store::KeyRecord;
use manta_types::name::nearest;
use manta_types::{AttemptId, SwarmEvent, SwarmId, SwarmSpec, SwarmState};

use super::audit::made;
use super::call::{Answer, Call, clip, json};
use super::history::rebuild;
use super::stream::PAGE;
use crate::ManagerError;
use crate::app::App;
use crate::orchestrator::{Change, Refused, View};
use crate::{keys, submit, view};

/// Characters of an id, after its prefix, that may stand for all of it.
const ID_PREFIX_MIN: usize = 6;

/// A swarm that a request names.
pub(super) struct Found {
    pub(super) id: SwarmId,
    /// What was submitted: its history begins with that.
    pub(super) spec: Arc<SwarmSpec>,
    /// The same with the versions that rollouts have brought since.
    pub(super) present: Arc<SwarmSpec>,
    /// Whether a rollout has had a part in it.
    is_rolled: bool,
    pub(super) created_ms: u64,
    /// Its last event.
    pub(super) seq: u64,
    pub(super) is_over: bool,
}

pub(super) async fn submit(app: App, mut call: Call) -> Answer {
    let body = call.bytes().await?;
    let idempotency = call.idempotency(&body)?;
    manta_types::crash_point!("manager.submit.received");
    let taken = submit::submit(&app, &body, call.trace_parent(), idempotency).await?;
    manta_types::crash_point!("manager.submit.durable");
    let status = if taken.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(made(show_id(&app, taken.swarm, status).await?, taken.swarm.to_string()))
}

pub(super) async fn list(app: App, _call: Call) -> Answer {
    let swarms =
        app.handle.ask_of_all(|view| view.engine.swarms().map(|swarm| view::swarm(view, swarm)).collect::<Vec<_>>());
    let told = |swarm: SwarmView| SwarmView { distribution: app.distributions.view(swarm.id), ..swarm };
    json(StatusCode::OK, &swarms.await?.into_iter().map(told).collect::<Vec<_>>())
}

pub(super) async fn show(app: App, call: Call) -> Answer {
    let found = find(&app, call.param("id")).await?;
    match call.query::<u64>("at")? {
        None => show_id(&app, found.id, StatusCode::OK).await,
        Some(at) => json(StatusCode::OK, &view::swarm_alone(&rebuild(&app, &found, at).await?)),
    }
}

pub(super) async fn stop(app: App, call: Call) -> Answer {
    change(&app, call, SwarmState::Stopped, Change::Stop).await
}

pub(super) async fn retry(app: App, call: Call) -> Answer {
    let idempotency = call.idempotency(format!("retry {}", call.param("id")))?;
    if let Some(KeyRecord { swarm: Some(made), .. }) = keys::done_before(&app, idempotency.as_ref()).await? {
        return show_id(&app, made, StatusCode::OK).await;
    }
    let failed = find(&app, call.param("id")).await?.id;
    let taken = submit::retry(&app, failed, idempotency).await?;
    let status = if taken.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(made(show_id(&app, taken.swarm, status).await?, taken.swarm.to_string()))
}

pub(super) async fn pause(app: App, call: Call) -> Answer {
    change(&app, call, SwarmState::Paused, Change::Pause).await
}

pub(super) async fn resume(app: App, call: Call) -> Answer {
    change(&app, call, SwarmState::Running, Change::Resume).await
}

/// Brings a swarm into a state, in which it may be already; one whose state is final and another is a conflict. What was
/// done under the same key before is done: the answer is the swarm as it is now.
async fn change(app: &App, call: Call, wanted: SwarmState, change: fn(SwarmId) -> Change) -> Answer {
    let idempotency = call.idempotency(format!("make {wanted} {}", call.param("id")))?;
    if let Some(KeyRecord { swarm: Some(id), .. }) = keys::done_before(app, idempotency.as_ref()).await? {
        return show_id(app, id, StatusCode::OK).await;
    }
    let id = find(app, call.param("id")).await?.id;
    match app.handle.change(change(id), idempotency).await? {
        Ok(()) => show_id(app, id, StatusCode::OK).await,
        Err(Refused::KeyUsed { earlier, .. }) => Err(keys::used(&earlier)),
        Err(_) => {
            let shown = app.handle.ask(move |view| view.engine.swarm(id).map(view::swarm_alone)).await?;
            let swarm = shown.ok_or_else(|| gone(id))?;
            let sentence = format!("swarm `{id}` is {}, so it cannot become {wanted}: {}", swarm.state, swarm.reason);
            Err(Problem::new(ErrorCode::Conflict, sentence))
        }
    }
}

pub(super) async fn results(app: App, call: Call) -> Answer {
    let Found { id, spec, is_rolled, .. } = find(&app, call.param("id")).await?;
    let cluster = app.cluster.clone();
    let records = app.store.run(move |store| store.results(&cluster, id)).await?.map_err(ManagerError::from)?;
    let brought = if is_rolled { brought(&app, id).await? } else { BTreeMap::new() };
    let views = records.into_iter().map(|record| view::result(&spec, &brought, record));
    json(StatusCode::OK, &views.collect::<Vec<_>>())
}

/// The versions that rollouts brought to attempts, as the swarm's history tells.
async fn brought(app: &App, id: SwarmId) -> Result<BTreeMap<AttemptId, String>, ManagerError> {
    let (mut brought, mut after) = (BTreeMap::new(), 0);
    loop {
        let cluster = app.cluster.clone();
        let page = app.store.run(move |store| store.events(&cluster, id, after, PAGE)).await??;
        let is_last = page.len() < PAGE;
        for event in page {
            after = event.seq;
            if let SwarmEvent::AttemptOffered { attempt, version: Some(version), .. } = event.what {
                brought.insert(attempt, version);
            }
        }
        if is_last {
            return Ok(brought);
        }
    }
}

pub(super) async fn globals(app: App, call: Call) -> Answer {
    let Found { id, spec, .. } = find(&app, call.param("id")).await?;
    let cluster = app.cluster.clone();
    let records = app.store.run(move |store| store.globals(&cluster, id)).await?.map_err(ManagerError::from)?;
    json(StatusCode::OK, &view::globals(&spec, records))
}

async fn show_id(app: &App, id: SwarmId, status: StatusCode) -> Answer {
    let question = move |view: &View<'_>| view.engine.swarm(id).map(|swarm| view::swarm(view, swarm));
    let shown = match app.handle.ask(question).await? {
        Some(shown) => Some(shown),
        None => app.handle.ask_of_all(question).await?,
    };
    let shown = shown.ok_or_else(|| gone(id))?;
    json(status, &SwarmView { distribution: app.distributions.view(id), ..shown })
}

fn gone(id: SwarmId) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("there is no swarm `{id}`"))
}

/// The swarm that a request's path names: by id, by the beginning of an id, or by a name that only one swarm has.
pub(super) async fn find(app: &App, wanted: &str) -> Result<Found, Problem> {
    if let Ok(id) = wanted.parse()
        && let Some(found) = app.handle.ask(move |view| view.engine.swarm(id).map(found)).await?
    {
        return Ok(found);
    }
    let wanted = wanted.to_owned();
    app.handle.ask_of_all(move |view| look_up(view, &wanted)).await?
}

fn look_up(view: &View<'_>, wanted: &str) -> Result<Found, Problem> {
    if let Ok(id) = wanted.parse()
        && let Some(swarm) = view.engine.swarm(id)
    {
        return Ok(found(swarm));
    }
    let beginning = wanted.strip_prefix(SwarmId::PREFIX).filter(|rest| rest.len() >= ID_PREFIX_MIN);
    let fits = |swarm: &&SwarmRun| match beginning {
        Some(_) => swarm.id().to_string().starts_with(&wanted.to_ascii_lowercase()),
        None => swarm.spec().name == wanted,
    };
    let fitting: Vec<_> = view.engine.swarms().filter(fits).collect();
    match fitting.as_slice() {
        [one] => Ok(found(one)),
        [] => {
            let names = view.engine.swarms().map(|swarm| swarm.spec().name.as_str());
            let problem = Problem::new(ErrorCode::NotFound, format!("there is no swarm `{}`", clip(wanted)));
            Err(match nearest(wanted, names) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem,
            })
        }
        [.., last] => {
            let count = fitting.len();
            let problem = Problem::new(ErrorCode::Conflict, format!("`{}` fits {count} swarms", clip(wanted)));
            Err(problem.hint(format!("give the id; the newest is {}", last.id())))
        }
    }
}

pub(super) fn found(swarm: &SwarmRun) -> Found {
    Found {
        id: swarm.id(),
        spec: Arc::clone(swarm.submitted()),
        present: Arc::clone(swarm.spec()),
        is_rolled: !swarm.rollouts().is_empty() || !Arc::ptr_eq(swarm.spec(), swarm.submitted()),
        created_ms: swarm.created_ms(),
        seq: swarm.seq(),
        is_over: swarm.is_over(),
    }
}
