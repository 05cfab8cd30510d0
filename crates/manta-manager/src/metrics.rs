//! What the manager counts for those who watch it from outside, in the words of Prometheus.
//!
//! What happened is counted from events once they are durable; what is so now is read from the engine when somebody asks.
//! Every label has few values: names of states and causes, and names of modules and nodes up to a limit, beyond which they
//! are counted together as `other`. Counts begin at zero when the manager starts, as those who read them expect.
mod names;
mod now;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use manta_engine::{Engine, SwarmRun};
use manta_types::event::Timings;
use manta_types::{ClusterId, Event, OutcomeClass, SwarmEvent};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use self::names::Names;
pub(crate) use self::now::Now;

/// The form of the answer: OpenMetrics, which every Prometheus reads.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Modules that are told apart.
const MODULES_MAX: usize = 200;
/// Nodes that are told apart; no histogram has them as a label.
const NODES_MAX: usize = 1000;

type Labels<const N: usize> = [(&'static str, String); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Seconds = Counter<f64, std::sync::atomic::AtomicU64>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Which way bytes go, seen from the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Blobs that are stored.
    In,
    /// Blobs that are read.
    Out,
}

/// All that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    modules: Names,
    nodes: Names,
    decisions: Counters<1>,
    attempts: Counters<1>,
    durations: Histograms<2>,
    queued: Histogram,
    rounds: Histogram,
    commits: Histogram,
    cpu: Family<Labels<1>, Seconds>,
    received: Counter,
    sent: Counter,
    retries: Counter,
}

/// From a millisecond to more than a minute, for what happens all the time.
fn short() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 9))
}

/// From ten milliseconds to about three hours, for what user code takes.
fn long() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 4.0, 11))
}

#[cfg(test)]
impl Default for Metrics {
    fn default() -> Self {
        Self::of(&ClusterId::default())
    }
}

/// What is told of a cluster has its name as a label.
fn registry_of(cluster: &ClusterId) -> Registry {
    let label = ("cluster".into(), cluster.to_string().into());
    Registry::with_prefix_and_labels("manta", std::iter::once(label))
}

impl Metrics {
    /// Those of a cluster, in which nothing has happened yet.
    pub(crate) fn of(cluster: &ClusterId) -> Self {
        let bytes = Counters::<1>::default();
        let direction = |name: &str| bytes.get_or_create_owned(&[("direction", name.to_owned())]);
        let mut metrics = Self {
            registry: registry_of(cluster),
            modules: Names::new(MODULES_MAX),
            nodes: Names::new(NODES_MAX),
            decisions: Family::default(),
            attempts: Family::default(),
            durations: Family::new_with_constructor(long),
            queued: short(),
            rounds: long(),
            commits: short(),
            cpu: Family::default(),
            received: direction("in"),
            sent: direction("out"),
            retries: Counter::default(),
        };
        metrics.register(bytes);
        metrics
    }
}

impl Metrics {
    fn register(&mut self, bytes: Counters<1>) {
        let registry = &mut self.registry;
        let decisions = "What the scheduler decided, by what it was";
        registry.register("scheduler_decisions", decisions, self.decisions.clone());
        registry.register("attempts", "Attempts that ended, by how", self.attempts.clone());
        let durations = "Time inside run() of attempts that ended and whose node told it";
        registry.register_with_unit("task_duration", durations, Unit::Seconds, self.durations.clone());
        let queued = "Time that attempts waited at their node for a free slot";
        registry.register_with_unit("task_queue", queued, Unit::Seconds, self.queued.clone());
        let rounds = "Time from an iteration's start to its end";
        registry.register_with_unit("round_duration", rounds, Unit::Seconds, self.rounds.clone());
        let commits = "Time until a turn of the orchestrator was durable";
        registry.register_with_unit("commit_duration", commits, Unit::Seconds, self.commits.clone());
        let cpu = "Processor time of attempts that ended, as their nodes measured it";
        registry.register_with_unit("node_cpu", cpu, Unit::Seconds, self.cpu.clone());
        let transfers = "Bytes of blobs that the manager took in and gave out";
        registry.register_with_unit("transfer", transfers, Unit::Bytes, bytes);
        let retries = "Transfers of blobs that went on where an earlier one broke off";
        registry.register("transfer_retries", retries, self.retries.clone());
    }

    /// A turn is durable, and took so long to be.
    pub(crate) fn committed(&self, elapsed: Duration, events: &[Event], engine: &Engine) {
        self.commits.observe(elapsed.as_secs_f64());
        for event in events {
            self.happened(event, engine.swarm(event.swarm));
        }
    }

