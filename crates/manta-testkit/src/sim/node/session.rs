//! A node's session with the manager: dialled, greeted, kept alive, and what is said and told in it.
use std::sync::Arc;

use manta_engine::Command;
use manta_node::desk::{self, Desk, Word};
use manta_types::AttemptId;

use super::{GONE_WITHIN_MS, REDIAL_MS, SimNode};
use crate::sim::World;
use crate::sim::bug::Bug;
use crate::sim::happening::{AtNode, Happening, LinkId, Said, Told};
use crate::sim::manager::short;

/// How often a node says that it lives, and how long it waits for the manager to.
const BEAT_MS: u64 = 2_000;
const SILENCE_MS: u64 = 6_000;
/// How many beats go by until what was not answered is said again.
const BEATS_UNTIL_AGAIN: u64 = 3;
/// How long a greeting may take.
const GREETING_MS: u64 = 10_000;

impl World {
    /// Dials the manager and says who it is.
    pub(super) fn greet(&mut self, node: usize) {
        let known = &self.nodes[node];
        if known.link.is_some() || known.desk.is_none() {
            return;
        }
        let is_reachable =
            self.now >= known.up_blocked && self.now >= known.down_blocked && self.manager.core.is_some();
        if !is_reachable {
            return self.redial(node);
        }
        let held = known.desk.as_ref().map(Desk::held).unwrap_or_default();
        let (id, life) = (known.kept.id, known.life);
        let link = self.dial(node);
        self.nodes[node].link = Some(link);
        self.say(link, Said::Hello { id, held });
        self.agenda.put(self.now + GREETING_MS, Happening::Node(node, life, AtNode::GreetingOver(link)));
    }

    fn redial(&mut self, node: usize) {
        let known = &mut self.nodes[node];
        let (wait, life) = (known.redial, known.life);
        known.redial = (wait * 2).min(REDIAL_MS.1);
        let wait = self.chance.between(wait / 2, wait + 1);
        self.agenda.put(self.now + wait, Happening::Node(node, life, AtNode::Dial));
    }

    /// The session is over for this node, and another one is begun.
    pub(super) fn leave_session(&mut self, node: usize, silently: bool) {
        let Some(link) = self.nodes[node].link.take() else { return };
        self.hang_up(link, silently);
        if std::mem::take(&mut self.nodes[node].is_welcome) {
            self.nodes[node].redial = REDIAL_MS.0;
            self.nodes[node].cuts += 1;
            self.trace.line(self.now, || format!("{} is cut off", self.nodes[node].name));
            self.desk(node, desk::Input::SessionEnded);
            self.watch_cut_off(node);
        }
        if self.nodes[node].desk.is_some() {
            self.redial(node);
        }
    }

    pub(super) fn beat(&mut self, node: usize, link: LinkId) {
        let known = &self.nodes[node];
        if known.link != Some(link) || !known.is_welcome {
            return;
        }
        if self.now > known.heard_at + SILENCE_MS {
            return self.leave_session(node, true);
        }
        let life = known.life;
        self.say(link, Said::Beat);
        self.nodes[node].beats += 1;
        if self.nodes[node].beats.is_multiple_of(BEATS_UNTIL_AGAIN) && self.bug != Some(Bug::SayOnce) {
            self.desk(node, desk::Input::SayAgain);
        }
        self.agenda.put(self.now + BEAT_MS, Happening::Node(node, life, AtNode::Beat(link)));
    }

    pub(super) fn told(&mut self, node: usize, link: LinkId, told: Told) {
        let is_broken = self.links.get(&link).is_none_or(|link| link.is_broken);
        if self.nodes[node].link != Some(link) || is_broken {
            return;
        }
        self.nodes[node].heard_at = self.now;
        match told {
            Told::Welcome { id, generation } => {
                let known = &mut self.nodes[node];
                (known.kept.id, known.is_welcome) = (Some(id), true);
                let life = known.life;
                self.outdate_others(node, generation);
                self.desk(node, desk::Input::SessionBegan { generation: Some(generation) });
                self.agenda.put(self.now, Happening::Node(node, life, AtNode::Beat(link)));
            }
            Told::TurnedAway => {
                // Its agent ends with an error; whoever looks after it starts it again.
                self.leave_session(node, false);
                self.kill_node(node, "because it was turned away");
            }
            Told::Beat => {}
            Told::Command(command) => self.commanded(node, command),
        }
    }

