//! Swarms by what people call them: an id, the beginning of one, or a name.
use std::cmp::Reverse;

use manta_api::{ErrorCode, SwarmView};
use manta_client::{Client, LogFilter};
use manta_types::{SwarmId, name};

use crate::out;
use crate::report::{Failure, Form};
use crate::text::{ago, one_line};
use crate::verbs::ls::now_ms;

/// Matching swarms that an error lists.
const LISTED: usize = 5;

/// What a command does with the swarm that it looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It looks at it.
    Look,
    /// It changes it, so nothing is guessed between swarms that live.
    Change,
}

/// The one swarm that `wanted` means; people are told where others have the name too.
pub(crate) async fn swarm(client: &Client, wanted: &str, using: Use, form: Form) -> Result<SwarmView, Failure> {
    if let Ok(id) = wanted.parse::<SwarmId>() {
        return Ok(client.swarm(id).await?);
    }
    let (swarm, note) = choose(client.swarms().await?, wanted, using, now_ms())?;
    if let Some(note) = note.filter(|_| form == Form::Text) {
        out::say(&note);
    }
    Ok(swarm)
}

/// Refuses a task that the swarm does not have.
pub(crate) fn task(swarm: &SwarmView, wanted: &str) -> Result<(), Failure> {
    let known = swarm.tasks.iter().map(String::as_str);
    if swarm.tasks.iter().any(|task| task == wanted) {
        return Ok(());
    }
    let message = format!("swarm {} has no task `{}`", one_line(&swarm.name, 64), one_line(wanted, 64));
    let hint = match name::nearest(wanted, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its tasks are {}", one_line(&swarm.tasks.join(", "), 200)),
    };
    Err(Failure::new(ErrorCode::NotFound, message).hint(hint))
}

/// Refuses a node that is neither in the cluster nor, from before it went, in the swarm's log.
pub(crate) async fn node_of(client: &Client, swarm: &SwarmView, wanted: &str) -> Result<(), Failure> {
    let nodes = client.nodes().await?;
    if nodes.iter().any(|node| node.name == wanted) {
        return Ok(());
    }
    let of_node = LogFilter { node: Some(wanted.to_owned()), ..LogFilter::default() };
    if !client.logs(swarm.id, &of_node).await?.is_empty() {
        return Ok(());
    }
    let hint = match name::nearest(wanted, nodes.iter().map(|node| node.name.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`manta node ls` lists them".to_owned(),
    };
    Err(Failure::new(ErrorCode::NotFound, format!("there is no node `{}`", one_line(wanted, 64))).hint(hint))
}

/// The swarm that is meant, and what is to be said of others that have its name.
fn choose(
    swarms: Vec<SwarmView>,
    wanted: &str,
    using: Use,
    now_ms: u64,
) -> Result<(SwarmView, Option<String>), Failure> {
    let prefix =
        if wanted.starts_with(SwarmId::PREFIX) { wanted.to_owned() } else { format!("{}{wanted}", SwarmId::PREFIX) };
    let prefix = prefix.to_ascii_lowercase();
    let fits = |swarm: &&SwarmView| swarm.name == wanted || swarm.id.to_string().starts_with(&prefix);
    let matching: Vec<&SwarmView> = swarms.iter().filter(fits).collect();
    let shown = one_line(wanted, 64);
    match matching.as_slice() {
        [one] => Ok(((*one).clone(), None)),
        [] => {
            let near = name::nearest(wanted, swarms.iter().map(|swarm| swarm.name.as_str()));
            let hint =
                near.map_or_else(|| "`manta ls` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
            Err(Failure::new(ErrorCode::NotFound, format!("there is no swarm `{shown}`")).hint(hint))
        }
        several => match named(several, wanted, using) {
            Some((one, which)) => {
                let note = format!("note: {} swarms are called `{shown}`; this is {which}, {}", several.len(), one.id);
                Ok((one.clone(), Some(note)))
            }
            None => Err(ambiguous(several, &shown, now_ms)),
        },
    }
}

/// Of several swarms of one name the only one that has not ended, else the newest, and which of the two it is.
fn named<'a>(several: &[&'a SwarmView], name: &str, using: Use) -> Option<(&'a SwarmView, &'static str)> {
    // What is the beginning of an id may be a slip, and then any of them is as wrong.
    if several.iter().any(|swarm| swarm.name != name) {
        return None;
    }
    let live: Vec<&SwarmView> = several.iter().copied().filter(|swarm| swarm.finished_ms.is_none()).collect();
    match live.as_slice() {
        [one] => Some((*one, "the only one that has not ended")),
        [_, _, ..] if using == Use::Change => None,
        _ => {
            let newest = several.iter().copied().max_by_key(|swarm| (swarm.created_ms, swarm.id))?;
            Some((newest, "the newest"))
        }
    }
}

