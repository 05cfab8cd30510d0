//! The chain of the audit log: each record is digested with the digest of the one before it.
use manta_types::ClusterId;

/// Bytes of a digest.
pub(super) type Link = [u8; 32];

/// What happened, before it has its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Wall clock, ms since 1970.
    pub time_ms: u64,
    /// The cluster that it concerns.
    pub cluster: ClusterId,
    /// Who asked, in words.
    pub who: String,
    /// The id of the token that was shown, where that is known.
    pub token: Option<String>,
    /// Where the request came from.
    pub source: String,
    /// The HTTP method.
    pub method: String,
    /// The route, as its table has it.
    pub route: String,
    /// What was asked for, or was made.
    pub object: String,
    /// What came of it.
    pub outcome: String,
    /// The idempotency key.
    pub key: Option<String>,
}

impl AuditEntry {
    /// Bytes of its texts.
    pub(super) fn bytes(&self) -> u64 {
        self.texts().iter().flatten().map(|text| text.len() as u64).sum()
    }

    /// The digest of this entry as record `seq` after `before`: BLAKE3 over numbers of eight bytes and texts after their
    /// lengths, so that no two records read alike.
    pub(super) fn follow(&self, before: &Link, seq: u64) -> Link {
        let mut hasher = blake3::Hasher::new_derive_key("manta audit log 1");
        hasher.update(before);
        hasher.update(&seq.to_le_bytes());
        hasher.update(&self.time_ms.to_le_bytes());
        for text in self.texts() {
            hasher.update(&[u8::from(text.is_some())]);
            let text = text.unwrap_or_default();
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    fn texts(&self) -> [Option<&str>; 9] {
        [
            Some(self.cluster.as_str()),
            Some(&self.who),
            self.token.as_deref(),
            Some(&self.source),
            Some(&self.method),
            Some(&self.route),
            Some(&self.object),
            Some(&self.outcome),
            self.key.as_deref(),
        ]
    }
}
