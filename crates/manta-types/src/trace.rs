//! The place of a swarm in a trace that somebody began before it was submitted: W3C Trace Context's `traceparent`.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A span of a trace, under which others are put: `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no traceparent of W3C Trace Context (as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01)")]
pub struct NoTraceParent(String);

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

impl TraceParent {
    /// A span of a trace that is sampled; neither is 0.
    pub const fn new(trace: u128, span: u64) -> Self {
        Self { trace, span, flags: SAMPLED }
    }

    /// The trace.
    pub const fn trace(&self) -> u128 {
        self.trace
    }

    /// The span in it.
    pub const fn span(&self) -> u64 {
        self.span
    }

    /// Another span of the same trace, sampled or not as this one is.
    #[must_use]
    pub const fn with_span(self, span: u64) -> Self {
        Self { span, ..self }
    }
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let is_hex = |part: &&str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let parts: Vec<&str> = text.split('-').collect();
            let ([version, trace, span, flags], more) = parts.split_at_checked(4)? else { return None };
            let is_formed = [(version, 2), (trace, 32), (span, 16), (flags, 2)]
                .iter()
                .all(|(part, digits)| part.len() == *digits && is_hex(part));
            // Later versions may have more parts and other flags; what this one has is read, and said as this one says it.
            let known = match *version {
                "00" if more.is_empty() => u8::MAX,
                "00" | "ff" => return None,
                _ => SAMPLED,
            };
            let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| is_formed && *trace != 0)?;
            let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
            Some(Self { trace, span, flags: u8::from_str_radix(flags, 16).ok()? & known })
        };
        read().ok_or_else(|| NoTraceParent(text.chars().take(80).collect()))
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

impl TryFrom<String> for TraceParent {
    type Error = NoTraceParent;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_none_is_refused() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent: TraceParent = text.parse().unwrap();
        assert_eq!(parent.to_string(), text);
        assert_eq!(parent.with_span(1).to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01");
        for later in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-09",
            &text.replace("00-", "01-"),
            &format!("0a{}-x-y", &text[2..]),
        ] {
            assert_eq!(later.parse::<TraceParent>().unwrap().to_string(), text);
        }
        for none in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "1-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(none.parse::<TraceParent>().is_err(), "{none}");
        }
    }
}
