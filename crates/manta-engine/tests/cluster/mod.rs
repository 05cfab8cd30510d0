//! An engine with nodes that answer on command, on a clock that the test moves.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by several test binaries, each using a part"
)]
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use manta_engine::{Command, DutyChanged, Engine, Input, NodeDescription, Now, Offer, Step, Submit, SwarmRun};
use manta_types::event::{AttemptStateName, Outputs, Published, SwarmEvent};
use manta_types::{
    AttemptFailure, Blob, Checkpoint, Digest, Event, FailurePolicy, Method, NodeLimit, NodeName, OutcomeClass, Pin,
    SwarmId, SwarmSpec, SwarmState, TaskSpec, Timestamp,
};
use uuid::Uuid;

pub struct Cluster {
    pub engine: Engine,
    pub now: Now,
    pub events: Vec<Event>,
    pub offers: Vec<Offer>,
    pub offered: Vec<Offer>,
    pub commands: Vec<Command>,
    pub duties: Vec<DutyChanged>,
}

pub fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

pub fn blob(byte: u8) -> Blob {
    Blob { digest: Digest::from_bytes([byte; 32]), size: u64::from(byte) }
}

pub fn task(alias: &str, after: &[usize]) -> TaskSpec {
    TaskSpec {
        alias: alias.to_owned(),
        bundle: Digest::from_bytes([1; 32]),
        module: alias.to_owned(),
        version: "1.0.0".to_owned(),
        image: "manta_light:latest".to_owned(),
        runtimes: Vec::new(),
        requires_python: None,
        architectures: Vec::new(),
        datasets: Vec::new(),
        resources: Default::default(),
        after: after.to_vec(),
        method: Method::All,
        maximum: NodeLimit::Unlimited,
        fixed: false,
        excepted: Vec::new(),
        specified: None,
        labels: BTreeMap::new(),
        policy: FailurePolicy::default(),
    }
}

/// Another version of a task's module, told by a number.
pub fn pin(task: &TaskSpec, version: u8) -> Pin {
    let bundle = Digest::from_bytes([version; 32]);
    Pin { bundle, version: format!("{version}.0.0"), ..task.pin() }
}

pub fn any(mut task: TaskSpec) -> TaskSpec {
    task.method = Method::Any;
    task
}

pub fn swarm(tasks: Vec<TaskSpec>) -> SwarmSpec {
    SwarmSpec {
        trace_parent: None,
        name: "test".to_owned(),
        iterations_max: None,
        priority: 0,
        attempts_max: None,
        tasks,
        globals: BTreeMap::new(),
    }
}

pub fn drain(node: &str, deadline: Option<Duration>) -> Input {
    Input::Drain { node: name(node), deadline, reason: "drained by a user".to_owned() }
}

pub fn failure(class: OutcomeClass) -> AttemptFailure {
    AttemptFailure::new(class, "ValueError: no".to_owned())
}

pub fn outputs(results: &[(&str, u8)], globals: &[(&str, u8)]) -> Outputs {
    let published = |pairs: &[(&str, u8)]| {
        pairs.iter().map(|(name, byte)| Published { name: (*name).to_owned(), blob: blob(*byte) }).collect()
    };
    Outputs { results: published(results), globals: published(globals), ..Outputs::default() }
}

impl Cluster {
    pub fn new(nodes: usize) -> Self {
        let mut cluster = Self::empty(Engine::new(7));
        for index in 1..=nodes {
            cluster.connect(&format!("node-{index}"));
        }
        cluster
    }

    pub fn empty(engine: Engine) -> Self {
        let now = Now { monotonic: Timestamp::from_ms(1 << 40), wall_ms: 1_700_000_000_000 };
        let (events, offers, commands, duties) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { engine, now, events, offers, offered: Vec::new(), commands, duties }
    }

    /// An engine in which two swarms may run at once.
    pub fn engine(seed: u64) -> Engine {
        Engine::new(seed).with_swarms_running_max(2)
    }

    /// The manager is killed and starts again on what its events say; nobody is connected.
    pub fn restart(&mut self) {
        let mut engine = Self::engine(self.events.len() as u64);
        for node in self.engine.nodes() {
            engine.restore_node(self.now, node.description().clone(), node.duty(), node.drain_left(self.now.monotonic));
        }
        for swarm in self.engine.swarms() {
            let events: Vec<Event> = self.events.iter().filter(|event| event.swarm == swarm.id()).cloned().collect();
            engine
                .restore_swarm(self.now, swarm.id(), Arc::clone(swarm.submitted()), swarm.created_ms(), &events)
                .unwrap();
        }
        self.engine = engine;
        self.offers.clear();
    }

