//! Whether a replay did what the attempt did: published values to the bit, requests, and the way it failed.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use manta_api::AttemptOutcome;
use manta_client::Client;
use manta_types::event::{Failure as AttemptFailure, Published};
use manta_types::{Blob, Digest};
use serde::Serialize;

use crate::compare::{self, Difference};
use crate::outputs::save_value;
use crate::report::Failure;
use crate::text::{clean, count, one_line};

/// Characters of a sentence that names one difference.
const SENTENCE_CHARS: usize = 400;

/// What came of a replay, beside the attempt.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    /// Whether everything that can be compared is the same to the bit.
    pub(crate) identical: bool,
    /// Every published name, in the order of the original, then what only the replay published.
    pub(crate) values: Vec<ValueVerdict>,
    /// How the two endings compare; absent where both ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<FailureVerdict>,
    /// Whether it asked for other iterations, or to end the swarm where the attempt did not.
    pub(crate) same_requests: bool,
}

/// One published name.
#[derive(Debug, Serialize)]
pub(crate) struct ValueVerdict {
    /// `result` or `global`.
    pub(crate) kind: &'static str,
    /// The name.
    pub(crate) name: String,
    /// The original's digest; absent where only the replay published it.
    pub(crate) original: Option<Digest>,
    /// The replay's digest; absent where only the original published it.
    pub(crate) replayed: Option<Digest>,
    /// Where the two first differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) difference: Option<Difference>,
    /// Why the two could not be taken apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) undecided: Option<String>,
}

/// Two ways to end.
#[derive(Debug, Serialize)]
pub(crate) struct FailureVerdict {
    /// Whether class, message and place are the same.
    pub(crate) same: bool,
    /// How the original failed; absent where it did not.
    pub(crate) original: Option<AttemptFailure>,
    /// How the replay failed; absent where it did not.
    pub(crate) replayed: Option<AttemptFailure>,
}

/// Compares what an attempt left with what its replay left; values that differ are fetched into `folder`, where those
/// of a replay on this machine lie already.
pub(crate) async fn compare(
    client: &Client,
    original: &AttemptOutcome,
    replayed: &AttemptOutcome,
    folder: &Path,
) -> Result<Verdict, Failure> {
    let mut values = pair("result", &original.results, &replayed.results);
    // What a failed attempt wrote to globals was never reported, so there is nothing to compare it with.
    if original.failure.is_none() {
        values.extend(pair("global", &original.globals, &replayed.globals));
    }
    for value in &mut values {
        if let Some((first, second)) = value.blobs.take() {
            (value.verdict.difference, value.verdict.undecided) = part(client, first, second, folder).await?;
        }
    }
    let values: Vec<ValueVerdict> = values.into_iter().map(|pair| pair.verdict).collect();
    let failure = endings(original.failure.as_ref(), replayed.failure.as_ref());
    let requests = |outcome: &AttemptOutcome| (outcome.next_iterations.clone(), outcome.stop_swarm);
    let same_requests = original.failure.is_some() || requests(original) == requests(replayed);
    let same_values = values.iter().all(ValueVerdict::is_same);
    let identical = same_values && same_requests && failure.as_ref().is_none_or(|failure| failure.same);
    Ok(Verdict { identical, values, failure, same_requests })
}

/// A name, with its two values where they are not the same.
struct Pair {
    verdict: ValueVerdict,
    blobs: Option<(Blob, Blob)>,
}

fn pair(kind: &'static str, original: &[Published], replayed: &[Published]) -> Vec<Pair> {
    let known: BTreeSet<&str> = original.iter().map(|value| value.name.as_str()).collect();
    let names = original.iter().chain(replayed.iter().filter(|value| !known.contains(value.name.as_str())));
    let of = |values: &[Published], name: &str| values.iter().find(|value| value.name == name).map(|value| value.blob);
    let pairs = names.map(|value| {
        let (first, second) = (of(original, &value.name), of(replayed, &value.name));
        let digest = |blob: Option<Blob>| blob.map(|blob| blob.digest);
        let verdict = ValueVerdict {
            kind,
            name: value.name.clone(),
            original: digest(first),
            replayed: digest(second),
            difference: None,
            undecided: None,
        };
        Pair { verdict, blobs: first.zip(second).filter(|(first, second)| first.digest != second.digest) }
    });
    pairs.collect()
}