/// Refuses to choose; those that have not ended come first, and of them the newest.
fn ambiguous(several: &[&SwarmView], shown: &str, now_ms: u64) -> Failure {
    let mut ordered = several.to_vec();
    ordered.sort_by_key(|swarm| (swarm.finished_ms.is_some(), Reverse(swarm.created_ms)));
    let told = ordered.iter().take(LISTED);
    let told: Vec<String> =
        told.map(|swarm| format!("{} ({}, made {})", swarm.id, swarm.state, ago(swarm.created_ms, now_ms))).collect();
    let message = format!("{} swarms are meant by `{shown}`", several.len());
    Failure::new(ErrorCode::Conflict, message).hint(format!("give one of their ids: {}", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(id: u128, name: &str) -> SwarmView {
        SwarmView {
            id: SwarmId::from_uuid(uuid::Uuid::from_u128(id)),
            name: name.into(),
            state: "running".into(),
            reason: String::new(),
            iteration: None,
            max_iteration: None,
            priority: 0,
            attempts_max: None,
            seq: 0,
            created_ms: 0,
            finished_ms: None,
            tasks: vec![],
            waiting: vec![],
            task_runs: vec![],
            distribution: None,
        }
    }

    #[test]
    fn a_unique_prefix_or_name_is_enough() {
        let swarms = vec![view(1 << 120, "FedAvg"), view(2 << 120, "Other"), view((2 << 120) + 1, "Other")];
        let id = swarms[0].id.to_string();
        for wanted in ["FedAvg", &id[..6], &id[3..8], &id.to_ascii_uppercase()[3..9]] {
            let (chosen, note) = choose(swarms.clone(), wanted, Use::Change, 0).unwrap();
            assert_eq!((chosen.id, note), (swarms[0].id, None), "{wanted}");
        }
        let beginning = &swarms[1].id.to_string()[..6];
        let several = choose(swarms.clone(), beginning, Use::Look, 0).unwrap_err();
        assert_eq!((several.exit, several.message), (8, format!("2 swarms are meant by `{beginning}`")));
        let none = choose(swarms, "FedAgv", Use::Look, 0).unwrap_err();
        assert_eq!((none.exit, none.hint.as_deref()), (3, Some("did you mean `FedAvg`?")));
    }

    #[test]
    fn of_several_with_one_name_the_only_live_one_is_meant_else_the_newest() {
        let made = |id: u128, created_ms: u64, finished_ms: Option<u64>| {
            let state = if finished_ms.is_some() { "failed" } else { "running" };
            SwarmView { created_ms, finished_ms, state: state.into(), ..view(id << 120, "Mean") }
        };
        let chosen = |swarms: &[SwarmView], using: Use| {
            let (chosen, note) = choose(swarms.to_vec(), "Mean", using, 3_600_000)?;
            Ok::<_, Failure>((chosen.id, note.unwrap()))
        };
        let (old, new) = (made(2, 1000, Some(5)), made(1, 2000, Some(6)));
        for using in [Use::Look, Use::Change] {
            let (id, note) = chosen(&[old.clone(), new.clone()], using).unwrap();
            let told = format!("note: 2 swarms are called `Mean`; this is the newest, {}", new.id);
            assert_eq!((id, note), (new.id, told));
            let live = made(3, 500, None);
            let (id, note) = chosen(&[old.clone(), live.clone(), new.clone()], using).unwrap();
            assert_eq!(id, live.id);
            assert!(note.contains("3 swarms") && note.contains("the only one that has not ended"), "{note}");
        }
        let both = [made(4, 1000, None), old, made(5, 3_000_000, None)];
        assert_eq!(chosen(&both, Use::Look).unwrap().0, both[2].id);
        let refused = chosen(&both, Use::Change).unwrap_err();
        assert_eq!((refused.exit, refused.message.as_str()), (8, "3 swarms are meant by `Mean`"));
        let hint = refused.hint.unwrap();
        let listed = format!("{} (running, made 10 min ago), {} (running, made", both[2].id, both[0].id);
        assert!(hint.contains(&listed) && hint.ends_with("(failed, made 60 min ago)"), "{hint}");
    }
}
