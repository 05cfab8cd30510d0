//! The rules of admission: what a submission keeps, whatever nodes and blobs there are, before anything is promised.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use manta_types::name::{check_component, check_label, check_name};
use manta_types::{Method, NodeLimit, OnDisconnect, Quorum, SwarmSpec, TaskSpec, limits};

use super::read::{InvalidSubmission, SPAN_RULE, clip};
use super::{ModuleRef, SwarmSubmission, TaskSubmission};

/// The shortest and the longest span that a task may name.
const SPAN: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(31_536_000);

impl SwarmSubmission {
    /// Admits a submission or refuses it: every rule that needs no knowledge of nodes or blobs. What was admitted once is
    /// read with [`SwarmSubmission::spec`], so that a rule may become stricter without locking old swarms out.
    ///
    /// # Errors
    /// A broken rule, with its place: names, counts, a module or predecessor that is not there, aliases that are the same
    /// or look so, a quorum that can never hold.
    pub fn check(&self) -> Result<SwarmSpec, InvalidSubmission> {
        self.check_counts().map_err(|problem| self.refused(problem))?;
        for module in &self.modules {
            module.check().map_err(|problem| module.refused(problem))?;
        }
        let mut seen = BTreeMap::new();
        for task in &self.tasks {
            task.check().map_err(|problem| task.refused(problem))?;
            match seen.insert(task.alias.to_lowercase(), &task.alias) {
                Some(same) if *same == task.alias => return Err(task.refused("two tasks have this alias".to_owned())),
                Some(other) => {
                    let problem = format!("its alias differs from that of task `{}` in case only", clip(other));
                    return Err(task.refused(problem));
                }
                None => {}
            }
        }
        let spec = self.spec()?;
        for (task, read) in self.tasks.iter().zip(&spec.tasks) {
            check_task(read).map_err(|problem| task.refused(problem))?;
        }
        Ok(spec)
    }

    /// The swarm's own name and all that is counted over the whole of it.
    fn check_counts(&self) -> Result<(), String> {
        check_name("swarm", &self.name).map_err(words)?;
        at_most("tasks", self.tasks.len(), limits::TASKS_PER_SWARM_MAX)?;
        at_most("modules", self.modules.len(), limits::TASKS_PER_SWARM_MAX)?;
        let edges = self.tasks.iter().map(|task| task.after.len()).sum();
        at_most("edges between tasks", edges, limits::EDGES_PER_SWARM_MAX)?;
        at_most("globals", self.globals.len(), limits::GLOBALS_PER_SWARM_MAX)?;
        self.globals.keys().try_for_each(|name| check_name("global", name).map_err(words))?;
        let (is, most) = (self.priority, limits::PRIORITY_MAX);
        if !(-most..=most).contains(&is) {
            return Err(format!("its priority is {is}; -{most} to {most} are allowed"));
        }
        match self.max_iteration.filter(|count| *count > limits::ITERATIONS_MAX) {
            Some(count) => Err(format!("max_iteration is {count}; 1 to {} are allowed", limits::ITERATIONS_MAX)),
            None => Ok(()),
        }
    }
}

impl ModuleRef {
    fn check(&self) -> Result<(), String> {
        check_component("module", &self.name).map_err(words)?;
        check_name("image", &self.image).map_err(words)?;
        at_most("datasets", self.datasets.len(), limits::DATASETS_PER_MODULE_MAX)?;
        self.datasets.iter().try_for_each(|dataset| check_component("dataset", dataset).map_err(words))?;
        at_most("runtimes", self.runtimes.len(), limits::LOCKS_PER_MODULE_MAX)?;
        self.python_range()?;
        at_most("architectures", self.architectures.len(), limits::ARCHITECTURES_PER_MODULE_MAX)?;
        self.architectures.iter().try_for_each(|name| check_label("architecture", name).map_err(words))?;
        let asked = self.resources;
        if let Some(cpu) = asked.cpu
            && !(cpu > 0.0 && cpu <= 4096.0)
        {
            return Err(format!("resources: cpu is {cpu}; more than 0 and at most 4096 is needed"));
        }
        if let Some(memory) = asked.memory_bytes.filter(|memory| *memory < 16 << 20) {
            return Err(format!("resources: memory is {memory} bytes; Python needs at least 16 MiB"));
        }
        if asked.pids == Some(0) {
            return Err("resources: pids is 0; a task is at least one process".to_owned());
        }
        if let Some(pids) = asked.pids.filter(|pids| *pids > limits::PIDS_MAX) {
            return Err(format!("resources: pids is {pids}; no Linux has more than {}", limits::PIDS_MAX));
        }
        if asked.tmp_bytes == Some(0) {
            return Err("resources: tmp is 0 bytes; leave it out for the node's default".to_owned());
        }
        Ok(())
    }
}

impl TaskSubmission {
    fn check(&self) -> Result<(), String> {
        check_component("task", &self.alias).map_err(words)?;
        at_most("labels", self.labels.len(), limits::LABELS_PER_TASK_MAX)?;
        for (key, value) in &self.labels {
            check_name("label", key).and_then(|()| check_name("label value", value)).map_err(words)?;
        }
        at_most("excepted nodes", self.excepted.len(), limits::NODES_PER_TASK_MAX)?;
        at_most("specified nodes", self.specified.as_ref().map_or(0, Vec::len), limits::NODES_PER_TASK_MAX)?;
        if self.retries > limits::RETRIES_MAX {
            return Err(format!("retries is {}; at most {} are allowed", self.retries, limits::RETRIES_MAX));
        }
        Ok(())
    }
}

/// A broken rule of names, in words.
fn words(error: manta_types::name::NameError) -> String {
    error.to_string()
}

fn at_most(what: &str, has: usize, most: usize) -> Result<(), String> {
    if has <= most { Ok(()) } else { Err(format!("it has {has} {what}; at most {most} are allowed")) }
}

/// Refuses spans that nobody means, and what no cluster could satisfy: no node left to run on, or a quorum beyond all that
/// are ever chosen.
fn check_task(task: &TaskSpec) -> Result<(), String> {
    if let Method::Tag(tag) = &task.method {
        check_name("result", tag).map_err(|error| format!("method: {error}"))?;
    }
    let stop_after = match task.policy.on_disconnect {
        OnDisconnect::StopAfter(span) => Some(span),
        OnDisconnect::Keep => None,
    };
    let spans = [("timeout", task.policy.timeout), ("deadline", task.policy.deadline), ("on_disconnect", stop_after)];
    if let Some((what, _)) = spans.into_iter().find(|(_, span)| span.is_some_and(|span| !SPAN.contains(&span))) {
        return Err(format!("{what} {SPAN_RULE}"));
    }
    let by_method = match (&task.method, task.maximum) {
        (_, NodeLimit::Count(count)) => count.get(),
        (Method::Any | Method::BestResources, NodeLimit::Unlimited) => 1,
        _ => u32::MAX,
    };
    let named = task.specified.as_ref().map(|list| {
        let excepted: BTreeSet<_> = task.excepted.iter().collect();
        list.iter().filter(|name| !excepted.contains(name)).collect::<BTreeSet<_>>().len()
    });
    if named == Some(0) {
        return Err("its `specified` nodes, without the excepted ones, are none".to_owned());
    }
    let most = named.and_then(|count| u32::try_from(count).ok()).map_or(by_method, |count| count.min(by_method));
    match task.policy.quorum {
        Quorum::Count(count) if count.get() > most => {
            Err(format!("its quorum is {count}, but at most {most} can be chosen by its method, maximum and nodes"))
        }
        _ => Ok(()),
    }
}
