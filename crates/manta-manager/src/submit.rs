//! A submission's way in: read, checked, everything it names found, and only then handed to the engine.
use manta_api::{ErrorCode, Problem, SwarmSubmission};
use manta_engine::{Refusal, RefusalKind, SwarmRun};
use manta_store::{KeyRecord, NewSwarm};
use manta_types::{SwarmId, TraceParent, crash_point};

use crate::ManagerError;
use crate::app::App;
use crate::content::{Checked, check, look_again};
use crate::distribution::distribute;
use crate::http::{internal, parse};
use crate::keys::{self, Idempotency};
use crate::orchestrator::{Refused, SubmitOutcome};
use crate::quotas::admit_swarm;

/// A submission that was taken, now or before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) swarm: SwarmId,
    pub(crate) is_new: bool,
}

/// Takes a submission, or says everything that speaks against it. Where it names no span that it belongs to, it is the one under
/// which it was sent.
///
/// # Errors
/// A problem for the client; nothing was stored.
pub(crate) async fn submit(
    app: &App,
    body: &[u8],
    sent_under: Option<TraceParent>,
    idempotency: Option<Idempotency>,
) -> Result<Taken, Problem> {
    if let Some(KeyRecord { swarm: Some(swarm), .. }) = keys::done_before(app, idempotency.as_ref()).await? {
        return Ok(Taken { swarm, is_new: false });
    }
    app.space.admit(body.len() as u64)?;
    let mut submission: SwarmSubmission = parse("submission", body)?;
    submission.traceparent = submission.traceparent.or_else(|| sent_under.map(String::from));
    let Checked { submission, spec, content } = check(app, submission, Vec::new()).await?;
    content.is_stored()?;
    crash_point!("manager.submit.validated");
    let new = NewSwarm {
        id: SwarmId::from_uuid(uuid::Uuid::now_v7()),
        name: submission.name.clone(),
        submission: serde_json::to_string(&submission).map_err(internal)?,
        idempotency,
        created_ms: app.clock.now().wall_ms,
    };
    let admitted = admit_swarm(app).await?;
    let taken = settle(app.handle.submit(new, spec).await?)?;
    drop(admitted);
    begin(app, taken).await
}

/// Lets a new swarm go on where one that failed stopped.
///
/// # Errors
/// A problem for the client; nothing was stored.
pub(crate) async fn retry(app: &App, failed: SwarmId, idempotency: Option<Idempotency>) -> Result<Taken, Problem> {
    let cluster = app.cluster.clone();
    let swarms = app.store.run(move |store| store.swarms(&cluster)).await?.map_err(ManagerError::from)?;
    let record = swarms.into_iter().find(|record| record.id == failed);
    let record = record.ok_or_else(|| Problem::new(ErrorCode::NotFound, format!("there is no swarm `{failed}`")))?;
    let checkpoint = app.handle.ask(move |view| view.engine.swarm(failed).and_then(SwarmRun::checkpoint)).await?;
    let checkpoint = checkpoint.ok_or_else(not_failed)?;
    let carried = serde_json::to_vec(&checkpoint).map_err(internal)?.len();
    app.space.admit((record.submission.len() + carried) as u64)?;
    let submission: SwarmSubmission = parse("stored submission", record.submission.as_bytes())?;
    look_again(app, submission, checkpoint).await?.is_stored()?;
    let new = NewSwarm {
        id: SwarmId::from_uuid(uuid::Uuid::now_v7()),
        name: record.name,
        submission: record.submission,
        idempotency,
        created_ms: app.clock.now().wall_ms,
    };
    let admitted = admit_swarm(app).await?;
    let taken = settle(app.handle.retry(new, failed).await?)?;
    drop(admitted);
    begin(app, taken).await
}

/// Lets nodes fetch what a new swarm's tasks need.
async fn begin(app: &App, taken: Taken) -> Result<Taken, Problem> {
    if taken.is_new {
        distribute(app, taken.swarm).await?;
    }
    Ok(taken)
}

fn settle(outcome: SubmitOutcome) -> Result<Taken, Problem> {
    match outcome {
        Ok(swarm) => Ok(Taken { swarm, is_new: true }),
        Err(Refused::KeyUsed { earlier, same_request }) => match earlier.swarm.filter(|_| same_request) {
            Some(swarm) => Ok(Taken { swarm, is_new: false }),
            None => Err(keys::used(&earlier)),
        },
        Err(Refused::Placement(refusals)) => Err(placement(refusals)),
        Err(
            Refused::NotFailed | Refused::Stays | Refused::OwnLabel(_) | Refused::Rollout(_) | Refused::Registry(_),
        ) => Err(not_failed()),
    }
}

fn not_failed() -> Problem {
    let sentence = "only a swarm that failed in an iteration can be retried";
    Problem::new(ErrorCode::Conflict, sentence).hint("deploy it again to run it from its beginning")
}

/// The catalogue's entry for a refusal.
pub(crate) const fn code_of(refusal: &Refusal) -> ErrorCode {
    match refusal.kind {
        RefusalKind::NoDataset => ErrorCode::NoDataset,
        RefusalKind::NoNode => ErrorCode::NoNode,
    }
}

/// All reasons as one problem, whose code is that of the first.
fn placement(refusals: Vec<Refusal>) -> Problem {
    let code = refusals.first().map_or(ErrorCode::NoNode, code_of);
    let messages: Vec<_> = refusals.iter().map(|refusal| refusal.message.as_str()).collect();
    let problem = Problem::new(code, messages.join("; "));
    match refusals.into_iter().find_map(|refusal| refusal.hint) {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
