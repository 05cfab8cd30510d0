//! How tasks with shares that stand side by side divide the nodes among them: disjoint, and every node once.
use std::collections::{BTreeMap, BTreeSet};

use manta_types::{Method, NodeLimit, NodeName, TaskIndex};

use crate::fleet::Fleet;
use crate::node::Node;
use crate::placement::{is_eligible, part};
use crate::random::hash;
use crate::swarm::SwarmRun;

/// The tasks that divide the nodes with this one, largest share first: random, fractional, side by side, sum ≤ 1.
pub(crate) fn group(swarm: &SwarmRun, task: TaskIndex) -> Vec<(TaskIndex, f64)> {
    let tasks = &swarm.spec.tasks;
    let share = |index: TaskIndex| match (&tasks[index].method, tasks[index].maximum) {
        (Method::Random, NodeLimit::Share(share)) => Some(share),
        _ => None,
    };
    // Before its first iteration a swarm divides nothing, and what follows from what is not known yet.
    if share(task).is_none() || swarm.iteration.is_none() {
        return Vec::new();
    }
    let (before, after) = (ancestors(swarm, task), descendants(swarm, task));
    let mut group: Vec<_> = (0..tasks.len())
        .filter(|other| !before.contains(other) && !after.contains(other))
        .filter_map(|other| share(other).map(|share| (other, share)))
        .collect();
    group.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let sum: f64 = group.iter().map(|(_, share)| share).sum();
    if sum <= 1.0 + 1e-9 { group } else { Vec::new() }
}

fn ancestors(swarm: &SwarmRun, task: TaskIndex) -> BTreeSet<TaskIndex> {
    reachable(task, |from| &swarm.spec.tasks[from].after)
}

fn descendants(swarm: &SwarmRun, task: TaskIndex) -> BTreeSet<TaskIndex> {
    reachable(task, |from| &swarm.agenda.followers[from])
}

/// All tasks that can be reached from one, without it.
fn reachable<'a>(from: TaskIndex, next: impl Fn(TaskIndex) -> &'a Vec<TaskIndex>) -> BTreeSet<TaskIndex> {
    let (mut found, mut front) = (BTreeSet::new(), next(from).clone());
    while let Some(task) = front.pop() {
        if found.insert(task) {
            front.extend(next(task));
        }
    }
    found
}

/// Divides the nodes that any of the group may use: disjoint, by largest remainder, exclusive nodes first.
pub(crate) fn divide(
    swarm: &SwarmRun,
    group: &[(TaskIndex, f64)],
    turn: u32,
    fleet: &Fleet,
) -> BTreeMap<TaskIndex, BTreeSet<NodeName>> {
    let tasks = &swarm.spec.tasks;
    let usable = |node: &Node| -> Vec<TaskIndex> {
        group.iter().map(|(task, _)| *task).filter(|task| is_eligible(&tasks[*task], node)).collect()
    };
    let mut open: Vec<(NodeName, Vec<TaskIndex>)> =
        fleet.iter().map(|node| (node.name().clone(), usable(node))).filter(|(_, usable)| !usable.is_empty()).collect();
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
}
