//! Between the node protocol's messages and the manager's own types; what a node sends is checked here.
use std::collections::BTreeMap;

use manta_api::node::{self as wire, manager_message, node_message};
use manta_api::policy::{POLICY_BYTES_MAX, PolicyForm};
use manta_api::{DatasetSchema, DatasetView};
use manta_engine::{Command, Held, Offer};
use manta_types::event::{AttemptStateName, StartWay, Timings};
use manta_types::name::{check_component, check_name};
use manta_types::{
    Allowance, AttemptFailure, AttemptId, LimitReached, NodeId, NodeName, OnDisconnect, OutcomeClass, SwarmId, Usage,
    limits,
};

use crate::orchestrator::{Gpu, Greeting, NodeProfile, Offering};

/// Sentences, labels, datasets and images that a node may name.
const ENTRIES_MAX: usize = 1000;
/// Attempts that one node may run at once.
const SLOTS_MAX: u32 = 65_536;
/// Attempts that one node may hold.
const HELD_MAX: usize = 100_000;
/// Bytes of an image's digest or fingerprint.
const DIGEST_BYTES_MAX: usize = 128;
/// Bytes of the name of a limit or of its unit.
const WORD_BYTES_MAX: usize = 32;
/// Bytes of what a dataset looks like.
const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Bytes of a node's sentence.
const SENTENCE_BYTES_MAX: usize = 4096;

/// A node's introduction, checked.
#[derive(Debug)]
pub(super) struct Introduction {
    pub(super) name: NodeName,
    pub(super) id: Option<NodeId>,
    pub(super) profile: NodeProfile,
    pub(super) held: Vec<Held>,
    pub(super) greeting: Option<Greeting>,
}

/// Checks a node's introduction. What it holds of another generation of the cluster does not count: the node drops it
/// when it is welcomed.
///
/// # Errors
/// A sentence that names what cannot be used.
pub(super) fn introduction(hello: wire::Hello, generation: u64) -> Result<Introduction, String> {
    let name = NodeName::new(&hello.name).map_err(|error| error.to_string())?;
    let id = match hello.node_id.as_str() {
        "" => None,
        text => Some(text.parse::<NodeId>().map_err(|error| error.to_string())?),
    };
    let greeting = match hello.process.as_str() {
        "" => None,
        text => {
            let process = text.parse().map_err(|_| format!("`{}` is no process id", clip(text.to_owned(), 64)))?;
            Some(Greeting { process, dial: hello.dial })
        }
    };
    let counts = [hello.gpus.len(), hello.datasets.len(), hello.labels.len(), hello.images.len(), hello.notes.len()];
    if let Some(count) = counts.into_iter().find(|count| *count > ENTRIES_MAX) {
        return Err(format!(
            "node `{name}` names {count} datasets, labels, images, GPUs or notes; {ENTRIES_MAX} are the limit"
        ));
    }
    let has_cores = hello.cpu_count.is_finite() && hello.cpu_count > 0.0;
    if !has_cores || !(1..=SLOTS_MAX).contains(&hello.slots) {
        return Err(format!("node `{name}` offers {} slots on {} cores", hello.slots, hello.cpu_count));
    }
    for (key, value) in &hello.labels {
        check_name("label", key).and_then(|()| check_name("label", value)).map_err(|error| error.to_string())?;
    }
    if hello.held.len() > HELD_MAX {
        return Err(format!("node `{name}` holds {} attempts; {HELD_MAX} are the limit", hello.held.len()));
    }
    let Offering { datasets, dataset_views, policy } = offering(&name, hello.datasets, &hello.policy)?;
    let current = hello.held.iter().filter(|held| held.generation == 0 || held.generation == generation);
    let held = current.map(|held| Ok(Held { attempt: attempt(&held.attempt)?, epoch: held.epoch }));
    let held = held.collect::<Result<_, String>>()?;
    let told = hello.image_digests.into_iter().take(ENTRIES_MAX);
    let digests = told.map(|(image, digest)| (clip(image, SENTENCE_BYTES_MAX), clip(digest, DIGEST_BYTES_MAX)));
    let told = hello.image_pythons.into_iter().take(ENTRIES_MAX);
    let pythons = told.map(|(image, python)| (clip(image, SENTENCE_BYTES_MAX), clip(python, 64)));
    let clip_all = |texts: Vec<String>| texts.into_iter().map(|text| clip(text, SENTENCE_BYTES_MAX)).collect();
    let profile = NodeProfile {
        labels: hello.labels.into_iter().collect(),
        datasets,
        dataset_views,
        images: clip_all(hello.images),
        image_digests: digests.collect(),
        image_pythons: pythons.collect(),
        slots: hello.slots,
        cpu_count: hello.cpu_count,
        memory_bytes: hello.memory_bytes,
        gpus: hello
            .gpus
            .into_iter()
            .map(|gpu| Gpu { name: clip(gpu.name, 128), memory_bytes: gpu.memory_bytes })
            .collect(),
        tier: clip(hello.tier, 32),
        engine: clip(hello.engine, 32),
        notes: clip_all(hello.notes),
        protocol: hello.protocol,
        agent_version: clip(hello.agent_version, 64),
        python_version: clip(hello.python_version, 64),
        policy,
        platform: clip(hello.platform, 64),
    };
    Ok(Introduction { name, id, profile, held, greeting })
}

