//! That task runs are closed by their deadlines, and steps of rollouts reverted by theirs, whoever restarted meanwhile.
use manta_manager::orchestrator::Core;
use manta_types::SwarmState;

use super::Checker;

impl Checker {
    /// What was due when a turn began has been judged in it, by a manager that had run for so long by then that nodes could say
    /// what they had done.
    pub(crate) fn judged(&mut self, core: &Core, started_ms: u64, began_ms: u64) {
        if !self.clock_is_right {
            return;
        }
        for swarm in core.engine().swarms().filter(|swarm| swarm.state() == SwarmState::Running) {
            let overdue = self.histories.get(&swarm.id()).and_then(|history| history.overdue(started_ms, began_ms));
            self.must(overdue.is_none(), "deadline", || {
                format!(
                    "task {overdue:?} of {} was open when its turn came at {began_ms}, past its deadline",
                    swarm.id()
                )
            });
            let overdue = self.histories.get(&swarm.id()).and_then(|history| history.overdue_rollout(began_ms));
            self.must(overdue.is_none(), "deadline", || {
                format!("rollout {overdue:?} of {} was at its step still at {began_ms}", swarm.id())
            });
        }
    }
}
