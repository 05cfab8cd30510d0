//! What `manta doctor` looks at beside containment: the disk, the agent, and the manager with its clock, each with what to do.
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use manta_api::control::{AgentStatus, ControlAnswer, ControlRequest};
use manta_api::version::PRODUCT;
use manta_api::{ErrorCode, NEVER_CONNECTED, NodeView, SignInView};
use manta_client::Client;
use manta_types::{NodeDuty, NodeState};
use semver::Version;
use serde_json::{Value, json};

use crate::connection::ConnectionArgs;
use crate::report::Failure;
use crate::text::{bytes, count, lasting, one_line};

/// Free bytes below which a disk is a problem, and below which it is worth a word.
const FREE_BYTES_MIN: u64 = 256 << 20;
const FREE_BYTES_WORTH_A_WORD: u64 = 5 << 30;
/// How far two clocks may be apart: beyond, signatures and certificates begin and end at other times here than there.
const APART_MAX: Duration = Duration::from_secs(60);
const APART_WORTH_A_WORD: Duration = Duration::from_secs(5);

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Doubtful,
    Bad(ErrorCode),
}

/// One thing that was looked at.
#[derive(Debug)]
pub(super) struct Check {
    name: &'static str,
    state: State,
    found: String,
    fix: Option<String>,
}

/// Looks at the disk of a data directory, at the agent there, and at the manager that is named, where one is.
pub(super) async fn examine(data_dir: Option<&Path>, connection: &ConnectionArgs) -> Result<Vec<Check>, Failure> {
    let place = data_dir.map(Path::to_owned).or_else(crate::home::data).unwrap_or_else(|| PathBuf::from("/"));
    let mut checks = vec![disk(&place)];
    if let Some(dir) = data_dir.filter(|dir| dir.join("agent.sock").exists()) {
        checks.push(agent(dir).await);
    }
    if connection.names_manager() {
        checks.extend(manager(&connection.client()?).await);
    }
    Ok(checks)
}

fn disk(place: &Path) -> Check {
    // What is not there yet lies where the next directory above it does.
    let found = place.ancestors().find(|path| path.exists()).unwrap_or(place);
    let name = "disk";
    match rustix::fs::statvfs(found) {
        Ok(told) => {
            let free = told.f_bavail.saturating_mul(told.f_frsize);
            let state = match free {
                ..FREE_BYTES_MIN => State::Bad(ErrorCode::Storage),
                FREE_BYTES_MIN..FREE_BYTES_WORTH_A_WORD => State::Doubtful,
                _ => State::Good,
            };
            let fix = format!(
                "free some of it, move the data directory, or lower --cache-max (now {} are free)",
                bytes(free)
            );
            let found = format!("{} free at {}", bytes(free), found.display());
            Check { name, state, found, fix: (state != State::Good).then_some(fix) }
        }
        Err(error) => Check {
            name,
            state: State::Bad(ErrorCode::Storage),
            found: format!("{} cannot be looked at: {error}", found.display()),
            fix: Some("name a directory that is there, with --data-dir".to_owned()),
        },
    }
}

async fn agent(dir: &Path) -> Check {
    let name = "agent";
    match manta_node::ask(dir, &ControlRequest::Status).await {
        Ok(ControlAnswer::Status(status)) => {
            let AgentStatus { node, agent_version, manager, is_connected, link_quality, problem, .. } = status;
            let link = if is_connected {
                format!("connected to {manager}, link {link_quality:.2}")
            } else {
                let why = problem.map(|why| format!(": {why}")).unwrap_or_default();
                format!("not connected to {manager}{why}")
            };
            let (state, fix) = match (is_connected, agent_version == PRODUCT) {
                (false, _) => {
                    let fix = "see that the manager runs and that this machine reaches it: manta doctor --manager URL";
                    (State::Bad(ErrorCode::Unreachable), Some(fix.to_owned()))
                }
                (true, false) => {
                    let fix = format!("let it run what is installed ({PRODUCT}): manta node upgrade");
                    (State::Doubtful, Some(fix))
                }
                (true, true) => (State::Good, None),
            };
            Check { name, state, found: format!("{node}, manta {agent_version}, {link}"), fix }
        }
        Ok(other) => Check {
            name,
            state: State::Doubtful,
            found: format!("it answered something else: {other:?}"),
            fix: Some("start the agent again, with this release".to_owned()),
        },
        Err(error) => {
            let state = State::Bad(error.code());
            Check { name, state, found: error.to_string(), fix: Some("start the agent".to_owned()) }
        }
    }
}

