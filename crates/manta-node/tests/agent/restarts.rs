//! What outlives an agent that is killed, at each step of an attempt, and what a disk that refuses holds up.
use std::sync::atomic::Ordering;

use manta_api::node::manager_message::Kind as Said;
use manta_api::node::node_message::Kind;
use manta_api::node::{AttemptFinished, Cancel, Offer};

use crate::cases::{Case, on_runtime};
use crate::manager::Door;
use crate::module::{attempt, offer, publish, tree};
use crate::node::Bench;
use crate::process::Victim;

pub(crate) const ALL: &[Case] = &[
    ("an_attempt_whose_agent_is_killed_before_its_journal_is_whole_leaves_nothing", || on_runtime(killed_early())),
    ("a_report_survives_its_agent_and_its_state_is_kept_when_it_is_accepted", || on_runtime(killed_when_journalled())),
    ("a_verdict_whose_state_was_not_kept_before_the_kill_is_carried_out_after_it", || on_runtime(killed_at_commit())),
    ("a_disk_that_refuses_a_report_is_told_and_the_report_goes_when_it_takes_it", || on_runtime(waits_for_disk())),
    ("a_damaged_report_is_named_and_kept_aside", || on_runtime(damaged())),
    ("an_attempt_does_not_start_while_a_report_that_changes_its_state_is_unanswered", || on_runtime(waits_for_state())),
    ("a_cancellation_leaves_an_unanswered_report_to_its_answer", || on_runtime(cancelled_when_reported())),
    ("what_belongs_to_an_undone_history_is_dropped_and_its_reports_kept_aside", || on_runtime(restored())),
];

/// Publishes what it drew, which no second run draws again, and counts itself in its state.
const COUNTS: &str = "self.local.set_state('seen', self.local.get_state('seen', 0) + 1)
self.world.results.add('seen', self.local.get_state('seen'))
self.world.results.add('draw', list(os.urandom(16)))";

fn other(offer: Offer) -> Offer {
    Offer { task: "other".to_owned(), ..offer }
}

fn held(door: &Door) -> Vec<(String, &str)> {
    door.hello.held.iter().map(|held| (held.attempt.clone(), held.phase.as_str())).collect()
}

/// What the n-th accepted attempt at `COUNTS` saw as its number.
async fn counts(victim: &Victim, door: &mut Door, n: u128, bundle: &str) -> serde_json::Value {
    door.offer(offer(n, bundle));
    let report = door.finished().await;
    door.accept(&report);
    seen(victim, &report)
}

fn seen(victim: &Victim, report: &AttemptFinished) -> serde_json::Value {
    tree(&victim.manager, &report.results[0].blob.as_ref().unwrap().digest)
}

async fn killed_early() {
    let mut victim = Victim::start(1);
    let (endless, bundle) = (publish(&victim.manager, "time.sleep(600)"), publish(&victim.manager, COUNTS));
    let mut door = victim.door().await;
    let id = door.hello.node_id.clone();

    door.offer(other(offer(1, &endless)));
    door.phase(&attempt(1), "running").await;
    door.offer(offer(2, &bundle));
    door.phase(&attempt(2), "preparing").await;
    door = victim.restart(door).await;
    assert_eq!((door.hello.node_id.as_str(), held(&door)), (id.as_str(), vec![]), "queued and running");

    victim.manager.gates.inputs.send_replace(false);
    door.offer(offer(2, &bundle));
    door.phase(&attempt(2), "preparing").await;
    door = victim.restart(door).await;
    assert_eq!(held(&door), [], "preparing");
    victim.manager.gates.inputs.send_replace(true);

    victim.manager.gates.blobs.send_replace(false);
    door.offer(offer(2, &bundle));
    door.phase(&attempt(2), "uploading").await;
    door = victim.restart(door).await;
    assert_eq!(held(&door), [], "uploading");
    victim.manager.gates.blobs.send_replace(true);
    assert_eq!(counts(&victim, &mut door, 2, &bundle).await, 1, "what was cut short kept nothing");
    assert_eq!(counts(&victim, &mut door, 3, &bundle).await, 2);
}

async fn killed_when_journalled() {
    let mut victim = Victim::start(1);
    let bundle = publish(&victim.manager, COUNTS);
    let mut door = victim.door().await;
    door.offer(offer(1, &bundle));
    let report = door.finished().await;
    for _ in 0..2 {
        door = victim.restart(door).await;
        assert_eq!(held(&door), [(attempt(1), "finished")]);
        assert_eq!(door.finished().await, report, "in the same words");
    }
    door.accept(&report);
    assert_eq!(counts(&victim, &mut door, 2, &bundle).await, 2, "it saw the state of the first");
    assert_eq!(counts(&victim, &mut door, 3, &bundle).await, 3);
}

