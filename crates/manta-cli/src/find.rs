//! Swarms by what people call them: an id, the beginning of one, or a name.
use manta_api::{ErrorCode, SwarmView};
use manta_client::{Client, LogFilter};
use manta_types::{SwarmId, name};

use crate::report::Failure;
use crate::text::one_line;

/// Matching swarms that an error lists.
const LISTED: usize = 5;

/// The one swarm that `wanted` means.
pub(crate) async fn swarm(client: &Client, wanted: &str) -> Result<SwarmView, Failure> {
    if let Ok(id) = wanted.parse::<SwarmId>() {
        return Ok(client.swarm(id).await?);
    }
    choose(client.swarms().await?, wanted)
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

fn choose(swarms: Vec<SwarmView>, wanted: &str) -> Result<SwarmView, Failure> {
    let prefix =
        if wanted.starts_with(SwarmId::PREFIX) { wanted.to_owned() } else { format!("{}{wanted}", SwarmId::PREFIX) };
    let prefix = prefix.to_ascii_lowercase();
    let fits = |swarm: &&SwarmView| swarm.name == wanted || swarm.id.to_string().starts_with(&prefix);
    let matching: Vec<&SwarmView> = swarms.iter().filter(fits).collect();
    let shown = one_line(wanted, 64);
    match matching.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let near = name::nearest(wanted, swarms.iter().map(|swarm| swarm.name.as_str()));
            let hint =
                near.map_or_else(|| "`manta ls` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
            Err(Failure::new(ErrorCode::NotFound, format!("there is no swarm `{shown}`")).hint(hint))
        }
        several => {
            let ids: Vec<String> = several.iter().take(LISTED).map(|swarm| swarm.id.to_string()).collect();
            let message = format!("{} swarms are meant by `{shown}`", several.len());
            Err(Failure::new(ErrorCode::Conflict, message).hint(format!("give one of their ids: {}", ids.join(", "))))
        }
    }
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
            assert_eq!(choose(swarms.clone(), wanted).unwrap().id, swarms[0].id, "{wanted}");
        }
        let several = choose(swarms.clone(), "Other").unwrap_err();
        assert_eq!((several.exit, several.message.as_str()), (8, "2 swarms are meant by `Other`"));
        let none = choose(swarms, "FedAgv").unwrap_err();
        assert_eq!((none.exit, none.hint.as_deref()), (3, Some("did you mean `FedAvg`?")));
    }
}
