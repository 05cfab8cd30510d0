//! The lives of all entities as a page for people, made from the transition functions themselves.
use std::fmt::Write;

use super::{
    AttemptChange, AttemptState, DutyChange, IllegalTransition, IterationChange, IterationState, LeaseChange,
    LeaseState, NodeChange, NodeDuty, NodeState, RolloutChange, RolloutState, SwarmChange, SwarmState, TaskRunChange,
    TaskRunState,
};

/// One kind of entity: its states, what can happen to it, and what becomes of it then.
struct Machine<S: 'static, C: 'static> {
    title: &'static str,
    about: &'static str,
    picture: &'static str,
    states: &'static [S],
    changes: &'static [C],
    next: fn(S, C) -> Result<S, IllegalTransition>,
    state_name: fn(S) -> &'static str,
    change_name: fn(C) -> &'static str,
}

/// The page, in Markdown: a picture and the whole transition table of each entity.
pub fn reference() -> String {
    let mut page = String::from(
        "# States\n\nWhat can happen to each entity, and the state that follows. A row is a state, a column a change; an \
         empty cell is a\nchange that the state does not know, and that is refused. A row without an entry is final. \
         `cargo xtask gen` makes this page from\nthe transition functions.\n",
    );
    Machine {
        title: "Swarm",
        about: "A deployed algorithm. `pending` waits for its turn; `paused` lets what runs end, and starts nothing.",
        picture: "validating ─► pending ─► running ⇄ paused ─► succeeded | failed | stopped",
        states: SwarmState::ALL,
        changes: SwarmChange::ALL,
        next: SwarmState::next,
        state_name: SwarmState::name,
        change_name: SwarmChange::name,
    }
    .write(&mut page);
    Machine {
        title: "Iteration",
        about: "One pass through a swarm's graph.",
        picture: "open ─► finished | abandoned",
        states: IterationState::ALL,
        changes: IterationChange::ALL,
        next: IterationState::next,
        state_name: IterationState::name,
        change_name: IterationChange::name,
    }
    .write(&mut page);
    Machine {
        title: "Task run",
        about: "One task in one iteration, over all its nodes.",
        picture: "waiting ─► ready ─► running ─► closing ─► succeeded | failed | skipped",
        states: TaskRunState::ALL,
        changes: TaskRunChange::ALL,
        next: TaskRunState::next,
        state_name: TaskRunState::name,
        change_name: TaskRunChange::name,
    }
    .write(&mut page);
    Machine {
        title: "Attempt",
        about: "One try at an assignment. `silent` is not the end: the node may come back first, deliver, and count.",
        picture: "offered ─► preparing ─► running ⇄ silent ─► uploading ─► accepted | failed | lost | cancelled",
        states: AttemptState::ALL,
        changes: AttemptChange::ALL,
        next: AttemptState::next,
        state_name: AttemptState::name,
        change_name: AttemptChange::name,
    }
    .write(&mut page);
    Machine {
        title: "Lease",
        about: "A node's right to run one attempt, under an epoch that rises with every grant.",
        picture: "held ⇄ lapsed ─► released | fenced",
        states: LeaseState::ALL,
        changes: LeaseChange::ALL,
        next: LeaseState::next,
        state_name: LeaseState::name,
        change_name: LeaseChange::name,
    }
    .write(&mut page);
    Machine {
        title: "Rollout",
        about: "Another version of a task's module, on its way to the task's nodes. `held` stays at its step.",
        picture: "running ⇄ held ─► completed | reverted | abandoned",
        states: RolloutState::ALL,
        changes: RolloutChange::ALL,
        next: RolloutState::next,
        state_name: RolloutState::name,
        change_name: RolloutChange::name,
    }
    .write(&mut page);
    Machine {
        title: "Node",
        about: "Whether a node can be heard. `joining` is known from before a restart of the manager.",
        picture: "joining ─► online ⇄ unreachable ─► gone",
        states: NodeState::ALL,
        changes: NodeChange::ALL,
        next: NodeState::next,
        state_name: NodeState::name,
        change_name: NodeChange::name,
    }
    .write(&mut page);
    Machine {
        title: "Duty of a node",
        about: "Whether a node gets work, beside whether it can be heard.",
        picture: "active ⇄ draining ─► drained ─► active;  revoked",
        states: NodeDuty::ALL,
        changes: DutyChange::ALL,
        next: NodeDuty::next,
        state_name: NodeDuty::name,
        change_name: DutyChange::name,
    }
    .write(&mut page);
    page
}

impl<S: Copy, C: Copy> Machine<S, C> {
    fn write(&self, page: &mut String) {
        let Self { title, about, picture, .. } = self;
        let names = self.changes.iter().map(|change| format!(" {} |", (self.change_name)(*change)));
        let rule = "---|".repeat(self.changes.len() + 1);
        let head =
            format!("\n## {title}\n\n{about}\n\n```\n{picture}\n```\n\n| |{}\n|{rule}\n", names.collect::<String>());
        page.push_str(&head);
        for state in self.states {
            let cells = self.changes.iter().map(|change| match (self.next)(*state, *change) {
                Ok(after) => format!(" {} |", (self.state_name)(after)),
                Err(_) => "  |".to_owned(),
            });
            writeln!(page, "| **{}** |{}", (self.state_name)(*state), cells.collect::<String>())
                .expect("a string takes all that is written to it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_every_entity_has_its_row() {
        let page = reference();
        let rows = page.lines().filter(|line| line.starts_with("| **")).count();
        let states = SwarmState::ALL.len()
            + IterationState::ALL.len()
            + TaskRunState::ALL.len()
            + AttemptState::ALL.len()
            + LeaseState::ALL.len()
            + RolloutState::ALL.len()
            + NodeState::ALL.len()
            + NodeDuty::ALL.len();
        assert_eq!(rows, states);
        assert!(page.contains("| **running** |  |  | paused |  | stopped | succeeded | failed |"), "{page}");
    }
}
