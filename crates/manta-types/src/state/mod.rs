//! The lives of swarms, iterations, task runs, attempts, leases and nodes: one enum, one transition function and one table
//! each.
mod attempt;
mod duty;
mod iteration;
mod lease;
mod node;
mod reference;
mod rollout;
mod swarm;
mod task_run;

pub use attempt::{AttemptChange, AttemptState};
pub use duty::{DutyChange, NodeDuty};
pub use iteration::{IterationChange, IterationState};
pub use lease::{LeaseChange, LeaseState};
pub use node::{NodeChange, NodeState};
pub use reference::reference;
pub use rollout::{RolloutChange, RolloutState};
pub use swarm::{SwarmChange, SwarmState};
pub use task_run::{TaskRunChange, TaskRunState};

/// A change that the state does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{entity} that is `{from}` cannot be `{change}`")]
pub struct IllegalTransition {
    /// What should have changed.
    pub entity: &'static str,
    /// The state it is in.
    pub from: &'static str,
    /// The change that was asked of it.
    pub change: &'static str,
}

/// Writes a state's enum with its stable names, and the same for its changes.
macro_rules! names {
    ($name:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name, as stored, sent and shown.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                Self::from_name(&name).ok_or_else(|| serde::de::Error::unknown_variant(&name, &[$($text),+]))
            }
        }
    };
}
pub(crate) use names;

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks every (state, change) pair and prints the table of those that are legal.
    fn table<S: Copy + PartialEq, C: Copy>(
        states: &[S],
        changes: &[C],
        next: impl Fn(S, C) -> Result<S, IllegalTransition>,
        name: impl Fn(S) -> &'static str,
        change_name: impl Fn(C) -> &'static str,
    ) -> String {
        let mut rows = String::new();
        for state in states {
            for change in changes {
                if let Ok(after) = next(*state, *change) {
                    rows += &format!("{} + {} = {}\n", name(*state), change_name(*change), name(after));
                }
            }
        }
        rows
    }

    #[test]
    fn final_states_never_change() {
        for state in SwarmState::ALL.iter().filter(|state| state.is_final()) {
            assert!(SwarmChange::ALL.iter().all(|change| state.next(*change).is_err()), "{state}");
        }
        for state in TaskRunState::ALL.iter().filter(|state| state.is_final()) {
            assert!(TaskRunChange::ALL.iter().all(|change| state.next(*change).is_err()), "{state}");
        }
        for state in AttemptState::ALL.iter().filter(|state| state.is_final()) {
            assert!(AttemptChange::ALL.iter().all(|change| state.next(*change).is_err()), "{state}");
        }
        for state in IterationState::ALL.iter().filter(|state| state.is_final()) {
            assert!(IterationChange::ALL.iter().all(|change| state.next(*change).is_err()), "{state}");
        }
        for state in LeaseState::ALL.iter().filter(|state| state.is_final()) {
            assert!(LeaseChange::ALL.iter().all(|change| state.next(*change).is_err()), "{state}");
        }
        for state in RolloutState::ALL.iter().filter(|state| state.is_final()) {
            assert!(RolloutChange::ALL.iter().all(|change| state.next(*change).is_err()), "{state}");
        }
        assert!(DutyChange::ALL.iter().all(|change| NodeDuty::Revoked.next(*change).is_err()));
    }

    #[test]
    fn every_pair_of_attempt_and_change_is_as_the_table_says() {
        let rows =
            table(AttemptState::ALL, AttemptChange::ALL, AttemptState::next, AttemptState::name, AttemptChange::name);
        assert_eq!(
            rows,
            "\
offered + prepare = preparing
offered + start = running
offered + fall_silent = silent
offered + accept = accepted
offered + fail = failed
offered + lose = lost
offered + cancel = cancelled
preparing + start = running
preparing + fall_silent = silent
preparing + accept = accepted
preparing + fail = failed
preparing + lose = lost
preparing + cancel = cancelled
running + fall_silent = silent
running + upload = uploading
running + accept = accepted
running + fail = failed
running + lose = lost
running + cancel = cancelled
silent + prepare = preparing
silent + start = running
silent + upload = uploading
silent + accept = accepted
silent + fail = failed
silent + lose = lost
silent + cancel = cancelled
uploading + fall_silent = silent
uploading + accept = accepted
uploading + fail = failed
uploading + lose = lost
uploading + cancel = cancelled
"
        );
    }

    #[test]
    fn every_pair_of_swarm_and_change_is_as_the_table_says() {
        let rows = table(SwarmState::ALL, SwarmChange::ALL, SwarmState::next, SwarmState::name, SwarmChange::name);
        assert_eq!(
            rows,
            "\
validating + admit = pending
validating + fail = failed
pending + start = running
pending + stop = stopped
pending + fail = failed
running + pause = paused
running + stop = stopped
running + succeed = succeeded
running + fail = failed
paused + resume = running
paused + stop = stopped
paused + fail = failed
"
        );
    }

    #[test]
    fn every_pair_of_task_run_and_change_is_as_the_table_says() {
        let rows =
            table(TaskRunState::ALL, TaskRunChange::ALL, TaskRunState::next, TaskRunState::name, TaskRunChange::name);
        assert_eq!(
            rows,
            "\
waiting + make_ready = ready
waiting + fail = failed
waiting + skip = skipped
ready + start = running
ready + fail = failed
ready + skip = skipped
running + close = closing
running + fail = failed
closing + succeed = succeeded
closing + fail = failed
"
        );
    }

    #[test]
    fn every_pair_of_node_and_change_is_as_the_table_says() {
        let rows = table(NodeState::ALL, NodeChange::ALL, NodeState::next, NodeState::name, NodeChange::name);
        assert_eq!(
            rows,
            "\
joining + come_online = online
joining + leave = gone
online + come_online = online
online + lose_contact = unreachable
online + leave = gone
unreachable + come_online = online
unreachable + leave = gone
gone + come_online = online
"
        );
    }

    #[test]
    fn every_pair_of_iteration_and_change_is_as_the_table_says() {
        let (states, changes) = (IterationState::ALL, IterationChange::ALL);
        let rows = table(states, changes, IterationState::next, IterationState::name, IterationChange::name);
        assert_eq!(rows, "open + finish = finished\nopen + abandon = abandoned\n");
    }

    #[test]
    fn every_pair_of_lease_and_change_is_as_the_table_says() {
        let rows = table(LeaseState::ALL, LeaseChange::ALL, LeaseState::next, LeaseState::name, LeaseChange::name);
        assert_eq!(
            rows,
            "\
held + lapse = lapsed
held + renew = held
held + release = released
held + fence = fenced
lapsed + renew = held
lapsed + release = released
lapsed + fence = fenced
"
        );
    }

    #[test]
    fn every_pair_of_duty_and_change_is_as_the_table_says() {
        let rows = table(NodeDuty::ALL, DutyChange::ALL, NodeDuty::next, NodeDuty::name, DutyChange::name);
        assert_eq!(
            rows,
            "\
active + drain = draining
active + revoke = revoked
draining + drain = draining
draining + finish_drain = drained
draining + resume = active
draining + revoke = revoked
drained + resume = active
drained + revoke = revoked
"
        );
    }

    #[test]
    fn every_pair_of_rollout_and_change_is_as_the_table_says() {
        let (states, changes) = (RolloutState::ALL, RolloutChange::ALL);
        let rows = table(states, changes, RolloutState::next, RolloutState::name, RolloutChange::name);
        assert_eq!(
            rows,
            "\
running + step = running
running + hold = held
running + complete = completed
running + revert = reverted
running + abandon = abandoned
held + step = running
held + hold = held
held + resume = running
held + complete = completed
held + revert = reverted
held + abandon = abandoned
"
        );
    }

    #[test]
    fn names_read_back() {
        assert!(AttemptState::ALL.iter().all(|state| AttemptState::from_name(state.name()) == Some(*state)));
        assert!(SwarmState::ALL.iter().all(|state| SwarmState::from_name(state.name()) == Some(*state)));
        assert!(TaskRunState::ALL.iter().all(|state| TaskRunState::from_name(state.name()) == Some(*state)));
        assert!(IterationState::ALL.iter().all(|state| IterationState::from_name(state.name()) == Some(*state)));
        assert!(LeaseState::ALL.iter().all(|state| LeaseState::from_name(state.name()) == Some(*state)));
        assert!(NodeState::ALL.iter().all(|state| NodeState::from_name(state.name()) == Some(*state)));
        assert!(RolloutState::ALL.iter().all(|state| RolloutState::from_name(state.name()) == Some(*state)));
        assert!(NodeDuty::ALL.iter().all(|duty| NodeDuty::from_name(duty.name()) == Some(*duty)));
    }
}
