//! Why an agent could not start, or had to stop.
use std::io;
use std::path::PathBuf;

use manta_api::{ErrorCode, REVOKED};
use manta_client::ClientError;

/// Why an agent could not start, or had to stop. Being unable to reach the manager is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The host cannot contain a task as well as the site asks for.
    #[error("this host can contain tasks only at tier `{found}`, and this node asks for `{wanted}` or better: {why}")]
    NoContainment {
        /// The best tier that started, or `none`.
        found: String,
        /// What the settings ask for.
        wanted: String,
        /// What is missing, in words.
        why: String,
        /// What to do.
        cure: String,
    },
    /// A dataset's name cannot be used.
    #[error("{0}")]
    DatasetName(String),
    /// A dataset cannot be offered.
    #[error("the dataset `{name}` at `{path}` cannot be offered: {reason}")]
    DatasetPath {
        /// Its name.
        name: String,
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        reason: String,
        /// What to do.
        cure: String,
    },
    /// Another agent has the data directory.
    #[error("the data directory `{path}` is in use by another agent")]
    DataDirLocked {
        /// Which.
        path: PathBuf,
    },
    /// The data directory cannot be used.
    #[error("the data directory cannot be used: `{path}`: {source}")]
    DataDir {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The interpreter cannot serve as an image.
    #[error("the Python interpreter `{path}` cannot be used for tasks: {reason}")]
    Python {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What tasks import could not be written or compiled.
    #[error("the task runtime could not be prepared: {0}")]
    Runtime(String),
    /// The description of this host's GPUs cannot be used.
    #[error("the CDI specification `{path}` cannot be used: {reason}")]
    Gpus {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The site's policy cannot be used.
    #[error("the policy {place} cannot be used: {problem}")]
    Policy {
        /// Its file, with the line where that is known.
        place: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        cure: String,
    },
    /// A dataset is not offered, or goes on being offered.
    #[error("{problem}")]
    Dataset {
        /// What is wrong.
        problem: String,
        /// What to do, where that is known.
        cure: Option<String>,
        /// Of which kind.
        code: ErrorCode,
    },
    /// The audit cannot be read or followed.
    #[error("{0}")]
    Audit(#[from] crate::AuditFault),
    /// There is no agent to ask.
    #[error("the agent with the data directory `{path}` cannot be asked: {reason}")]
    NoAgent {
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The manager does not want this node.
    #[error("the manager at {manager} refused this node: {reason}")]
    Refused {
        /// Its address.
        manager: String,
        /// In its words.
        reason: String,
        /// Of which kind.
        code: ErrorCode,
    },
    /// The manager did not let this node in.
    #[error("this node could not join: {source}")]
    NotJoined {
        /// The manager's address.
        manager: String,
        /// Why.
        source: Box<ClientError>,
    },
    /// What the node keeps of its identity cannot be used.
    #[error("the identity in `{}` cannot be used: {problem}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The privileged helper is gone.
    #[error("the sandbox launcher failed: {0}")]
    Launcher(String),
    /// The container engine that tasks are to run in cannot be used.
    #[error("the engine `{engine}` cannot be used: {why}")]
    Engine {
        /// Which.
        engine: &'static str,
        /// Whose API it is asked by.
        service: &'static str,
        /// In words.
        why: String,
    },
    /// No other program takes this one's place, or one that did cannot go on.
    #[error("{0}")]
    Upgrade(String),
    /// A fault of the agent.
    #[error("an internal error: {0}")]
    Internal(String),
}

impl NodeError {
    /// The error's entry in the catalogue.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotJoined { source, .. } => source.error_code().unwrap_or(ErrorCode::Internal),
            Self::Identity { .. } => ErrorCode::Untrusted,
            Self::NoContainment { .. } | Self::Python { .. } | Self::Engine { .. } => ErrorCode::NoContainment,
            Self::DatasetName(_) | Self::Gpus { .. } | Self::Policy { .. } => ErrorCode::BadArgument,
            Self::DatasetPath { .. } => ErrorCode::DatasetPath,
            Self::Dataset { code, .. } | Self::Refused { code, .. } => *code,
            Self::NoAgent { .. } => ErrorCode::NotFound,
            Self::Upgrade(_) => ErrorCode::Conflict,
            Self::DataDirLocked { .. } => ErrorCode::DataDirLocked,
            Self::DataDir { .. } | Self::Runtime(_) | Self::Audit(_) => ErrorCode::Storage,
            Self::Launcher(_) | Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoContainment { cure, .. } | Self::DatasetPath { cure, .. } | Self::Policy { cure, .. } => {
                Some(cure.clone())
            }
            Self::Dataset { cure, .. } => cure.clone(),
            Self::NoAgent { .. } => Some(
                "name the data directory of an agent that runs, with --data-dir, or the node, with --name".to_owned(),
            ),
            Self::Audit(crate::AuditFault::Broken { .. }) => Some(
                "keep the file as it is: what stands before that line holds, what follows cannot be believed"
                    .to_owned(),
            ),
            Self::DataDirLocked { .. } => Some("stop the other agent, or give this one its own directory".to_owned()),
            Self::Engine { service, .. } => Some(format!(
                "start {service} (`systemctl start {service}.socket`) and let this user use it, name its socket with \
                 --engine-socket, or use --engine builtin"
            )),
            Self::Python { .. } => Some("name a Python 3.9 or newer that runs on this host".to_owned()),
            Self::Gpus { .. } => Some(
                "name a specification for --gpus, or `none` to offer no GPU (nvidia-ctk cdi generate makes one)"
                    .to_owned(),
            ),
            Self::Refused { code, reason, .. } if reason.contains(REVOKED) => {
                // The name stays taken, and so does the identity in the data directory.
                let token = if *code == ErrorCode::Forbidden { ", with a token of `manta node token`" } else { "" };
                Some(format!("let it join as another node{token}: with another --name and another --data-dir"))
            }
            Self::Refused { code: ErrorCode::Unauthorized | ErrorCode::Forbidden, .. } => Some(
                "join with a token of `manta node token`; on the manager's own machine, pass the node token that stands in \
                 `node-token` in its data directory"
                    .to_owned(),
            ),
            Self::NotJoined { source, .. } => source.hint().map(str::to_owned),
            Self::Identity { path, .. } => {
                Some(format!("chmod 600 '{0}'; or remove '{0}' and join again", path.display()))
            }
            Self::Refused { code: ErrorCode::Conflict, .. } => Some("give this node another name".to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_node_is_told_to_change_both_its_name_and_its_directory() {
        let hint = |code, reason: &str| {
            let (manager, reason) = ("http://m".to_owned(), reason.to_owned());
            NodeError::Refused { manager, reason, code }.hint().unwrap()
        };
        let revoked = format!("node `a` {REVOKED}");
        for code in [ErrorCode::Conflict, ErrorCode::Forbidden] {
            let told = hint(code, &revoked);
            assert!(told.contains("another --name and another --data-dir"), "{told}");
            assert_eq!(told.contains("manta node token"), code == ErrorCode::Forbidden, "{told}");
        }
        assert_eq!(hint(ErrorCode::Conflict, "the name `a` belongs to another node"), "give this node another name");
    }
}
