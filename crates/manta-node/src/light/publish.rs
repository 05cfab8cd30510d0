//! Requests that write: values are staged, and count only when the attempt is accepted.
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use manta_types::NodeName;
use manta_types::limits::{GLOBALS_PER_SWARM_MAX, RESULTS_PER_ATTEMPT_MAX};

use super::message::{Call, Denied, Reply};
use super::names::{known, room, usable};
use super::serve::Server;
use super::values::Room;

/// Names that one task may keep as state on a node.
const STATE_NAMES_MAX: usize = 10_000;

impl Server<'_> {
    /// Stages a value.
    pub(super) async fn publish(&mut self, call: Call, fd: OwnedFd) -> Result<Reply, Denied> {
        self.check(&call)?;
        let most = self.grant.order.resources.bounds.published_bytes;
        let value = self.grant.values.accept(fd, Room { most, taken: self.staged.bytes() }).await?;
        match call {
            Call::GlobalSet { name } => drop(self.staged.globals.insert(name, value)),
            Call::ResultAdd { name } => self.staged.publish(name, value),
            Call::StateSet { name } => drop(self.staged.state.insert(name, value)),
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
                let pinned = &self.grant.inputs.globals;
                let is_new = !staged.globals.contains_key(name) && pinned.iter().all(|global| global.name != *name);
                room("globals", is_new, pinned.len() + staged.globals.len(), GLOBALS_PER_SWARM_MAX)
            }
            Call::ResultAdd { name } => {
                usable("result", name)?;
                room("results", !staged.has_result(name), staged.results.len(), RESULTS_PER_ATTEMPT_MAX)
            }
            Call::StateSet { name } => {
                usable("state", name)?;
                room("names of state", !staged.state.contains_key(name), staged.state.len(), STATE_NAMES_MAX)
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
        // A frame has room for a million names, most of them twice.
        let here: BTreeSet<&str> = inputs.nodes.iter().map(String::as_str).collect();
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
