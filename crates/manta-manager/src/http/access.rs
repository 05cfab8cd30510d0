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
}

impl Access {
    /// Whether it lets somebody in.
    pub(super) fn admits(self, identity: &Identity) -> bool {
        match (self, identity) {
            (Self::Open, _) | (Self::Nodes | Self::UsersAndNodes(_), Identity::Node) => true,
            (Self::Users(least) | Self::UsersAndNodes(least), Identity::User(user)) => user.role >= least,
            _ => false,
        }
    }

    /// What each of [`COLUMNS`] is answered.
    fn cells(self) -> [&'static str; COLUMNS.len()] {
        let user = |role: Role| match self {
            Self::Open => LET_IN,
            Self::Users(least) | Self::UsersAndNodes(least) if role >= least => LET_IN,
            _ => "403",
        };
        let stranger = |refusal| if self == Self::Open { LET_IN } else { refusal };
        let node = if matches!(self, Self::Users(_)) { "403" } else { LET_IN };
        let [viewer, developer, operator, admin] = Role::ALL.map(user);
        let (unknown, elsewhere) = (stranger("401"), stranger("404"));
        [unknown, unknown, unknown, unknown, elsewhere, viewer, developer, operator, admin, node]
    }
}

/// Let in, whatever comes of it.
const LET_IN: &str = "yes";

/// Who asks, in the table.
const COLUMNS: [&str; 10] = [
    "nobody",
    "wrong token",
    "expired",
    "revoked",
    "other cluster",
    "viewer",
    "developer",
    "operator",
    "admin",
    "node",
];

/// The table of who may use which route (Markdown).
pub fn access() -> String {
    let mut text = "\
# Who may do what

Generated from the one table of routes, from which the router and its guard are made too; a test asks every route as everybody in \
this table, and compares. `yes`: let in, whatever comes of the request. `401`: the token is missing, wrong, expired or revoked. `403`: \
it is known and may not do that. `404`: for a user of another cluster nothing of this one is there. A task reaches none of these: the \
one socket that it has leads to its node's agent, which speaks another protocol and asks for it what its attempt may have.

What a role may, the next one may too. A user sees and ends their own tokens, an admin everybody's; no role hands out more than it has.

"
    .to_owned();
    text.push_str(&format!("| method | route | {} |\n", COLUMNS.join(" | ")));
    text.push_str(&format!("|---|---|{}\n", "---|".repeat(COLUMNS.len())));
    for Route { method, path, access, .. } in ROUTES {
        text.push_str(&format!("| {method} | `{path}` | {} |\n", access.cells().join(" | ")));
    }
    text
}
