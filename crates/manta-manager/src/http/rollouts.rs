//! Rollouts: another version of a task's module, started, shown, held, let go on and taken back.
use std::sync::Arc;

use http::StatusCode;
use manta_api::submission::ResourcesWire;
use manta_api::{ErrorCode, ModuleRef, Problem, RollbackRequest, RolloutRequest, RolloutView};
use manta_engine::{RolloutOrder, RolloutRefusal, SwarmRun};
use manta_module::{BundleManifest, Locked};
use manta_store::{KeyRecord, ModuleRecord};
use manta_types::name::nearest;
use manta_types::{Pin, Resources, RolloutPlan, SwarmId, SwarmSpec, TaskIndex, TaskSpec};

use super::call::{Answer, Call, clip, json, parse};
use super::modules::chosen;
use super::problem::internal;
use super::swarms::{Found, find};
use crate::app::App;
use crate::content::{look_for, stored};
use crate::keys::{self, Idempotency};
use crate::orchestrator::{Change, Refused, View};
use crate::{submit, view};

pub(super) async fn start(app: App, mut call: Call) -> Answer {
    let body = call.bytes().await?;
    let idempotency = call.idempotency([format!("rollout {} ", call.param("id")).as_bytes(), &body].concat())?;
    let request: RolloutRequest = parse("request's body", &body)?;
    app.space.admit(body.len() as u64)?;
    let found = find(&app, call.param("id")).await?;
    let task = task_named(&found.spec, &request.task)?;
    if is_done(&app, idempotency.as_ref()).await? {
        return latest(&app, found.id, task).await;
    }
    let plan = request.plan();
    plan.check().map_err(|problem| refuse(&found, task, RolloutRefusal::Plan(problem.to_string())))?;
    let record = resolve(&app, &found.present.tasks[task].module, &request.version).await?;
    let to = target(&app, &found.present.tasks[task], &record).await?;
    let order = RolloutOrder::Start { to: Box::new(to.clone()), plan: Box::new(plan.clone()) };
    if request.dry_run {
        return foresee(&app, &found, task, order, Foreseen { to, plan, back: false }).await;
    }
    carry_out(&app, &found, task, order, idempotency).await
}

pub(super) async fn back(app: App, mut call: Call) -> Answer {
    let body = call.bytes().await?;
    let idempotency = call.idempotency([format!("rollback {} ", call.param("id")).as_bytes(), &body].concat())?;
    let RollbackRequest { task, dry_run } = parse("request's body", &body)?;
    let found = find(&app, call.param("id")).await?;
    let named = task.map(|task| task_named(&found.spec, &task)).transpose()?;
    let id = found.id;
    let way = app.handle.ask(move |view| view.engine.swarm(id).and_then(|swarm| swarm.way_back(named).cloned()));
    let way = way.await?;
    if is_done(&app, idempotency.as_ref()).await? {
        let task = named.or_else(|| way.map(|way| way.task)).unwrap_or_default();
        return latest(&app, found.id, task).await;
    }
    if found.is_over {
        let state = app.handle.ask(move |view| view.engine.swarm(id).map(SwarmRun::state)).await?;
        let refusal = state.map_or(RolloutRefusal::Unknown, RolloutRefusal::Over);
        return Err(refuse(&found, named.unwrap_or_default(), refusal));
    }
    let way = way.ok_or_else(|| refuse(&found, named.unwrap_or_default(), RolloutRefusal::NoWayBack))?;
    if dry_run {
        let foreseen = Foreseen { to: way.pin, plan: RolloutPlan::at_once(), back: true };
        return foresee(&app, &found, way.task, RolloutOrder::Back, foreseen).await;
    }
    carry_out(&app, &found, way.task, RolloutOrder::Back, idempotency).await
}

pub(super) async fn hold(app: App, call: Call) -> Answer {
    order(&app, call, RolloutOrder::Hold).await
}

pub(super) async fn resume(app: App, call: Call) -> Answer {
    order(&app, call, RolloutOrder::Resume).await
}

pub(super) async fn promote(app: App, call: Call) -> Answer {
    let full = call.query::<bool>("full")?.unwrap_or(false);
    order(&app, call, RolloutOrder::Promote { full }).await
}

