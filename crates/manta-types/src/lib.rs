//! The words of Manta: ids, names, units, limits, specifications, states and their transitions.
//!
//! Nothing here does IO, reads a clock or draws randomness. Only events and the ids in them have a serialised form
//! (ADR 0003); every other wire and disk form lives in `manta-api`, `manta-store` and the bundle manifest.
#![forbid(unsafe_code)]

/// Serialises a type as the text that it prints and parses.
macro_rules! text_form {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_form;

pub mod checkpoint;
pub mod crash;
pub mod digest;
pub mod event;
pub mod ids;
pub mod limits;
pub mod name;
pub mod outcome;
pub mod policy;
pub mod quota;
pub mod role;
pub mod rollout;
pub mod runtime;
pub mod spec;
pub mod state;
pub mod time;
pub mod trace;
pub mod usage;
pub mod version;

pub use checkpoint::{CarriedGlobal, CarriedOutcome, CarriedPin, CarriedRun, CarriedSlot, Checkpoint, FixedChoice};
pub use digest::{Blob, Digest};
pub use event::{Cause, Event, GlobalWrite, NextIteration, Published, Subject, SwarmEvent};
pub use ids::{AttemptId, ClusterId, NodeId, ReplayId, SwarmId};
pub use name::{NameError, NodeName};
pub use outcome::{AttemptFailure, OutcomeClass};
pub use policy::{Code, Fingerprint, Policy, PolicyRefusal, SignedBy, Signer, Standing};
pub use quota::{Quota, QuotaError};
pub use role::{Role, RoleError};
pub use rollout::{Comparison, Figure, Gate, GateVerdict, Holder, Pin, PlanError, RolloutPlan};
pub use runtime::{Library, Platform, PythonRange, PythonVersion, Runtime, RuntimeError};
pub use spec::{
    FailurePolicy, Method, NodeLimit, OnDisconnect, OnFailure, Quorum, Resources, SwarmSpec, TaskIndex, TaskSpec,
};
pub use state::{
    AttemptState, IllegalTransition, IterationState, LeaseState, NodeDuty, NodeState, RolloutState, SwarmState,
    TaskRunState,
};
pub use time::Timestamp;
pub use trace::{NoTraceParent, TraceParent};
pub use usage::{Allowance, AttemptLimit, LimitReached, Usage};
pub use version::{RangeError, VersionRange};
