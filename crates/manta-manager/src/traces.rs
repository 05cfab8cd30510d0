//! Traces of swarms that are over, for a collector of OpenTelemetry: made of a swarm's history, so that nothing is measured for
//! them and nothing waits for them.
//!
//! A trace per swarm, under the swarm's own id: the swarm, its iterations, their tasks, their attempts, and of each attempt the
//! phases that its node measured. What a collector does not take is lost to it; the history stays.
mod spans;
#[cfg(test)]
mod tests;

use std::time::Duration;

use manta_store::StateStore;
use manta_types::ClusterId;
use serde_json::json;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use self::spans::Spans;
use crate::ManagerError;
use crate::error::chain;
use crate::orchestrator::EndedSwarm;
use crate::settings::Collector;
use crate::threads::Owned;

/// Events that are read at once.
const PAGE: usize = 1000;
/// Spans in one request.
const SPANS_MAX: usize = 2000;
/// How long a collector may take for a request.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long what is being sent may still take when the manager is to stop.
const LAST_WITHIN: Duration = Duration::from_millis(1000);

pub(crate) use self::spans::span_of;

/// Sends the traces of swarms as they end.
pub(crate) struct Traces {
    pub(crate) collector: Collector,
    pub(crate) ended: broadcast::Receiver<EndedSwarm>,
    pub(crate) store: Owned<Box<dyn StateStore>>,
    pub(crate) cluster: ClusterId,
    pub(crate) stop: CancellationToken,
}

impl Traces {
    /// Serves until told to stop. A collector that fails is said once, until it takes something again.
    pub(crate) async fn serve(mut self) -> Result<(), ManagerError> {
        let client = client()?;
        let mut is_failing = false;
        loop {
            let ended = tokio::select! {
                biased;
                ended = self.ended.recv() => match ended {
                    Ok(ended) => ended,
                    Err(broadcast::error::RecvError::Lagged(count)) => {
                        tracing::warn!(count, "swarms ended faster than their traces were sent; these have none");
                        continue;
                    }
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                // What has ended is sent first.
                () = self.stop.cancelled() => return Ok(()),
            };
            let swarm = ended.0;
            let sent = tokio::select! {
                sent = self.send(&client, ended) => sent,
                () = self.out_of_time() => return Ok(()),
            };
            match sent {
                Ok(()) => is_failing = false,
                Err(error) if is_failing => tracing::debug!(%swarm, error, "the trace of a swarm was not taken"),
                Err(error) => {
                    is_failing = true;
                    let url = self.collector.url.as_str();
                    tracing::warn!(%swarm, url, error, "the trace of a swarm was not taken; further ones are tried quietly");
                }
            }
        }
    }

    /// Resolves a moment after the manager is to stop.
    async fn out_of_time(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(LAST_WITHIN).await;
    }

    /// Sends the trace of one swarm, a page of its history after the other.
    async fn send(&self, client: &reqwest::Client, (swarm, submitted): EndedSwarm) -> Result<(), String> {
        let (mut spans, mut after) = (Spans::new(swarm, submitted), 0);
        loop {
            let cluster = self.cluster.clone();
            let page = self.store.run(move |store| store.events(&cluster, swarm, after, PAGE)).await;
            let page = page.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            page.iter().for_each(|event| spans.take(event));
            while spans.ended() >= SPANS_MAX {
                self.post(client, spans.give(SPANS_MAX)).await?;
            }
        }
        match spans.give(usize::MAX) {
            rest if rest.is_empty() => Ok(()),
            rest => self.post(client, rest).await,
        }
    }

    async fn post(&self, client: &reqwest::Client, spans: Vec<serde_json::Value>) -> Result<(), String> {
        let attributes = spans::attributes([
            ("service.name", "manta".into()),
            ("service.version", manta_api::version::PRODUCT.into()),
            ("manta.cluster", self.cluster.as_str().into()),
        ]);
        let body = json!({"resourceSpans": [{
            "resource": {"attributes": attributes},
            "scopeSpans": [{"scope": {"name": "manta"}, "spans": spans}],
        }]});
        let mut request = client.post(&self.collector.url).header("content-type", "application/json");
        for (name, value) in &self.collector.headers {
            request = request.header(name, value);
        }
        let answer = request.body(body.to_string()).send().await.map_err(|error| chain(&error))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answered {status}")),
        }
    }
}

fn client() -> Result<reqwest::Client, ManagerError> {
    // Another part of the process may have chosen one before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build();
    client.map_err(|error| ManagerError::Internal(format!("no HTTP client: {error}")))
}
