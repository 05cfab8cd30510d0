//! What `select` sees: the nearest ancestors that published a name, one entry for each node.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use manta_api::{AttemptInputs, InputResult};
use serde_json::{Value, json};

use super::message::Denied;
use super::names::known;

/// A question that `select` asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The result's name.
    pub(crate) name: &'a str,
    /// Only what this task published.
    pub(crate) task: Option<&'a str>,
    /// Only if the scope is this iteration.
    pub(crate) iteration: Option<i64>,
    /// The iteration of the attempt that asks.
    pub(crate) own_iteration: u32,
}

/// Answers a question from what the attempt may read. An entry's `ref` is its position in the inputs.
pub(crate) fn select(inputs: &AttemptInputs, question: Question<'_>) -> Result<Value, Denied> {
    if let Some(task) = question.task {
        known("unknown_task", "task", task, inputs.tasks.iter().map(String::as_str))?;
    }
    check_iteration(inputs, question)?;
    let wanted =
        |result: &InputResult| result.name == question.name && question.task.is_none_or(|task| task == result.task);
    let candidates = || inputs.results.iter().enumerate().filter(|(_, result)| wanted(result));
    let Some(distance) = candidates().map(|(_, result)| result.distance).min() else {
        let published: BTreeSet<_> = inputs.results.iter().map(|result| (&result.name, &result.task)).collect();
        let published: Vec<Value> = published.iter().map(|(name, task)| json!({"name": name, "task": task})).collect();
        return Ok(json!({"found": false, "published": published}));
    };
    let mut chosen: Vec<(usize, &InputResult)> =
        candidates().filter(|(_, result)| result.distance == distance).collect();
    chosen.sort_by(|(_, a), (_, b)| (&a.node, &a.task).cmp(&(&b.node, &b.task)));
    let mut of_node: HashMap<&str, usize> = HashMap::new();
    for (_, result) in &chosen {
        *of_node.entry(&result.node).or_default() += 1;
    }
    let entry = |(index, result): &(usize, &InputResult)| entry(*index, result, of_node[result.node.as_str()] > 1);
    let entries: Vec<Value> = chosen.iter().map(entry).collect();
    let missing = missing(inputs, &chosen);
    Ok(json!({"found": true, "entries": entries, "missing": missing}))
}

fn entry(index: usize, result: &InputResult, shares_node: bool) -> Value {
    let key = if shares_node { format!("{}/{}", result.node, result.task) } else { result.node.clone() };
    json!({
        "key": key, "node": result.node, "task": result.task, "iteration": result.iteration,
        "labels": result.labels, "ref": index, "size": result.blob.size,
    })
}

/// The nodes of the chosen tasks that left nothing, with the reason.
fn missing<'a>(inputs: &'a AttemptInputs, chosen: &[(usize, &InputResult)]) -> BTreeMap<String, &'a str> {
    let tasks: BTreeSet<&str> = chosen.iter().map(|(_, result)| result.task.as_str()).collect();
    let gone = inputs.missing.iter().filter(|gone| tasks.contains(gone.task.as_str()));
    let key = |node: &str, task: &str| if tasks.len() > 1 { format!("{node}/{task}") } else { node.to_owned() };
    gone.map(|gone| (key(&gone.node, &gone.task), gone.reason.as_str())).collect()
}

fn check_iteration(inputs: &AttemptInputs, question: Question<'_>) -> Result<(), Denied> {
    let Some(asked) = question.iteration else { return Ok(()) };
    let own = i64::from(question.own_iteration);
    let fits = match inputs.results.first() {
        Some(result) => asked == i64::from(result.iteration),
        None => asked == own || asked == own - 1,
    };
    if fits {
        return Ok(());
    }
    let here = inputs.results.first().map_or(question.own_iteration, |result| result.iteration);
    let message =
        format!("results of iteration {asked} are not available here: this task reads those of iteration {here}");
    let hint = "keep what a later iteration needs with `local.set_state` or in `world.globals`".to_owned();
    Err(Denied::new("iteration_not_available", message).hint(Some(hint)))
}

