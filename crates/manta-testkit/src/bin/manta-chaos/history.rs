//! What clients were told, and whether it is all still so: invariants over histories, results, globals and state.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use manta_api::{EventView, ResultView};
use manta_client::Client;
use manta_types::{AttemptId, NodeName, SwarmEvent, SwarmId};

use crate::wait::until;
use crate::workload::{GATHER, Kind, Swarm, WORK, persist, scalar};

/// All that was acknowledged so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    swarms: BTreeMap<SwarmId, Told>,
    /// Keys of submissions and the swarm that each was answered with.
    keys: BTreeMap<String, SwarmId>,
    /// What any look or check has found wrong.
    wrong: Wrong,
}

/// What must not be: a sentence for each thing, so that one which is found in two checks counts once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wrong {
    /// Acknowledged, and gone or altered.
    pub(crate) lost: BTreeSet<String>,
    /// Accepted a second time.
    pub(crate) twice: BTreeSet<String>,
}

impl Wrong {
    fn absorb(&mut self, other: Self) {
        self.lost.extend(other.lost);
        self.twice.extend(other.twice);
    }
}

#[derive(Debug)]
struct Told {
    kind: Kind,
    /// The events that a client has seen.
    events: Vec<EventView>,
}

/// What a check has looked at, and what it found wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Assignments whose one accepted attempt was checked.
    pub(crate) accepted: u64,
    /// Acknowledged things that were read again: swarms, events, results, globals.
    pub(crate) acknowledged: u64,
    /// What was lost of those, or accepted twice.
    pub(crate) wrong: Wrong,
}

impl Seen {
    /// Whether nothing was lost or accepted twice.
    pub(crate) fn is_clean(&self) -> bool {
        self.wrong.lost.is_empty() && self.wrong.twice.is_empty()
    }
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.acknowledged += other.acknowledged;
        self.wrong.absorb(other.wrong);
    }
}

impl History {
    /// Notes a submission that was answered; the same key must always have the same answer.
    pub(crate) fn submitted(&mut self, key: &str, swarm: &Swarm) {
        let first = *self.keys.entry(key.to_owned()).or_insert(swarm.id);
        if first != swarm.id {
            self.wrong.twice.insert(format!("key `{key}` was answered with {first} and then with {}", swarm.id));
        }
        self.swarms.entry(swarm.id).or_insert(Told { kind: swarm.kind, events: Vec::new() });
    }

    /// Reads a swarm's history; what was read before must still be its beginning, word for word (I1).
    pub(crate) async fn look(&mut self, client: &Client, swarm: SwarmId) -> Result<&[EventView]> {
        let told = self.swarms.get_mut(&swarm).context("a swarm that is looked at was submitted")?;
        let now = persist("a history", || client.events(swarm, 0)).await?;
        for (position, before) in told.events.iter().enumerate() {
            let what = match now.get(position) {
                Some(after) if after == before => continue,
                Some(after) => format!("{swarm}: event {} was {before:?} and is {after:?}", before.seq),
                None => format!("{swarm}: event {} was {before:?} and is gone", before.seq),
            };
            self.wrong.lost.insert(what);
        }
        told.events = now;
        Ok(&told.events)
    }

    /// Whether a client has seen the end of a swarm.
    pub(crate) fn is_over(&self, swarm: SwarmId) -> bool {
        let last = self.swarms.get(&swarm).and_then(|told| told.events.last());
        last.is_some_and(|event| matches!(event.kind(), "swarm_succeeded" | "swarm_failed" | "swarm_stopped"))
    }

    /// The attempts on a node that a client has seen accepted.
    pub(crate) fn accepted_on(&self, node: &str) -> Result<BTreeSet<AttemptId>> {
        let mut accepted = BTreeSet::new();
        for (swarm, told) in &self.swarms {
            let story = Story::read(*swarm, &told.events).with_context(|| format!("the history of {swarm}"))?;
            let was_there =
                |attempt: &&AttemptId| story.offered.get(attempt).is_some_and(|(_, on, _)| on.as_str() == node);
            accepted.extend(story.accepted.values().filter(was_there));
        }
        Ok(accepted)
    }

    /// Waits until a swarm is over, looking all the while (I5), and checks it.
    pub(crate) async fn finish(&mut self, client: &Client, swarm: SwarmId, limit: Duration) -> Result<Seen> {
        let what = format!("the end of {swarm}");
        until(limit, &what, async || {
            let view = match client.swarm(swarm).await {
                Ok(view) => view,
                Err(error) if error.is_transient() => return Ok(Some(error.to_string())),
                Err(error) => bail!("{swarm} was acknowledged and is refused: {error}"),
            };
            let over = matches!(view.state.as_str(), "succeeded" | "failed" | "stopped");
            Ok((!over).then(|| {
                format!("{} ({}), waiting: {:?}, {:?}", view.state, view.reason, view.waiting, view.task_runs)
            }))
        })
        .await?;
        self.check(client, swarm).await
    }

