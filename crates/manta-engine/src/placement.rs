//! Which nodes a task runs on, and why the others cannot.
use std::collections::BTreeSet;

use manta_types::runtime::is_same_architecture;
use manta_types::{
    Code, Method, NodeDuty, NodeLimit, NodeName, NodeState, TaskIndex, TaskRunState, TaskSpec, Timestamp,
};

use crate::division;
use crate::fleet::Fleet;
use crate::node::Node;
use crate::random::hash;
use crate::swarm::{SwarmRun, TaskRun};

/// What placement says of a task that is ready.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Placement {
    /// These nodes, in name order; whether a slot may move.
    Chosen { nodes: Vec<NodeName>, movable: bool },
    /// The division between tasks left it no node.
    Skipped(String),
    /// Nobody can be chosen yet; not before this node is heard or given up, where one is named.
    Wait { watch: Option<NodeName> },
}

/// Why a node cannot run a task, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// What follows the node's name: `does not offer dataset …`.
    pub(crate) why: String,
    /// What would remove it, as a clause; nothing where the submission itself leaves the node out.
    pub(crate) change: Option<String>,
}

impl Obstacle {
    pub(crate) fn new(why: String, change: impl Into<Option<String>>) -> Self {
        Self { why, change: change.into() }
    }
}

/// Why a node can never run a task, whatever its state: `None` if it could.
pub(crate) fn static_cause(task: &TaskSpec, node: &Node) -> Option<Obstacle> {
    let has = &node.description;
    if task.excepted.contains(&has.name) {
        return Some(Obstacle::new("left out by `excepted_ids`".to_owned(), None));
    }
    if task.specified.as_ref().is_some_and(|names| !names.contains(&has.name)) {
        return Some(Obstacle::new("not among `specified_ids`".to_owned(), None));
    }
    if let Some((key, value)) = task.labels.iter().find(|(key, value)| has.labels.get(*key) != Some(value)) {
        let why = format!("does not carry the label {key}={value}");
        return Some(Obstacle::new(why, format!("another node carries the label {key}={value}")));
    }
    if let Some(dataset) = task.datasets.iter().find(|name| !has.datasets.contains(name)) {
        let offers = if has.datasets.is_empty() { "none".to_owned() } else { has.datasets.join(", ") };
        let why = format!("does not offer dataset `{dataset}` (it offers: {offers})");
        return Some(Obstacle::new(why, format!("another node offers dataset `{dataset}`")));
    }
    if !image_matches(&task.image, &has.images) {
        let why = format!("has no image `{}` (it has: {})", task.image, has.images.join(", "));
        return Some(Obstacle::new(why, format!("another node has image `{}`", task.image)));
    }
    let cause =
        compatibility_cause(task, node).or_else(|| runtime_cause(task, node)).or_else(|| policy_cause(task, node));
    cause.or_else(|| resource_cause(task, node))
}

/// What the node's policy says of a task, as far as it can be told from here; what has an end is taken to hold.
pub(crate) fn policy_cause(task: &TaskSpec, node: &Node) -> Option<Obstacle> {
    let (name, version) = (&task.module, &task.version);
    if let Some(words) = node.refused.get(&task.bundle) {
        let change = format!("the site of {} allows it", node.name());
        return Some(Obstacle::new(format!("refused it: {words}"), change));
    }
    let code = Code {
        name,
        version,
        bundle: task.bundle,
        image: &task.image,
        datasets: &task.datasets,
        signatures: node.signatures.get(&task.bundle).map(Vec::as_slice).unwrap_or_default(),
    };
    let refusal = node.description.policy.judge(&code, None).err()?;
    Some(Obstacle::new(format!("refuses module `{name}` {version} by its policy: {refusal}"), refusal.change))
}

