//! A swarm rebuilt from its events is the swarm that lived, whatever happened to it; and whatever happened, it goes on.
mod cluster;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use cluster::{Cluster, any as any_node, drain, name, outputs, pin, swarm, task};
use manta_engine::{Input, Offer, Rollout, RolloutOrder, SwarmRun};
use manta_types::event::{AttemptStateName, Outputs, SwarmEvent as E};
use manta_types::{
    AttemptId, Cause, Digest, Event, NodeName, NodeState, OnFailure, OutcomeClass, Quorum, RolloutPlan, RolloutState,
    SwarmId, SwarmSpec, SwarmState, limits,
};
use proptest::prelude::*;

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// One thing that may happen next.
#[derive(Debug, Clone)]
enum Happening {
    Progress(usize, AttemptStateName),
    Succeed(usize, bool),
    Fail(usize, bool),
    Repeat(usize),
    Pass(u64, usize),
    Reconnect(usize),
    Leave(usize),
    Drain(usize, Option<u64>),
    TakeBack(usize),
    Revoke(usize),
    Pause(usize),
    Resume(usize),
    Stop(usize),
    Continue(usize),
    RollOut(usize, usize, u8),
    Order(usize, usize, RolloutOrder),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    let phase = prop_oneof![
        Just(AttemptStateName::Preparing),
        Just(AttemptStateName::Running),
        Just(AttemptStateName::Uploading)
    ];
    prop_oneof![
        6 => (0..8usize, phase).prop_map(|(index, phase)| H::Progress(index, phase)),
        16 => (0..8usize, any::<bool>()).prop_map(|(index, stop)| H::Succeed(index, stop)),
        5 => (0..8usize, any::<bool>()).prop_map(|(index, user)| H::Fail(index, user)),
        2 => (0..8usize).prop_map(H::Repeat),
        8 => (1..9u64, 0..4usize).prop_map(|(seconds, silent)| H::Pass(seconds, silent)),
        2 => (0..3usize).prop_map(H::Reconnect),
        2 => (0..3usize).prop_map(H::Leave),
        2 => (0..3usize, proptest::option::of(0..9u64)).prop_map(|(node, deadline)| H::Drain(node, deadline)),
        2 => (0..3usize).prop_map(H::TakeBack),
        1 => Just(H::Revoke(2)),
        2 => (0..3usize).prop_map(H::Pause),
        3 => (0..3usize).prop_map(H::Resume),
        1 => (0..9usize).prop_map(H::Stop),
        2 => (0..3usize).prop_map(H::Continue),
        4 => (0..3usize, 0..4usize, 2..5u8).prop_map(|(swarm, task, version)| H::RollOut(swarm, task, version)),
        3 => (0..3usize, 0..4usize, order()).prop_map(|(swarm, task, order)| H::Order(swarm, task, order)),
        2 => Just(H::Restart),
    ]
}

fn order() -> impl Strategy<Value = RolloutOrder> {
    prop_oneof![
        Just(RolloutOrder::Hold),
        Just(RolloutOrder::Resume),
        any::<bool>().prop_map(|full| RolloutOrder::Promote { full }),
        Just(RolloutOrder::Revert),
        Just(RolloutOrder::Back),
    ]
}

/// Three swarms, one of which has to wait for its turn.
fn specs() -> [SwarmSpec; 3] {
    let mut lenient = task("c", &[0]);
    lenient.policy.on_failure = OnFailure::Continue;
    lenient.policy.quorum = Quorum::Share(0.5);
    lenient.policy.deadline = Some(Duration::from_secs(20));
    let graph = vec![task("a", &[]), any_node(task("b", &[0])), lenient, any_node(task("d", &[1, 2]))];
    let looping = SwarmSpec { iterations_max: NonZeroU32::new(4), ..swarm(graph.clone()) };
    let urgent = SwarmSpec { priority: 3, attempts_max: NonZeroU32::new(2), ..swarm(graph.clone()) };
    [looping, urgent, swarm(graph)]
}