    /// Every swarm that was ever acknowledged, checked again.
    pub(crate) async fn check_all(&mut self, client: &Client) -> Result<Seen> {
        let known: Vec<_> = self.swarms.keys().copied().collect();
        let stored: BTreeSet<_> =
            persist("a list of swarms", || client.swarms()).await?.into_iter().map(|view| view.id).collect();
        let mut seen = Seen::default();
        for swarm in known {
            if stored.contains(&swarm) {
                seen += self.check(client, swarm).await?;
            } else {
                self.wrong.lost.insert(format!("{swarm} was acknowledged and is gone"));
            }
            seen.acknowledged += 1;
        }
        seen.wrong = self.wrong.clone();
        Ok(seen)
    }

    /// Checks one swarm.
    pub(crate) async fn check(&mut self, client: &Client, swarm: SwarmId) -> Result<Seen> {
        self.look(client, swarm).await?;
        let told = self.swarms.get(&swarm).context("it was looked at in the line above")?;
        let mut story = Story::read(swarm, &told.events).with_context(|| format!("the history of {swarm}"))?;
        let mut seen = Seen { acknowledged: told.events.len() as u64, ..Seen::default() };
        let results = persist("results", || client.results(swarm)).await?;
        story.check_results(&results).with_context(|| format!("the results of {swarm}"))?;
        match told.kind {
            Kind::Tally { iterations } | Kind::Paused { iterations } | Kind::Drained { iterations } => {
                ensure!(story.end.as_deref() == Some("swarm_succeeded"), "{swarm} ended as {:?}", story.end);
                seen += check_tally(client, swarm, &story, &results, iterations).await?;
            }
            Kind::Broken | Kind::Retried => {
                ensure!(story.end.as_deref() == Some("swarm_failed"), "{swarm} ended as {:?}", story.end);
            }
            Kind::Lame => {
                ensure!(story.end.as_deref() == Some("swarm_succeeded"), "{swarm} ended as {:?}", story.end);
                ensure!(story.accepted.len() == 1, "{swarm} has {} accepted attempts, not one", story.accepted.len());
            }
            Kind::Hold | Kind::Excused => {
                ensure!(story.end.as_deref() != Some("swarm_failed"), "{swarm} ended as {:?}", story.end);
            }
        }
        seen.accepted = story.accepted.len() as u64;
        seen.wrong.twice.append(&mut story.twice);
        self.wrong.absorb(seen.wrong.clone());
        Ok(seen)
    }
}

/// Where an attempt was offered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    iteration: u32,
    task: usize,
    slot: usize,
}

/// A swarm's history, read once and found to keep the rules (I2, I3).
#[derive(Debug, Default)]
struct Story {
    offered: BTreeMap<AttemptId, (Place, NodeName, u32)>,
    accepted: BTreeMap<Place, AttemptId>,
    excused: BTreeSet<Place>,
    /// Places that were accepted more than once.
    twice: BTreeSet<String>,
    end: Option<String>,
}

impl Story {
    fn read(swarm: SwarmId, events: &[EventView]) -> Result<Self> {
        let mut story = Self::default();
        let mut newest: BTreeMap<Place, (u32, AttemptId)> = BTreeMap::new();
        let mut slots: BTreeMap<(u32, usize), usize> = BTreeMap::new();
        for (view, seq) in events.iter().zip(1..) {
            ensure!(view.seq == seq, "event {} stands where {seq} should", view.seq);
            ensure!(story.end.is_none(), "event {seq} follows the end");
            let event =
                view.parsed(swarm).with_context(|| format!("event {seq} is of an unknown kind: {:?}", view.event))?;
            match event.what {
                SwarmEvent::TaskRunStarted { iteration, task, nodes, .. } => {
                    ensure!(
                        slots.insert((iteration, task), nodes.len()).is_none(),
                        "task {task} started twice in {iteration}"
                    );
                }
                SwarmEvent::AttemptOffered { attempt, iteration, task, slot, node, epoch, .. } => {
                    let place = Place { iteration, task, slot };
                    ensure!(!story.accepted.contains_key(&place), "{place:?} was offered after it was accepted");
                    let earlier = newest.insert(place.clone(), (epoch, attempt));
                    ensure!(
                        earlier.is_none_or(|(before, _)| before < epoch),
                        "{place:?} has epoch {epoch} after {earlier:?}"
                    );
                    story.offered.insert(attempt, (place, node, epoch));
                }
                SwarmEvent::AttemptAccepted { attempt, .. } => {
                    let (place, ..) =
                        story.offered.get(&attempt).with_context(|| format!("{attempt} was never offered"))?;
                    ensure!(
                        newest.get(place).is_some_and(|(_, newest)| *newest == attempt),
                        "{attempt} is not the newest of {place:?}"
                    );
                    if let Some(first) = story.accepted.insert(place.clone(), attempt) {
                        story.twice.insert(format!("{swarm}: {place:?} was accepted twice: {first} and {attempt}"));
                    }
                }
                SwarmEvent::NodeExcused { iteration, task, slot, .. } => {
                    story.excused.insert(Place { iteration, task, slot });
                }
                SwarmEvent::TaskRunClosed { iteration, task, succeeded: true, .. } => {
                    let count = slots.get(&(iteration, task)).context("a task run closed that never started")?;
                    for slot in 0..*count {
                        let place = Place { iteration, task, slot };
                        let is_settled = story.accepted.contains_key(&place) || story.excused.contains(&place);
                        ensure!(is_settled, "{place:?} was neither accepted nor excused when its task run closed");
                    }
                }
                what if what.is_final() => story.end = Some(what.kind().to_owned()),
                _ => {}
            }
        }
        Ok(story)
    }