async fn killed_at_commit() {
    let mut victim = Victim::start(1);
    let bundle = publish(&victim.manager, COUNTS);
    let mut door = victim.door().await;
    door.offer(offer(1, &bundle));
    let report = door.finished().await;
    // A file where the swarm's directory belongs: the disk refuses whatever is to be kept there.
    let obstacle = victim.place("state").join(offer(1, &bundle).swarm);
    std::fs::write(&obstacle, "").unwrap();
    door.accept(&report);
    door.noted("waits for this node's disk").await;
    door.offer(offer(2, &bundle));
    door = victim.restart(door).await;
    assert_eq!(held(&door), [(attempt(1), "finished")], "its state is not kept");
    std::fs::remove_file(&obstacle).unwrap();
    assert_eq!(door.finished().await, report);
    door.accept(&report);
    assert_eq!(counts(&victim, &mut door, 2, &bundle).await, 2);
}

async fn waits_for_disk() {
    let mut victim = Victim::start(1);
    let bundle = publish(&victim.manager, COUNTS);
    let mut door = victim.door().await;
    // A file where the journal is to be made.
    let obstacle = victim.place("outbox").join(format!("new-{}", attempt(1)));
    std::fs::write(&obstacle, "").unwrap();
    door.offer(offer(1, &bundle));
    door.noted("waits for this node's disk").await;
    door.offer(other(offer(2, &bundle)));
    door.phase(&attempt(2), "preparing").await;
    assert!(door.phases.iter().all(|(attempt_id, phase)| *attempt_id != attempt(2) || phase == "preparing"));
    std::fs::remove_file(&obstacle).unwrap();
    let report = loop {
        match door.next().await {
            Some(Kind::Finished(report)) => break report,
            Some(Kind::Notes(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((report.attempt.as_str(), seen(&victim, &report)), (attempt(1).as_str(), 1.into()));
    assert!(door.logged("platform")[0].contains("the node's disk refuses it"), "{:?}", door.logged("platform"));
}

async fn damaged() {
    let mut victim = Victim::start(1);
    let bundle = publish(&victim.manager, COUNTS);
    let mut door = victim.door().await;
    door.offer(offer(1, &bundle));
    door.finished().await;
    let journal = victim.place("outbox").join(attempt(1)).join("journal");
    let whole = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &whole[..whole.len() - 1]).unwrap();
    door = victim.restart(door).await;
    assert_eq!(held(&door), []);
    let note = door.hello.notes.iter().find(|note| note.contains(&attempt(1))).unwrap().clone();
    assert!(note.contains("is damaged") && note.contains("outbox/damaged/"), "{note}");
    assert_eq!(counts(&victim, &mut door, 2, &bundle).await, 1, "its state was never kept");
}

async fn waits_for_state() {
    let mut victim = Victim::start(2);
    let bundle = publish(&victim.manager, COUNTS);
    let mut door = victim.door().await;
    door.offer(offer(1, &bundle));
    let first = door.finished().await;
    door.offer(offer(2, &bundle));
    door.offer(other(offer(3, &bundle)));
    let third = door.finished().await;
    assert_eq!(third.attempt, attempt(3), "another task passes");
    assert!(!door.phases.contains(&(attempt(2), "running".to_owned())), "{:?}", door.phases);
    door.accept(&first);
    let second = door.finished().await;
    assert_eq!((second.attempt.as_str(), seen(&victim, &second)), (attempt(2).as_str(), 2.into()));
}

async fn cancelled_when_reported() {
    let mut victim = Victim::start(1);
    let bundle = publish(&victim.manager, COUNTS);
    let mut door = victim.door().await;
    door.offer(offer(1, &bundle));
    let report = door.finished().await;
    // What a manager says at a new session whose answer was lost with the old one: it is accepted, so no longer wanted.
    door.say(Said::Cancel(Cancel { attempt: attempt(1), epoch: 1, reason: "it is no longer wanted".to_owned() }));
    door.accept(&report);
    assert_eq!(counts(&victim, &mut door, 2, &bundle).await, 2);
}

async fn restored() {
    let mut bench = Bench::start(2);
    let (endless, bundle) = (publish(&bench.manager, "time.sleep(600)"), publish(&bench.manager, COUNTS));
    let mut door = bench.door().await;
    door.offer(other(offer(1, &endless)));
    door.phase(&attempt(1), "running").await;
    door.offer(offer(2, &bundle));
    door.finished().await;
    drop(door);

    bench.manager.generation.store(2, Ordering::Relaxed);
    let mut door = bench.door().await;
    assert_eq!(door.hello.held.iter().map(|held| held.generation).collect::<Vec<_>>(), [1, 1]);
    door.noted("the cluster was restored").await;
    // The same attempt, as the copy of the history has it.
    door.offer(offer(2, &bundle));
    assert_eq!(door.finished().await.attempt, attempt(2));
    let aside = bench.dir.path().join("node/outbox/set-aside-1").join(attempt(2)).join("journal");
    assert!(aside.is_file());
    drop(door);

    let door = bench.door().await;
    assert_eq!((held(&door), door.hello.held[0].generation), (vec![(attempt(2), "finished")], 2));
    bench.stop().await;
}