pub(super) async fn revert(app: App, call: Call) -> Answer {
    order(&app, call, RolloutOrder::Revert).await
}

pub(super) async fn list(app: App, call: Call) -> Answer {
    let id = find(&app, call.param("id")).await?.id;
    let listed = app.handle.ask(move |view| view.engine.swarm(id).map(|swarm| all(view, swarm)).unwrap_or_default());
    json(StatusCode::OK, &listed.await?)
}

pub(super) async fn list_all(app: App, _call: Call) -> Answer {
    let listed = app
        .handle
        .ask_of_all(|view| view.engine.swarms().flat_map(|swarm| all(view, swarm)).collect::<Vec<RolloutView>>());
    json(StatusCode::OK, &listed.await?)
}

fn all(view: &View<'_>, swarm: &SwarmRun) -> Vec<RolloutView> {
    swarm.rollouts().iter().map(|rollout| view::rollout(view, swarm, rollout)).collect()
}

async fn order(app: &App, call: Call, order: RolloutOrder) -> Answer {
    let (id, alias) = (call.param("id"), call.param("task"));
    let idempotency = call.idempotency(format!("{order:?} {id} {alias}"))?;
    let found = find(app, id).await?;
    let task = task_named(&found.spec, alias)?;
    if is_done(app, idempotency.as_ref()).await? {
        return latest(app, found.id, task).await;
    }
    carry_out(app, &found, task, order, idempotency).await
}

async fn is_done(app: &App, idempotency: Option<&Idempotency>) -> Result<bool, Problem> {
    Ok(matches!(keys::done_before(app, idempotency).await?, Some(KeyRecord { swarm: Some(_), .. })))
}

async fn carry_out(
    app: &App,
    found: &Found,
    task: TaskIndex,
    order: RolloutOrder,
    idempotency: Option<Idempotency>,
) -> Answer {
    match app.handle.change(Change::Rollout(found.id, task, order), idempotency).await? {
        Ok(()) => latest(app, found.id, task).await,
        Err(Refused::KeyUsed { earlier, .. }) => Err(keys::used(&earlier)),
        Err(Refused::Rollout(refusal)) => Err(refuse(found, task, *refusal)),
        Err(_) => Err(refuse(found, task, RolloutRefusal::Unknown)),
    }
}

/// The newest rollout of a task.
async fn latest(app: &App, id: SwarmId, task: TaskIndex) -> Answer {
    let shown = app.handle.ask(move |view| {
        let swarm = view.engine.swarm(id)?;
        let last = swarm.rollouts().iter().rev().find(|rollout| rollout.task == task)?;
        Some(view::rollout(view, swarm, last))
    });
    let shown = shown.await?.ok_or_else(|| Problem::new(ErrorCode::NotFound, "no rollout of this task was started"))?;
    json(StatusCode::OK, &shown)
}

/// What is foreseen of a rollout that is not started.
struct Foreseen {
    to: Pin,
    plan: RolloutPlan,
    back: bool,
}

async fn foresee(app: &App, found: &Found, task: TaskIndex, order: RolloutOrder, foreseen: Foreseen) -> Answer {
    let id = found.id;
    let seen = app.handle.ask(move |view| {
        view.engine.check_rollout(id, task, &order)?;
        let swarm = view.engine.swarm(id).ok_or(RolloutRefusal::Unknown)?;
        let unfit = view.engine.unfit_for(swarm, task, &foreseen.to);
        Ok(view::planned_rollout(swarm, task, &foreseen.to, (&foreseen.plan, foreseen.back), unfit))
    });
    json(StatusCode::OK, &seen.await?.map_err(|refusal| refuse(found, task, refusal))?)
}

fn task_named(spec: &SwarmSpec, alias: &str) -> Result<TaskIndex, Problem> {
    spec.task_named(alias).ok_or_else(|| {
        let sentence = format!("swarm `{}` has no task `{}`", clip(&spec.name), clip(alias));
        let known = || spec.tasks.iter().map(|task| task.alias.as_str());
        let problem = Problem::new(ErrorCode::NotFound, sentence);
        match nearest(alias, known()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint(format!("its tasks are {}", known().take(10).collect::<Vec<_>>().join(", "))),
        }
    })
}

