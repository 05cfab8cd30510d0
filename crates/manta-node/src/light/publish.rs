//! Requests that write: values are staged, and count only when the attempt is accepted.
use std::os::fd::OwnedFd;

use manta_types::limits::{GLOBALS_PER_SWARM_MAX, RESULTS_PER_ATTEMPT_MAX, STATE_NAMES_MAX};
use manta_types::{AttemptLimit, NodeName};

use super::kept::Kept;
use super::message::{Call, Denied, Reply};
use super::names::{known, room, usable};
use super::serve::Server;
use super::values::Room;

impl Server<'_> {
    /// Stages a value.
    pub(super) async fn publish(&mut self, call: Call, fd: OwnedFd) -> Result<Reply, Denied> {
        let mut taken = self.staged.bytes();
        if let Call::StateSet { .. } = &call {
            // State stays from attempt to attempt, so all of it counts each time.
            taken = taken.saturating_add(self.kept().await?.bytes());
        }
        self.check(&call)?;
        let most = self.grant.order.resources.bounds.published_bytes;
        let value = self.grant.values.accept(fd, Room { most, taken }).await?;
        match call {
            Call::GlobalSet { name } => self.staged.set_global(name, value),
            Call::ResultAdd { name } => self.staged.publish(name, value),
            Call::StateSet { name } => {
                if !self.staged.state.contains_key(&name) {
                    self.kept().await?.set(&name);
                }
                self.staged.set_state(name, value);
            }
            other => unreachable!("the form was checked: {other:?}"),
        }
        Ok(Reply::default())
    }

    /// Checks the name and the count before any byte is read.
    fn check(&self, call: &Call) -> Result<(), Denied> {
        let staged = &self.staged;
        match call {
            Call::GlobalSet { name } => {
                usable("global", name)?;
                let pinned = &self.globals;
                let is_new = !staged.globals.contains_key(name) && !pinned.contains_key(name.as_str());
                room(AttemptLimit::Globals, is_new, pinned.len() + staged.globals.len(), GLOBALS_PER_SWARM_MAX)
            }
            Call::ResultAdd { name } => {
                usable("result", name)?;
                room(AttemptLimit::Results, !staged.has_result(name), staged.results.len(), RESULTS_PER_ATTEMPT_MAX)
            }
            Call::StateSet { name } => {
                usable("state", name)?;
                let kept = self.kept.as_ref();
                let is_new = !staged.state.contains_key(name) && kept.is_none_or(|kept| kept.get(name).is_none());
                room(AttemptLimit::State, is_new, kept.map_or(0, Kept::names), STATE_NAMES_MAX)
            }
            other => unreachable!("the form was checked: {other:?}"),
        }
    }

    /// Stages a request for one more iteration.
    pub(super) fn schedule_next_iteration(
        &mut self,
        nodes: Option<Vec<String>>,
        task: Option<String>,
    ) -> Result<Reply, Denied> {
        let inputs = self.grant.inputs;
        if let Some(task) = &task {
            known("unknown_task", "task", task, inputs.tasks.iter().map(String::as_str))?;
        }
        let here = &self.nodes;
        let check = |name: String| {
            if !here.contains(name.as_str()) {
                known("unknown_node", "node", &name, inputs.nodes.iter().map(String::as_str))?;
            }
            NodeName::new(&name).map_err(|error| Denied::new("unknown_node", error.to_string()))
        };
        let nodes = nodes.map(|names| names.into_iter().map(check).collect::<Result<_, _>>()).transpose()?;
        self.staged.ask_iteration(task, nodes);
        Ok(Reply::default())
    }
}