fn begin() -> (Cluster, Vec<SwarmId>) {
    let mut cluster = Cluster::empty(Cluster::engine(7));
    NODES.iter().for_each(|node| cluster.connect(node));
    let ids = specs().into_iter().map(|spec| cluster.submit(spec)).collect();
    (cluster, ids)
}

fn play(happenings: &[Happening]) -> (Cluster, Vec<SwarmId>) {
    let (mut cluster, mut ids) = begin();
    for happening in happenings {
        happen(&mut cluster, &mut ids, happening);
        check_indices(&cluster);
    }
    (cluster, ids)
}

fn happen(cluster: &mut Cluster, ids: &mut Vec<SwarmId>, happening: &Happening) {
    let offers = cluster.offers.clone();
    let pick = |index: usize| offers.get(offers.len().saturating_sub(1 + index % 4)).cloned();
    let id = |index: usize| ids[ids.len() - 1 - index % 3];
    let reason = || "asked for".to_owned();
    match happening {
        Happening::Progress(index, phase) => {
            pick(*index).into_iter().for_each(|offer| cluster.progress(&offer, *phase));
        }
        Happening::Succeed(index, stop) => {
            if let Some(offer) = pick(*index) {
                let left = outputs(&[("x", 1)], &[("g", u8::try_from(offer.epoch).unwrap_or(0))]);
                cluster.succeed(&offer, Outputs { stop_swarm: *stop && *index == 0, ..left });
            }
        }
        Happening::Fail(index, user) => {
            if let Some(offer) = pick(*index) {
                cluster.fail(&offer, if *user { OutcomeClass::UserError } else { OutcomeClass::Platform });
            }
        }
        Happening::Repeat(index) => {
            if let Some(offer) = offers.get(*index) {
                cluster.succeed(offer, Outputs::default());
            }
        }
        Happening::Pass(seconds, silent) => {
            let alive: Vec<_> =
                NODES.iter().enumerate().filter(|(node, _)| node != silent).map(|(_, node)| *node).collect();
            cluster.pass(*seconds, &alive);
        }
        Happening::Reconnect(node) => cluster.connect(NODES[*node]),
        Happening::Leave(node) => drop(cluster.input(Input::NodeLeft { node: name(NODES[*node]), reason: reason() })),
        Happening::Drain(node, deadline) => {
            drop(cluster.input(drain(NODES[*node], deadline.map(Duration::from_secs))));
        }
        Happening::TakeBack(node) => {
            drop(cluster.input(Input::ResumeNode { node: name(NODES[*node]), reason: reason() }));
        }
        Happening::Revoke(node) => drop(cluster.input(Input::Revoke { node: name(NODES[*node]), reason: reason() })),
        Happening::Pause(index) => drop(cluster.input(Input::Pause { swarm: id(*index), reason: reason() })),
        Happening::Resume(index) => drop(cluster.input(Input::Resume { swarm: id(*index), reason: reason() })),
        Happening::Stop(index) if *index < 3 => {
            drop(cluster.input(Input::Stop { swarm: id(*index), reason: reason() }));
        }
        Happening::Stop(_) => {}
        Happening::Continue(index) => {
            let failed = cluster.swarm(id(*index));
            if let Some(checkpoint) = failed.checkpoint() {
                let spec = failed.submitted().as_ref().clone();
                ids.push(cluster.submit_continuing(spec, checkpoint));
            }
        }
        Happening::RollOut(index, task, version) => {
            let gates = vec!["failures<=30%".parse().expect("a gate")];
            let deadline_ms = (*version == 4).then_some(5000);
            let plan = RolloutPlan { steps: vec![0.3, 1.0], gates, deadline_ms, ..RolloutPlan::at_once() };
            let to = Box::new(pin(&cluster.swarm(id(*index)).spec().tasks[*task], *version));
            let order = RolloutOrder::Start { to, plan: Box::new(plan) };
            drop(cluster.input(Input::Rollout { swarm: id(*index), task: *task, order }));
        }
        Happening::Order(index, task, order) => {
            let (swarm, order) = (id(*index), order.clone());
            drop(cluster.input(Input::Rollout { swarm, task: *task, order }));
        }
        Happening::Restart => {
            cluster.restart();
            NODES.iter().take(2).for_each(|node| cluster.connect(node));
        }
    }
}

