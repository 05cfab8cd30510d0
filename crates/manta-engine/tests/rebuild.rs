//! A swarm rebuilt from its events is the swarm that lived, whatever happened to it.
mod cluster;

use std::num::NonZeroU32;
use std::sync::Arc;

use cluster::{Cluster, any as any_node, name, outputs, swarm, task};
use manta_engine::{Engine, Input};
use manta_types::OutcomeClass;
use manta_types::event::{AttemptStateName, Outputs};
use proptest::prelude::*;

/// One thing that may happen next.
#[derive(Debug, Clone)]
enum Happening {
    Progress(usize),
    Succeed(usize, bool),
    Fail(usize, bool),
    Repeat(usize),
    Pass(u64, usize),
    Restart(usize),
    Leave(usize),
    Stop,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..8usize).prop_map(Happening::Progress),
        8 => (0..8usize, any::<bool>()).prop_map(|(index, stop)| Happening::Succeed(index, stop)),
        2 => (0..8usize, any::<bool>()).prop_map(|(index, user)| Happening::Fail(index, user)),
        1 => (0..8usize).prop_map(Happening::Repeat),
        4 => (1..9u64, 0..4usize).prop_map(|(seconds, silent)| Happening::Pass(seconds, silent)),
        1 => (1..4usize).prop_map(Happening::Restart),
        1 => (1..4usize).prop_map(Happening::Leave),
        1 => Just(Happening::Stop),
    ]
}

fn play(happenings: &[Happening]) -> (Cluster, manta_types::SwarmId) {
    let mut cluster = Cluster::new(3);
    let mut spec =
        swarm(vec![task("a", &[]), any_node(task("b", &[0])), task("c", &[0]), any_node(task("d", &[1, 2]))]);
    spec.iterations_max = NonZeroU32::new(4);
    let id = cluster.submit(spec);
    for happening in happenings {
        let offers = cluster.offers.clone();
        let pick = |index: usize| offers.get(offers.len().saturating_sub(1 + index % 4)).cloned();
        match happening {
            Happening::Progress(index) => {
                if let Some(offer) = pick(*index) {
                    cluster.progress(&offer, AttemptStateName::Running);
                }
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
                if let Some(offer) = cluster.offers.first().filter(|_| *index < 4).cloned() {
                    cluster.succeed(&offer, Outputs::default());
                }
            }
            Happening::Pass(seconds, silent) => {
                let alive: Vec<_> = (1..=3).filter(|node| node != silent).map(|node| format!("node-{node}")).collect();
                cluster.pass(*seconds, &alive.iter().map(String::as_str).collect::<Vec<_>>());
            }
            Happening::Restart(node) => cluster.connect(&format!("node-{node}")),
            Happening::Leave(node) => {
                let node = name(&format!("node-{node}"));
                cluster.input(Input::NodeLeft { node, reason: "shutting down".to_owned() });
            }
            Happening::Stop => {}
        }
    }
    if happenings.iter().any(|happening| matches!(happening, Happening::Stop)) && happenings.len().is_multiple_of(3) {
        cluster.input(Input::Stop { swarm: id, reason: "stopped".to_owned() });
    }
    (cluster, id)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rebuilt_is_live(happenings in proptest::collection::vec(happening(), 0..80)) {
        let (cluster, id) = play(&happenings);
        let live = cluster.swarm(id).clone();
        let mut engine = Engine::new(1);
        engine.restore_swarm(cluster.now, id, Arc::clone(live.spec()), live.created_ms(), &cluster.events).unwrap();
        prop_assert_eq!(without_waits(engine.swarm(id).unwrap()), without_waits(&live));
    }

    #[test]
    fn the_same_inputs_give_the_same_events(happenings in proptest::collection::vec(happening(), 0..40)) {
        prop_assert_eq!(play(&happenings).0.events, play(&happenings).0.events);
    }

    #[test]
    fn no_slot_accepts_twice_and_epochs_rise(happenings in proptest::collection::vec(happening(), 0..80)) {
        use manta_types::event::SwarmEvent as E;
        let (cluster, _) = play(&happenings);
        let mut epochs = std::collections::BTreeMap::new();
        let mut slots = std::collections::BTreeMap::new();
        let mut accepted = std::collections::BTreeSet::new();
        for event in &cluster.events {
            match &event.what {
                E::AttemptOffered { attempt, iteration, task, slot, epoch, .. } => {
                    let place = (*iteration, *task, *slot);
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

/// Everything but the monotonic instants, which a restart anchors anew: the public face and the counts.
fn without_waits(swarm: &manta_engine::SwarmRun) -> String {
    let runs: Vec<_> = swarm
        .task_runs()
        .iter()
        .map(|run| {
            let slots: Vec<_> = run
                .slots
                .iter()
                .map(|slot| (&slot.node, slot.epoch, slot.tries, slot.lost, &slot.outcome, &slot.attempts))
                .collect();
            format!("{:?} {} {} {:?} {:?}", run.state, run.reason, run.movable, slots, run.globals)
        })
        .collect();
    let (state, reason, seq) = (swarm.state(), swarm.reason(), swarm.seq());
    format!("{state} {reason} {seq} {:?} {:?} {:?} {runs:#?}", swarm.iteration(), swarm.finished_ms(), swarm.globals())
}
