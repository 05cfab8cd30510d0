//! Why a swarm, a task of it or an attempt is as it is: the engine's words, with the events that led there.
use std::sync::Arc;

use http::StatusCode;
use manta_api::{ErrorCode, Problem};
use manta_engine::{Explanation, SwarmRun, chain};
use manta_store::LogFilter;
use manta_types::name::nearest;
use manta_types::{AttemptId, Event, SwarmId, SwarmSpec, TaskIndex};

use super::call::{Answer, Call, clip, json};
use super::history::{last, rebuild, up_to};
use super::swarms::{Found, find, found};
use crate::ManagerError;
use crate::app::App;
use crate::orchestrator::View;
use crate::view;

/// Events that are looked through for the causes of one.
const CAUSES_READ: usize = 10_000;
/// Notes of the platform that are told, the oldest first.
const NOTES_MAX: usize = 20;
/// Characters of an attempt's id, after its prefix, that may stand for all of it.
const ID_PREFIX_MIN: usize = 6;

pub(super) async fn swarm(app: App, call: Call) -> Answer {
    let found = find(&app, call.param("id")).await?;
    let iteration = call.query::<u32>("iteration")?;
    let Some(alias) = call.query::<String>("task")? else {
        if iteration.is_some() {
            let sentence = "the query's `iteration` needs a `task`";
            return Err(Problem::new(ErrorCode::BadRequest, sentence));
        }
        return whole(&app, found).await;
    };
    let task = task_named(&found.spec, &alias)?;
    let of_task = move |event: &Event| {
        event.subject.task == Some(task) && iteration.is_none_or(|wanted| event.subject.iteration == Some(wanted))
    };
    let past = match iteration {
        Some(wanted) => past_iteration(&app, &found, wanted).await?,
        None => None,
    };
    let upto = past.as_ref().map_or(found.seq, SwarmRun::seq);
    let explained =
        explain(&app, found.id, past, move |view, swarm| view.engine.explain_task(view.now.monotonic, swarm, task));
    let explained = explained.await?.ok_or_else(|| no_task(&found.spec, &alias))?;
    let closing = last(&app, found.id, upto, move |event| of_task(event) && event.what.closed_as().is_some()).await?;
    // What closed it in an earlier iteration does not explain why it waits in this one.
    let closing = closing.filter(|event| event.subject.iteration == explained.iteration);
    tell(&app, &found, explained, closing.map(|event| event.seq)).await
}

/// The swarm as a whole; where it is over or held, with what made it so.
async fn whole(app: &App, found: Found) -> Answer {
    let explained =
        explain(app, found.id, None, |view, swarm| Some(view.engine.explain_swarm(view.now.monotonic, swarm)));
    let explained = explained.await?.ok_or_else(|| no_swarm(found.id))?;
    let held = explained.state == manta_types::SwarmState::Paused.name();
    let decisive = if held {
        last(app, found.id, found.seq, |event| event.what.kind() == "swarm_paused").await?.map(|event| event.seq)
    } else {
        found.is_over.then_some(found.seq)
    };
    tell(app, &found, explained, decisive).await
}

pub(super) async fn attempt(app: App, call: Call) -> Answer {
    let wanted = call.param("id").to_owned();
    let (found, id) = find_attempt(&app, &wanted).await?;
    let of_attempt =
        move |event: &Event| event.subject.attempt == Some(id) && event.what.kind().starts_with("attempt_");
    let event = last(&app, found.id, found.seq, of_attempt).await?.ok_or_else(|| no_attempt(&wanted))?;
    let now =
        explain(&app, found.id, None, move |view, swarm| view.engine.explain_attempt(view.now.monotonic, swarm, id));
    let explained = match now.await? {
        Some(explained) => explained,
        None => {
            let past = rebuild(&app, &found, event.seq).await?;
            let then = explain(&app, found.id, Some(past), move |view, swarm| {
                view.engine.explain_attempt(view.now.monotonic, swarm, id)
            });
            then.await?.ok_or_else(|| no_attempt(&wanted))?
        }
    };
    tell(&app, &found, explained, Some(event.seq)).await
}