/// Which entry of the module's line in the table of compatibility a node does not meet; what is unknown is left to the node.
fn compatibility_cause(task: &TaskSpec, node: &Node) -> Option<Obstacle> {
    let (has, name, version) = (&node.description, &task.module, &task.version);
    let of_image = |(image, _): &(&String, &String)| image_matches(&task.image, std::slice::from_ref(*image));
    if let Some(range) = &task.requires_python
        && let Some((image, python)) = has.pythons.iter().find(of_image)
        && !range.may_hold(python)
    {
        let why = format!("has Python {python} in its image `{image}`, and module `{name}` {version} needs {range}");
        return Some(Obstacle::new(why, format!("another node has a Python {range} in `{image}`")));
    }
    let is_one = |wanted: &String| is_same_architecture(wanted, &has.architecture);
    if !task.architectures.is_empty() && !has.architecture.is_empty() && !task.architectures.iter().any(is_one) {
        let wanted = task.architectures.join(" or ");
        let why = format!("has a processor of {}, and module `{name}` {version} needs {wanted}", has.architecture);
        return Some(Obstacle::new(why, format!("another node has a processor of {wanted}")));
    }
    None
}

/// Why the node's policy lets the task not begin at this moment, as the node last told.
fn moment_cause(task: &TaskSpec, node: &Node) -> Option<Obstacle> {
    let refusal = node.description.policy.judge_moment(&task.datasets).err()?;
    Some(Obstacle::new(format!("lets nothing begin now by its policy: {refusal}"), refusal.change))
}

/// Why none of the module's locks is for what the task's image is on that node; what is unknown is left to the node.
fn runtime_cause(task: &TaskSpec, node: &Node) -> Option<Obstacle> {
    let has = &node.description;
    if task.runtimes.is_empty() {
        return None;
    }
    let found = has.runtimes.iter().find(|(image, _)| image_matches(&task.image, std::slice::from_ref(*image)));
    let (image, runtime) = found?;
    if task.runtimes.iter().any(|wanted| runtime.runs(wanted)) {
        return None;
    }
    let wanted = task.runtimes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    let why = format!("has {runtime} in its image `{image}`, and the module's dependencies are locked for {wanted}");
    Some(Obstacle::new(why, format!("another node has {wanted}, or the module is locked for {runtime} too")))
}

fn resource_cause(task: &TaskSpec, node: &Node) -> Option<Obstacle> {
    let (needs, has) = (task.resources, &node.description);
    let lacks = |has: String, needed: String| {
        let why = format!("has {has}, {needed} are needed");
        Some(Obstacle::new(why, format!("another node has {needed}")))
    };
    if let Some(cpu) = needs.cpu.filter(|cpu| *cpu > has.cpu) {
        return lacks(format!("{} cores", has.cpu), format!("{cpu} cores"));
    }
    if let Some(memory) = needs.memory_bytes.filter(|memory| *memory > has.memory_bytes) {
        let mib = |bytes: u64| format!("{} MiB of memory", bytes >> 20);
        return lacks(mib(has.memory_bytes), mib(memory));
    }
    if let Some(tmp) = needs.tmp_bytes.filter(|tmp| *tmp > has.tmp_bytes) {
        let mib = |bytes: u64| format!("{} MiB of scratch", bytes >> 20);
        return lacks(mib(has.tmp_bytes), mib(tmp));
    }
    let share = needs.gpu_memory_bytes.unwrap_or(0);
    let fitting = has.gpus.iter().filter(|memory| **memory >= share).count();
    if needs.gpu_count as usize > fitting {
        return lacks(gpus_in_words(has.gpus.len(), has.gpus.iter().max()), {
            gpus_in_words(needs.gpu_count as usize, needs.gpu_memory_bytes.as_ref())
        });
    }
    None
}

fn gpus_in_words(count: usize, memory: Option<&u64>) -> String {
    let gpus = if count == 1 { "1 GPU".to_owned() } else { format!("{count} GPUs") };
    match memory.filter(|bytes| **bytes > 0) {
        Some(bytes) => format!("{gpus} of up to {} MiB", bytes >> 20),
        None => gpus,
    }
}

/// Whether an image that a module asks for is among those that a node has: `manta_light:numpy`, `numpy`,
/// `numpy:2.0+`; a version that is asked for is checked by the node, which knows what it has.
pub fn image_matches(wanted: &str, has: &[String]) -> bool {
    let short = wanted.strip_prefix("manta_light:").unwrap_or(wanted);
    let name = short.split([':', '>', '=', '<']).next().unwrap_or(short);
    has.iter().any(|image| image == name || image == wanted)
}