/// Checks what a node offers, and what its site allows there.
///
/// # Errors
/// A sentence that names what cannot be used.
pub(super) fn offering(name: &NodeName, sent: Vec<wire::Dataset>, policy: &str) -> Result<Offering, String> {
    if sent.len() > ENTRIES_MAX {
        return Err(format!("node `{name}` names {} datasets; {ENTRIES_MAX} are the limit", sent.len()));
    }
    if policy.len() > POLICY_BYTES_MAX {
        let (has, most) = (policy.len(), POLICY_BYTES_MAX);
        return Err(format!("node `{name}` has a policy of {has} bytes; {most} are the limit"));
    }
    let policy = match policy {
        "" => PolicyForm::default(),
        text => serde_json::from_str(text)
            .map_err(|error| format!("the policy of node `{name}` cannot be read: {error}"))?,
    };
    let (mut datasets, mut dataset_views) = (BTreeMap::new(), Vec::new());
    for wire::Dataset { name: dataset, form, size, schema } in sent {
        check_component("dataset", &dataset).map_err(|error| error.to_string())?;
        let form = clip(form, 32);
        datasets.insert(dataset.clone(), form.clone());
        // What it looks like is for people: one that cannot be read is not told.
        let schema = Some(schema).filter(|text| text.len() <= SCHEMA_BYTES_MAX);
        let schema = schema.and_then(|text| serde_json::from_str::<DatasetSchema>(&text).ok());
        dataset_views.push(DatasetView { name: dataset, form, size, schema });
    }
    Ok(Offering { datasets, dataset_views, policy })
}

/// Checks what a node has to say of itself.
///
/// # Errors
/// A sentence that names the limit.
pub(super) fn notes(sent: Vec<String>) -> Result<Vec<String>, String> {
    if sent.len() > ENTRIES_MAX {
        return Err(format!("{} notes, {ENTRIES_MAX} are the limit", sent.len()));
    }
    Ok(sent.into_iter().map(|note| clip(note, SENTENCE_BYTES_MAX)).collect())
}

/// Reads an attempt's id.
///
/// # Errors
/// A sentence that names the text.
pub(super) fn attempt(text: &str) -> Result<AttemptId, String> {
    text.parse().map_err(|error: manta_types::ids::IdError| error.to_string())
}

/// Reads the swarms whose state a node keeps.
///
/// # Errors
/// A sentence that names the limit or the text.
pub(super) fn swarms(sent: &[String]) -> Result<Vec<SwarmId>, String> {
    let most = limits::STATE_SWARMS_PER_MESSAGE_MAX;
    if sent.len() > most {
        return Err(format!("state of {} swarms in one message, {most} are the limit", sent.len()));
    }
    sent.iter().map(|text| text.parse().map_err(|error: manta_types::ids::IdError| error.to_string())).collect()
}

/// Reads the phase of an attempt.
///
/// # Errors
/// A sentence that names the text.
pub(super) fn phase(text: &str) -> Result<AttemptStateName, String> {
    Ok(match text {
        "preparing" => AttemptStateName::Preparing,
        "running" => AttemptStateName::Running,
        "uploading" => AttemptStateName::Uploading,
        other => return Err(format!("`{}` is no phase of an attempt", clip(other.to_owned(), 32))),
    })
}

/// What a node says of its attempts is added up by others, so no figure is beyond what can be: a year, of as many cores as a machine
/// has, and as many bytes.
const SPAN_MS_MAX: u64 = 366 * 24 * 3600 * 1000;
const CPU_MS_MAX: u64 = SPAN_MS_MAX * 512;
const BYTES_MAX: u64 = 1 << 40;

