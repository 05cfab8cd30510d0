//! What happened last, for people; and a fingerprint of all that happened, for comparing runs.
use std::collections::VecDeque;

/// Lines that a failure shows.
const LINES_KEPT: usize = 60;

/// The last lines of a run, where they are asked for, and the fingerprint of the whole.
#[derive(Debug)]
pub(crate) struct Trace {
    lines: Option<VecDeque<String>>,
    fingerprint: u64,
}

impl Trace {
    pub(crate) fn new(keeps_lines: bool) -> Self {
        Self { lines: keeps_lines.then(VecDeque::new), fingerprint: 0xcbf2_9ce4_8422_2325 }
    }

    /// Adds a line, made only where lines are kept.
    pub(crate) fn line(&mut self, now: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_KEPT {
                lines.pop_front();
            }
            lines.push_back(format!("{:>10.3} s  {}", seconds(now), line()));
        }
    }

    /// Makes numbers part of the fingerprint (FNV-1a).
    pub(crate) fn mix(&mut self, numbers: &[u64]) {
        for byte in numbers.iter().flat_map(|number| number.to_le_bytes()) {
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.map(Vec::from).unwrap_or_default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people; a run lasts minutes")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
