//! Rounds: one program on one node, watched to its end and judged.
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use manta_api::submission::ResourcesWire;
use manta_api::{EventView, ModuleRef, SwarmSubmission, TaskSubmission};
use manta_client::{Client, LogFilter};
use manta_module::{ModuleResources, digest_of, pack};
use manta_types::{Blob, SwarmEvent, SwarmId};

use super::nodes::Abused;
use super::program::Program;
use crate::report::Finding;
use crate::wait::until as wait_until;
use crate::workload::{meta, persist};

/// How long a swarm of one task may take, whatever its task does.
const OVER_WITHIN: Duration = Duration::from_secs(120);
/// How long the last lines of a log may take to be there.
const LOGGED_WITHIN: Duration = Duration::from_secs(20);
/// The task's alias.
const ALIAS: &str = "task";

/// A task that is submitted alone.
pub(crate) struct Lone<'a> {
    pub(crate) key: String,
    pub(crate) node: &'a str,
    pub(crate) code: String,
    /// Whether it is given little; else it gets what the node gives by itself.
    pub(crate) is_limited: bool,
    pub(crate) timeout_s: f64,
}

/// One program that was run.
pub(crate) struct Round {
    program: String,
    took: Duration,
    wrong: Option<String>,
}

impl Round {
    /// Adds it to the others of its tier.
    pub(crate) fn tell(self, finding: &mut Finding) {
        finding.fell_at(&self.program);
        finding.recovery.push(self.took);
        finding.seen.acknowledged += 1;
        finding.seen.wrong.lost.extend(self.wrong);
    }
}

/// Runs the programs of these rounds, by turns, until they are all done or it is time.
pub(crate) async fn until(
    client: &Client,
    node: &Abused,
    programs: &[Program],
    rounds: std::ops::Range<usize>,
    over: Instant,
) -> Result<Vec<Round>> {
    let mut done = Vec::new();
    for number in rounds {
        if Instant::now() >= over {
            break;
        }
        // Nodes begin at different programs, so that two rarely run the same.
        let program = &programs[(number + 7 * node.number() as usize) % programs.len()];
        done.push(round(client, node, program, number).await?);
    }
    Ok(done)
}

async fn round(client: &Client, node: &Abused, program: &Program, number: usize) -> Result<Round> {
    let key = format!("abuse-{}-{number:04}-{}", node.number(), program.name.replace('_', "-"));
    let (code, timeout_s) = (program.code()?.to_owned(), program.timeout_s(node.means()));
    let begun = Instant::now();
    let swarm = submit(client, &Lone { key, node: node.name(), code, is_limited: true, timeout_s }).await?;
    let ended = end(client, swarm).await?;
    let took = begun.elapsed();
    let wrong = judge(client, node, program, swarm, &ended).await?;
    Ok(Round {
        program: program.name.clone(),
        took,
        wrong: wrong.map(|why| format!("{} on {}: {why}", program.name, node.tier())),
    })
}

/// What is wrong with how it ended, if something is.
async fn judge(
    client: &Client,
    node: &Abused,
    program: &Program,
    swarm: SwarmId,
    ended: &Ended,
) -> Result<Option<String>> {
    let expected = program.expected(node.means());
    let says = expected.says.iter().all(|words| ended.message.contains(words));
    if ended.class != expected.class || !says {
        return Ok(Some(format!(
            "ended as {}: {}; {}: {:?} is right",
            ended.class, ended.message, expected.class, expected.says
        )));
    }
    if program.logs.is_empty() {
        return Ok(None);
    }
    let filter = LogFilter { level: Some("warning".to_owned()), ..LogFilter::default() };
    let mut lack = None;
    // Logs are live: their last lines come after the end.
    let came = wait_until(LOGGED_WITHIN, "a log", async || {
        let lines = persist("a log", || client.logs(swarm, &filter)).await?;
        let lacks = |words: &&String| {
            !lines.iter().any(|line| words.split(" | ").any(|alternative| line.text.contains(alternative)))
        };
        let missing = program.logs.iter().find(lacks);
        lack = missing.map(|words| format!("its log of {} lines does not say `{words}`", lines.len()));
        Ok(lack.clone())
    })
    .await;
    match came {
        Ok(_) => Ok(None),
        Err(error) => lack.map(Some).ok_or(error),
    }
}