    /// Attempts of another generation than this are of a history that was undone.
    fn outdate_others(&mut self, node: usize, generation: u64) {
        let runs = self.nodes[node].runs.iter().map(|(attempt, run)| (*attempt, run.attempt.generation));
        let undone: Vec<_> = runs.filter(|(_, own)| own.is_some_and(|own| own != generation)).collect();
        undone.into_iter().for_each(|(attempt, own)| self.outdate(node, attempt, own));
    }

    /// The node knows now that an attempt is not wanted: soon nothing of it may run.
    fn outdate(&mut self, node: usize, attempt: AttemptId, generation: Option<u64>) {
        let (by, known) = (self.now + GONE_WITHIN_MS, &mut self.nodes[node]);
        known.stale.insert(attempt, generation);
        self.agenda.put(by, Happening::Node(node, known.life, AtNode::MustBeGone(attempt, generation, by)));
    }

    fn commanded(&mut self, node: usize, command: Command) {
        if self.node_dies(node, "before it takes a command") {
            return;
        }
        self.trace.line(self.now, || format!("{} hears {}", command.node(), short(&command)));
        match command {
            Command::Offer(offer) => {
                let attempt = desk::Attempt {
                    id: offer.attempt,
                    epoch: offer.epoch,
                    swarm: offer.swarm,
                    state_of: offer.state_of,
                    task: offer.spec.tasks[offer.task].alias.clone(),
                    iteration: offer.iteration,
                    generation: None,
                };
                if self.bug == Some(Bug::OldState) {
                    let lane = (attempt.state_of, attempt.task.clone());
                    let known = &mut self.nodes[node];
                    let state = known.kept.state.get(&lane).and_then(|state| state.get("state")).copied();
                    known.states_offered.insert(attempt.id, state);
                }
                self.desk(node, desk::Input::Offered { attempt, work: Arc::from(offer) });
            }
            Command::Cancel { attempt, epoch, .. } => {
                let run = self.nodes[node].runs.get(&attempt).filter(|run| run.attempt.epoch <= epoch);
                if let Some(run) = run {
                    let generation = run.attempt.generation;
                    self.outdate(node, attempt, generation);
                }
                self.desk(node, desk::Input::Cancelled { attempt, epoch });
            }
            Command::Verdict { attempt, epoch, accepted, .. } => {
                self.desk(node, desk::Input::Answered { attempt, epoch, accepted });
            }
        }
    }

    pub(super) fn speak(&mut self, node: usize, word: Word) {
        let Some(link) = self.nodes[node].link else { return };
        match word {
            Word::Progress { attempt, epoch, phase } => self.say(link, Said::Progress { attempt, epoch, phase }),
            Word::Refused { attempt, epoch, reason } => self.say(link, Said::Refused { attempt, epoch, reason }),
            Word::Finished(journal) => {
                let attempt = journal.attempt.id;
                let SimNode { name, kept, .. } = &self.nodes[node];
                self.checker.said(name, &journal, kept.journals.get(&attempt) == Some(&journal));
                self.say(link, Said::Finished(journal));
                if self.bug == Some(Bug::ForgetReport) {
                    self.nodes[node].kept.journals.remove(&attempt);
                }
            }
        }
    }

    /// It says goodbye and ends in order.
    pub(crate) fn part(&mut self, node: usize) {
        if let Some(link) = self.nodes[node].link.filter(|_| self.nodes[node].is_welcome) {
            self.say(link, Said::Goodbye);
        }
        self.kill_node(node, "in order");
    }

    /// A session that was cut is noticed by the manager, whatever becomes of the node.
    pub(crate) fn cut(&mut self, node: usize) {
        if let Some(link) = self.nodes[node].link {
            self.trace.line(self.now, || format!("the connection of {} breaks", self.nodes[node].name));
            self.break_link(link);
        }
    }
}
