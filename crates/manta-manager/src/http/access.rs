//! Who may use a route, and the table of that for people.
use manta_types::Role;

use super::routes::{ROUTES, Route};
use crate::bearer::Identity;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anyone who reaches the port.
    Open,
    /// Nodes.
    Nodes,
    /// Users of this role or a greater one.
    Users(Role),
    /// Both.
    UsersAndNodes(Role),
    /// Whoever holds the token of the manager's data directory: what is done here is no cluster's.
    Administrator,
}

impl Access {
    /// Whether it lets somebody in.
    pub(super) fn admits(self, identity: &Identity) -> bool {
        match (self, identity) {
            (Self::Open, _) | (Self::Nodes | Self::UsersAndNodes(_), Identity::Node) => true,
            (Self::Users(least) | Self::UsersAndNodes(least), Identity::User(user)) => user.role >= least,
            (Self::Administrator, Identity::User(user)) => user.cluster.is_none(),
            _ => false,
        }
    }

    /// What each of [`COLUMNS`] is answered at a path.
    fn cells(self, path: &str) -> [&'static str; COLUMNS.len()] {
        let user = |role: Role| match self {
            Self::Open => LET_IN,
            Self::Users(least) | Self::UsersAndNodes(least) if role >= least => LET_IN,
            _ => "403",
        };
        let stranger = |refusal| if self == Self::Open { LET_IN } else { refusal };
        let node = if matches!(self, Self::Users(_) | Self::Administrator) { "403" } else { LET_IN };
        let [viewer, developer, operator, admin] = Role::ALL.map(user);
        // Who has the first token is a user of every cluster.
        let administrator = if self == Self::Administrator { LET_IN } else { admin };
        let elsewhere = |here| if self != Self::Open && path.contains("{cluster}") { "404" } else { here };
        let (unknown, other, other_node) = (stranger("401"), elsewhere(admin), elsewhere(node));
        [unknown, unknown, unknown, unknown, other, viewer, developer, operator, admin, administrator, node, other_node]
    }
}

/// Let in, whatever comes of it.
const LET_IN: &str = "yes";

/// Who asks, in the table.
const COLUMNS: [&str; 12] = [
    "nobody",
    "wrong token",
    "expired",
    "revoked",
    "admin of another cluster",
    "viewer",
    "developer",
    "operator",
    "admin",
    "administrator",
    "node",
    "node of another cluster",
];

/// The table of who may use which route (Markdown).
pub fn access() -> String {
    let mut text = "\
# Who may do what

Generated from the one table of routes, from which the router and its guard are made too; a test asks every route as everybody in \
this table, and compares. `yes`: let in, whatever comes of the request. `401`: the token is missing, wrong, expired or revoked. `403`: \
it is known and may not do that. `404`: for users and nodes of another cluster nothing of this one is there; what names no cluster is \
answered for their own. The administrator holds the token of the manager's data directory, and is of no cluster. A task reaches none of these: the \
one socket that it has leads to its node's agent, which speaks another protocol and asks for it what its attempt may have.

What a role may, the next one may too. A user sees and ends their own tokens, an admin everybody's; no role hands out more than it has.

"
    .to_owned();
    text.push_str(&format!("| method | route | {} |\n", COLUMNS.join(" | ")));
    text.push_str(&format!("|---|---|{}\n", "---|".repeat(COLUMNS.len())));
    for Route { method, path, access, .. } in ROUTES {
        text.push_str(&format!("| {method} | `{path}` | {} |\n", access.cells(path).join(" | ")));
    }
    text
}
