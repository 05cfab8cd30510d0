//! What a cluster may use of its manager.
use std::fmt;
use std::str::FromStr;

/// Something that a cluster may have so much of, and no more; unlimited unless an admin says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quota {
    /// Swarms that are not over.
    SwarmsLive,
    /// Nodes that joined and are not revoked.
    Nodes,
    /// Bytes of stored blobs.
    StoredBytes,
    /// Calls of users to the API in one second.
    CallsPerSecond,
}

impl Quota {
    /// Every quota.
    pub const ALL: [Self; 4] = [Self::SwarmsLive, Self::Nodes, Self::StoredBytes, Self::CallsPerSecond];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SwarmsLive => "swarms-live",
            Self::Nodes => "nodes",
            Self::StoredBytes => "stored-bytes",
            Self::CallsPerSecond => "calls-per-second",
        }
    }

    /// What it counts, for people.
    pub const fn about(self) -> &'static str {
        match self {
            Self::SwarmsLive => "swarms that are not over",
            Self::Nodes => "nodes that joined and are not revoked",
            Self::StoredBytes => "bytes of stored blobs",
            Self::CallsPerSecond => "calls of users in one second",
        }
    }
}

/// A text that is no quota.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no quota; quotas are swarms-live, nodes, stored-bytes and calls-per-second")]
pub struct QuotaError(String);

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Quota {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let known = Self::ALL.into_iter().find(|quota| quota.name() == text);
        known.ok_or_else(|| QuotaError(crate::name::printable(text, 64)))
    }
}

crate::text_form!(Quota);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_read_back_what_they_print_and_a_refusal_lists_them() {
        for quota in Quota::ALL {
            assert_eq!(quota.to_string().parse(), Ok(quota));
            let refusal = "x".parse::<Quota>().unwrap_err().to_string();
            assert!(refusal.contains(quota.name()), "{refusal}");
        }
    }
}