    fn happened(&self, event: &Event, swarm: Option<&SwarmRun>) {
        if let Some(reason) = decision(&event.what) {
            self.decisions.get_or_create(&[("reason", reason.to_owned())]).inc();
        }
        match &event.what {
            SwarmEvent::AttemptAccepted { timings, .. } => self.ended(event, swarm, "succeeded", Some(timings)),
            SwarmEvent::AttemptFailed { failure, timings, .. } => {
                let class = OutcomeClass::from_name(&failure.class).map_or("other", OutcomeClass::name);
                self.ended(event, swarm, class, Some(timings));
            }
            SwarmEvent::AttemptLost { .. } => self.ended(event, swarm, "lost", None),
            SwarmEvent::AttemptCancelled { .. } => self.ended(event, swarm, "cancelled", None),
            SwarmEvent::IterationFinished { elapsed_ms, .. } => self.rounds.observe(seconds(*elapsed_ms)),
            _ => {}
        }
    }

    fn ended(&self, event: &Event, swarm: Option<&SwarmRun>, outcome: &'static str, timings: Option<&Timings>) {
        self.attempts.get_or_create(&[("outcome", outcome.to_owned())]).inc();
        let Some(timings) = timings else { return };
        let task = swarm.zip(event.subject.task).and_then(|(swarm, task)| swarm.spec().tasks.get(task));
        let module = self.modules.of(task.map_or("", |task| &task.module));
        let labels = [("module", module), ("outcome", outcome.to_owned())];
        self.durations.get_or_create(&labels).observe(seconds(timings.run_ms));
        self.queued.observe(seconds(timings.queue_ms));
        if let Some((node, usage)) = event.subject.node.as_ref().zip(timings.usage) {
            let label = [("node", self.nodes.of(node.as_str()))];
            self.cpu.get_or_create(&label).inc_by(seconds(usage.cpu_ms));
        }
    }

    /// So many bytes of a blob went by.
    pub(crate) fn transferred(&self, direction: Direction, bytes: usize) {
        let counter = match direction {
            Direction::In => &self.received,
            Direction::Out => &self.sent,
        };
        counter.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// A transfer goes on where an earlier one broke off.
    pub(crate) fn resumed(&self) {
        self.retries.inc();
    }

    /// All of it, with what is so now.
    pub(crate) fn text(&self, cluster: &ClusterId, now: &Now) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode_registry(&mut text, &now.registry(registry_of(cluster)))?;
        text::encode_registry(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What is told of clusters as one answer, behind what is the manager's: each family once, with the samples of all.
pub(crate) fn together(free_bytes: u64, clusters: &[String]) -> Result<String, std::fmt::Error> {
    let mut of_manager = String::new();
    text::encode_registry(&mut of_manager, &now::of_manager(free_bytes))?;
    let mut families: Vec<Told<'_>> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut place = 0;
    for line in std::iter::once(&of_manager).chain(clusters).flat_map(|text| text.lines()) {
        let Some(name) = line.strip_prefix("# ").and_then(|rest| rest.split(' ').nth(1)) else {
            families[place].samples.push(line);
            continue;
        };
        place = *places.entry(name).or_insert_with(|| {
            families.push(Told::default());
            families.len() - 1
        });
        if !families[place].about.contains(&line) {
            families[place].about.push(line);
        }
    }
    let lines = families.into_iter().flat_map(|family| family.about.into_iter().chain(family.samples));
    let mut text = lines.fold(String::new(), |text, line| text + line + "\n");
    text::encode_eof(&mut text)?;
    Ok(text)
}

/// A family on its way into one answer.
#[derive(Default)]
struct Told<'a> {
    about: Vec<&'a str>,
    samples: Vec<&'a str>,
}

/// The kind of decision that an event is, where it is one; never with a name in it, so that there are few.
fn decision(what: &SwarmEvent) -> Option<&'static str> {
    use SwarmEvent as E;
    Some(match what {
        E::SwarmAdmitted | E::SwarmContinued { .. } => "swarm_admitted",
        E::IterationStarted { .. } => "iteration_started",
        E::TaskRunStarted { .. } => "task_placed",
        E::TaskRunSkipped { .. } => "task_skipped",
        E::TaskRunClosed { succeeded: true, .. } => "task_succeeded",
        E::TaskRunClosed { .. } => "task_failed",
        E::AttemptOffered { reason, .. } if reason == "first" => "attempt_offered",
        E::AttemptOffered { reason, .. } if reason.starts_with("again after") => "attempt_retried",
        E::AttemptOffered { .. } => "attempt_moved",
        E::AttemptLost { .. } => "attempt_lost",
        E::AttemptCancelled { .. } => "attempt_cancelled",
        E::NodeExcused { .. } => "node_excused",
        E::RolloutStepped { .. } => "rollout_stepped",
        E::RolloutHeld { .. } => "rollout_held",
        E::RolloutEnded { .. } => "rollout_ended",
        E::SwarmSucceeded { .. } => "swarm_succeeded",
        E::SwarmFailed { .. } => "swarm_failed",
        _ => return None,
    })
}

/// Milliseconds as Prometheus wants them; what a node says of itself may be any number.
fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}
