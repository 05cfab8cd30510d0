//! What is stored of tokens to join with, of nodes that joined, and of their certificates.
use std::collections::BTreeMap;

use manta_types::{NodeId, NodeName};

/// A token that lets one node in, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinTokenRecord {
    /// What it is known by.
    pub id: [u8; 8],
    /// SHA-256 of its secret; the secret itself is not kept.
    pub secret: [u8; 32],
    /// The only node that may use it, where one is named.
    pub name: Option<NodeName>,
    /// What the node that uses it is labelled with.
    pub labels: BTreeMap<String, String>,
    /// Wall clock, ms since 1970.
    pub made_ms: u64,
    /// From then on it lets nobody in; wall clock, ms since 1970.
    pub expires_ms: u64,
    /// When it was used, and by which node.
    pub used: Option<(u64, String)>,
}

/// A node that joined with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Its name, for ever.
    pub node: NodeName,
    /// Its id: it stays that of the data directory which joined.
    pub node_id: NodeId,
    /// What its token labelled it with.
    pub labels: BTreeMap<String, String>,
    /// Wall clock, ms since 1970.
    pub joined_ms: u64,
    /// Why its identity is not to be believed, where that is so.
    pub flag: Option<String>,
}

/// A certificate that was issued to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// Its serial number.
    pub serial: Vec<u8>,
    /// The node that it names.
    pub node: NodeName,
    /// SHA-256 of its public key's SPKI.
    pub key: [u8; 32],
    /// The serial number of the one that it renews; absent for the first.
    pub follows: Option<Vec<u8>>,
    /// The certificate.
    pub pem: String,
    /// Wall clock, ms since 1970.
    pub issued_ms: u64,
    /// Wall clock, ms since 1970.
    pub expires_ms: u64,
}

/// How an attempt to join went; only the first consumes the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// The certificate is issued, and the token used.
    Done,
    /// There is no such token.
    UnknownToken,
    /// The token was used before.
    TokenUsed {
        /// Wall clock, ms since 1970.
        at_ms: u64,
        /// By which node.
        by: String,
    },
    /// Another data directory joined under that name.
    NameTaken,
}

/// How an attempt to renew a certificate went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewed {
    /// The new one is issued.
    Done,
    /// The same key asked before; this is what it was given.
    Again(Box<CertificateRecord>),
    /// It was renewed before, with another key: two hold the former key.
    WithAnotherKey,
}