/// Attempts that may still deliver, by node.
fn live(cluster: &Cluster) -> BTreeMap<NodeName, u32> {
    let mut live = BTreeMap::new();
    let runs = cluster.engine.swarms().filter(|swarm| !swarm.is_over()).flat_map(SwarmRun::task_runs);
    for attempt in runs.flat_map(|run| &run.slots).flat_map(|slot| &slot.attempts) {
        if !attempt.state.is_final() {
            *live.entry(attempt.node.clone()).or_default() += 1;
        }
    }
    live
}

/// What is derived agrees with what it is derived from.
fn check_indices(cluster: &Cluster) {
    let live = live(cluster);
    for node in cluster.engine.nodes() {
        assert_eq!(node.load(), live.get(node.name()).copied().unwrap_or(0), "live attempts of {}", node.name());
        let silent = node.silent_for(cluster.now.monotonic).unwrap_or_default();
        assert!(node.state() != NodeState::Online || silent <= limits::LEASE, "{} is judged late", node.name());
        assert!(node.load() <= 2 * node.description().slots, "{} holds more than it may", node.name());
    }
    for swarm in cluster.engine.swarms() {
        let most = swarm.spec().attempts_max.map_or(usize::MAX, |most| most.get() as usize);
        let attempts = swarm.task_runs().iter().flat_map(|run| &run.slots).flat_map(|slot| &slot.attempts);
        assert!(attempts.filter(|attempt| !attempt.state.is_final()).count() <= most, "attempts_max is passed");
    }
    let running = cluster.engine.swarms().filter(|swarm| swarm.state() == SwarmState::Running).count();
    let resumed = cluster.events.iter().any(|event| matches!(event.what, E::SwarmResumed { .. }));
    assert!(running <= 2 || resumed, "only a swarm that is resumed may run beside as many as may");
}

