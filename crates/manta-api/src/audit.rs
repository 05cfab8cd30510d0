//! A node's own audit: what ran there, with which datasets, what was refused, and what left. One record a line, each sealed
//! with the one before it, in a file of the node's data directory that no manager reads or writes.
//!
//! A line is the record's seal, a space and the record as JSON. The seal is the BLAKE3 digest of the seal before it, a space and
//! that JSON; the first follows 64 zeros. So a record that was changed, taken out or put in breaks the chain where it stands;
//! that the last ones were cut off is seen only by whoever noted an earlier end of the chain. A file that follows a full one
//! begins with a record of the seal that it goes on from, and of what had left on that day: what it was counted from may be gone.
use std::collections::BTreeMap;

use manta_types::{AttemptId, Digest, SwarmId};
use serde::{Deserialize, Serialize};

/// The seal before the first record.
pub const AUDIT_BEGIN: Digest = Digest::from_bytes([0; 32]);

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// From 1, without gaps.
    pub seq: u64,
    /// Wall clock, ms since 1970.
    pub time_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// What happened on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AuditEntry {
    /// The agent started.
    Started {
        /// Its release.
        agent_version: String,
        /// The node's name.
        node: String,
    },
    /// The site's policy is this from now on.
    Policy {
        /// A digest of its rules; absent where it has none.
        digest: Option<String>,
    },
    /// A dataset is offered from now on.
    DatasetAdded {
        /// Its name.
        dataset: String,
        /// Where it is on this machine.
        path: String,
    },
    /// A dataset is offered no more.
    DatasetRemoved {
        /// Its name.
        dataset: String,
    },
    /// A module was refused by the site's policy.
    Refused {
        /// By whom it was asked for.
        work: AuditWork,
        /// Why, with the rule and its line.
        why: String,
    },
    /// User code is about to run.
    Began {
        /// By whom it was asked for.
        work: AuditWork,
        /// Signers that vouch for it, as the policy names them; none where the policy asks for none.
        signers: Vec<String>,
    },
    /// Something leaves this machine that attempts made which could open these datasets; said before it is sent.
    Egress {
        /// The attempt.
        attempt: String,
        /// The datasets.
        datasets: Vec<String>,
        /// `results`, `logs`, `report`; `returned` for what was set aside for logs and did not leave.
        what: String,
        /// Bytes; negative for what was returned.
        bytes: i64,
    },
    /// User code ended, or was ended.
    Ended {
        /// The attempt.
        attempt: String,
        /// `succeeded`, or the class of its failure.
        outcome: String,
    },
    /// The file before this one was full.
    Continued {
        /// The seal of its last record.
        seal: Digest,
        /// Bytes that had left of each dataset on that day of UTC.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        left_today: BTreeMap<String, u64>,
    },
    /// What was before in this file, or its last line, could not be followed, and was set aside.
    Broken {
        /// Why.
        why: String,
        /// Where it lies now.
        file: String,
        /// Bytes that had left of each dataset on that day of UTC, as far as it could be followed.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        left_today: BTreeMap<String, u64>,
    },
}

/// Who asked for something to run, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditWork {
    /// The attempt.
    pub attempt: String,
    /// The swarm.
    pub swarm: SwarmId,
    /// The swarm's name.
    pub swarm_name: String,
    /// The task's alias.
    pub task: String,
    /// From 0.
    pub iteration: u32,
    /// The module.
    pub module: String,
    /// Its version.
    pub version: String,
    /// The digest of its bundle.
    pub bundle: Digest,
    /// The image.
    pub image: String,
    /// The attempt of which this is a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<AttemptId>,
    /// Datasets that it may open.
    pub datasets: Vec<String>,
}

