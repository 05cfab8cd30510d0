//! Stories of one desk.
use super::*;

type Out = Vec<Command<()>>;

fn id(n: u128) -> AttemptId {
    AttemptId::from_uuid(uuid::Uuid::from_u128(n))
}

/// The n-th attempt at a task; the task's number is its alias.
fn attempt(n: u128, task: u32) -> Attempt {
    let swarm = SwarmId::from_uuid(uuid::Uuid::from_u128(1));
    Attempt { id: id(n), epoch: 1, swarm, state_of: swarm, task: task.to_string(), iteration: 0, generation: Some(1) }
}

fn journal(attempt: &Attempt, keeps_state: bool) -> Arc<Journal> {
    let blob = manta_types::Blob { digest: manta_types::Digest::from_bytes([7; 32]), size: 1 };
    let report = manta_api::node::AttemptFinished {
        attempt: attempt.id.to_string(),
        epoch: attempt.epoch,
        ..manta_api::node::AttemptFinished::default()
    };
    let state = keeps_state.then(|| ("momentum".to_owned(), blob)).into_iter().collect();
    Arc::new(Journal { attempt: attempt.clone(), left: Left { report, state } })
}

fn desk(slots: u32, journals: impl IntoIterator<Item = Arc<Journal>>) -> Desk<()> {
    let mut desk = Desk::new(NonZeroU32::new(slots).unwrap(), journals);
    desk.step(Input::SessionBegan { generation: Some(1) });
    desk
}

fn offer(desk: &mut Desk<()>, attempt: &Attempt) -> Out {
    desk.step(Input::Offered { attempt: attempt.clone(), work: () })
}

fn started(out: &Out) -> Vec<AttemptId> {
    let started = |command: &Command<()>| match command {
        Command::StartAttempt { attempt, .. } => Some(attempt.id),
        _ => None,
    };
    out.iter().filter_map(started).collect()
}

fn said_ends(out: &Out) -> Vec<AttemptId> {
    let said = |command: &Command<()>| match command {
        Command::Say(Word::Finished(journal)) => Some(journal.attempt.id),
        _ => None,
    };
    out.iter().filter_map(said).collect()
}

/// Takes an attempt that runs to its unanswered report.
fn report(desk: &mut Desk<()>, attempt: &Attempt, keeps_state: bool) -> Out {
    let journal = journal(attempt, keeps_state);
    let out = desk.step(Input::Ended { attempt: attempt.id, left: Some(Box::new(journal.left.clone())) });
    assert_eq!(out, [Command::WriteJournal(journal)], "nothing is said before the journal is on disk");
    desk.step(Input::Written { attempt: attempt.id })
}

fn answer(desk: &mut Desk<()>, attempt: &Attempt, accepted: bool) -> Out {
    desk.step(Input::Answered { attempt: attempt.id, epoch: attempt.epoch, accepted })
}

#[test]
fn an_attempt_goes_from_its_offer_to_its_answer() {
    let mut desk = desk(1, []);
    let one = attempt(1, 0);
    let out = offer(&mut desk, &one);
    let preparing = Word::Progress { attempt: one.id, epoch: 1, phase: Phase::Preparing };
    assert_eq!(out, [Command::Say(preparing), Command::StartAttempt { attempt: one.clone(), work: () }]);
    assert_eq!(desk.counts(), (1, 0));
    desk.step(Input::Entered { attempt: one.id, phase: Phase::Running });
    assert_eq!(desk.held(), [Held { attempt: one.id, epoch: 1, generation: Some(1), phase: Some(Phase::Running) }]);
    assert_eq!(said_ends(&report(&mut desk, &one, true)), [one.id]);
    assert_eq!(desk.held(), [Held { attempt: one.id, epoch: 1, generation: Some(1), phase: None }]);
    assert_eq!(answer(&mut desk, &one, true), [Command::CommitState(journal(&one, true))]);
    let out = desk.step(Input::Committed { attempt: one.id });
    assert_eq!(out, [Command::RemoveJournal { attempt: one.id }], "the journal goes when its state is kept");
    assert_eq!(desk.step(Input::Removed { attempt: one.id }), []);
    assert_eq!((desk.stage(one.id), desk.counts(), desk.held().len()), (None, (0, 0), 0));
}

