//! An attempt that is rebuilt from the history is the one that lived: the same offer, the same inputs, the same end.
mod cluster;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use cluster::{Cluster, any as any_node, name, outputs, swarm, task};
use manta_engine::{Input, Inputs, Offer, PastAttempt, PastEnd, PastReader, SwarmRun};
use manta_types::event::Outputs;
use manta_types::{AttemptId, OutcomeClass, SwarmEvent, SwarmId};
use proptest::prelude::*;

fn rebuilt(cluster: &Cluster, swarm: SwarmId, attempt: AttemptId) -> Option<PastAttempt> {
    let live = cluster.swarm(swarm);
    let mut reader = PastReader::new(swarm, Arc::clone(live.spec()), live.created_ms(), attempt, BTreeMap::new());
    for event in cluster.events.iter().filter(|event| event.swarm == swarm) {
        reader.read(event).expect("the history has no gap");
    }
    reader.finish()
}

/// Plays a swarm of four iterations by chance; what every attempt was told and could read while it was live.
fn play(choices: &[(u8, u8)]) -> (Cluster, SwarmId, BTreeMap<AttemptId, (Offer, Inputs)>) {
    let mut cluster = Cluster::new(3);
    let mut spec =
        swarm(vec![task("a", &[]), any_node(task("b", &[0])), task("c", &[0]), any_node(task("d", &[1, 2]))]);
    spec.iterations_max = NonZeroU32::new(4);
    spec.tasks[2].policy.on_failure = manta_types::OnFailure::Continue;
    let id = cluster.submit(spec);
    let mut seen = BTreeMap::new();
    for (index, (choice, value)) in choices.iter().enumerate() {
        for offer in cluster.offers.clone() {
            if let Some(inputs) = cluster.engine.inputs(offer.attempt) {
                let (told, read) = seen.entry(offer.attempt).or_insert_with(|| (offer.clone(), inputs.clone()));
                assert_eq!((&*told, &*read), (&offer, &inputs), "what an attempt reads stays as it is");
            }
        }
        let Some(offer) = cluster.offers.iter().rev().nth(usize::from(choice % 4)).cloned() else { continue };
        match choice / 4 % 8 {
            0 => drop(cluster.fail(&offer, OutcomeClass::UserError)),
            1 => drop(cluster.fail(&offer, OutcomeClass::Platform)),
            2 => cluster.pass(u64::from(value % 8) + 1, &["node-1", "node-2", "node-3"]),
            3 if index % 5 == 0 => {
                let node = name(&format!("node-{}", value % 3 + 1));
                cluster.input(Input::NodeLeft { node: node.clone(), reason: "shutting down".to_owned() });
                cluster.connect(node.as_str());
            }
            _ => drop(cluster.succeed(&offer, outputs(&[("x", *value)], &[("g", value / 2)]))),
        }
    }
    (cluster, id, seen)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_an_attempt_read_is_rebuilt_long_after(choices in proptest::collection::vec(any::<(u8, u8)>(), 0..120)) {
        let (cluster, id, seen) = play(&choices);
        for (attempt, (offer, inputs)) in seen {
            let past = rebuilt(&cluster, id, attempt).expect("it was offered");
            prop_assert_eq!(past.offer, offer);
            prop_assert_eq!(past.inputs, inputs);
            prop_assert_eq!(past.end.is_none(), cluster.engine.inputs(attempt).is_some());
        }
    }
}

#[test]
fn how_an_attempt_ended_is_told_and_what_may_have_changed_its_nodes_state() {
    let mut cluster = Cluster::new(1);
    let mut spec = swarm(vec![task("a", &[])]);
    spec.iterations_max = NonZeroU32::new(3);
    let id = cluster.submit(spec);
    let first = cluster.take_offers().remove(0);
    cluster.fail(&first, OutcomeClass::UserError);
    cluster.pass(1, &["node-1"]);
    let again = cluster.take_offers().remove(0);
    cluster.succeed(&again, outputs(&[("x", 1)], &[("g", 2)]));
    cluster.finish_all();

    let past = rebuilt(&cluster, id, first.attempt).unwrap();
    assert!(matches!(&past.end, Some((PastEnd::Failed { failure, .. }, _)) if failure.class == "user_error"));
    assert_eq!((past.reason.as_str(), past.offer.number, past.accepted_since), ("first", 0, 3));
    let past = rebuilt(&cluster, id, again.attempt).unwrap();
    let Some((PastEnd::Accepted { outputs: left, .. }, _)) = &past.end else { panic!("{past:?}") };
    assert_eq!(*left, Outputs { ..outputs(&[("x", 1)], &[("g", 2)]) });
    assert_eq!((past.offer.number, past.accepted_since), (1, 3));
    assert!(past.inputs.globals.is_empty(), "its own write is of the next iteration");
    assert_eq!(rebuilt(&cluster, id, AttemptId::from_uuid(uuid::Uuid::from_u128(9))), None);
}

#[test]
fn a_history_with_a_gap_is_refused() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![task("a", &[])]));
    let live = cluster.swarm(id);
    let attempt = cluster.offers[0].attempt;
    let mut reader = PastReader::new(id, Arc::clone(live.spec()), live.created_ms(), attempt, BTreeMap::new());
    let error = reader.read(&cluster.events[1]).unwrap_err();
    assert!(error.to_string().contains("event 2 does not follow event 0"), "{error}");
}

#[test]
fn a_history_that_carries_over_what_its_graph_lacks_is_refused() {
    let mut cluster = Cluster::new(1);
    let mut only = any_node(task("only", &[]));
    only.policy.retries = 0;
    let spec = swarm(vec![any_node(task("first", &[])), only]);
    let failed = cluster.submit(spec.clone());
    for offer in cluster.take_offers() {
        match offer.task {
            0 => drop(cluster.succeed(&offer, Outputs::default())),
            _ => drop(cluster.fail(&offer, OutcomeClass::UserError)),
        }
    }
    let checkpoint = cluster.swarm(failed).checkpoint().unwrap();
    let id = cluster.submit_continuing(spec, checkpoint);
    let history = cluster.events.iter().filter(|event| event.swarm == id).cloned();
    let follow = |mut history: Vec<manta_types::Event>, task| {
        let carried = history.iter_mut().find_map(|event| match &mut event.what {
            SwarmEvent::SwarmContinued { checkpoint } => checkpoint.closed.first_mut(),
            _ => None,
        });
        carried.unwrap().task = task;
        let mut rebuilt = SwarmRun::before_history(id, Arc::clone(cluster.swarm(id).spec()), 0);
        history.iter().try_for_each(|event| rebuilt.follow(event))
    };
    let history: Vec<_> = history.collect();
    assert_eq!(follow(history.clone(), 0), Ok(()));
    let refused = follow(history, 2).unwrap_err().to_string();
    assert!(refused.ends_with("does not fit its 2 tasks"), "{refused}");
}