impl AuditEntry {
    /// Its stable name.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Policy { .. } => "policy",
            Self::DatasetAdded { .. } => "dataset_added",
            Self::DatasetRemoved { .. } => "dataset_removed",
            Self::Refused { .. } => "refused",
            Self::Began { .. } => "began",
            Self::Egress { .. } => "egress",
            Self::Ended { .. } => "ended",
            Self::Continued { .. } => "continued",
            Self::Broken { .. } => "broken",
        }
    }

    /// Whether it concerns a dataset.
    pub fn concerns(&self, dataset: &str) -> bool {
        match self {
            Self::DatasetAdded { dataset: name, .. } | Self::DatasetRemoved { dataset: name } => name == dataset,
            Self::Refused { work, .. } | Self::Began { work, .. } => work.datasets.iter().any(|name| name == dataset),
            Self::Egress { datasets, .. } => datasets.iter().any(|name| name == dataset),
            _ => false,
        }
    }
}

/// Why a line cannot follow the one before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// It was changed, or one before it is missing.
    #[error("its seal does not follow from the line before it: it was changed, or something before it was")]
    Seal,
    /// It is no line of an audit.
    #[error("it is no record of an audit: {0}")]
    Form(String),
    /// Its number is not the next.
    #[error("it has the number {found}, and {wanted} is next")]
    Number {
        /// What it says.
        found: u64,
        /// What would follow.
        wanted: u64,
    },
}

/// The seal of a record after another.
fn seal(before: &Digest, json: &str) -> Digest {
    Digest::from_bytes(*blake3::hash(format!("{before} {json}").as_bytes()).as_bytes())
}

/// A record as a line, with its end, and its seal.
pub fn audit_line(before: &Digest, record: &AuditRecord) -> (String, Digest) {
    let json = serde_json::to_string(record).expect("texts and numbers: always JSON");
    let seal = seal(before, &json);
    (format!("{seal} {json}\n"), seal)
}

/// Reads a line, without its end, that follows a record of this seal and number.
///
/// # Errors
/// Why it does not follow.
pub fn read_audit_line(line: &str, before: &Digest, last: u64) -> Result<(AuditRecord, Digest), AuditError> {
    let (written, json) = line.split_once(' ').ok_or_else(|| AuditError::Form("it has no seal".to_owned()))?;
    let written: Digest = written.parse().map_err(|_| AuditError::Form("its seal is no digest".to_owned()))?;
    if seal(before, json) != written {
        return Err(AuditError::Seal);
    }
    let record: AuditRecord = serde_json::from_str(json).map_err(|error| AuditError::Form(error.to_string()))?;
    if record.seq != last + 1 {
        return Err(AuditError::Number { found: record.seq, wanted: last + 1 });
    }
    Ok((record, written))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        let entries = ["one", "two", "three"].map(|dataset| AuditEntry::DatasetRemoved { dataset: dataset.to_owned() });
        let mut before = AUDIT_BEGIN;
        let written = (1..).zip(entries).map(|(seq, entry)| {
            let (line, seal) = audit_line(&before, &AuditRecord { seq, time_ms: 5, entry });
            before = seal;
            line.trim_end().to_owned()
        });
        written.collect()
    }

    fn read(lines: &[String]) -> Result<u64, AuditError> {
        let (mut before, mut last) = (AUDIT_BEGIN, 0);
        for line in lines {
            let (record, seal) = read_audit_line(line, &before, last)?;
            (before, last) = (seal, record.seq);
        }
        Ok(last)
    }

    #[test]
    fn what_was_changed_taken_out_or_put_in_breaks_the_chain() {
        let whole = lines();
        assert_eq!(read(&whole), Ok(3));
        for change in [
            |lines: &mut Vec<String>| lines[1] = lines[1].replace("two", "six"),
            |lines: &mut Vec<String>| drop(lines.remove(1)),
            |lines: &mut Vec<String>| lines.swap(1, 2),
            |lines: &mut Vec<String>| lines.insert(1, lines[0].clone()),
        ] {
            let mut changed = whole.clone();
            change(&mut changed);
            assert_eq!(read(&changed), Err(AuditError::Seal));
        }
        assert!(matches!(read_audit_line("x", &AUDIT_BEGIN, 0), Err(AuditError::Form(_))));
    }
}