pub(super) fn timings(sent: Option<wire::Timings>) -> Timings {
    let wire::Timings { queue_ms, prepare_ms, start_ms, run_ms, upload_ms, start_way, start_instead, usage } =
        sent.unwrap_or_default();
    let start_way = StartWay::ALL.into_iter().find(|way| way.name() == start_way);
    let start_instead = clip(start_instead, SENTENCE_BYTES_MAX);
    let usage = usage.map(|used| Usage {
        cpu_ms: used.cpu_ms.min(CPU_MS_MAX),
        memory_bytes_peak: told(used.memory_bytes_peak),
        pids_peak: told(used.pids_peak),
        published_bytes: used.published_bytes.min(BYTES_MAX),
    });
    let [queue_ms, prepare_ms, start_ms, run_ms, upload_ms] =
        [queue_ms, prepare_ms, start_ms, run_ms, upload_ms].map(|span| span.min(SPAN_MS_MAX));
    Timings { queue_ms, prepare_ms, start_ms, run_ms, upload_ms, start_way, start_instead, usage }
}

/// A number that is 0 where nothing was measured.
fn told<T: Default + PartialEq>(number: T) -> Option<T> {
    Some(number).filter(|number| *number != T::default())
}

pub(super) fn failure(sent: wire::Failure) -> AttemptFailure {
    let tail = sent.log_tail.len().saturating_sub(limits::FAILURE_LOG_LINES);
    AttemptFailure {
        class: OutcomeClass::from_name(&sent.class).unwrap_or(OutcomeClass::Platform),
        message: clip(sent.message, SENTENCE_BYTES_MAX),
        traceback: clip(sent.traceback, limits::TRACEBACK_BYTES_MAX),
        location: Some(clip(sent.location, SENTENCE_BYTES_MAX)).filter(|place| !place.is_empty()),
        log_tail: sent.log_tail.into_iter().skip(tail).map(|line| clip(line, limits::LOG_LINE_BYTES_MAX)).collect(),
        reached: sent.reached.map(|reached| {
            Box::new(LimitReached {
                limit: clip(reached.limit, WORD_BYTES_MAX),
                value: reached.value,
                peak: told(reached.peak),
                unit: clip(reached.unit, WORD_BYTES_MAX),
            })
        }),
        limits: sent.limits.map(allowance).map(Box::new),
    }
}

fn allowance(sent: wire::Allowance) -> Allowance {
    let wire::Allowance { cpu, memory_bytes, tmp_bytes, tmp_files, pids, published_bytes, log_bytes, timeout_ms } =
        sent;
    // What is no number has no form in JSON.
    let cpu = if cpu.is_finite() { cpu } else { 0.0 };
    let timeout_ms = told(timeout_ms);
    Allowance { cpu, memory_bytes, tmp_bytes, tmp_files, pids, published_bytes, log_bytes, timeout_ms }
}

/// Cuts a text at a character, so that it has at most so many bytes.
pub(super) fn clip(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// The kind of a message that a node sent, for the log.
pub(super) const fn kind_name(kind: &node_message::Kind) -> &'static str {
    match kind {
        node_message::Kind::Hello(_) => "hello",
        node_message::Kind::Heartbeat(_) => "heartbeat",
        node_message::Kind::Progress(_) => "progress",
        node_message::Kind::Finished(_) => "finished",
        node_message::Kind::Logs(_) => "logs",
        node_message::Kind::Goodbye(_) => "goodbye",
        node_message::Kind::Refused(_) => "refused",
        node_message::Kind::Notes(_) => "notes",
        node_message::Kind::StateKept(_) => "state kept",
        node_message::Kind::Distributed(_) => "distributed",
        node_message::Kind::Offering(_) => "offering",
        node_message::Kind::ReplayProgress(_) => "replay progress",
        node_message::Kind::ReplayFinished(_) => "replay finished",
    }
}

/// A message to a node.
pub(super) fn message(kind: manager_message::Kind) -> wire::ManagerMessage {
    wire::ManagerMessage { kind: Some(kind) }
}

/// A command in the node protocol's form.
pub(crate) fn to_wire(command: &Command) -> wire::ManagerMessage {
    message(match command {
        Command::Offer(offer) => manager_message::Kind::Offer(offer_to_wire(offer)),
        Command::Cancel { attempt, epoch, reason, .. } => manager_message::Kind::Cancel(wire::Cancel {
            attempt: attempt.to_string(),
            epoch: *epoch,
            reason: reason.clone(),
        }),
        Command::Verdict { attempt, epoch, accepted, reason, .. } => manager_message::Kind::Verdict(wire::Verdict {
            attempt: attempt.to_string(),
            epoch: *epoch,
            accepted: *accepted,
            reason: reason.clone(),
        }),
    })
}