/// Why a node cannot be chosen now: its static cause, or its state.
pub(crate) fn cause(task: &TaskSpec, node: &Node, now: Timestamp) -> Option<Obstacle> {
    static_cause(task, node).or_else(|| duty_cause(node)).or_else(|| {
        let why = match node.state {
            NodeState::Online => return moment_cause(task, node),
            NodeState::Joining => "has not connected since the manager started".to_owned(),
            NodeState::Unreachable | NodeState::Gone => {
                format!("has not been heard for {} s", (now - node.last_heard).as_secs())
            }
        };
        Some(Obstacle::new(why, format!("{} comes back", node.name())))
    })
}

fn duty_cause(node: &Node) -> Option<Obstacle> {
    let why = match node.duty {
        NodeDuty::Active => return None,
        NodeDuty::Draining => "is being drained",
        NodeDuty::Drained => "is drained",
        NodeDuty::Revoked => return Some(Obstacle::new("is revoked".to_owned(), None)),
    };
    let name = node.name();
    Some(Obstacle::new(why.to_owned(), format!("{name} takes work again (manta node resume {name})")))
}

/// Chooses the nodes of a task run that is ready.
pub(crate) fn place(swarm: &SwarmRun, task: TaskIndex, fleet: &Fleet) -> Placement {
    let spec = &swarm.spec.tasks[task];
    let asked = asked_nodes(swarm, task);
    if let Some(watch) = expected(swarm, task, fleet, asked.is_some()) {
        return Placement::Wait { watch: Some(watch) };
    }
    let mut eligible: Vec<&Node> = fleet.iter().filter(|node| is_eligible(spec, node)).collect();
    let listed = || swarm.fixed.get(&task).or(spec.specified.as_ref());
    let named = asked.clone().or_else(|| Some(listed()?.iter().cloned().collect()));
    if let Some(named) = &named {
        eligible.retain(|node| named.contains(node.name()));
    }
    if eligible.is_empty() {
        return named.and_then(|named| all_revoked(named, fleet)).unwrap_or(Placement::Wait { watch: None });
    }
    if asked.is_some() {
        return chosen(eligible, false);
    }
    choose(swarm, task, eligible, fleet).unwrap_or(Placement::Wait { watch: None })
}

/// Why a task run that is ready has no nodes: in words, and for each node that cannot be used.
pub(crate) fn why(
    swarm: &SwarmRun,
    task: TaskIndex,
    fleet: &Fleet,
    now: Timestamp,
) -> (String, Vec<(NodeName, Obstacle)>) {
    let spec = &swarm.spec.tasks[task];
    let told = fleet.iter().filter_map(|node| cause(spec, node, now).map(|why| (node.name().clone(), why)));
    let reason = match expected(swarm, task, fleet, asked_nodes(swarm, task).is_some()) {
        Some(_) => "waits for nodes that were here before the manager restarted".to_owned(),
        None => no_one(spec, fleet),
    };
    (reason, told.collect())
}

/// A node that was here before a restart, may yet come back, and would be chosen: whoever needs all waits for it.
/// One of many is picked by hash, so that whoever watches it has seldom to look for the next.
fn expected(swarm: &SwarmRun, task: TaskIndex, fleet: &Fleet, asked: bool) -> Option<NodeName> {
    let spec = &swarm.spec.tasks[task];
    if !asked && matches!(spec.method, Method::Any | Method::BestResources) {
        return None;
    }
    let awaited = fleet.iter().filter(|node| {
        node.state == NodeState::Joining && duty_cause(node).is_none() && static_cause(spec, node).is_none()
    });
    awaited.map(Node::name).max_by_key(|name| rank(swarm, spec, 0, name)).cloned()
}

fn no_one(spec: &TaskSpec, fleet: &Fleet) -> String {
    if fleet.is_empty() {
        return "no node has joined".to_owned();
    }
    match &spec.method {
        Method::Tag(name) => format!("no eligible node has published `{name}` in this iteration"),
        _ => format!("none of {} nodes can run it now", fleet.len()),
    }
}

