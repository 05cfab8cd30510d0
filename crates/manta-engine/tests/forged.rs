//! What a node says of attempts that it does not hold changes no swarm, whoever says it and whatever it says.
mod cluster;

use std::num::NonZeroU32;

use cluster::{Cluster, any as any_node, failure, name, outputs, swarm, task};
use manta_engine::{Command, Input, Offer};
use manta_types::event::{AttemptStateName, NextIteration, Outputs, Timings};
use manta_types::{AttemptId, NodeName, OutcomeClass, SwarmState};
use proptest::prelude::*;
use uuid::Uuid;

/// Nodes that joined; a name beyond them has never been heard of.
const NODES: usize = 3;

/// A report that is not its sender's to make.
#[derive(Debug, Clone)]
struct Forgery {
    /// Which of the attempts ever offered, or one that nobody offered.
    attempt: Option<usize>,
    sender: usize,
    epoch: Epoch,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Epoch {
    Right,
    Older,
    Newer,
    Any(u32),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Progress(AttemptStateName),
    Success,
    Failure(OutcomeClass),
}

fn forgery() -> impl Strategy<Value = Forgery> {
    let epoch =
        prop_oneof![Just(Epoch::Right), Just(Epoch::Older), Just(Epoch::Newer), any::<u32>().prop_map(Epoch::Any)];
    let kind = prop_oneof![
        Just(Kind::Progress(AttemptStateName::Preparing)),
        Just(Kind::Progress(AttemptStateName::Running)),
        Just(Kind::Progress(AttemptStateName::Uploading)),
        Just(Kind::Success),
        Just(Kind::Failure(OutcomeClass::UserError)),
        Just(Kind::Failure(OutcomeClass::Platform)),
    ];
    let attempt = prop_oneof![8 => (0..64usize).prop_map(Some), 1 => Just(None)];
    (attempt, 0..=NODES, epoch, kind).prop_map(|(attempt, sender, epoch, kind)| Forgery {
        attempt,
        sender,
        epoch,
        kind,
    })
}

fn sender(index: usize) -> NodeName {
    if index == NODES { name("stranger") } else { name(&format!("node-{}", index + 1)) }
}

/// Results, globals, another iteration on any node, and the swarm's end: all that a report can ask for.
fn greedy() -> Outputs {
    let next = NextIteration { task: Some("a".to_owned()), nodes: Some(vec![name("stranger"), name("node-1")]) };
    Outputs { next_iterations: vec![next], stop_swarm: true, ..outputs(&[("x", 9)], &[("g", 9)]) }
}

/// The forgery as an input; nothing where its sender does hold the attempt under that epoch.
fn input(forgery: &Forgery, offered: &[Offer]) -> Option<Input> {
    let node = sender(forgery.sender);
    let known = forgery.attempt.and_then(|index| offered.get(index % offered.len().max(1)));
    let attempt = known.map_or_else(|| AttemptId::from_uuid(Uuid::from_u128(7)), |offer| offer.attempt);
    let right = known.map_or(1, |offer| offer.epoch);
    let epoch = match forgery.epoch {
        Epoch::Right => right,
        Epoch::Older => right.saturating_sub(1),
        Epoch::Newer => right.saturating_add(1),
        Epoch::Any(epoch) => epoch,
    };
    if known.is_some_and(|offer| offer.node == node && offer.epoch == epoch) {
        return None;
    }
    let timings = Timings::default();
    Some(match forgery.kind {
        Kind::Progress(phase) => Input::Progressed { node, attempt, epoch, phase },
        Kind::Success => Input::Succeeded { node, attempt, epoch, outputs: greedy(), timings },
        Kind::Failure(class) => {
            let (failure, results) = (failure(class), greedy().results);
            Input::Failed { node, attempt, epoch, failure, results, timings }
        }
    })
}

fn swarms(cluster: &Cluster) -> Vec<String> {
    cluster.engine.swarms().map(|swarm| format!("{swarm:?}")).collect()
}

/// Forges a report and asserts that nothing but a refusal came of it.
fn forge(cluster: &mut Cluster, forgery: &Forgery, offered: &[Offer]) -> Result<(), TestCaseError> {
    let Some(input) = input(forgery, offered) else { return Ok(()) };
    let before = swarms(cluster);
    let step = cluster.input(input);
    prop_assert!(step.events.is_empty(), "{forgery:?} made {:?}", step.events);
    prop_assert_eq!(before, swarms(cluster), "{:?} changed a swarm", forgery);
    for command in &step.commands {
        let refusal = match command {
            Command::Verdict { node, accepted, .. } => !accepted && *node == sender(forgery.sender),
            Command::Cancel { node, .. } => *node == sender(forgery.sender),
            Command::Offer(_) => false,
        };
        prop_assert!(refusal, "{forgery:?} was answered {command:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn forged_reports_change_nothing_and_are_refused(forgeries in prop::collection::vec(forgery(), 40..160)) {
        let mut cluster = Cluster::new(NODES);
        let mut spec = swarm(vec![task("a", &[]), any_node(task("b", &[0]))]);
        spec.iterations_max = NonZeroU32::new(3);
        let (first, second) = (cluster.submit(spec.clone()), cluster.submit(spec));
        let (mut offered, mut open) = (Vec::new(), Vec::new());
        // Between any two forgeries the honest nodes go on, so that forgeries meet swarms in every state.
        for (turn, forgery) in forgeries.iter().enumerate() {
            let fresh = cluster.take_offers();
            offered.extend(fresh.iter().cloned());
            open.extend(fresh);
            forge(&mut cluster, forgery, &offered)?;
            if open.is_empty() {
                continue;
            }
            let next: Offer = open.swap_remove(turn % open.len());
            if turn % 11 == 10 {
                cluster.fail(&next, OutcomeClass::Platform);
            } else {
                cluster.succeed(&next, outputs(&[("x", 1)], &[("g", 1)]));
            }
        }
        open.extend(cluster.take_offers());
        for offer in open {
            cluster.succeed(&offer, outputs(&[("x", 1)], &[("g", 1)]));
        }
        cluster.pass(40, &["node-1", "node-2", "node-3"]);
        cluster.finish_all();
        for id in [first, second] {
            prop_assert_eq!(cluster.state(id), SwarmState::Succeeded, "{:?}", cluster.closing_reasons());
        }
        for forgery in &forgeries {
            forge(&mut cluster, forgery, &offered)?;
        }
    }

    #[test]
    fn strangers_that_come_and_go_change_no_swarm(words in prop::collection::vec(0..4usize, 1..20)) {
        let mut cluster = Cluster::new(NODES);
        cluster.submit(swarm(vec![task("a", &[])]));
        let before = swarms(&cluster);
        for word in words {
            let node = name("stranger");
            let step = cluster.input(match word {
                0 => Input::NodeHeard { node },
                1 => Input::NodeDisconnected { node },
                2 => Input::NodeLeft { node, reason: "bye".to_owned() },
                _ => Input::Tick,
            });
            prop_assert!(step.events.is_empty());
        }
        prop_assert_eq!(before, swarms(&cluster));
    }
}