    pub fn describe(name_text: &str) -> NodeDescription {
        NodeDescription {
            name: name(name_text),
            labels: BTreeMap::new(),
            datasets: vec!["digits".to_owned()],
            images: vec!["latest".to_owned()],
            runtimes: BTreeMap::new(),
            pythons: BTreeMap::new(),
            architecture: String::new(),
            slots: 2,
            cpu: 2.0,
            memory_bytes: 8 << 30,
            tmp_bytes: 8 << 30,
            gpus: Vec::new(),
            policy: manta_types::Policy::default(),
        }
    }

    pub fn connect(&mut self, node: &str) {
        self.input(Input::NodeConnected { node: Self::describe(node), held: Vec::new() });
    }

    pub fn input(&mut self, input: Input) -> Step {
        let step = self.engine.step(self.now, input);
        self.events.extend(step.events.iter().cloned());
        for command in &step.commands {
            if let Command::Offer(offer) = command {
                self.offers.push((**offer).clone());
                self.offered.push((**offer).clone());
            }
        }
        self.commands.extend(step.commands.iter().cloned());
        self.duties.extend(step.duties.iter().cloned());
        step
    }

    pub fn submit(&mut self, spec: SwarmSpec) -> SwarmId {
        self.submit_after(spec, None)
    }

    pub fn submit_continuing(&mut self, spec: SwarmSpec, checkpoint: Checkpoint) -> SwarmId {
        self.submit_after(spec, Some(Box::new(checkpoint)))
    }

    fn submit_after(&mut self, spec: SwarmSpec, continues: Option<Box<Checkpoint>>) -> SwarmId {
        let id = SwarmId::from_uuid(Uuid::from_u128(self.events.len() as u128 + 42));
        self.input(Input::Submit(Submit { id, spec: Arc::new(spec), continues }));
        id
    }

    /// Lets time pass in small steps; the named nodes send heartbeats, the others are silent.
    pub fn pass(&mut self, seconds: u64, alive: &[&str]) {
        for _ in 0..seconds {
            self.now.monotonic = self.now.monotonic + Duration::from_secs(1);
            self.now.wall_ms += 1000;
            for node in alive {
                self.input(Input::NodeHeard { node: name(node) });
            }
            self.input(Input::Tick);
        }
    }

    pub fn take_offers(&mut self) -> Vec<Offer> {
        let mut offers = std::mem::take(&mut self.offers);
        offers.sort_by(|a, b| (a.task, &a.node).cmp(&(b.task, &b.node)));
        offers
    }

    pub fn progress(&mut self, offer: &Offer, phase: AttemptStateName) {
        let Offer { node, attempt, epoch, .. } = offer.clone();
        self.input(Input::Progressed { node, attempt, epoch, phase });
    }

    pub fn succeed(&mut self, offer: &Offer, outputs: Outputs) -> Step {
        let Offer { node, attempt, epoch, .. } = offer.clone();
        self.input(Input::Succeeded { node, attempt, epoch, outputs, timings: Default::default() })
    }

    pub fn fail(&mut self, offer: &Offer, class: OutcomeClass) -> Step {
        let Offer { node, attempt, epoch, .. } = offer.clone();
        let (failure, results, timings) = (failure(class), Vec::new(), Default::default());
        self.input(Input::Failed { node, attempt, epoch, failure, results, timings })
    }

    /// Accepts every offer, and those that follow, with empty outputs, until there are none.
    pub fn finish_all(&mut self) {
        loop {
            let offers = self.take_offers();
            if offers.is_empty() {
                return;
            }
            for offer in offers {
                self.succeed(&offer, Outputs::default());
            }
        }
    }

    pub fn state(&self, id: SwarmId) -> SwarmState {
        self.swarm(id).state()
    }

    pub fn swarm(&self, id: SwarmId) -> &SwarmRun {
        self.engine.swarm(id).unwrap()
    }

    pub fn kinds(&self) -> Vec<&'static str> {
        self.events.iter().map(|event| event.what.kind()).collect()
    }

    pub fn closing_reasons(&self) -> Vec<String> {
        let reasons = self.events.iter().filter_map(|event| match &event.what {
            SwarmEvent::TaskRunClosed { reason, .. } | SwarmEvent::TaskRunSkipped { reason, .. } => {
                Some(reason.clone())
            }
            _ => None,
        });
        reasons.collect()
    }
}