/// Where two values part. One that is gone or damaged leaves that open, and says so.
async fn part(
    client: &Client,
    first: Blob,
    second: Blob,
    folder: &Path,
) -> Result<(Option<Difference>, Option<String>), Failure> {
    let mut files = Vec::new();
    for blob in [first, second] {
        match at_hand(client, blob, folder).await {
            Ok(file) => files.push(file),
            Err(failure) if failure.exit == manta_api::ErrorCode::Unreachable.exit() => return Err(failure),
            Err(failure) => return Ok((None, Some(failure.message))),
        }
    }
    let compared = tokio::task::spawn_blocking(move || compare::values(&files[0], &files[1])).await;
    match compared.map_err(|error| Failure::internal(error.to_string()))? {
        Ok(difference) => Ok((difference, None)),
        Err(failure) => Ok((None, Some(failure.message))),
    }
}

async fn at_hand(client: &Client, blob: Blob, folder: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join(format!("{}.value", blob.digest));
    if path.is_file() { Ok(path) } else { save_value(client, blob, &path).await }
}

fn endings(original: Option<&AttemptFailure>, replayed: Option<&AttemptFailure>) -> Option<FailureVerdict> {
    if original.is_none() && replayed.is_none() {
        return None;
    }
    let face = |failure: Option<&AttemptFailure>| {
        failure.map(|failure| (failure.class.clone(), failure.message.clone(), failure.location.clone()))
    };
    let same = face(original) == face(replayed);
    Some(FailureVerdict { same, original: original.cloned(), replayed: replayed.cloned() })
}

impl ValueVerdict {
    fn is_same(&self) -> bool {
        self.original == self.replayed
    }

    /// One line where it is not the same.
    fn line(&self) -> String {
        let (kind, name) = (self.kind, one_line(&self.name, 64));
        let words = match (&self.difference, &self.undecided, self.original, self.replayed) {
            (_, _, Some(_), None) => "was published by the original alone".to_owned(),
            (_, _, None, Some(_)) => "was published by the replay alone".to_owned(),
            (Some(difference), ..) => difference.sentence(),
            (None, Some(why), ..) => format!("differs, and where cannot be told: {why}"),
            (None, None, ..) => "differs".to_owned(),
        };
        format!("{kind} {name}: {}", one_line(&words, SENTENCE_CHARS))
    }
}

impl Verdict {
    /// What to tell, a line each; the first is the verdict.
    pub(crate) fn lines(&self) -> Vec<String> {
        let differing: Vec<&ValueVerdict> = self.values.iter().filter(|value| !value.is_same()).collect();
        let mut lines = Vec::new();
        match (&self.failure, self.identical) {
            (Some(failure), true) => {
                let (class, message) = failure.original.as_ref().map_or(("", ""), |f| (&f.class, &f.message));
                lines.push(format!("reproduced: it failed in the same way ({class}): {}", one_line(message, 200)));
            }
            (None, true) => lines.push(format!("identical: {}", self.counted())),
            (_, false) => {
                let first = differing.first().map(|value| format!("; the first is {} {}", value.kind, value.name));
                let all = self.values.len();
                lines.push(format!(
                    "different: {} of {}{}",
                    differing.len(),
                    count(all, "value"),
                    first.unwrap_or_default()
                ));
            }
        }
        lines.extend(differing.iter().map(|value| format!("  {}", value.line())));
        if let Some(failure) = self.failure.as_ref().filter(|failure| !failure.same) {
            lines.push(format!("  the original {}", ending(failure.original.as_ref())));
            lines.push(format!("  the replay {}", ending(failure.replayed.as_ref())));
        }
        if !self.same_requests {
            lines.push("  it asked for other iterations, or another end of the swarm".to_owned());
        }
        lines.into_iter().map(|line| clean(&line)).collect()
    }