fn choose(swarm: &SwarmRun, task: TaskIndex, mut eligible: Vec<&Node>, fleet: &Fleet) -> Option<Placement> {
    let spec = &swarm.spec.tasks[task];
    match &spec.method {
        Method::All => {
            let most = limit(spec.maximum, eligible.len(), eligible.len());
            if most < eligible.len() {
                eligible.sort_by_cached_key(|node| rank(swarm, spec, 0, node.name()));
                eligible.truncate(most);
            }
            Some(chosen(eligible, false))
        }
        Method::Any => {
            let most = limit(spec.maximum, eligible.len(), 1);
            let before = previous_nodes(swarm, task);
            eligible.sort_by_cached_key(|node| {
                let here = before.contains(node.name());
                (!here, !node.connected, node.busy(), rank(swarm, spec, 0, node.name()))
            });
            eligible.truncate(most);
            Some(chosen(eligible, true))
        }
        Method::BestResources => {
            let most = limit(spec.maximum, eligible.len(), 1);
            eligible.sort_by_cached_key(|node| {
                let (slots, load) = (u64::from(node.slots()), u64::from(node.load()) + u64::from(node.waiting()));
                let free = node.description.memory_bytes / slots * slots.saturating_sub(load);
                (std::cmp::Reverse(free), rank(swarm, spec, 0, node.name()))
            });
            eligible.truncate(most);
            Some(chosen(eligible, true))
        }
        Method::Random => Some(sample(swarm, task, eligible, fleet)),
        Method::Tag(name) => {
            let published = publishers(swarm, name);
            let fixed = swarm.fixed.get(&task);
            let may_run = |name: &NodeName| {
                fixed.is_none_or(|fixed| fixed.contains(name))
                    && fleet.get(name).is_none_or(|node| static_cause(spec, node).is_none())
            };
            if !published.iter().any(may_run) && !may_still_publish(swarm) {
                let who = if published.is_empty() { "no node" } else { "no node that may run it" };
                return Some(Placement::Skipped(format!("{who} published `{name}` in this iteration")));
            }
            eligible.retain(|node| published.contains(node.name()));
            if eligible.is_empty() && !may_still_publish(swarm) {
                return all_revoked(published.into_iter().filter(may_run).collect(), fleet);
            }
            let most = limit(spec.maximum, eligible.len(), eligible.len());
            eligible.truncate(most);
            (!eligible.is_empty()).then(|| chosen(eligible, false))
        }
    }
}

fn chosen(nodes: Vec<&Node>, movable: bool) -> Placement {
    let mut names: Vec<_> = nodes.into_iter().map(|node| node.name().clone()).collect();
    names.sort();
    assert!(!names.is_empty(), "a choice is never empty");
    Placement::Chosen { nodes: names, movable }
}

/// The only nodes that may run a task, where none of them ever comes back: whoever waits for them is told so at once.
fn all_revoked(nodes: BTreeSet<NodeName>, fleet: &Fleet) -> Option<Placement> {
    #[cfg(feature = "planted-bugs")]
    if fleet.bugs.await_revoked {
        return None;
    }
    let is_revoked = |name: &NodeName| fleet.get(name).is_some_and(Node::is_revoked);
    let never = !nodes.is_empty() && nodes.iter().all(is_revoked);
    never.then(|| Placement::Chosen { nodes: nodes.into_iter().collect(), movable: false })
}