/// Lets the engine explain something of a swarm, as it is or as it was.
async fn explain(
    app: &App,
    id: SwarmId,
    past: Option<SwarmRun>,
    question: impl FnOnce(&View<'_>, &SwarmRun) -> Option<Explanation> + Send + 'static,
) -> Result<Option<Explanation>, Problem> {
    let asked = app.handle.ask(move |view| {
        let swarm = past.as_ref().or_else(|| view.engine.swarm(id))?;
        question(view, swarm)
    });
    Ok(asked.await?)
}

/// Answers with an explanation and the events that led to the decisive one.
async fn tell(app: &App, found: &Found, explained: Explanation, decisive: Option<u64>) -> Answer {
    let explained = match decisive {
        Some(seq) => explained.because(chain(&found.spec, &up_to(app, found.id, seq, CAUSES_READ).await?)),
        None => explained,
    };
    let notes = notes(app, &explained).await?;
    json(StatusCode::OK, &view::why(explained, notes))
}

/// What the platform said in the logs of the task, or the attempt, that an explanation is about.
async fn notes(app: &App, explained: &Explanation) -> Result<Vec<String>, Problem> {
    let Some(task) = explained.task.clone() else { return Ok(Vec::new()) };
    let filter = LogFilter {
        task: Some(task),
        iteration: explained.iteration,
        attempt: explained.attempt,
        level: Some("warning".to_owned()),
        source: Some("platform".to_owned()),
        ..LogFilter::default()
    };
    let lines = app.logs.read(explained.swarm, 0, filter, NOTES_MAX).await?;
    Ok(lines.into_iter().map(|line| format!("{}: {}", line.node, line.text)).collect())
}

/// The swarm as it was at the end of an iteration; nothing where that is the current one.
async fn past_iteration(app: &App, found: &Found, wanted: u32) -> Result<Option<SwarmRun>, Problem> {
    let of_it = move |event: &Event| event.subject.iteration == Some(wanted);
    let Some(end) = last(app, found.id, found.seq, of_it).await? else {
        let sentence = format!("swarm `{}` has not begun an iteration {wanted}", found.id);
        return Err(Problem::new(ErrorCode::NotFound, sentence).hint("iterations are counted from 0"));
    };
    if end.seq == found.seq { Ok(None) } else { rebuild(app, found, end.seq).await.map(Some) }
}

/// The attempt that a request's path names, and its swarm: by id however long it is over, or by the beginning of an id
/// while its iteration is not long over.
pub(super) async fn find_attempt(app: &App, wanted: &str) -> Result<(Found, AttemptId), Problem> {
    let Ok(id) = wanted.to_ascii_lowercase().parse::<AttemptId>() else { return find_beginning(app, wanted).await };
    let cluster = app.cluster.clone();
    let stored = app.store.run(move |store| store.attempt(&cluster, id)).await?.map_err(ManagerError::from)?;
    let swarm = stored.ok_or_else(|| no_attempt(wanted))?.swarm;
    find(app, &swarm.to_string()).await.map(|found| (found, id))
}

async fn find_beginning(app: &App, wanted: &str) -> Result<(Found, AttemptId), Problem> {
    let beginning = wanted.to_ascii_lowercase();
    if beginning.strip_prefix(AttemptId::PREFIX).is_none_or(|rest| rest.len() < ID_PREFIX_MIN) {
        return Err(no_attempt(wanted));
    }
    let fitting = app.handle.ask_of_all(move |view| {
        let of = |swarm: &SwarmRun| {
            let fits = swarm.attempts().filter(|id| id.to_string().starts_with(&beginning));
            fits.map(|id| (found(swarm), id)).collect::<Vec<_>>()
        };
        view.engine.swarms().flat_map(of).collect::<Vec<_>>()
    });
    let mut fitting = fitting.await?;
    match (fitting.pop(), fitting.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => Err(no_attempt(wanted)),
        (Some(_), others) => {
            let sentence = format!("`{}` fits {} attempts", clip(wanted), others + 1);
            Err(Problem::new(ErrorCode::Conflict, sentence).hint("give more of the id"))
        }
    }
}

fn task_named(spec: &Arc<SwarmSpec>, alias: &str) -> Result<TaskIndex, Problem> {
    spec.task_named(alias).ok_or_else(|| no_task(spec, alias))
}

fn no_task(spec: &SwarmSpec, alias: &str) -> Problem {
    let known = || spec.tasks.iter().map(|task| task.alias.as_str());
    let problem = Problem::new(ErrorCode::NotFound, format!("swarm `{}` has no task `{}`", spec.name, clip(alias)));
    match nearest(alias, known()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint(format!("its tasks are {}", known().take(20).collect::<Vec<_>>().join(", "))),
    }
}

fn no_swarm(id: SwarmId) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("there is no swarm `{id}`"))
}

pub(super) fn no_attempt(wanted: &str) -> Problem {
    let problem = Problem::new(ErrorCode::NotFound, format!("there is no attempt `{}`", clip(wanted)));
    problem.hint("`manta events SWARM` names the attempts of a swarm")
}
