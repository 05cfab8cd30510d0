//! Errors as people and programs see them: one sentence, a code, a hint, and the exit code.
use std::process::ExitCode;

use manta_api::ErrorCode;
use manta_client::ClientError;
use serde::{Deserialize, Serialize};

use crate::out::complain;
use crate::text::hanging;

/// Whether errors and data are for people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Lines and tables.
    Text,
    /// JSON.
    Json,
}

/// A command that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `MANTA-0206`; none for what the user asked for, as an interruption, or for a swarm that failed by itself.
    pub(crate) code: Option<String>,
    /// One sentence.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// The exit code.
    pub(crate) exit: u8,
    /// Whether nothing is printed, because it was said already or nobody listens.
    pub(crate) silent: bool,
}

/// An error as one JSON object on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorObject {
    /// The code, where there is one.
    pub(crate) code: Option<String>,
    /// One sentence.
    pub(crate) message: String,
    /// The user's file and line.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// Where the documentation speaks of its code.
    #[serde(default)]
    pub(crate) docs: Option<String>,
}

impl Failure {
    /// An error of the catalogue.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code: Some(code.code().to_owned()),
            message: message.into(),
            hint: None,
            exit: code.exit(),
            silent: false,
        }
    }

    /// A command line that cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: 2, ..Self::new(ErrorCode::BadArgument, message) }
    }

    /// Our own fault, or the system's.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// A file that cannot be read or written.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(ErrorCode::Storage, format!("{what} `{}`: {error}", path.display()))
    }

    /// The user ended the command.
    pub(crate) fn interrupted() -> Self {
        Self { code: None, message: "interrupted".to_owned(), hint: None, exit: 130, silent: false }
    }

    /// Ends with that exit code; everything has been said.
    pub(crate) fn silent(exit: u8) -> Self {
        Self { code: None, message: String::new(), hint: None, exit, silent: true }
    }

    /// The same, saying what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// As one JSON object.
    pub(crate) fn object(&self) -> ErrorObject {
        let (code, message, hint) = (self.code.clone(), self.message.clone(), self.hint.clone());
        let docs = code.as_deref().and_then(ErrorCode::from_code).map(ErrorCode::docs);
        ErrorObject { code, message, place: None, hint, docs }
    }

    /// Prints the error on standard error and gives the exit code.
    pub(crate) fn report(&self, form: Form) -> ExitCode {
        if !self.silent {
            match form {
                Form::Json => complain(&serde_json::to_string(&self.object()).expect("text is always JSON")),
                Form::Text => complain(&self.text()),
            }
        }
        ExitCode::from(self.exit)
    }

    /// `error[MANTA-0206]: …`, then `hint: …`.
    fn text(&self) -> String {
        let code = self.code.as_ref().map(|code| format!("[{code}]")).unwrap_or_default();
        let hint = self.hint.as_ref().map(|hint| format!("\nhint: {}", hanging(hint))).unwrap_or_default();
        format!("error{code}: {}{hint}", hanging(&self.message))
    }
}

impl From<ErrorObject> for Failure {
    /// The exit code is the catalogue's; 4 where this build does not know the code.
    fn from(object: ErrorObject) -> Self {
        let known = object.code.as_deref().and_then(ErrorCode::from_code);
        let place = object.place.map(|place| format!("{place}: ")).unwrap_or_default();
        Self {
            code: object.code,
            message: format!("{place}{}", object.message),
            hint: object.hint,
            exit: known.map_or(4, ErrorCode::exit),
            silent: false,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self {
            code: Some(error.code().to_owned()),
            message: error.to_string(),
            hint: error.hint().map(str::to_owned),
            exit: error.exit(),
            silent: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_a_sentence_with_code_and_hint() {
        let failure = Failure::new(ErrorCode::DatasetPath, "the dataset `d` is not there").hint("check the path");
        assert_eq!(failure.text(), "error[MANTA-0206]: the dataset `d` is not there\nhint: check the path");
        assert_eq!(failure.exit, 4);
    }

    #[test]
    fn a_childs_error_keeps_its_code_and_place() {
        let json = r#"{"code":"MANTA-0104","message":"`maximum` is 0","where":"swarm.py:7","hint":null}"#;
        let failure = Failure::from(serde_json::from_str::<ErrorObject>(json).unwrap());
        assert_eq!((failure.text().as_str(), failure.exit), ("error[MANTA-0104]: swarm.py:7: `maximum` is 0", 4));
    }
}
