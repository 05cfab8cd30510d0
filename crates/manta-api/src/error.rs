//! The error catalogue: one stable code per kind of error, feeding HTTP statuses, exit codes and Python exceptions.
use serde::{Deserialize, Serialize};

macro_rules! catalogue {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $exit:literal, $title:literal;)+) => {
        /// A kind of error, stable for ever; `docs/reference/errors.md` has a section for each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ErrorCode { $($(#[$doc])* $name),+ }

        impl ErrorCode {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
            /// `MANTA-0107`.
            pub const fn code(self) -> &'static str { match self { $(Self::$name => concat!("MANTA-", $code)),+ } }
            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 { match self { $(Self::$name => $status),+ } }
            /// The exit code of the command line.
            pub const fn exit(self) -> u8 { match self { $(Self::$name => $exit),+ } }
            /// What all errors of this kind have in common.
            pub const fn title(self) -> &'static str { match self { $(Self::$name => $title),+ } }
            /// The kind with that code.
            pub fn from_code(code: &str) -> Option<Self> { Self::ALL.iter().copied().find(|known| known.code() == code) }
        }
    };
}

catalogue! {
    /// A module's path is not there.
    ModulePath = "0101", 422, 4, "the module's path does not exist";
    /// A module has no `main()` and no single task class.
    NoEntryPoint = "0102", 422, 4, "the module has no entry point";
    /// A module does not parse.
    SyntaxError = "0103", 422, 4, "the module has a syntax error";
    /// A `maximum` that is not one.
    BadMaximum = "0104", 422, 4, "the task's `maximum` is out of range";
    /// A placement method that does not exist.
    UnknownMethod = "0105", 422, 4, "the task's `method` is unknown";
    /// `execute()` returned something else.
    BadGraph = "0106", 422, 4, "the swarm's graph is not one";
    /// The swarm's file or class cannot be used.
    SwarmFile = "0107", 422, 4, "the swarm cannot be loaded";
    /// A value that cannot be carried.
    ValueNotCarried = "0108", 422, 4, "the value cannot be carried";
    /// A name in an `except` clause that is never bound.
    UnboundName = "0109", 422, 4, "a name in an `except` clause is never bound";
    /// Another argument that cannot be used.
    BadArgument = "0110", 422, 4, "an argument cannot be used";
    /// Something that a later release brings.
    NotOffered = "0111", 422, 4, "this release does not offer it yet";
    /// The SDK cannot find the `manta` binary.
    NoBinary = "0112", 500, 4, "the `manta` program cannot be found";
    /// A file of settings that cannot be used.
    Configuration = "0113", 422, 2, "the configuration cannot be used";
    /// No node offers a dataset that a task needs.
    NoDataset = "0201", 422, 4, "no node offers the dataset";
    /// No node could ever run a task.
    NoNode = "0202", 422, 4, "no node can run the task";
    /// A swarm that breaks a rule.
    InvalidSwarm = "0203", 422, 4, "the swarm is not valid";
    /// A blob that the submission names is not stored.
    MissingBlob = "0204", 422, 4, "a blob is missing";
    /// Bytes that are not what their name says.
    DigestMismatch = "0205", 422, 4, "the bytes do not match their digest";
    /// A dataset's path is missing or unreadable.
    DatasetPath = "0206", 422, 4, "the dataset cannot be read";
    /// A task run failed that was not allowed to.
    SwarmFailed = "0207", 422, 1, "the swarm failed";
    /// The demo ended below its accuracy.
    TargetMissed = "0208", 422, 1, "the target was not reached";
    /// An image that cannot be taken in or used.
    BadImage = "0209", 422, 4, "the image cannot be used";
    /// A signature, a key or code that cannot be trusted.
    Untrusted = "0210", 422, 4, "it cannot be trusted";
    /// A command waited for as long as it was told to.
    WaitedTooLong = "0211", 408, 7, "it did not happen in time";
    /// Dependencies of a module that cannot be resolved or used.
    Dependencies = "0215", 422, 4, "the module's dependencies cannot be used";
    /// Nothing of that name.
    NotFound = "0301", 404, 3, "there is no such thing";
    /// No token, or a wrong one.
    Unauthorized = "0401", 401, 6, "the token is missing or wrong";
    /// A token of another kind.
    Forbidden = "0402", 403, 6, "this token may not do that";
    /// A Host header that is not ours.
    BadHost = "0403", 403, 6, "the request names another host";
    /// A sign-in that comes to nothing.
    SignInRefused = "0404", 401, 6, "the sign-in was refused";
    /// A request that cannot be read.
    BadRequest = "0501", 400, 2, "the request cannot be read";
    /// The same key with another content, or a state that forbids it.
    Conflict = "0502", 409, 8, "it conflicts with what is there";
    /// Larger than the limit.
    TooLarge = "0503", 413, 4, "it is larger than the limit";
    /// The cluster has as much as it may.
    QuotaReached = "0504", 429, 8, "a quota is reached";
    /// The manager cannot be reached.
    Unreachable = "0601", 503, 5, "the manager cannot be reached";
    /// The address is taken.
    PortInUse = "0602", 409, 8, "the address is in use";
    /// Another manager holds the data directory.
    DataDirLocked = "0603", 409, 8, "the data directory is in use";
    /// Plain HTTP where others can reach it.
    NotLoopback = "0604", 422, 4, "only loopback addresses are spoken to without TLS";
    /// The node's host cannot contain a task.
    NoContainment = "0605", 422, 4, "this host cannot contain a task";
    /// Two parts of different versions.
    VersionMismatch = "0606", 409, 8, "the versions do not work together";
    /// The issuer of identities does not answer.
    IssuerAway = "0607", 502, 5, "the issuer of identities does not answer";
    /// The disk is full or failing.
    Storage = "0701", 507, 1, "the storage failed";
    /// Stored bytes that are no longer what was written.
    Corrupt = "0702", 500, 1, "stored data is damaged";
    /// In a task: the platform said no, in words of its own.
    TaskRefused = "0800", 422, 1, "the platform refused";
    /// In a task: touched outside of an attempt.
    NoTask = "0801", 422, 1, "this process runs no task";
    /// In a task: a dataset that the module does not list.
    DatasetNotAuthorized = "0802", 403, 1, "the module does not list the dataset";
    /// In a task: a result that nobody published.
    ResultNotFound = "0803", 404, 1, "no such result was published";
    /// In a task: a global that the swarm does not have.
    GlobalNotFound = "0804", 404, 1, "the swarm has no such global";
    /// In a task: bytes that fail their check.
    DataCorruption = "0805", 422, 1, "data is damaged";
    /// In a task: a limit is reached.
    ResourceExhaustion = "0806", 507, 1, "a resource is exhausted";
    /// In a task: its node's agent is gone.
    AgentGone = "0807", 503, 1, "the node's agent no longer answers";
    /// In a task: a task or node that the swarm does not know.
    UnknownTaskOrNode = "0808", 404, 1, "the swarm knows no such task or node";
    /// In a task: an argument of `manta.light` that cannot be used.
    TaskArgument = "0809", 400, 1, "an argument cannot be used";
    /// In a task: a dataset that the node no longer has.
    DatasetMissing = "0810", 404, 1, "the node lacks the dataset's file";
    /// Our own fault.
    Internal = "0900", 500, 1, "an internal error";
}

/// An error as it crosses the API: RFC 9457 problem details with Manta's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `about:blank`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What all errors of this code have in common.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// `MANTA-0107`.
    pub code: String,
    /// One sentence: what happened, where and why.
    #[serde(rename = "detail")]
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of that kind, in one sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: code.title().to_owned(),
            status: code.status(),
            code: code.code().to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    /// The same, saying what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The catalogue's entry, where this build knows it.
    pub fn error_code(&self) -> Option<ErrorCode> {
        ErrorCode::from_code(&self.code)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_read_back() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(ErrorCode::from_code(code.code()), Some(*code));
            assert!(ErrorCode::ALL[..index].iter().all(|other| other.code() != code.code()), "{code:?}");
        }
    }
}
