//! What crosses the wire: the public HTTP API's types, the node protocol, protocol versions and the error catalogue.
//!
//! Manager, node, client and command line meet here and nowhere else.
#![forbid(unsafe_code)]

pub mod attempt;
pub mod audit;
pub mod cluster;
pub mod control;
pub mod error;
pub mod explain;
pub mod join;
pub mod module;
mod node_view;
pub mod people;
pub mod plan;
pub mod policy;
pub mod ready;
pub mod rollout;
pub mod sign_in;
pub mod submission;
pub mod value;
pub mod version;
pub mod view;
pub mod why;

/// The node protocol, generated from `proto/node.proto`.
#[expect(missing_docs, reason = "generated")]
pub mod node {
    tonic::include_proto!("manta.node.v1");

    impl AttemptFinished {
        /// How many bytes it has in a message.
        pub fn encoded_bytes(&self) -> usize {
            prost::Message::encoded_len(self)
        }
    }
}

pub use attempt::{AttemptLimits, AttemptOutcome, AttemptView, ReplayEvent, ReplayNews, ReplayView};
pub use cluster::{ClusterLostView, ClusterRemovedView, ClusterRequest, ClusterView};
pub use error::{ErrorCode, Problem};
pub use explain::Explanation;
pub use join::{CertificateView, JoinRequest, JoinToken, JoinTokenRequest, JoinTokenView, RenewRequest, TokenError};
pub use module::{
    BundleSignatures, MarkRequest, ModuleAbout, ModuleMark, ModuleUseView, ModuleVersionView, ModuleView,
    PublishRequest,
};
pub use node_view::{
    ColumnView, DatasetSchema, DatasetView, LabelRequest, NodeDetailView, NodeEventView, NodeRemovedView, RunningView,
};
pub use people::{
    AuditVerdictView, AuditView, NewTokenView, QuotaRequest, QuotaView, RoleRequest, TokenRequest, TokenView,
    UserRequest, UserView, WhoView,
};
pub use plan::{LimitsView, PlanRequest, PlanView, RefusedView, TaskPlanView, UploadPlanView};
pub use ready::{Obstacle, ReadyView};
pub use rollout::{RollbackRequest, RolloutRequest, RolloutView};
pub use sign_in::{SignInAnswer, SignInBegun, SignInOutcome, SignInRequest, SignInReturned, SignInView};
pub use submission::{InvalidSubmission, ModuleRef, SwarmSubmission, TaskSubmission};
pub use view::{
    AttemptInputs, DistributionView, EventView, GlobalView, GpuView, InputResult, IterationView, LogLine, MissingInput,
    NEVER_CONNECTED, NOT_BELIEVED, NodeView, REVOKED, ResultView, SwarmView, TURNED_AWAY, TaskRunView, WaitingNode,
    WaitingView,
};
pub use why::{LinkView, ShortRunView, TryView, WhyView};
