//! What outlives a process: the state of clusters behind [`StateStore`], bytes behind [`BlobStore`], live logs, and who may
//! do what with the audit of what they did.
//!
//! State and bytes have two backends each (disk; memory, for tests) and one conformance suite that every backend runs.
//! All calls block; an async caller moves them to a thread that may.
#![forbid(unsafe_code)]

mod access;
pub mod blob;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod faulty;
mod identities;
mod logs;
mod memory;
mod record;
mod sqlite;
pub mod state;

pub use access::{
    AccessChange, AccessKey, AccessStore, AuditEntry, AuditFilter, AuditHead, AuditRecord, AuditVerdict, RoleFrom,
    TokenRecord, UserRecord,
};
pub use blob::{BlobError, BlobRead, BlobStore, BlobStream, BlobWriter, DirBlobs, FaultyBlobs, MemoryBlobs};
pub use error::{CommitError, StoreError};
pub use faulty::{Fault, Faulty};
pub use identities::{CertificateRecord, Enrolment, IdentityStore, JoinTokenRecord, Joined, Renewed};
pub use logs::{LogFilter, LogStore};
pub use memory::MemoryStore;
pub use record::{
    AttemptRecord, ClusterChange, ClusterRecord, GlobalRecord, KeyRecord, ModuleRecord, NewSwarm, NodeRecord,
    ResultRecord, SwarmRecord,
};
pub use sqlite::{SqliteStore, StateReader};
pub use state::{StateStore, Transaction};
