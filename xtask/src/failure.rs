//! What a chore that cannot go on says: one sentence, maybe a hint, and the exit code.

/// Why a chore ended early.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    /// 1 where something failed, 2 where the command line was wrong.
    pub(crate) exit_code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit_code: 1 }
    }

    /// A command line that cannot be meant.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit_code: 2 }
    }

    /// An operating system's refusal: `what` was being done.
    pub(crate) fn io(what: impl AsRef<str>, error: &std::io::Error) -> Self {
        Self::new(format!("failed to {}: {error}", what.as_ref()))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a hint only where there is none yet.
    pub(crate) fn hint_unless_any(self, hint: impl Into<String>) -> Self {
        if self.hint.is_some() {
            return self;
        }
        self.hint(hint)
    }

    pub(crate) fn print(&self) {
        eprintln!("error: {}", self.message);
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
    }
}