#[test]
fn slots_are_given_in_the_order_of_offers_and_a_report_frees_one() {
    let mut desk = desk(2, []);
    let all: Vec<Attempt> = (1..=4).map(|n| attempt(n, u32::try_from(n).unwrap())).collect();
    let out: Vec<_> = all.iter().flat_map(|one| started(&offer(&mut desk, one))).collect();
    assert_eq!((out, desk.counts()), (vec![id(1), id(2)], (2, 2)));
    assert_eq!(started(&report(&mut desk, &all[1], false)), [id(3)]);
    desk.step(Input::Cancelled { attempt: id(4), epoch: 1 });
    assert_eq!(started(&report(&mut desk, &all[0], false)), [], "what was cancelled while it waited never starts");
}

#[test]
fn an_attempt_waits_for_the_answer_to_one_that_keeps_the_same_state_and_others_pass() {
    let mut desk = desk(2, []);
    let (first, second, other) = (attempt(1, 0), attempt(2, 0), attempt(3, 9));
    offer(&mut desk, &first);
    assert_eq!(started(&offer(&mut desk, &second)), []);
    assert_eq!(started(&offer(&mut desk, &other)), [other.id]);
    assert_eq!(started(&report(&mut desk, &first, true)), []);
    assert_eq!(started(&answer(&mut desk, &first, true)), []);
    assert_eq!(started(&desk.step(Input::Committed { attempt: first.id })), []);
    assert_eq!(started(&desk.step(Input::Removed { attempt: first.id })), [second.id]);
    // A swarm that continues another keeps its state under the other's name.
    let continued = Attempt { swarm: SwarmId::from_uuid(uuid::Uuid::from_u128(2)), ..attempt(4, 0) };
    assert_eq!(started(&offer(&mut desk, &continued)), []);
}

#[test]
fn an_attempt_does_not_wait_until_a_journal_without_state_is_removed() {
    let mut desk = desk(2, []);
    let (first, second, third) = (attempt(1, 0), attempt(2, 0), attempt(3, 0));
    offer(&mut desk, &first);
    assert_eq!(started(&offer(&mut desk, &second)), []);
    assert_eq!(started(&report(&mut desk, &first, false)), [], "its answer may be another attempt's reason");
    let out = answer(&mut desk, &first, true);
    assert_eq!((started(&out), out.contains(&Command::RemoveJournal { attempt: first.id })), (vec![second.id], true));
    // With a refused report comes back what would have become state, so it is gone first.
    report(&mut desk, &second, true);
    assert_eq!(started(&offer(&mut desk, &third)), []);
    assert_eq!(started(&answer(&mut desk, &second, false)), []);
    assert_eq!(started(&desk.step(Input::Removed { attempt: first.id })), []);
    assert_eq!(started(&desk.step(Input::Removed { attempt: second.id })), [third.id]);
}

#[test]
fn a_cancelled_attempt_is_killed_and_never_starts_again() {
    let mut desk = desk(1, []);
    let one = attempt(1, 0);
    offer(&mut desk, &one);
    assert_eq!(desk.step(Input::Cancelled { attempt: one.id, epoch: 0 }), [], "an older epoch is another matter");
    let out = desk.step(Input::Cancelled { attempt: one.id, epoch: 1 });
    assert_eq!(out, [Command::KillAttempt { attempt: one.id }]);
    assert_eq!(offer(&mut desk, &one), []);
    assert_eq!(desk.counts(), (1, 0), "its slot is taken until it has ended");
    assert_eq!(desk.step(Input::Ended { attempt: one.id, left: Some(Box::new(journal(&one, true).left.clone())) }), []);
    assert_eq!((offer(&mut desk, &one), desk.stage(one.id)), (vec![], None));
    let early = attempt(2, 0);
    desk.step(Input::Cancelled { attempt: early.id, epoch: 1 });
    assert_eq!(offer(&mut desk, &early), [], "the cancellation came before the offer");
}