    fn counted(&self) -> String {
        let of = |kind: &str| self.values.iter().filter(|value| value.kind == kind).count();
        match (of("result"), of("global")) {
            (0, 0) => "it ended well and published nothing, as before".to_owned(),
            (results, 0) => format!("{}, to the bit", count(results, "result")),
            (0, globals) => format!("{}, to the bit", count(globals, "global")),
            (results, globals) => format!("{} and {}, to the bit", count(results, "result"), count(globals, "global")),
        }
    }
}

/// `ended well`, or how it failed.
pub(crate) fn ending(failure: Option<&AttemptFailure>) -> String {
    let Some(failure) = failure else { return "ended well".to_owned() };
    let place = failure.location.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
    format!("failed ({}){place}: {}", failure.class, one_line(&failure.message, 200))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(name: &str, byte: u8) -> Published {
        Published { name: name.to_owned(), blob: Blob { digest: Digest::from_bytes([byte; 32]), size: 1 } }
    }

    fn failure(class: &str, message: &str, place: &str) -> AttemptFailure {
        AttemptFailure {
            class: class.to_owned(),
            message: message.to_owned(),
            location: Some(place.to_owned()),
            ..AttemptFailure::default()
        }
    }

    fn client() -> Client {
        let endpoint = "unix:/nowhere/manager.sock".parse().unwrap();
        Client::new(endpoint, manta_client::Token::new("none"), manta_types::ClusterId::default())
    }

    async fn judged(original: AttemptOutcome, replayed: AttemptOutcome) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        compare(&client(), &original, &replayed, folder.path()).await.unwrap()
    }

    #[tokio::test]
    async fn equal_digests_need_no_value() {
        let left = || AttemptOutcome {
            results: vec![published("a", 1)],
            globals: vec![published("g", 2)],
            ..AttemptOutcome::default()
        };
        let verdict = judged(left(), left()).await;
        assert!(verdict.identical);
        assert_eq!(verdict.lines(), ["identical: 1 result and 1 global, to the bit"]);
        let other = AttemptOutcome { stop_swarm: true, ..left() };
        assert!(!judged(left(), other).await.identical);
    }

    #[tokio::test]
    async fn names_of_one_side_alone_are_listed() {
        let original =
            AttemptOutcome { results: vec![published("a", 1), published("b", 1)], ..AttemptOutcome::default() };
        let replayed =
            AttemptOutcome { results: vec![published("c", 1), published("a", 1)], ..AttemptOutcome::default() };
        let verdict = judged(original, replayed).await;
        assert!(!verdict.identical);
        let lines = verdict.lines();
        assert_eq!(lines[0], "different: 2 of 3 values; the first is result b");
        assert_eq!(lines[1], "  result b: was published by the original alone");
        assert_eq!(lines[2], "  result c: was published by the replay alone");
    }

    #[tokio::test]
    async fn a_failure_is_reproduced_by_its_class_message_and_place() {
        let failed = |failure| AttemptOutcome { failure: Some(failure), ..AttemptOutcome::default() };
        let original = || failed(failure("user_error", "ValueError: no", "worker.py:7"));
        // Globals of a failed attempt were never reported.
        let again = AttemptOutcome { globals: vec![published("g", 1)], stop_swarm: true, ..original() };
        let verdict = judged(original(), again).await;
        assert!(verdict.identical);
        assert_eq!(verdict.lines(), ["reproduced: it failed in the same way (user_error): ValueError: no"]);
        for other in [
            failed(failure("user_error", "ValueError: no", "worker.py:8")),
            failed(failure("timeout", "ValueError: no", "worker.py:7")),
            AttemptOutcome::default(),
        ] {
            let verdict = judged(original(), other).await;
            assert!(!verdict.identical, "{verdict:?}");
            assert!(verdict.lines()[1].starts_with("  the original failed (user_error) at worker.py:7"));
        }
    }
}