/// How many nodes `maximum` allows of those that are eligible.
fn limit(maximum: NodeLimit, eligible: usize, unlimited: usize) -> usize {
    match maximum {
        NodeLimit::Unlimited => unlimited,
        NodeLimit::Count(count) => count.get() as usize,
        NodeLimit::Share(share) => part(share, eligible).max(1),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share in (0, 1] of a count fits")]
pub(crate) fn part(share: f64, of: usize) -> usize {
    (share * of as f64).round() as usize
}

/// The stable order of nodes for a task: by a hash of swarm, iteration, alias and node.
pub(crate) fn rank(swarm: &SwarmRun, spec: &TaskSpec, iteration: u32, node: &NodeName) -> u64 {
    hash(&[&swarm.state_of.bytes(), &iteration.to_le_bytes(), spec.alias.as_bytes(), node.as_str().as_bytes()])
}

fn sample(swarm: &SwarmRun, task: TaskIndex, mut eligible: Vec<&Node>, fleet: &Fleet) -> Placement {
    let spec = &swarm.spec.tasks[task];
    let group = division::group(swarm, task);
    let turn = if spec.fixed { 0 } else { swarm.iteration.unwrap_or(0) };
    if group.len() < 2 {
        eligible.sort_by_cached_key(|node| rank(swarm, spec, turn, node.name()));
        eligible.truncate(limit(spec.maximum, eligible.len(), eligible.len()));
        return chosen(eligible, !spec.fixed);
    }
    let mine = division::divide(swarm, &group, turn, fleet).remove(&task).unwrap_or_default();
    let mine: Vec<&Node> = eligible.into_iter().filter(|node| mine.contains(node.name())).collect();
    if mine.is_empty() {
        return Placement::Skipped(format!("no node left by the {} division", shares(swarm, task).join("/")));
    }
    chosen(mine, false)
}

/// The shares of the tasks that divide the nodes with this one, in per cent, largest first: `80`, `20`.
pub(crate) fn shares(swarm: &SwarmRun, task: TaskIndex) -> Vec<String> {
    division::group(swarm, task).iter().map(|(_, share)| format!("{}", (share * 100.0).round())).collect()
}

/// The nodes that requests of the iteration before named for this task.
fn asked_nodes(swarm: &SwarmRun, task: TaskIndex) -> Option<BTreeSet<NodeName>> {
    let alias = &swarm.spec.tasks[task].alias;
    let named = swarm.granted.iter().filter(|request| request.task.as_ref() == Some(alias));
    let nodes: BTreeSet<_> = named.filter_map(|request| request.nodes.clone()).flatten().collect();
    (!nodes.is_empty()).then_some(nodes)
}

fn previous_nodes(swarm: &SwarmRun, task: TaskIndex) -> BTreeSet<NodeName> {
    let before = swarm.previous.get(task);
    before.into_iter().flat_map(|run| run.accepted()).map(|attempt| attempt.node.clone()).collect()
}

fn publishers(swarm: &SwarmRun, name: &str) -> BTreeSet<NodeName> {
    let closed = swarm.task_runs.iter().filter(|run| run.state == TaskRunState::Succeeded);
    closed
        .flat_map(|run| run.accepted())
        .filter(|attempt| attempt.outputs.iter().flat_map(|o| &o.results).any(|result| result.name == name))
        .map(|attempt| attempt.node.clone())
        .collect()
}

/// Whether some task run of this iteration may succeed that does not itself wait for what others publish.
fn may_still_publish(swarm: &SwarmRun) -> bool {
    swarm.task_runs.iter().any(|run| match run.state {
        TaskRunState::Running | TaskRunState::Closing => true,
        TaskRunState::Ready => !matches!(swarm.spec.tasks[run.task].method, Method::Tag(_)),
        TaskRunState::Waiting | TaskRunState::Succeeded | TaskRunState::Failed | TaskRunState::Skipped => false,
    })
}

/// The best other node for a slot that has to move, not used by its task run.
pub(crate) fn replacement<'a>(spec: &TaskSpec, run: &TaskRun, fleet: &'a Fleet) -> Option<&'a Node> {
    let mut others = fleet.by_load().filter(|node| !run.places.contains_key(node.name()));
    others.find(|node| is_eligible(spec, node))
}

/// Whether a task can be offered to a node now.
pub(crate) fn is_eligible(spec: &TaskSpec, node: &Node) -> bool {
    node.is_usable() && static_cause(spec, node).or_else(|| moment_cause(spec, node)).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_match_by_short_name() {
        let has = ["latest".to_owned(), "numpy".to_owned()];
        assert!(
            ["manta_light:latest", "numpy", "manta_light:numpy", "numpy:2.0+"].iter().all(|i| image_matches(i, &has))
        );
        assert!(!image_matches("manta_light:pytorch", &has));
    }
}
