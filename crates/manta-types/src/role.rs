//! What people and programs may do in a cluster.
use std::fmt;
use std::str::FromStr;

/// A role; each may do what the one before it may, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks on: swarms, logs, results, nodes.
    Viewer,
    /// Runs swarms and publishes modules.
    Developer,
    /// Takes nodes out of use and into it.
    Operator,
    /// Says who may do what, and reads the audit log.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Developer, Self::Operator, Self::Admin];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// A text that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role; roles are viewer, developer, operator and admin")]
pub struct RoleError(String);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        let known = Self::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| RoleError(crate::name::printable(text, 64)))
    }
}

crate::text_form!(Role);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_rise_and_read_back_what_they_print() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        let wrong = "owner\n".parse::<Role>().unwrap_err().to_string();
        assert!(wrong.contains("`owner\\n` is no role") && wrong.contains("developer"), "{wrong}");
    }
}
