//! Which nodes a task runs on, and why the others cannot.
use std::collections::{BTreeMap, BTreeSet};

use manta_types::{Method, NodeDuty, NodeLimit, NodeName, NodeState, TaskIndex, TaskRunState, TaskSpec, Timestamp};

use crate::node::Node;
use crate::random::hash;
use crate::swarm::SwarmRun;

pub(crate) type Nodes = BTreeMap<NodeName, Node>;

/// What placement says of a task that is ready.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Placement {
    /// These nodes, in name order; whether a slot may move.
    Chosen { nodes: Vec<NodeName>, movable: bool },
    /// The division between tasks left it no node.
    Skipped(String),
    /// Nobody can be chosen yet.
    Wait { reason: String, causes: Vec<(NodeName, Obstacle)> },
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
    fn new(why: String, change: impl Into<Option<String>>) -> Self {
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
    resource_cause(task, node)
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
    if needs.gpu_count > has.gpu_count {
        return lacks(format!("{} GPUs", has.gpu_count), format!("{} GPUs", needs.gpu_count));
    }
    None
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
            NodeState::Online => return None,
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
pub(crate) fn place(swarm: &SwarmRun, task: TaskIndex, nodes: &Nodes, now: Timestamp) -> Placement {
    let spec = &swarm.spec.tasks[task];
    let mut eligible: Vec<&Node> = Vec::new();
    let mut causes = Vec::new();
    let mut expected = Vec::new();
    for node in nodes.values() {
        match cause(spec, node, now) {
            None => eligible.push(node),
            Some(why) => {
                if node.state == NodeState::Joining && static_cause(spec, node).or_else(|| duty_cause(node)).is_none() {
                    expected.push(node.name().clone());
                }
                causes.push((node.name().clone(), why));
            }
        }
    }
    let asked = asked_nodes(swarm, task);
    if let Some(asked) = &asked {
        eligible.retain(|node| asked.contains(node.name()));
    } else if let Some(fixed) = swarm.fixed.get(&task) {
        eligible.retain(|node| fixed.contains(node.name()));
    }
    let everyone = asked.is_some() || matches!(spec.method, Method::All | Method::Tag(_));
    if everyone && !expected.is_empty() {
        return Placement::Wait {
            reason: "waits for nodes that were here before the manager restarted".into(),
            causes,
        };
    }
    if eligible.is_empty() {
        return Placement::Wait { reason: no_one(spec, nodes), causes };
    }
    if everyone && asked.is_some() {
        return chosen(eligible, false);
    }
    choose(swarm, task, eligible, nodes, now).unwrap_or_else(|| Placement::Wait { reason: no_one(spec, nodes), causes })
}

fn no_one(spec: &TaskSpec, nodes: &Nodes) -> String {
    if nodes.is_empty() {
        return "no node has joined".to_owned();
    }
    match &spec.method {
        Method::Tag(name) => format!("no eligible node has published `{name}` in this iteration"),
        _ => format!("none of {} nodes can run it now", nodes.len()),
    }
}

fn choose(
    swarm: &SwarmRun,
    task: TaskIndex,
    mut eligible: Vec<&Node>,
    nodes: &Nodes,
    now: Timestamp,
) -> Option<Placement> {
    let spec = &swarm.spec.tasks[task];
    match &spec.method {
        Method::All => {
            let most = limit(spec.maximum, eligible.len(), eligible.len());
            eligible.sort_by_key(|node| rank(swarm, spec, 0, node.name()));
            eligible.truncate(most);
            Some(chosen(eligible, false))
        }
        Method::Any => {
            let most = limit(spec.maximum, eligible.len(), 1);
            let before = previous_nodes(swarm, task);
            eligible.sort_by_key(|node| {
                let busy = u64::from(node.load) * 1000 / u64::from(node.description.slots.max(1));
                let here = before.contains(node.name());
                (!here, !node.connected, busy, rank(swarm, spec, 0, node.name()))
            });
            eligible.truncate(most);
            Some(chosen(eligible, true))
        }
        Method::BestResources => {
            let most = limit(spec.maximum, eligible.len(), 1);
            eligible.sort_by_key(|node| {
                let (slots, load) = (u64::from(node.description.slots.max(1)), u64::from(node.load));
                let free = node.description.memory_bytes / slots * slots.saturating_sub(load);
                (std::cmp::Reverse(free), rank(swarm, spec, 0, node.name()))
            });
            eligible.truncate(most);
            Some(chosen(eligible, true))
        }
        Method::Random => Some(sample(swarm, task, eligible, nodes, now)),
        Method::Tag(name) => {
            let published = publishers(swarm, name);
            eligible.retain(|node| published.contains(node.name()));
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

/// How many nodes `maximum` allows of those that are eligible.
fn limit(maximum: NodeLimit, eligible: usize, unlimited: usize) -> usize {
    match maximum {
        NodeLimit::Unlimited => unlimited,
        NodeLimit::Count(count) => count.get() as usize,
        NodeLimit::Share(share) => part(share, eligible).max(1),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share in (0, 1] of a count fits")]
fn part(share: f64, of: usize) -> usize {
    (share * of as f64).round() as usize
}

/// The stable order of nodes for a task: by a hash of swarm, iteration, alias and node.
fn rank(swarm: &SwarmRun, spec: &TaskSpec, iteration: u32, node: &NodeName) -> u64 {
    hash(&[&swarm.state_of.bytes(), &iteration.to_le_bytes(), spec.alias.as_bytes(), node.as_str().as_bytes()])
}

fn sample(swarm: &SwarmRun, task: TaskIndex, mut eligible: Vec<&Node>, nodes: &Nodes, now: Timestamp) -> Placement {
    let spec = &swarm.spec.tasks[task];
    let group = division(swarm, task);
    let turn = if spec.fixed { 0 } else { swarm.iteration.unwrap_or(0) };
    if group.len() < 2 {
        eligible.sort_by_key(|node| rank(swarm, spec, turn, node.name()));
        eligible.truncate(limit(spec.maximum, eligible.len(), eligible.len()));
        return chosen(eligible, !spec.fixed);
    }
    let mine = divide(swarm, &group, turn, nodes, now).remove(&task).unwrap_or_default();
    let mine: Vec<&Node> = eligible.into_iter().filter(|node| mine.contains(node.name())).collect();
    if mine.is_empty() {
        let shares: Vec<_> = group.iter().map(|(_, share)| format!("{}", (share * 100.0).round())).collect();
        return Placement::Skipped(format!("no node left by the {} division", shares.join("/")));
    }
    chosen(mine, false)
}

/// The tasks that divide the nodes with this one, largest share first: random, fractional, side by side, sum ≤ 1.
fn division(swarm: &SwarmRun, task: TaskIndex) -> Vec<(TaskIndex, f64)> {
    let tasks = &swarm.spec.tasks;
    let share = |index: TaskIndex| match (&tasks[index].method, tasks[index].maximum) {
        (Method::Random, NodeLimit::Share(share)) => Some(share),
        _ => None,
    };
    let before = |late: TaskIndex, early: TaskIndex| swarm.spec.ancestors(late).iter().any(|(one, _)| *one == early);
    let mut group: Vec<_> = (0..tasks.len())
        .filter(|other| *other == task || (!before(task, *other) && !before(*other, task)))
        .filter_map(|other| share(other).map(|share| (other, share)))
        .collect();
    group.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let sum: f64 = group.iter().map(|(_, share)| share).sum();
    if sum <= 1.0 + 1e-9 { group } else { Vec::new() }
}

/// Divides the nodes that any of the group may use: disjoint, by largest remainder, exclusive nodes first.
fn divide(
    swarm: &SwarmRun,
    group: &[(TaskIndex, f64)],
    turn: u32,
    nodes: &Nodes,
    now: Timestamp,
) -> BTreeMap<TaskIndex, BTreeSet<NodeName>> {
    let tasks = &swarm.spec.tasks;
    let usable = |node: &Node| -> Vec<TaskIndex> {
        group.iter().map(|(task, _)| *task).filter(|task| cause(&tasks[*task], node, now).is_none()).collect()
    };
    let mut open: Vec<(NodeName, Vec<TaskIndex>)> = nodes
        .values()
        .map(|node| (node.name().clone(), usable(node)))
        .filter(|(_, usable)| !usable.is_empty())
        .collect();
    open.sort_by_key(|(name, usable)| {
        (usable.len(), hash(&[&swarm.state_of.bytes(), &turn.to_le_bytes(), name.as_str().as_bytes()]))
    });
    let mut quota = quotas(group, open.len());
    let mut given: BTreeMap<TaskIndex, BTreeSet<NodeName>> = BTreeMap::new();
    for (name, usable) in open {
        let wanting = usable.iter().copied().find(|task| quota.get(task).is_some_and(|left| *left > 0));
        let Some(task) = wanting.or_else(|| (usable.len() == 1).then(|| usable[0])) else { continue };
        if let Some(left) = quota.get_mut(&task) {
            *left = left.saturating_sub(1);
        }
        given.entry(task).or_default().insert(name);
    }
    given
}

fn quotas(group: &[(TaskIndex, f64)], nodes: usize) -> BTreeMap<TaskIndex, usize> {
    let sum: f64 = group.iter().map(|(_, share)| share).sum();
    let total = part(sum.min(1.0), nodes);
    let exact = |share: f64| share * nodes as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count fits")]
    let mut quota: Vec<(TaskIndex, usize, f64)> = group
        .iter()
        .map(|(task, share)| (*task, (exact(*share) + 1e-9).floor() as usize, exact(*share).fract()))
        .collect();
    let mut left = total.saturating_sub(quota.iter().map(|(_, whole, _)| whole).sum());
    let mut by_remainder: Vec<usize> = (0..quota.len()).collect();
    by_remainder.sort_by(|a, b| quota[*b].2.total_cmp(&quota[*a].2).then(a.cmp(b)));
    for index in by_remainder {
        if left > 0 {
            quota[index].1 += 1;
            left -= 1;
        }
    }
    quota.into_iter().map(|(task, whole, _)| (task, whole)).collect()
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

/// The best other node for a slot that has to move, not yet used by the task run.
pub(crate) fn replacement(
    swarm: &SwarmRun,
    task: TaskIndex,
    nodes: &Nodes,
    now: Timestamp,
    used: &BTreeSet<&NodeName>,
) -> Option<NodeName> {
    let spec = &swarm.spec.tasks[task];
    let free = nodes.values().filter(|node| !used.contains(node.name()) && cause(spec, node, now).is_none());
    free.min_by_key(|node| (!node.connected, node.load, rank(swarm, spec, 0, node.name())))
        .map(|node| node.name().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_by_largest_remainder() {
        let group = [(0, 0.8), (1, 0.2)];
        let of = |nodes| {
            let quota = quotas(&group, nodes);
            (quota[&0], quota[&1])
        };
        assert_eq!([of(10), of(3), of(1), of(5)], [(8, 2), (2, 1), (1, 0), (4, 1)]);
        assert_eq!(quotas(&[(0, 0.5), (1, 0.2)], 10), BTreeMap::from([(0, 5), (1, 2)]));
    }

    #[test]
    fn images_match_by_short_name() {
        let has = ["latest".to_owned(), "numpy".to_owned()];
        assert!(
            ["manta_light:latest", "numpy", "manta_light:numpy", "numpy:2.0+"].iter().all(|i| image_matches(i, &has))
        );
        assert!(!image_matches("manta_light:pytorch", &has));
    }
}
