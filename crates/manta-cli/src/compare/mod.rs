//! Two encoded values side by side: whether they are the same, and where they first differ.
//!
//! Headers are compared entry by entry, buffers chunk by chunk from the files, so that no value has to fit into memory.
mod array;
mod encoded;
mod walk;

use std::path::Path;

use serde::Serialize;

use crate::report::Failure;

/// The first place where two values differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Difference {
    /// The way to it inside the value: `["weights"][0]`; empty for the value itself.
    pub(crate) path: String,
    /// What differs: `elements`, `dtype`, `shape`, `length`, `keys`, `type`, `value`, `encoding`.
    pub(crate) what: &'static str,
    /// The first differing element's index in an array or a packed list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<Vec<u64>>,
    /// What stands there in the original.
    pub(crate) original: String,
    /// What stands there in the replay.
    pub(crate) replayed: String,
    /// How the elements of the array differ as a whole.
    #[serde(flatten)]
    pub(crate) spread: Option<Spread>,
}

/// How two arrays of the same dtype and shape differ as a whole.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct Spread {
    /// Elements that differ in any bit.
    pub(crate) differing: u64,
    /// Elements in all.
    pub(crate) elements: u64,
    /// The largest distance of two differing elements that are both finite numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_absolute: Option<f64>,
    /// The largest such distance as a share of the larger of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_relative: Option<f64>,
    /// Differing elements of which at least one is not finite: NaN or an infinity.
    pub(crate) not_finite: u64,
}

/// The first difference of two encoded values; nothing where they are the same to the bit.
pub(crate) fn values(original: &Path, replayed: &Path) -> Result<Option<Difference>, Failure> {
    let (a, b) = (encoded::Encoded::open(original)?, encoded::Encoded::open(replayed)?);
    let found = walk::Walk { a: &a, b: &b }.walk("", &a.tree, &b.tree)?;
    // Whatever the eye cannot tell apart, as the spelling of a number, is told by where the bytes part.
    Ok(found.or_else(|| encoded::headers(&a, &b)))
}

impl Difference {
    /// One line for people: `["weights"]: float32[64×10] at [3, 2]: 0.5 → 0.25 (…)`.
    pub(crate) fn sentence(&self) -> String {
        let at = self.index.as_ref().map_or_else(String::new, |index| {
            let index: Vec<String> = index.iter().map(u64::to_string).collect();
            format!("element [{}]: ", index.join(", "))
        });
        let what = match self.what {
            "elements" | "value" => String::new(),
            other => format!("{other}: "),
        };
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        let spread = self.spread.as_ref().map(Spread::sentence).unwrap_or_default();
        format!("{path}{at}{what}{} in the original, {} in the replay{spread}", self.original, self.replayed)
    }
}

impl Spread {
    fn sentence(&self) -> String {
        let mut parts = vec![format!("{} of {} elements differ", self.differing, self.elements)];
        if let (Some(absolute), Some(relative)) = (self.max_absolute, self.max_relative) {
            parts.push(format!("by at most {absolute:e}, relative {relative:e}"));
        }
        if self.not_finite > 0 {
            parts.push(format!("{} of them not finite", self.not_finite));
        }
        format!(" ({})", parts.join(", "))
    }
}

#[cfg(test)]
mod tests;