/// How a swarm of one task ended.
pub(crate) struct Ended {
    /// `succeeded`, or the class of the failure.
    pub(crate) class: String,
    message: String,
}

/// Waits for the end of a swarm of one task.
pub(crate) async fn end(client: &Client, swarm: SwarmId) -> Result<Ended> {
    let mut events: Vec<EventView> = Vec::new();
    wait_until(OVER_WITHIN, &format!("the end of {swarm}"), async || {
        let after = events.last().map_or(0, |event| event.seq);
        events.extend(persist("a history", || client.events(swarm, after)).await?);
        let is_over =
            events.last().is_some_and(|event| event.kind().starts_with("swarm_") && event.kind() != "swarm_started");
        Ok((!is_over).then(|| events.last().map_or_else(String::new, |event| event.message.clone())))
    })
    .await?;
    let mut failed = events.iter().filter_map(|event| match event.parsed(swarm)?.what {
        SwarmEvent::AttemptFailed { failure, .. } => Some(Ended { class: failure.class, message: failure.message }),
        _ => None,
    });
    let last = failed.next_back();
    let is_well = events.last().is_some_and(|event| event.kind() == "swarm_succeeded");
    ensure!(is_well != last.is_some(), "{swarm} ended in a way that no failure explains: {:?}", events.last());
    Ok(last.unwrap_or_else(|| Ended { class: "succeeded".to_owned(), message: String::new() }))
}

/// Submits a task alone.
pub(crate) async fn submit(client: &Client, lone: &Lone<'_>) -> Result<SwarmId> {
    let code = lone.code.as_bytes().to_vec();
    let file = Blob { digest: digest_of(&code), size: code.len() as u64 };
    let resources = if lone.is_limited { little() } else { ModuleResources::default() };
    let bundle = pack(manta_module::BundleMeta { resources, ..meta(ALIAS) }, [("task.py".to_owned(), file)])?;
    let module = ModuleRef {
        bundle: bundle.blob.digest,
        name: ALIAS.to_owned(),
        version: bundle.manifest.version.clone(),
        image: bundle.manifest.image.clone(),
        datasets: Vec::new(),
        resources: wire(resources),
        runtimes: Vec::new(),
        requires_python: None,
        architectures: Vec::new(),
    };
    let task: TaskSubmission = serde_json::from_value(serde_json::json!({
        "alias": ALIAS, "module": 0, "method": "all", "specified": [lone.node], "retries": 0, "timeout_s": lone.timeout_s,
    }))?;
    let document = serde_json::json!({"name": lone.key, "max_iteration": 1, "modules": [], "tasks": []});
    let empty: SwarmSubmission = serde_json::from_value(document)?;
    let submission = SwarmSubmission { modules: vec![module], tasks: vec![task], ..empty };
    persist("a submission", || async {
        client.put_blob_bytes(code.clone()).await?;
        client.put_blob_bytes(bundle.bytes.clone()).await?;
        client.submit(&submission, &lone.key).await
    })
    .await
    .map(|swarm| swarm.id)
    .with_context(|| lone.key.clone())
}

fn little() -> ModuleResources {
    ModuleResources {
        cpu: Some(1.0),
        memory_bytes: Some(128 << 20),
        tmp_bytes: Some(16 << 20),
        pids: Some(64),
        ..ModuleResources::default()
    }
}

fn wire(asked: ModuleResources) -> ResourcesWire {
    let ModuleResources { cpu, memory_bytes, tmp_bytes, pids, .. } = asked;
    ResourcesWire { cpu, memory_bytes, tmp_bytes, pids, ..ResourcesWire::default() }
}