#[cfg(test)]
mod tests {
    use manta_api::MissingInput;
    use manta_types::{Blob, Digest};

    use super::*;

    fn result(task: &str, node: &str, name: &str, distance: u32) -> InputResult {
        InputResult {
            task: task.to_owned(),
            iteration: 4,
            node: node.to_owned(),
            labels: BTreeMap::new(),
            name: name.to_owned(),
            blob: Blob { digest: Digest::from_bytes([1; 32]), size: 64 },
            distance,
        }
    }

    fn inputs(results: Vec<InputResult>) -> AttemptInputs {
        let missing = |task: &str, node: &str| MissingInput {
            task: task.to_owned(),
            node: node.to_owned(),
            reason: "lost".to_owned(),
        };
        AttemptInputs {
            globals: Vec::new(),
            results,
            missing: vec![missing("worker", "node-9"), missing("other", "node-8")],
            tasks: ["worker", "worker~2", "other", "sum"].map(str::to_owned).to_vec(),
            nodes: Vec::new(),
            ran_before: Vec::new(),
        }
    }

    fn ask<'a>(name: &'a str, task: Option<&'a str>, iteration: Option<i64>) -> Question<'a> {
        Question { name, task, iteration, own_iteration: 4 }
    }

    fn keys(answer: &Value) -> Vec<&str> {
        answer["entries"].as_array().unwrap().iter().map(|entry| entry["key"].as_str().unwrap()).collect()
    }

    #[test]
    fn entries_come_in_the_order_of_nodes_with_their_place_as_ref() {
        let inputs = inputs(vec![result("worker", "node-2", "w", 1), result("worker", "node-1", "w", 1)]);
        let answer = select(&inputs, ask("w", None, None)).unwrap();
        assert_eq!(keys(&answer), ["node-1", "node-2"]);
        assert_eq!(answer["entries"][0]["ref"], 1);
        assert_eq!(answer["missing"], json!({"node-9": "lost"}));
    }

    #[test]
    fn the_nearest_ancestor_that_published_the_name_hides_those_behind_it() {
        let far = result("worker", "node-1", "w", 3);
        let inputs = inputs(vec![result("other", "node-2", "loss", 1), far.clone(), result("sum", "node-5", "w", 2)]);
        assert_eq!(keys(&select(&inputs, ask("w", None, None)).unwrap()), ["node-5"]);
        assert_eq!(keys(&select(&inputs, ask("w", Some("worker"), None)).unwrap()), ["node-1"]);
    }

    #[test]
    fn two_tasks_of_one_node_keep_both_their_results() {
        let results = [("worker", "node-1"), ("worker~2", "node-1"), ("worker", "node-2")];
        let inputs = inputs(results.map(|(task, node)| result(task, node, "w", 1)).to_vec());
        let answer = select(&inputs, ask("w", None, None)).unwrap();
        assert_eq!(keys(&answer), ["node-1/worker", "node-1/worker~2", "node-2"]);
    }

    #[test]
    fn what_was_published_is_named_when_the_name_is_not() {
        let inputs = inputs(vec![result("worker", "node-1", "weights", 1), result("worker", "node-2", "weights", 1)]);
        let answer = select(&inputs, ask("weight", None, None)).unwrap();
        assert_eq!(answer, json!({"found": false, "published": [{"name": "weights", "task": "worker"}]}));
    }

    #[test]
    fn another_iteration_and_an_unknown_task_are_refused_in_a_sentence() {
        let inputs = inputs(vec![result("worker", "node-1", "w", 1)]);
        assert!(select(&inputs, ask("w", None, Some(4))).is_ok());
        assert_eq!(select(&inputs, ask("w", None, Some(3))).unwrap_err().kind, "iteration_not_available");
        let denied = select(&inputs, ask("w", Some("workr"), None)).unwrap_err();
        assert_eq!((denied.kind, denied.hint.as_deref()), ("unknown_task", Some("did you mean `worker`?")));
    }
}
