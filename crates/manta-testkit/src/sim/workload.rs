//! What users submit: swarms of every shape and policy, drawn by chance.
use manta_api::SwarmSubmission;
use serde_json::{Value, json};

use super::chance::Chance;
use super::options::Options;

/// A swarm that is never the same twice, and always valid.
pub(crate) fn submission(chance: &mut Chance, number: usize, options: &Options) -> SwarmSubmission {
    let tasks: Vec<Value> = (0..chance.between(1, 5)).map(|index| task(chance, index)).collect();
    // A rollout needs iterations to go on in.
    let iterations = match chance.between(0, if options.rollouts > 0 { 9 } else { 4 }) {
        0 => Value::Null,
        most => json!(most),
    };
    let digest = "0".repeat(64);
    let module =
        json!({"bundle": digest, "name": "module", "version": "1.0.0", "image": "latest", "datasets": ["digits"]});
    let attempts_max = if chance.one_in(4) { json!(chance.between(1, 4)) } else { Value::Null };
    let swarm = json!({
        "name": format!("swarm {number}"),
        "max_iteration": iterations,
        "priority": chance.pick(&[0, 0, 0, -5, 10]),
        "attempts_max": attempts_max,
        "modules": [module],
        "tasks": tasks,
    });
    serde_json::from_value(swarm).expect("the drawn submission has the form of one")
}

fn task(chance: &mut Chance, index: u64) -> Value {
    let mut after: Vec<u64> = (0..index).filter(|_| chance.one_in(3)).collect();
    if after.is_empty() && index > 0 && !chance.one_in(4) {
        after.push(index - 1);
    }
    let method = match chance.between(0, 8) {
        0..=2 => "all",
        3 | 4 => "any",
        5 => "random",
        6 => "best_resources",
        _ if after.is_empty() => "all",
        _ => "tag-x",
    };
    let one_without_more = matches!(method, "any" | "best_resources");
    let (maximum, most) = match chance.between(0, 5) {
        0 => {
            let count = chance.between(1, 5);
            (json!({"kind": "count", "count": count}), count)
        }
        1 => (json!({"kind": "share", "share": 0.5}), 1),
        _ => (json!({"kind": "unlimited"}), if one_without_more { 1 } else { 2 }),
    };
    let quorum = match chance.between(0, 6) {
        0 => json!({"kind": "count", "count": chance.between(1, 3).min(most)}),
        1 => json!({"kind": "share", "share": 0.6}),
        _ => Value::Null,
    };
    json!({
        "alias": format!("task-{index}"),
        "module": 0,
        "after": after,
        "method": method,
        "maximum": maximum,
        "fixed": chance.one_in(5),
        "retries": chance.between(0, 4),
        "timeout_s": if chance.one_in(5) { json!(3.0) } else { Value::Null },
        "quorum": quorum,
        "deadline_s": if chance.one_in(4) { json!(chance.pick(&[5.0, 20.0, 60.0])) } else { Value::Null },
        "on_failure": chance.pick(&["fail", "continue", "continue"]),
        "on_disconnect": chance.pick(&["keep", "keep", "stop:3"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drawn_swarm_is_valid() {
        for seed in 0..500 {
            let drawn = submission(&mut Chance::new(seed), 1, &Options::draw(seed));
            drawn.check().unwrap_or_else(|error| panic!("seed {seed}: {error}: {drawn:?}"));
        }
    }
}