async fn manager(client: &Client) -> Vec<Check> {
    let before = SystemTime::now();
    let told = match client.clock().await {
        Ok(told) => told,
        Err(error) => return vec![failed("manager", error.into())],
    };
    let after = SystemTime::now();
    let reached =
        Check { name: "manager", state: State::Good, found: format!("{} answers", client.endpoint()), fix: None };
    let (cluster, nodes) = cluster(client).await;
    let sign_in = sign_in(client).await;
    let clock = told
        .and_then(|text| jiff::fmt::rfc2822::parse(&text).ok())
        .map(|zoned| clock(zoned.timestamp().into(), before, after));
    [reached].into_iter().chain(clock).chain([cluster]).chain(nodes).chain(sign_in).collect()
}

/// Whether people can sign in, where the manager trusts an issuer.
async fn sign_in(client: &Client) -> Option<Check> {
    let SignInView { issuer, problem, .. } = client.sign_in().await.ok()?;
    let name = "sign-in";
    Some(match problem {
        None => Check { name, state: State::Good, found: format!("{issuer} answers the manager"), fix: None },
        Some(found) => {
            let fix = "see that the issuer runs and that the manager's machine reaches it; tokens count as before";
            Check { name, state: State::Doubtful, found: one_line(&found, 240), fix: Some(fix.to_owned()) }
        }
    })
}

/// Whether the cluster that is meant is served, and to whom; where it is, this program's release is compared with the manager's
/// and its nodes', and these are counted.
async fn cluster(client: &Client) -> (Check, Vec<Check>) {
    let name = "cluster";
    let who = match client.whoami().await {
        Ok(who) => who,
        Err(error) => return (failed(name, error.into()), Vec::new()),
    };
    let found = format!("`{}`, as {} ({})", who.cluster, who.name, who.role);
    let reached = Check { name, state: State::Good, found, fix: None };
    let nodes = client.nodes().await;
    let there = nodes.as_ref().ok().map(|nodes| online(nodes));
    let nodes = nodes.unwrap_or_default();
    let nodes =
        nodes.into_iter().map(|node| (node.name, node.agent_version)).filter(|(_, version)| !version.is_empty());
    let versions = releases(PRODUCT, &who.manager_version, &nodes.collect::<Vec<_>>());
    (reached, [versions].into_iter().chain(there).collect())
}

/// Says how many nodes are there, and which are not since when; one that was revoked is not missed.
fn online(nodes: &[NodeView]) -> Check {
    let name = "nodes";
    let wanted: Vec<&NodeView> = nodes.iter().filter(|node| node.duty != NodeDuty::Revoked.name()).collect();
    let away = wanted.iter().filter(|node| node.state != NodeState::Online.name());
    let away: Vec<String> = away.map(|node| format!("{} ({}, {})", node.name, node.state, heard(node))).collect();
    let there = wanted.len() - away.len();
    if wanted.is_empty() {
        let found = if nodes.is_empty() { "there are none yet" } else { "all that there were are revoked" };
        let fix = Some("`manta node token` prints the command that adds one".to_owned());
        return Check { name, state: State::Doubtful, found: found.to_owned(), fix };
    }
    let found = format!("{there} of {} online", count(wanted.len(), "node"));
    if away.is_empty() {
        return Check { name, state: State::Good, found, fix: None };
    }
    let state = if there == 0 { State::Bad(ErrorCode::NoNode) } else { State::Doubtful };
    let mut fix =
        "see that the agent runs there; one that does not come back is taken out with: manta node rm NAME".to_owned();
    if wanted.iter().any(|node| is_unseen(node)) {
        fix.push_str("; one that never connected with: manta node revoke NAME");
    }
    Check { name, state, found: format!("{found}; away: {}", some_of(&away)), fix: Some(fix) }
}

fn is_unseen(node: &NodeView) -> bool {
    node.notes.iter().any(|note| note == NEVER_CONNECTED)
}

