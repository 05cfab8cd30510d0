//! Requests that read: who am I, datasets, globals, results, state, the node's condition.
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use manta_types::Blob;
use manta_types::name::nearest;
use serde_json::json;

use super::message::{Call, Denied, Reply};
use super::select::{Question, select};
use super::serve::Server;
use super::values::lend_memory;
use crate::supervisor::blocking;

/// Nodes that a line names.
const NODES_NAMED_MAX: usize = 10;

impl Server<'_> {
    /// Answers a request that brings no value.
    pub(super) async fn answer(&mut self, call: Call) -> Result<Reply, Denied> {
        match call {
            Call::Hello => Ok(self.hello()),
            Call::Dataset { name } => self.dataset(&name),
            Call::GlobalGet { name } => self.global_get(&name).await,
            Call::GlobalKeys => Ok(Reply::of(json!({"names": self.global_names()}))),
            Call::Select { name, task, iteration } => {
                let own_iteration = self.grant.order.iteration;
                select(self.grant.inputs, Question { name: &name, task: task.as_deref(), iteration, own_iteration })
                    .map(Reply::of)
            }
            Call::Fetch { r#ref } => self.fetch(r#ref).await,
            Call::StateGet { name } => self.state_get(&name).await,
            Call::Memory => {
                let memory = lend_memory()?;
                self.lent = Some(Arc::clone(&memory));
                Ok(Reply { fd: Some(memory), ..Reply::default() })
            }
            Call::ScheduleNextIter { node_ids, task } => self.schedule_next_iteration(node_ids, task),
            Call::StopSwarm => {
                self.staged.stop_swarm = true;
                Ok(Reply::default())
            }
            Call::MetricsNow => Ok(Reply::of(self.grant.usage.now(self.grant.node_gpus.usage()))),
            Call::NetworkQuality => Ok(Reply::of(json!({"quality": self.grant.link.quality()}))),
            other => unreachable!("the form was checked: {other:?}"),
        }
    }

    fn hello(&self) -> Reply {
        let grant = &self.grant;
        let (order, manifest, resources) = (grant.order, grant.manifest, grant.order.resources);
        let (gpu_count, gpu_memory) = grant.gpus;
        Reply::of(json!({
            "swarm_id": order.swarm, "swarm": order.swarm_name,
            "task": order.task, "task_id": order.task_id(),
            "node": {"name": grant.node, "labels": grant.labels},
            "iteration": order.iteration, "attempt": order.attempt, "attempt_number": order.number, "seed": order.seed,
            "module": {"name": manifest.name, "version": manifest.version, "entry": manifest.entry},
            "datasets": order.datasets, "node_datasets": grant.node_datasets, "code": grant.code,
            "packages": grant.packages,
            "resources": {
                "cpu_count": resources.cpu, "cpu_memory": resources.memory_bytes,
                "gpu_available": gpu_count > 0, "gpu_count": gpu_count, "gpu_memory": gpu_memory,
                "disk": resources.tmp_bytes,
            },
            "lends_memory": grant.lends_memory,
        }))
    }

    fn dataset(&self, name: &str) -> Result<Reply, Denied> {
        let grant = &self.grant;
        if let Some((path, file)) = grant.datasets.get(name) {
            return Ok(Reply::of(json!({"path": path, "file": file})));
        }
        let module = &grant.manifest.name;
        if grant.order.datasets.iter().any(|allowed| allowed == name) {
            let message = format!("the node `{}` does not offer the dataset `{}`", grant.node, name.escape_debug());
            return Err(Denied::new("dataset_missing", message));
        }
        let message = format!("the module `{module}` does not list the dataset `{}`", name.escape_debug());
        let near = nearest(name, grant.order.datasets.iter().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add it where the module is made: Module(…, datasets=[\"{}\"])", name.escape_debug()),
        };
        Err(Denied::new("dataset_not_authorized", message).hint(Some(hint)))
    }

    /// Names of all globals that this attempt can read, its own writes among them.
    fn global_names(&self) -> BTreeSet<&str> {
        let pinned = self.grant.inputs.globals.iter().map(|global| global.name.as_str());
        pinned.chain(self.staged.globals.keys().map(String::as_str)).collect()
    }

    async fn global_get(&self, name: &str) -> Result<Reply, Denied> {
        let pinned = self.globals.get(name);
        let own = self.staged.globals.get(name).map(super::super::cache::Pin::blob);
        let revision = pinned.map_or(0, |global| global.revision);
        let Some(blob) = own.or(pinned.map(|global| global.blob)) else {
            return Ok(Reply::of(json!({"found": false, "names": self.global_names()})));
        };
        let mut reply = Reply::of(json!({"found": true, "size": blob.size, "revision": revision}));
        reply.fd = Some(self.grant.values.lend(blob.digest).await?);
        Ok(reply)
    }

    async fn fetch(&self, reference: usize) -> Result<Reply, Denied> {
        let Some(result) = self.grant.inputs.results.get(reference) else {
            return Err(Denied::new(
                "unknown_ref",
                format!("no `select` of this attempt gave the reference {reference}"),
            ));
        };
        let mut reply = Reply::of(json!({"size": result.blob.size}));
        reply.fd = Some(self.grant.values.lend(result.blob.digest).await?);
        Ok(reply)
    }

    async fn state_get(&mut self, name: &str) -> Result<Reply, Denied> {
        let (blob, fd) = match self.staged.state.get(name) {
            Some(pin) => (pin.blob(), self.grant.values.lend(pin.blob().digest).await?),
            None => match self.kept_state(name).await? {
                Some((blob, fd)) => {
                    self.staged.state_read.insert(name.to_owned());
                    (blob, fd)
                }
                None => {
                    self.tell_left_behind(name).await;
                    return Ok(Reply::of(
                        json!({"found": false, "names": self.staged.state.keys().collect::<Vec<_>>()}),
                    ));
                }
            },
        };
        let mut reply = Reply::of(json!({"found": true, "size": blob.size, "revision": 0}));
        reply.fd = Some(fd);
        Ok(reply)
    }

    /// Says in the task's log where its state may be, where another node ran it before and this one did not. Once: a line of ours
    /// counts against no limit of the task.
    async fn tell_left_behind(&mut self, name: &str) {
        let before = &self.grant.inputs.ran_before;
        let told_before = std::mem::replace(&mut self.told_left_behind, true);
        if told_before || before.is_empty() || before.iter().any(|node| node == self.grant.node.as_str()) {
            return;
        }
        let more = before.len().saturating_sub(NODES_NAMED_MAX);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (task, nodes) = (&self.grant.order.task, before[..before.len() - more].join(", ") + &rest);
        let told = format!(
            "StateLeftBehind({nodes}): the task `{task}` ran there in the iteration before, and state stays on its node; \
             `{}` begins here with its default",
            name.escape_debug()
        );
        self.grant.log.platform("warning", &told).await;
    }

    async fn kept_state(&mut self, name: &str) -> Result<Option<(Blob, Arc<OwnedFd>)>, Denied> {
        let Some(blob) = self.kept().await?.get(name) else { return Ok(None) };
        let path = self.grant.state.file(self.grant.order.state_of, &self.grant.order.task, blob.digest);
        let file = blocking(move || File::open(path)).await;
        let file =
            file.map_err(|error| Denied::by_node("node_storage", format!("the state cannot be read: {error}")))?;
        Ok(Some((blob, self.grant.values.lend_file(blob.digest, file).await?)))
    }
}
