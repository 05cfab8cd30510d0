//! Whether the manager can take work and keep it: the engine takes its turns, each durable before it answers, the stores
//! answer, and there is room. A commit that failed needs no check of its own: it ends the manager.
use std::time::Duration;

use futures_util::future::join_all;
use manta_api::Obstacle;
use manta_store::StateStore;
use tokio::time::Instant;

use crate::ManagerError;
use crate::logs::Logs;
use crate::orchestrator::Handle;
use crate::space::Space;
use crate::threads::Owned;

/// How long a part may take to answer before it counts as stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// For how long an answer holds: however often it is asked, the engine and the store are asked once.
const HOLDS_FOR: Duration = Duration::from_secs(1);

/// What was found last, and when.
#[derive(Debug, Default)]
pub(crate) struct Readiness(tokio::sync::Mutex<Option<(Instant, Vec<Obstacle>)>>);

impl Readiness {
    /// What stood in the way at most a second ago, found out now where nobody did since. Those who ask at once share an answer.
    pub(crate) async fn obstacles(
        &self,
        engines: &[Handle],
        damaged: usize,
        store: &Owned<Box<dyn StateStore>>,
        logs: &Logs,
        space: &Space,
    ) -> Vec<Obstacle> {
        let mut last = self.0.lock().await;
        if let Some((_, found)) = last.as_ref().filter(|(at, _)| at.elapsed() < HOLDS_FOR) {
            return found.clone();
        }
        let found = obstacles(engines, damaged, store, logs, space).await;
        *last = Some((Instant::now(), found.clone()));
        found
    }
}

/// What stands in the way now; nothing where the manager is ready. Of several engines that are stuck, one is told.
async fn obstacles(
    engines: &[Handle],
    damaged: usize,
    store: &Owned<Box<dyn StateStore>>,
    logs: &Logs,
    space: &Space,
) -> Vec<Obstacle> {
    let turns = join_all(engines.iter().map(|handle| answer("engine", handle.ask(|_| ()))));
    let look = async { store.run(|store| store.generation()).await?.map(drop).map_err(ManagerError::Store) };
    let (turned, looked, logged) = tokio::join!(turns, answer("store", look), answer("logs", logs.answer()));
    let clusters = (damaged > 0).then(|| Obstacle {
        what: "cluster".to_owned(),
        message: format!("{damaged} of {} clusters cannot be recovered: `manta cluster ls`", engines.len() + damaged),
    });
    let full = |shortage| Obstacle { what: "disk".to_owned(), message: format!("full: {shortage}") };
    let found = [turned.into_iter().flatten().next(), looked, logged, clusters, space.shortage().map(full)];
    found.into_iter().flatten().collect()
}

async fn answer(what: &str, asked: impl Future<Output = Result<(), ManagerError>>) -> Option<Obstacle> {
    let message = match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("did not answer within {} s", ANSWER_WITHIN.as_secs()),
    };
    Some(Obstacle { what: what.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, mpsc};

    use manta_engine::Engine;
    use manta_store::{LogStore, MemoryStore};
    use manta_types::ClusterId;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::{Clock, RealClock};
    use crate::orchestrator::{Ended, Orchestrator, Recovered, Registry};

    async fn names(handle: &Handle, store: &Owned<Box<dyn StateStore>>, logs: &Logs, space: &Space) -> Vec<String> {
        obstacles(std::slice::from_ref(handle), 0, store, logs, space)
            .await
            .into_iter()
            .map(|obstacle| obstacle.what)
            .collect()
    }

    #[tokio::test]
    async fn a_part_that_is_stuck_is_named_until_it_goes_on() {
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let dir = tempfile::tempdir().unwrap();
        let space = Arc::new(Space::new(dir.path().to_owned(), Arc::clone(&clock)));
        let (lines, _) = Owned::start("test-logs", LogStore::in_memory().unwrap()).unwrap();
        let logs = Logs::new(lines.clone(), ClusterId::default(), Arc::clone(&space));
        let (store, _) = Owned::start("test-state", Box::new(MemoryStore::default()) as Box<dyn StateStore>).unwrap();
        let (engine, nodes) = (Engine::new(1), BTreeMap::new());
        let recovered = Recovered { engine, nodes, modules: Registry::default(), ended: Ended::default() };
        let (cluster, stop) = (ClusterId::default(), CancellationToken::new());
        let (service, handle, _) =
            Orchestrator::new(recovered, store.clone(), cluster, clock, Arc::default(), stop.clone());
        assert_eq!(names(&handle, &store, &logs, &space).await, ["engine"], "no turn is taken yet");

        let serving = tokio::spawn(service.serve());
        assert!(names(&handle, &store, &logs, &space).await.is_empty());

        let (release, held) = mpsc::channel::<()>();
        let holding = tokio::spawn({
            let store = store.clone();
            async move { store.run(move |_| held.recv().is_ok()).await }
        });
        while !names(&handle, &store, &logs, &space).await.contains(&"store".to_owned()) {}
        let changed = tokio::spawn({
            let handle = handle.clone();
            async move { handle.forget_keys(1).await }
        });
        while names(&handle, &store, &logs, &space).await != ["engine", "store"] {}

        let readiness = Readiness::default();
        let found = readiness.obstacles(std::slice::from_ref(&handle), 0, &store, &logs, &space).await;
        assert_eq!(found.len(), 2);
        release.send(()).unwrap();
        assert!(holding.await.unwrap().unwrap());
        changed.await.unwrap().unwrap();
        assert!(names(&handle, &store, &logs, &space).await.is_empty());
        assert_eq!(
            readiness.obstacles(std::slice::from_ref(&handle), 0, &store, &logs, &space).await,
            found,
            "it is not asked again within the second"
        );
        assert!(lines.run(|_| panic!("a job broke")).await.is_err());
        assert_eq!(names(&handle, &store, &logs, &space).await, ["logs"], "its thread is gone");
        stop.cancel();
        serving.await.unwrap().unwrap();
    }
}