/// When a node was heard last.
fn heard(node: &NodeView) -> String {
    if is_unseen(node) {
        return "never connected".to_owned();
    }
    let silent = node.heard_s.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
    silent.map_or_else(
        || "not heard since the manager started".to_owned(),
        |silent| format!("not heard for {}", lasting(silent.as_secs())),
    )
}

/// What could not be looked at, in the words of whoever refused.
fn failed(name: &'static str, failure: Failure) -> Check {
    let code = failure.code.as_deref().and_then(ErrorCode::from_code).unwrap_or(ErrorCode::Unreachable);
    Check { name, state: State::Bad(code), found: failure.message, fix: failure.hint }
}

/// Says who is behind, and what is to be upgraded first: the manager, then its nodes, then who asks.
fn releases(own: &str, manager: &str, nodes: &[(String, String)]) -> Check {
    let name = "versions";
    let newer = |one: &str, other: &str| match (one.parse::<Version>(), other.parse::<Version>()) {
        (Ok(one), Ok(other)) => one > other,
        _ => false,
    };
    let named = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        let found = nodes.iter().filter(|(_, version)| wanted(version));
        found.map(|(name, version)| format!("{name} ({version})")).collect()
    };
    let (ahead, behind) = (named(&|version| newer(version, manager)), named(&|version| newer(manager, version)));
    let doubtful = |found: String, fix: String| Check { name, state: State::Doubtful, found, fix: Some(fix) };
    if !ahead.is_empty() {
        let found = format!("the manager ({manager}) is behind its nodes: {}", some_of(&ahead));
        return doubtful(
            found,
            "upgrade the manager: it serves nodes of its own release and the one before".to_owned(),
        );
    }
    if newer(own, manager) {
        let found = format!("the manager ({manager}) is behind this program ({own})");
        return doubtful(found, "upgrade the manager first, then its nodes".to_owned());
    }
    if !behind.is_empty() {
        let found = format!("nodes are behind the manager ({manager}): {}", some_of(&behind));
        return doubtful(found, "put the new release on each, and there: manta node upgrade".to_owned());
    }
    if newer(manager, own) {
        let found = format!("this program ({own}) is behind the manager ({manager})");
        return doubtful(found, format!("install manta {manager} here"));
    }
    let found = format!("this program, the manager and {} are of {own}", count(nodes.len(), "node"));
    Check { name, state: State::Good, found, fix: None }
}

