//! Work under way that others wait for, so that what many ask for at once is done once.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use manta_types::Digest;
use tokio::sync::Mutex as Turn;

/// What is under way, by what it makes.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<Digest, Arc<Turn<()>>>>);

impl Flights {
    /// Does work for a digest once nobody else is at any for it; it has to look first whether there is anything left to do.
    pub(crate) async fn one_by_one<T>(&self, digest: Digest, work: impl Future<Output = T>) -> T {
        let flight = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(digest).or_default().clone();
        let turn = flight.lock().await;
        let outcome = work.await;
        drop(turn);
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&flight) <= 2 {
            flights.remove(&digest);
        }
        outcome
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
