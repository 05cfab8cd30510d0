//! The nodes that joined with a token, as every request asks of them: labels, flags, and whether they are revoked.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use manta_store::Enrolment;
use manta_types::NodeName;
use tokio_util::sync::CancellationToken;

use crate::orchestrator::Greeting;

/// Greetings of an older process beside a newer one's open session after which a node is flagged. One may have come late.
const DOUBLES: u32 = 2;

/// The nodes that joined.
#[derive(Debug, Default)]
pub(crate) struct Members(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    enrolled: BTreeMap<NodeName, Enrolment>,
    revoked: BTreeSet<NodeName>,
    /// Cancelled when the node is revoked, which ends its connections.
    live: BTreeMap<NodeName, CancellationToken>,
    doubles: BTreeMap<NodeName, u32>,
}

impl Members {
    pub(crate) fn new(enrolled: Vec<Enrolment>) -> Self {
        let enrolled = enrolled.into_iter().map(|member| (member.node.clone(), member)).collect();
        Self(Mutex::new(Inner { enrolled, ..Inner::default() }))
    }

    /// Notes a node that joined, or joined again.
    pub(crate) fn enrol(&self, member: Enrolment) {
        self.inner().enrolled.insert(member.node.clone(), member);
    }

    /// Whether a node has joined.
    pub(crate) fn is_enrolled(&self, node: &NodeName) -> bool {
        self.inner().enrolled.contains_key(node)
    }

    /// All nodes that joined, by name.
    pub(crate) fn all(&self) -> Vec<Enrolment> {
        self.inner().enrolled.values().cloned().collect()
    }

    /// What a node is labelled with, whatever it says of itself.
    pub(crate) fn labels(&self, node: &NodeName) -> BTreeMap<String, String> {
        self.inner().enrolled.get(node).map(|member| member.labels.clone()).unwrap_or_default()
    }

    /// Why a node's identity is not to be believed, where that is so.
    pub(crate) fn flag_of(&self, node: &str) -> Option<String> {
        let node = NodeName::new(node).ok()?;
        self.inner().enrolled.get(&node)?.flag.clone()
    }

    /// Flags a node; whether it was not flagged before.
    pub(crate) fn flag(&self, node: &NodeName, why: &str) -> bool {
        match self.inner().enrolled.get_mut(node) {
            Some(member) if member.flag.is_none() => {
                member.flag = Some(why.to_owned());
                true
            }
            _ => false,
        }
    }

    /// Takes a node's identity away and ends its connections.
    pub(crate) fn revoke(&self, node: &NodeName) {
        let mut inner = self.inner();
        inner.revoked.insert(node.clone());
        if let Some(live) = inner.live.remove(node) {
            live.cancel();
        }
    }

    pub(crate) fn is_revoked(&self, node: &NodeName) -> bool {
        self.inner().revoked.contains(node)
    }

    /// Cancelled when the node is revoked.
    pub(crate) fn live(&self, node: &NodeName) -> CancellationToken {
        let mut inner = self.inner();
        if inner.revoked.contains(node) {
            let over = CancellationToken::new();
            over.cancel();
            return over;
        }
        inner.live.entry(node.clone()).or_default().clone()
    }

    /// Notes that an agent greeted while a later one has the session; whether two must be alive.
    pub(crate) fn doubled(&self, node: &NodeName, greeting: Option<Greeting>) -> bool {
        // A first greeting may have been under way when its process ended.
        if greeting.is_none_or(|greeting| greeting.dial < 2) {
            return false;
        }
        let mut inner = self.inner();
        let doubles = inner.doubles.entry(node.clone()).or_default();
        *doubles += 1;
        *doubles >= DOUBLES
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
