//! What a node says of the replays that its session was ordered to run.
use std::sync::Arc;

use manta_api::node as wire;
use manta_api::{AttemptOutcome, ReplayNews};
use manta_store::BlobStore;
use manta_types::name::check_name;
use manta_types::{NodeName, ReplayId};

use super::log_intake::read_line;
use super::{convert, finish};
use crate::ManagerError;
use crate::orchestrator::SessionId;
use crate::replays::{Replays, outcome};

/// Names of state that one report may list.
const STATE_NAMES_MAX: usize = 10_000;

/// Takes what one session says of its replays.
pub(super) struct ReplayIntake {
    node: NodeName,
    session: SessionId,
    replays: Arc<Replays>,
}

impl ReplayIntake {
    pub(super) fn new(node: NodeName, session: SessionId, replays: Arc<Replays>) -> Self {
        Self { node, session, replays }
    }

    /// Takes a line that names a replay; whether it did.
    pub(super) fn line(&self, line: &wire::LogLine) -> bool {
        let Ok(id) = line.attempt.parse::<ReplayId>() else { return false };
        if let Some((attempt, task, iteration)) = self.replays.place(self.session, id) {
            let line = read_line(line.clone(), attempt, &self.node, &task, iteration);
            self.replays.hear(self.session, id, ReplayNews::Log { line });
        }
        true
    }

    /// Takes a phase.
    pub(super) fn progress(&self, progress: wire::ReplayProgress) -> Result<(), String> {
        let id = replay(&progress.replay)?;
        convert::phase(&progress.phase)?;
        self.replays.hear(self.session, id, ReplayNews::Phase { phase: progress.phase });
        Ok(())
    }

    /// Takes the end of a replay. What breaks a rule is told as a failure of the platform, so that it ends in any case.
    pub(super) async fn finished(
        &self,
        finished: wire::ReplayFinished,
        blobs: &Arc<dyn BlobStore>,
    ) -> Result<Result<(), String>, ManagerError> {
        let Some(mut report) = finished.report else { return Ok(Err("a replay's report is missing".to_owned())) };
        let id = match replay(&report.attempt) {
            Ok(id) => id,
            Err(problem) => return Ok(Err(problem)),
        };
        let failed = report.failure.clone().map(convert::failure);
        let timings = convert::timings(report.timings.take());
        let outcome = match finish::check(report, blobs).await? {
            Ok(outputs) => outcome(outputs, failed, timings),
            Err(problem) => {
                let failure = finish::platform(format!("the node's report cannot be used: {problem}"));
                AttemptOutcome { failure: Some(failed.unwrap_or(failure).into()), timings, ..AttemptOutcome::default() }
            }
        };
        let names = finished.state_read.into_iter().filter(|name| check_name("state", name).is_ok());
        let state_read = names.take(STATE_NAMES_MAX).collect();
        self.replays.hear(self.session, id, ReplayNews::Finished { outcome, state_read });
        Ok(Ok(()))
    }

    /// The session is over, and its replays with it.
    pub(super) fn ended(&self) {
        self.replays.disconnected(&self.node, self.session);
    }
}

fn replay(text: &str) -> Result<ReplayId, String> {
    text.parse().map_err(|error: manta_types::ids::IdError| error.to_string())
}