/// All troubles end: whatever is offered now succeeds.
fn recover(cluster: &mut Cluster, ids: &[SwarmId]) {
    for node in NODES {
        cluster.input(Input::ResumeNode { node: name(node), reason: "recovered".to_owned() });
        cluster.connect(node);
    }
    for id in ids {
        cluster.input(Input::Resume { swarm: *id, reason: "recovered".to_owned() });
    }
    for _ in 0..120 {
        if ids.iter().all(|id| cluster.swarm(*id).is_over()) {
            return;
        }
        let offers: Vec<Offer> = std::mem::take(&mut cluster.offers);
        offers.iter().for_each(|offer| drop(cluster.succeed(offer, Outputs::default())));
        cluster.pass(1, &NODES);
        check_indices(cluster);
    }
    let stuck: Vec<_> = ids.iter().filter(|id| !cluster.swarm(**id).is_over()).collect();
    let why: Vec<_> = stuck.iter().map(|id| cluster.engine.waiting(cluster.now.monotonic, **id)).collect();
    panic!("stuck long after all trouble ended: {stuck:?} {why:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rebuilt_is_live(happenings in proptest::collection::vec(happening(), 0..80)) {
        let (mut cluster, mut ids) = begin();
        let mut rebuilt: BTreeMap<SwarmId, SwarmRun> = BTreeMap::new();
        let mut read = 0;
        for happening in &happenings {
            happen(&mut cluster, &mut ids, happening);
            for event in &cluster.events[read..] {
                let swarm = rebuilt.entry(event.swarm).or_insert_with(|| {
                    let live = cluster.swarm(event.swarm);
                    SwarmRun::before_history(live.id(), live.submitted().clone(), live.created_ms())
                });
                swarm.follow(event).unwrap();
            }
            read = cluster.events.len();
            for (id, rebuilt) in &rebuilt {
                prop_assert_eq!(without_waits(rebuilt), without_waits(cluster.swarm(*id)));
            }
        }
    }

    #[test]
    fn whatever_happens_every_swarm_goes_on_once_the_trouble_is_over(
        happenings in proptest::collection::vec(happening(), 0..80)
    ) {
        let (mut cluster, ids) = play(&happenings);
        recover(&mut cluster, &ids);
    }

    #[test]
    fn an_event_names_all_that_it_concerns_and_what_it_follows_from(
        happenings in proptest::collection::vec(happening(), 0..60)
    ) {
        let (cluster, _) = play(&happenings);
        for event in &cluster.events {
            let (subject, kind) = (&event.subject, event.what.kind());
            let of_attempt = kind.starts_with("attempt_");
            let of_run = of_attempt || kind.starts_with("task_run_") || kind == "node_excused";
            let of_run = of_run || kind.starts_with("rollout_");
            prop_assert_eq!(of_attempt, subject.attempt.is_some() && kind != "swarm_failed", "{}", kind);
            prop_assert_eq!(of_run, subject.task.is_some() && kind != "swarm_failed", "{}", kind);
            prop_assert_eq!(of_attempt || kind == "node_excused", subject.node.is_some() && kind != "swarm_failed");
            let may_be_early = matches!(kind, "swarm_admitted" | "swarm_stopped") || kind.starts_with("rollout_");
            prop_assert!(subject.iteration.is_some() || may_be_early);
            match event.cause {
                Cause::Event { seq } => prop_assert!(seq < event.seq, "a cause comes first"),
                ref cause => prop_assert!(*cause != Cause::Unknown),
            }
        }
    }

    #[test]
    fn nothing_but_a_rollout_changes_what_a_node_runs(happenings in proptest::collection::vec(happening(), 0..80)) {
        let (cluster, _) = play(&happenings);
        let mut pins = Pins::default();
        for event in &cluster.events {
            pins.follow(&cluster, event);
        }
        for offer in &cluster.offered {
            let wanted = pins.offered[&offer.attempt];
            prop_assert_eq!(offer.spec.tasks[offer.task].bundle, wanted, "attempt {} on {}", offer.attempt, offer.node);
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_events(happenings in proptest::collection::vec(happening(), 0..40)) {
        prop_assert_eq!(play(&happenings).0.events, play(&happenings).0.events);
    }

    #[test]
    fn no_slot_accepts_twice_and_epochs_rise(happenings in proptest::collection::vec(happening(), 0..80)) {
        let (cluster, _) = play(&happenings);
        let mut epochs = std::collections::BTreeMap::new();
        let mut slots = std::collections::BTreeMap::new();
        let mut accepted = std::collections::BTreeSet::new();
        for event in &cluster.events {
            match &event.what {
                E::AttemptOffered { attempt, iteration, task, slot, epoch, .. } => {
                    let place = (event.swarm, *iteration, *task, *slot);
                    prop_assert!(epochs.insert(place, *epoch).is_none_or(|before| before < *epoch));
                    slots.insert(*attempt, (place, *epoch));
                }
                E::AttemptAccepted { attempt, .. } => {
                    let (place, epoch) = slots[attempt];
                    prop_assert_eq!(epochs[&place], epoch, "only the newest epoch is accepted");
                    prop_assert!(accepted.insert(place), "a slot accepts once");
                }
                _ => {}
            }
        }
    }
}

/// The versions of a task run, and which of its slots run the one that is rolled out.
struct Ran {
    old: Digest,
    new: Option<Digest>,
    renewed: Vec<bool>,
}

/// Which version each slot is to run, told from the events alone and by rules of this test's own.
#[derive(Default)]
struct Pins {
    /// What runs everywhere, and what is being rolled out.
    tasks: BTreeMap<(SwarmId, usize), (Digest, Option<Digest>)>,
    /// The newest task run of each task.
    runs: BTreeMap<(SwarmId, usize), Ran>,
    shares: BTreeMap<(SwarmId, usize), f64>,
    offered: BTreeMap<AttemptId, Digest>,
}

impl Pins {
    fn follow(&mut self, cluster: &Cluster, event: &Event) {
        let submitted = cluster.swarm(event.swarm).submitted();
        let of = |task: usize| (event.swarm, task);
        let at_first = |task: usize| (submitted.tasks[task].bundle, None);
        match &event.what {
            E::SwarmContinued { checkpoint } => {
                for carried in &checkpoint.pins {
                    self.tasks.insert(of(carried.task), (carried.pin.bundle, None));
                }
            }
            E::RolloutStarted { task, to, .. } => {
                self.tasks.entry(of(*task)).or_insert(at_first(*task)).1 = Some(to.bundle);
            }
            E::RolloutStepped { task, share, .. } => {
                let before = self.shares.insert(of(*task), *share);
                assert!(before.is_none_or(|before| before < *share), "a share that does not rise");
            }
            E::RolloutEnded { task, outcome, .. } => {
                self.shares.remove(&of(*task));
                let pins = self.tasks.get_mut(&of(*task)).expect("a task with pins");
                let to = pins.1.take().expect("a rollout goes on");
                match outcome {
                    RolloutState::Completed => pins.0 = to,
                    // What begins after it runs the version of before, in this iteration too.
                    RolloutState::Reverted => {
                        if let Some(ran) = self.runs.get_mut(&of(*task)) {
                            ran.renewed.fill(false);
                        }
                    }
                    _ => {}
                }
            }
            E::TaskRunStarted { task, nodes, renewed, .. } => {
                let (old, new) = *self.tasks.entry(of(*task)).or_insert(at_first(*task));
                assert!(renewed.is_empty() || (new.is_some() && self.shares.contains_key(&of(*task))));
                assert!(renewed.iter().all(|node| nodes.contains(node)), "the new version runs beside the others");
                let renewed = nodes.iter().map(|node| renewed.contains(node)).collect();
                self.runs.insert(of(*task), Ran { old, new, renewed });
            }
            E::AttemptOffered { attempt, task, slot, .. } => {
                let ran = &self.runs[&of(*task)];
                self.offered
                    .insert(*attempt, if ran.renewed[*slot] { ran.new.expect("a new version") } else { ran.old });
            }
            _ => {}
        }
    }
}

/// Everything but the monotonic instants, which a restart anchors anew: the public face and the counts.
fn without_waits(swarm: &manta_engine::SwarmRun) -> String {
    let runs: Vec<_> = swarm
        .task_runs()
        .iter()
        .map(|run| {
            let slots: Vec<_> = run
                .slots
                .iter()
                .map(|slot| {
                    (&slot.node, slot.epoch, slot.tries, slot.lost, &slot.outcome, &slot.attempts, slot.is_renewed)
                })
                .collect();
            format!("{:?} {} {} {:?} {:?}", run.state, run.reason, run.movable, slots, run.globals)
        })
        .collect();
    let (state, reason, seq) = (swarm.state(), swarm.reason(), swarm.seq());
    let iteration = swarm.iteration_state();
    let rollouts = swarm.rollouts().iter().map(|rollout| {
        let Rollout { number, state, reason, step, holder, nodes, iterations, figures, .. } = rollout;
        format!("{number} {state} {reason} {step:?} {holder:?} {nodes:?} {iterations} {figures:?}")
    });
    let rollouts: Vec<_> = rollouts.collect();
    format!(
        "{state} {reason} {seq} {iteration:?} {:?} {:?} {:?} {:?} {rollouts:#?} {runs:#?}",
        swarm.iteration(),
        swarm.finished_ms(),
        swarm.globals(),
        swarm.spec()
    )
}