    /// Accepted results are those of accepted attempts, from where they were offered.
    fn check_results(&self, results: &[ResultView]) -> Result<()> {
        for result in results {
            let (place, node, _) = self.offered.get(&result.attempt).context("a result of an unknown attempt")?;
            let is_accepted = self.accepted.get(place) == Some(&result.attempt);
            ensure!(result.accepted == is_accepted, "{result:?} counts, or does not, against the history");
            ensure!(
                (result.iteration, result.node.as_str()) == (place.iteration, node.as_str()),
                "{result:?} is of {place:?} on {node}"
            );
        }
        Ok(())
    }

    fn accepted_on(&self, iteration: u32, task: usize) -> impl Iterator<Item = &NodeName> {
        let of = move |place: &Place| place.iteration == iteration && place.task == task;
        self.accepted
            .iter()
            .filter(move |(place, _)| of(place))
            .filter_map(|(_, attempt)| self.offered.get(attempt).map(|(_, node, _)| node))
    }
}

/// Every value of the tally is what it must be, and there is one of each (I1, I2: results, globals and state together).
async fn check_tally(
    client: &Client,
    swarm: SwarmId,
    story: &Story,
    results: &[ResultView],
    iterations: u32,
) -> Result<Seen> {
    let mut wanted: BTreeMap<(u32, String, String), String> = BTreeMap::new();
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    let mut total = 0;
    for iteration in 0..iterations {
        let before = total;
        let mut parts = 0;
        for node in story.accepted_on(iteration, 0) {
            let number: u64 = node.as_str().rsplit('-').next().unwrap_or_default().parse()?;
            let accepted = times.entry(number).or_default();
            wanted.insert(
                (iteration, WORK.to_owned(), node.to_string()),
                format!("{swarm}:{iteration}:{number}:{before}:{accepted}"),
            );
            *accepted += 1;
            total += u64::from(iteration + 1) * number;
            parts += 1;
        }
        ensure!(parts > 0, "iteration {iteration} of {swarm} went on without any worker");
        for node in story.accepted_on(iteration, 1) {
            wanted.insert(
                (iteration, GATHER.to_owned(), node.to_string()),
                format!("{swarm}:{iteration}:{total}:{parts}"),
            );
        }
    }
    let mut seen = Seen { acknowledged: wanted.len() as u64 + 1, ..Seen::default() };
    let mut found = BTreeMap::new();
    for result in results.iter().filter(|result| result.accepted) {
        let key = (result.iteration, result.task.clone(), result.node.clone());
        let value = scalar(client, &result.blob).await?;
        if found.insert(key, value).is_some() {
            seen.wrong.twice.insert(format!("{swarm}: {result:?} is there twice"));
        }
    }
    for (key, value) in &wanted {
        if found.get(key) != Some(value) {
            let is = found.get(key).map_or("is gone".to_owned(), |other| format!("is `{other}`"));
            seen.wrong.lost.insert(format!("{swarm}: the result {key:?}, `{value}`, {is}"));
        }
    }
    let surplus: Vec<_> = found.keys().filter(|key| !wanted.contains_key(*key)).collect();
    ensure!(surplus.is_empty(), "{swarm}: results that no accepted attempt published: {surplus:?}");
    let globals = persist("globals", || client.globals(swarm)).await?;
    let global = globals.iter().find(|global| global.name == "total");
    let value = match global {
        Some(global) => scalar(client, &global.blob).await?,
        None => "gone".to_owned(),
    };
    if value != total.to_string() {
        seen.wrong.lost.insert(format!("{swarm}: the global `total` is {value}, not {total}"));
    }
    Ok(seen)
}