/// The published version that is meant; one that was yanked is none.
async fn resolve(app: &App, module: &str, wanted: &str) -> Result<ModuleRecord, Problem> {
    let (name, version) = (module.to_owned(), wanted.to_owned());
    let record = app.handle.ask(move |view| chosen(view.modules, &name, Some(&version)).cloned()).await??;
    match &record.yanked {
        None => Ok(record),
        Some(reason) => {
            let sentence = format!("version {} of module `{module}` was yanked: {reason}", record.version);
            Err(Problem::new(ErrorCode::Conflict, sentence)
                .hint("roll out another version; `manta module show` lists them"))
        }
    }
}

/// A published version as the task would run it; all that its bundle names is stored, and held.
async fn target(app: &App, task: &TaskSpec, record: &ModuleRecord) -> Result<Pin, Problem> {
    let (blobs, digest) = (Arc::clone(&app.blobs), record.bundle.digest);
    let what = format!("version {} of module `{}`", record.version, record.name);
    let read = tokio::task::spawn_blocking(move || stored(&digest, blobs.as_ref())).await.map_err(internal)??;
    let bytes =
        read.ok_or_else(|| Problem::new(ErrorCode::MissingBlob, format!("the bundle of {what} is not stored")))?;
    let manifest = BundleManifest::parse(&bytes).map_err(|error| {
        Problem::new(ErrorCode::InvalidSwarm, format!("the bundle of {what} cannot be used: {error}"))
    })?;
    let asked = manifest.resources;
    let module = ModuleRef {
        bundle: digest,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        image: manifest.image.clone(),
        datasets: manifest.datasets.clone(),
        resources: ResourcesWire {
            cpu: asked.cpu,
            memory_bytes: asked.memory_bytes,
            tmp_bytes: asked.tmp_bytes,
            pids: asked.pids,
            gpu: asked.gpu,
            gpu_memory_bytes: asked.gpu_memory_bytes,
        },
        runtimes: manifest.dependencies.iter().map(Locked::runtime).collect(),
        requires_python: manifest.requires_python.clone(),
        architectures: manifest.architectures.clone(),
    };
    look_for(app, module.clone()).await?;
    // What the task itself asks for stays: whether it needs a GPU.
    let gpu_count = asked.gpu.unwrap_or(task.resources.gpu_count.min(1));
    Ok(Pin {
        bundle: digest,
        module: module.name,
        version: module.version,
        image: module.image,
        runtimes: module.runtimes,
        // A manifest's range is one.
        requires_python: module.requires_python.as_deref().and_then(|range| range.parse().ok()),
        architectures: module.architectures,
        datasets: module.datasets,
        resources: Resources {
            cpu: asked.cpu,
            memory_bytes: asked.memory_bytes,
            tmp_bytes: asked.tmp_bytes,
            pids: asked.pids,
            gpu_count,
            gpu_memory_bytes: asked.gpu_memory_bytes,
        },
    })
}

fn refuse(found: &Found, task: TaskIndex, refusal: RolloutRefusal) -> Problem {
    let alias = found.spec.tasks.get(task).map_or("", |task| task.alias.as_str());
    let place = format!("{}/{}", clip(&found.spec.name), clip(alias));
    let (code, hint) = match &refusal {
        RolloutRefusal::Unknown => (ErrorCode::NotFound, None),
        RolloutRefusal::Over(_) => {
            (ErrorCode::Conflict, Some("deploy it again with the version that is wanted".to_owned()))
        }
        RolloutRefusal::Going(_) => (
            ErrorCode::Conflict,
            Some(format!("see it with `manta rollout show {place}`; `manta rollout revert {place}` ends it")),
        ),
        RolloutRefusal::NotGoing => (ErrorCode::Conflict, Some("`manta rollout ls` lists them".to_owned())),
        RolloutRefusal::Same(_) | RolloutRefusal::NoWayBack => (ErrorCode::Conflict, None),
        RolloutRefusal::TooMany => (ErrorCode::TooLarge, Some("deploy it again".to_owned())),
        RolloutRefusal::Plan(_) => (ErrorCode::BadRequest, None),
        RolloutRefusal::Placement(refusal) => (submit::code_of(refusal), refusal.hint.clone()),
    };
    let problem = Problem::new(code, format!("{place}: {refusal}"));
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
