//! Idempotency keys: the same request under the same key is done once, and answered alike however often it is said.
//!
//! A key becomes durable in the transaction of what it was used for, and is looked for twice: in the store before a request
//! is looked at, and by the service loop, which knows all that were used since the start, before it is done.
use manta_api::{ErrorCode, Problem};
use manta_store::KeyRecord;

use crate::ManagerError;
use crate::app::App;

/// Bytes of an idempotency key.
const KEY_BYTES_MAX: usize = 255;

/// A key, and a digest of the request that it was sent with.
pub(crate) type Idempotency = (String, String);

/// Reads a key that was sent with a request.
///
/// # Errors
/// When it is not plain text, empty or too long.
pub(crate) fn read(sent: &[u8], request: &[u8]) -> Result<Idempotency, Problem> {
    let bad = |sentence| Problem::new(ErrorCode::BadRequest, sentence);
    if sent.is_empty() || sent.len() > KEY_BYTES_MAX {
        let sentence = format!("the idempotency key has {} bytes; 1 to {KEY_BYTES_MAX} are allowed", sent.len());
        return Err(bad(sentence));
    }
    if !sent.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return Err(bad("the idempotency key is not plain ASCII text".to_owned()));
    }
    let key = sent.iter().copied().map(char::from).collect();
    Ok((key, blake3::hash(request).to_hex().to_string()))
}

/// What the key was used for, where this very request was done under it before.
///
/// # Errors
/// A conflict where it was used for another request.
pub(crate) async fn done_before(app: &App, sent: Option<&Idempotency>) -> Result<Option<KeyRecord>, Problem> {
    let Some((key, request)) = sent.cloned() else { return Ok(None) };
    if let Some(attempt) = app.replays.used(&key) {
        return Err(conflict(&format!("concerned a replay of attempt `{attempt}`")));
    }
    let cluster = app.cluster.clone();
    let known = app.store.run(move |store| store.idempotency(&cluster, &key)).await?.map_err(ManagerError::from)?;
    match known {
        Some(earlier) if earlier.request != request => Err(used(&earlier)),
        known => Ok(known),
    }
}

/// The conflict of a key that was used for another request.
pub(crate) fn used(earlier: &KeyRecord) -> Problem {
    let done = match earlier.swarm {
        Some(swarm) if earlier.answer.is_empty() => format!("made swarm `{swarm}`"),
        _ => earlier.answer.clone(),
    };
    conflict(&done)
}

/// The same, in these words for what was done.
fn conflict(done: &str) -> Problem {
    let sentence = format!("the idempotency key was used for another request, which {done}");
    Problem::new(ErrorCode::Conflict, sentence).hint("send a new key with a new request")
}