/// An offer in the node protocol's form.
pub(crate) fn offer_to_wire(offer: &Offer) -> wire::Offer {
    let task = &offer.spec.tasks[offer.task];
    let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
    let stop_after_ms = match task.policy.on_disconnect {
        OnDisconnect::Keep => 0,
        OnDisconnect::StopAfter(wait) => ms(wait),
    };
    wire::Offer {
        attempt: offer.attempt.to_string(),
        epoch: offer.epoch,
        swarm: offer.swarm.to_string(),
        swarm_name: offer.spec.name.clone(),
        task: task.alias.clone(),
        iteration: offer.iteration,
        number: offer.number,
        seed: offer.seed,
        bundle: task.bundle.to_string(),
        datasets: task.datasets.clone(),
        image: task.image.clone(),
        limits: Some(wire::Limits {
            cpu: task.resources.cpu.unwrap_or(0.0),
            memory_bytes: task.resources.memory_bytes.unwrap_or(0),
            tmp_bytes: task.resources.tmp_bytes.unwrap_or(0),
            pids: task.resources.pids.unwrap_or(0),
            gpu_count: task.resources.gpu_count,
            gpu_memory_bytes: task.resources.gpu_memory_bytes.unwrap_or(0),
        }),
        timeout_ms: task.policy.timeout.map_or(0, ms),
        stop_after_ms,
        state_of: offer.state_of.to_string(),
        traceparent: crate::traces::span_of(&offer.spec, offer.swarm, offer.attempt).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> wire::Hello {
        wire::Hello { name: "node-1".into(), slots: 2, cpu_count: 2.0, ..wire::Hello::default() }
    }

    #[test]
    fn figures_that_cannot_be_are_cut_so_that_sums_hold() {
        let usage = wire::Usage { cpu_ms: u64::MAX, published_bytes: u64::MAX, ..wire::Usage::default() };
        let sent = wire::Timings {
            queue_ms: u64::MAX,
            prepare_ms: u64::MAX,
            start_ms: u64::MAX,
            run_ms: u64::MAX,
            upload_ms: u64::MAX,
            usage: Some(usage),
            ..wire::Timings::default()
        };
        let taken = timings(Some(sent));
        let attempts = 1_000_000;
        let spans = taken.queue_ms + taken.prepare_ms + taken.start_ms + taken.run_ms + taken.upload_ms;
        let used = taken.usage.unwrap();
        assert!([spans, used.cpu_ms, used.published_bytes].iter().all(|one| one.checked_mul(attempts).is_some()));
    }

    #[test]
    fn a_plain_introduction_is_taken() {
        let taken = introduction(hello(), 1).unwrap();
        assert_eq!((taken.name.as_str(), taken.id, taken.held.len()), ("node-1", None, 0));
    }

    #[test]
    fn what_a_node_holds_of_another_generation_does_not_count() {
        let attempt = AttemptId::from_uuid(uuid::Uuid::from_u128(1)).to_string();
        let held = |generation| wire::Held { attempt: attempt.clone(), epoch: 1, phase: "running".into(), generation };
        let count = |held| introduction(wire::Hello { held, ..hello() }, 2).unwrap().held.len();
        assert_eq!((count(vec![held(1)]), count(vec![held(2)]), count(vec![held(0)])), (0, 1, 1));
    }

    #[test]
    fn introductions_that_break_a_rule_are_refused_in_words() {
        let check = |change: fn(&mut wire::Hello), words: &str| {
            let mut hello = hello();
            change(&mut hello);
            let error = introduction(hello, 1).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        check(|hello| hello.name = "Node 1".into(), "may hold only");
        check(|hello| hello.node_id = "nd_x".into(), "not a node id");
        check(|hello| hello.process = "7".into(), "`7` is no process id");
        check(|hello| hello.slots = 0, "0 slots");
        check(|hello| hello.cpu_count = f64::NAN, "NaN cores");
        check(|hello| hello.datasets.push(wire::Dataset { name: "../etc".into(), ..Default::default() }), "slashes");
        check(|hello| hello.notes = vec![String::new(); 1001], "1001");
        check(|hello| hello.held = vec![wire::Held::default(); HELD_MAX + 1], "100001 attempts");
        check(
            |hello| hello.held.push(wire::Held { attempt: "sw_1".into(), ..Default::default() }),
            "not an attempt id",
        );
    }

    #[test]
    fn texts_are_cut_at_characters() {
        assert_eq!(clip("héllo".into(), 2), "h");
        assert_eq!(clip("héllo".into(), 3), "hé");
        assert_eq!(clip("short".into(), 64), "short");
    }
}