#[test]
fn a_report_is_said_in_every_session_until_it_is_answered_whatever_else_is_said() {
    let mut desk = desk(1, []);
    let one = attempt(1, 0);
    offer(&mut desk, &one);
    report(&mut desk, &one, true);
    for _ in 0..3 {
        desk.step(Input::SessionEnded);
        assert_eq!(said_ends(&desk.step(Input::SessionBegan { generation: Some(1) })), [one.id]);
        assert_eq!(desk.step(Input::Cancelled { attempt: one.id, epoch: 1 }), [], "it may have been accepted before");
        assert_eq!(desk.step(Input::Answered { attempt: one.id, epoch: 2, accepted: false }), []);
    }
    assert_eq!(said_ends(&offer(&mut desk, &one)), [one.id]);
    assert_eq!(said_ends(&desk.step(Input::SayAgain)), [one.id]);
    assert_eq!(answer(&mut desk, &one, false), [Command::RemoveJournal { attempt: one.id }]);
    assert_eq!(answer(&mut desk, &one, true), [], "the first answer counts");
}

#[test]
fn an_end_without_a_session_is_said_in_the_next_one() {
    let mut desk = desk(1, []);
    let one = attempt(1, 0);
    offer(&mut desk, &one);
    desk.step(Input::SessionEnded);
    assert_eq!(report(&mut desk, &one, false), []);
    assert_eq!(said_ends(&desk.step(Input::SessionBegan { generation: Some(1) })), [one.id]);
}

#[test]
fn a_restarted_agent_says_what_its_journals_hold_and_commits_what_is_accepted() {
    let (one, next) = (attempt(1, 0), attempt(2, 0));
    let mut desk = Desk::new(NonZeroU32::MIN, [journal(&one, true)]);
    assert_eq!(desk.held(), [Held { attempt: one.id, epoch: 1, generation: Some(1), phase: None }]);
    assert_eq!(said_ends(&desk.step(Input::SessionBegan { generation: Some(1) })), [one.id]);
    assert_eq!(started(&offer(&mut desk, &next)), [], "it would read old state");
    assert_eq!(answer(&mut desk, &one, true), [Command::CommitState(journal(&one, true))]);
    desk.step(Input::Committed { attempt: one.id });
    assert_eq!(started(&desk.step(Input::Removed { attempt: one.id })), [next.id]);
}

#[test]
fn a_full_disk_holds_the_slot_is_told_and_is_asked_again() {
    let mut desk = desk(1, []);
    let (one, next) = (attempt(1, 0), attempt(2, 9));
    offer(&mut desk, &one);
    let written = journal(&one, true);
    desk.step(Input::Ended { attempt: one.id, left: Some(Box::new(written.left.clone())) });
    desk.step(Input::DiskRefused { attempt: one.id, reason: "no space".to_owned() });
    assert_eq!(desk.waits_for_disk().map(|(_, reason)| reason).collect::<Vec<_>>(), ["no space"]);
    assert_eq!(started(&offer(&mut desk, &next)), [], "no new work while ends cannot be kept");
    assert_eq!(desk.step(Input::TryDisk), [Command::WriteJournal(written)]);
    assert_eq!(desk.step(Input::TryDisk), [], "one order at a time");
    let out = desk.step(Input::Written { attempt: one.id });
    assert_eq!((said_ends(&out), started(&out), desk.waits_for_disk().count()), (vec![one.id], vec![next.id], 0));
}

#[test]
fn an_attempt_that_is_cancelled_while_its_journal_is_written_is_dropped() {
    for refused_before in [false, true] {
        let mut desk = desk(1, []);
        let one = attempt(1, 0);
        offer(&mut desk, &one);
        desk.step(Input::Ended { attempt: one.id, left: Some(Box::new(journal(&one, true).left.clone())) });
        let removal = [Command::RemoveJournal { attempt: one.id }];
        if refused_before {
            desk.step(Input::DiskRefused { attempt: one.id, reason: "no space".to_owned() });
            assert_eq!(desk.step(Input::Cancelled { attempt: one.id, epoch: 1 }), removal);
        } else {
            assert_eq!(desk.step(Input::Cancelled { attempt: one.id, epoch: 1 }), [], "the disk is at work");
            assert_eq!(desk.step(Input::Written { attempt: one.id }), removal, "its end is not said");
        }
        desk.step(Input::Removed { attempt: one.id });
        assert_eq!((desk.stage(one.id), desk.counts()), (None, (0, 0)));
    }
}