/// The first few of them.
fn some_of(names: &[String]) -> String {
    match names.split_at_checked(5) {
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

/// Compares clocks; the manager's is told in whole seconds.
fn clock(told: SystemTime, before: SystemTime, after: SystemTime) -> Check {
    let early = before.duration_since(told + Duration::from_secs(1)).unwrap_or_default();
    let late = told.duration_since(after).unwrap_or_default();
    let apart = early.max(late);
    let state = match apart {
        apart if apart > APART_MAX => State::Bad(ErrorCode::BadArgument),
        apart if apart > APART_WORTH_A_WORD => State::Doubtful,
        _ => State::Good,
    };
    let side = if early > late { "ahead of" } else { "behind" };
    let found = match state {
        State::Good => "this machine's and the manager's agree".to_owned(),
        _ => format!("this machine's is {} s {side} the manager's", apart.as_secs()),
    };
    let fix = "let both be set by a time service: timedatectl set-ntp true".to_owned();
    Check { name: "clock", state, found, fix: (state != State::Good).then_some(fix) }
}

/// The first that is bad, as a failure.
pub(super) fn problem(checks: &[Check]) -> Option<Failure> {
    let (check, code) = checks.iter().find_map(|check| match check.state {
        State::Bad(code) => Some((check, code)),
        State::Good | State::Doubtful => None,
    })?;
    let failure = Failure::new(code, format!("{}: {}", check.name, check.found));
    Some(Failure { hint: check.fix.clone(), ..failure })
}

impl Check {
    const fn state(&self) -> &'static str {
        match self.state {
            State::Good => "good",
            State::Doubtful => "doubtful",
            State::Bad(_) => "bad",
        }
    }

    /// A line for people, and what to do below it.
    pub(super) fn as_text(&self) -> String {
        let mark = if self.state == State::Good { String::new() } else { format!("{}: ", self.state().to_uppercase()) };
        let fix = self.fix.as_ref().map(|fix| format!("\n  cure: {fix}")).unwrap_or_default();
        format!("{:<12} {mark}{}{fix}", self.name, self.found)
    }

    pub(super) fn as_json(&self) -> Value {
        json!({"name": self.name, "state": self.state(), "found": self.found, "fix": self.fix})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_behind_is_named_with_what_to_upgrade() {
        let found = |own, manager, node: &str| {
            let check =
                releases(own, manager, &[("a".to_owned(), node.to_owned()), ("b".to_owned(), manager.to_owned())]);
            (check.state(), check.found, check.fix.unwrap_or_default())
        };
        assert_eq!(found("0.1.0", "0.1.0", "0.1.0").1, "this program, the manager and 2 nodes are of 0.1.0");
        let (state, words, fix) = found("0.2.0", "0.2.0", "0.1.0");
        assert_eq!((state, words.as_str()), ("doubtful", "nodes are behind the manager (0.2.0): a (0.1.0)"));
        assert!(fix.contains("manta node upgrade"));
        assert_eq!(found("0.1.0", "0.1.0", "0.10.0").1, "the manager (0.1.0) is behind its nodes: a (0.10.0)");
        assert_eq!(found("0.2.0", "0.1.0", "0.1.0").1, "the manager (0.1.0) is behind this program (0.2.0)");
        assert!(found("0.1.0", "0.2.0", "0.2.0").2.contains("install manta 0.2.0"));
    }

    #[test]
    fn nodes_that_are_away_are_named_and_none_online_is_bad() {
        let node = |name: &str, state: &str, duty: &str, heard_s: Option<f64>| -> NodeView {
            serde_json::from_value(json!({
                "id": "nd_1", "name": name, "state": state, "duty": duty, "labels": {}, "datasets": [], "slots": 2,
                "attempts": 0, "tier": "full", "notes": [], "heard_s": heard_s,
            }))
            .unwrap()
        };
        let (there, revoked) = (node("a", "online", "active", Some(0.4)), node("b", "gone", "revoked", Some(9.0)));
        let (gone, silent) = (node("c", "gone", "drained", Some(7300.0)), node("d", "joining", "active", None));
        let told = |nodes: &[NodeView]| {
            let check = online(nodes);
            (check.state(), check.found)
        };
        assert_eq!(told(&[there.clone(), revoked.clone()]), ("good", "1 of 1 node online".to_owned()));
        let found =
            "1 of 3 nodes online; away: c (gone, not heard for 2 h), d (joining, not heard since the manager started)";
        assert_eq!(told(&[there, gone.clone(), silent]), ("doubtful", found.to_owned()));
        let none = online(&[gone]);
        assert_eq!(
            (none.state(), none.found.as_str()),
            ("bad", "0 of 1 node online; away: c (gone, not heard for 2 h)")
        );
        assert_eq!(problem(&[none]).unwrap().code.as_deref(), Some(ErrorCode::NoNode.code()));
        assert_eq!(told(&[revoked]), ("doubtful", "all that there were are revoked".to_owned()));
        let unseen =
            online(&[NodeView { notes: vec![NEVER_CONNECTED.to_owned()], ..node("e", "joining", "active", None) }]);
        assert_eq!(unseen.found, "0 of 1 node online; away: e (joining, never connected)");
        assert!(unseen.fix.is_some_and(|fix| fix.ends_with("; one that never connected with: manta node revoke NAME")));
    }

    #[test]
    fn clocks_that_are_apart_are_told_with_their_side_and_the_cure() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let found = |told, now| {
            let check = clock(at(told), at(now), at(now));
            (check.state(), check.found)
        };
        assert_eq!(found(1000, 1001).0, "good", "told in whole seconds");
        assert_eq!(found(1000, 1011), ("doubtful", "this machine's is 10 s ahead of the manager's".to_owned()));
        assert_eq!(found(1000, 900), ("bad", "this machine's is 100 s behind the manager's".to_owned()));
        assert!(problem(&[clock(at(1000), at(900), at(900))]).unwrap().hint.unwrap().contains("timedatectl"));
    }
}