#[test]
fn what_belongs_to_an_undone_history_ends_and_may_be_asked_for_again() {
    let (told, runs, waits) = (attempt(1, 1), attempt(2, 2), attempt(3, 3));
    let mut desk = Desk::new(NonZeroU32::MIN, [journal(&told, true)]);
    desk.step(Input::SessionBegan { generation: Some(1) });
    offer(&mut desk, &runs);
    offer(&mut desk, &waits);
    desk.step(Input::SessionEnded);
    let out = desk.step(Input::SessionBegan { generation: Some(2) });
    let aside = Command::SetAsideJournal { attempt: told.id, generation: 1 };
    assert_eq!(out, [aside, Command::KillAttempt { attempt: runs.id }]);
    assert_eq!((desk.held(), desk.generation()), (vec![], Some(2)));
    // The manager's copy of the history knows the attempt too: it is made again, when nothing is left of the first.
    assert_eq!(started(&offer(&mut desk, &runs)), []);
    assert_eq!(answer(&mut desk, &told, true), [], "an answer to an undone report changes nothing");
    assert_eq!(started(&desk.step(Input::Ended { attempt: runs.id, left: None })), [runs.id]);
    assert_eq!(desk.held()[0].generation, Some(2));
    desk.step(Input::Removed { attempt: told.id });
    assert_eq!(desk.stage(told.id), None);
}

#[test]
fn what_was_offered_without_a_generation_is_never_undone() {
    let one = Attempt { generation: None, ..attempt(1, 0) };
    let mut desk: Desk<()> = Desk::new(NonZeroU32::MIN, [journal(&one, false)]);
    for generation in [Some(5), None, Some(6)] {
        assert_eq!(said_ends(&desk.step(Input::SessionBegan { generation })), [one.id]);
    }
}

fn unneeded(desk: &mut Desk<()>, attempt: &Attempt) -> Out {
    desk.step(Input::StateUnneeded { swarm: attempt.state_of })
}

#[test]
fn state_that_nobody_will_read_goes_when_nothing_here_refers_to_it() {
    let mut desk = desk(1, []);
    let (one, other) = (attempt(1, 0), SwarmId::from_uuid(uuid::Uuid::from_u128(2)));
    assert_eq!(desk.step(Input::StateUnneeded { swarm: other }), [Command::ForgetState { swarm: other }]);
    assert_eq!(desk.step(Input::StateUnneeded { swarm: other }), [], "the disk is at it");
    desk.step(Input::StateSettled { swarm: other });
    offer(&mut desk, &one);
    report(&mut desk, &one, true);
    assert_eq!(unneeded(&mut desk, &one), [], "its report is not answered");
    answer(&mut desk, &one, true);
    assert_eq!(unneeded(&mut desk, &one), [], "what it kept is on its way");
    desk.step(Input::Committed { attempt: one.id });
    assert_eq!(desk.step(Input::Removed { attempt: one.id }), [Command::ForgetState { swarm: one.state_of }]);
}

#[test]
fn an_attempt_waits_while_the_state_that_it_would_read_is_removed() {
    let mut desk = desk(1, []);
    let one = attempt(1, 0);
    assert_eq!(unneeded(&mut desk, &one), [Command::ForgetState { swarm: one.state_of }]);
    assert_eq!(started(&offer(&mut desk, &one)), []);
    assert_eq!(started(&desk.step(Input::StateSettled { swarm: one.state_of })), [one.id]);
}

#[test]
fn state_is_kept_after_all_for_a_new_offer_or_in_another_history() {
    let mut desk = desk(1, []);
    let (one, two) = (attempt(1, 0), attempt(2, 0));
    offer(&mut desk, &one);
    unneeded(&mut desk, &one);
    offer(&mut desk, &two);
    for attempt in [&one, &two] {
        assert_eq!(
            desk.step(Input::Cancelled { attempt: attempt.id, epoch: 1 }).len(),
            1 - usize::from(*attempt == two)
        );
    }
    assert_eq!(desk.step(Input::Ended { attempt: one.id, left: None }), [], "the second offer needed it");
    offer(&mut desk, &attempt(3, 0));
    unneeded(&mut desk, &one);
    desk.step(Input::SessionBegan { generation: Some(2) });
    assert_eq!(desk.step(Input::Ended { attempt: id(3), left: None }), [], "it was said in a history that was undone");
}
