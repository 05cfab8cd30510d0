//! Elements of arrays: read by their dtype, compared to the bit, shown as numbers.
use std::cmp::Ordering;

use manta_api::value::{Dtype, Kind, Tree};

use super::Spread;
use super::encoded::Encoded;
use crate::report::Failure;

/// Bytes of each buffer that are in memory at a time, or one element where that is larger.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of an element of no numeric type that are shown.
const SHOWN_BYTES: usize = 16;

/// What an array is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    /// Bytes of one element.
    pub(super) size: usize,
    kind: Kind,
    big_endian: bool,
}

/// The first difference of two buffers, and how they differ as a whole.
#[derive(Debug)]
pub(super) struct Compared {
    /// Its position, counted in elements.
    pub(super) first: u64,
    pub(super) original: String,
    pub(super) replayed: String,
    pub(super) spread: Spread,
}

impl Element {
    /// Reads a dtype of a header.
    pub(super) fn of(dtype: Option<&Tree>) -> Option<Self> {
        let Dtype { kind, bytes, is_big_endian } = Dtype::read(dtype?).ok()?;
        let size = usize::try_from(bytes).ok().filter(|size| *size > 0)?;
        Some(Self { size, kind, big_endian: is_big_endian })
    }

    /// What packed lists, texts and tables are made of: little-endian numbers of so many bytes.
    pub(super) const fn plain(kind: Kind, size: usize) -> Self {
        Self { size, kind, big_endian: false }
    }

    /// An element as a person reads it.
    pub(super) fn shown(&self, bytes: &[u8]) -> String {
        match self.kind {
            Kind::Bool => if bytes[0] == 0 { "False" } else { "True" }.to_owned(),
            Kind::Int | Kind::Unsigned => self.whole(bytes).to_string(),
            Kind::Float => self.shown_float(bytes),
            Kind::Complex => {
                let half = Self { size: self.size / 2, kind: Kind::Float, big_endian: self.big_endian };
                let (real, imaginary) = bytes.split_at(half.size);
                format!("({} + {}j)", half.shown_float(real), half.shown_float(imaginary))
            }
            Kind::Opaque => {
                let more = if bytes.len() > SHOWN_BYTES { "…" } else { "" };
                let shown: String = bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
                format!("0x{shown}{more}")
            }
        }
    }

    /// In the fewest digits that tell it from its neighbours; a NaN with its bits, since no two need be equal.
    fn shown_float(&self, bytes: &[u8]) -> String {
        let value = self.float(bytes);
        if value.is_nan() {
            let bits: String = self.in_order(bytes).iter().rev().map(|byte| format!("{byte:02x}")).collect();
            return format!("nan (0x{bits})");
        }
        match bytes.len() {
            #[expect(clippy::cast_possible_truncation, reason = "it was widened from as many bits")]
            4 => format!("{:?}", value as f32),
            _ => format!("{value:?}"),
        }
    }

    /// The real value and, for complex numbers, the imaginary one; nothing where there is no number.
    fn parts(&self, bytes: &[u8]) -> Option<(f64, f64)> {
        match self.kind {
            Kind::Float => Some((self.float(bytes), 0.0)),
            Kind::Complex => {
                let half = Self { size: self.size / 2, kind: Kind::Float, big_endian: self.big_endian };
                let (real, imaginary) = bytes.split_at(half.size);
                Some((half.float(real), half.float(imaginary)))
            }
            _ => None,
        }
    }

    /// The distance of two elements and the size of the larger; nothing where they are no numbers, and infinity where
    /// they are not finite.
    fn distance(&self, a: &[u8], b: &[u8]) -> Option<(f64, f64)> {
        #[expect(clippy::cast_precision_loss, reason = "a distance is told in 53 bits")]
        if matches!(self.kind, Kind::Int | Kind::Unsigned) {
            let (a, b) = (self.whole(a), self.whole(b));
            return Some(((a - b).unsigned_abs() as f64, a.unsigned_abs().max(b.unsigned_abs()) as f64));
        }
        let ((ar, ai), (br, bi)) = (self.parts(a)?, self.parts(b)?);
        if ![ar, ai, br, bi].iter().all(|part| part.is_finite()) {
            return Some((f64::INFINITY, f64::INFINITY));
        }
        Some(((ar - br).hypot(ai - bi), ar.hypot(ai).max(br.hypot(bi))))
    }

    fn whole(&self, bytes: &[u8]) -> i128 {
        let ordered = self.in_order(bytes);
        let sign = self.kind == Kind::Int && ordered.last().is_some_and(|top| top & 0x80 != 0);
        let mut wide = [if sign { 0xff } else { 0 }; 16];
        wide[..ordered.len()].copy_from_slice(&ordered);
        i128::from_le_bytes(wide)
    }

    fn float(&self, bytes: &[u8]) -> f64 {
        let ordered = self.in_order(bytes);
        match <[u8; 8]>::try_from(ordered.as_slice()) {
            Ok(eight) => f64::from_le_bytes(eight),
            Err(_) => match <[u8; 4]>::try_from(ordered.as_slice()) {
                Ok(four) => f64::from(f32::from_le_bytes(four)),
                Err(_) => half(u16::from_le_bytes([ordered[0], ordered[1]])),
            },
        }
    }

    /// The bytes, least significant first.
    fn in_order(&self, bytes: &[u8]) -> Vec<u8> {
        let mut ordered = bytes.to_vec();
        if self.big_endian {
            ordered.reverse();
        }
        ordered
    }
}

/// A float of 16 bits (IEEE 754 binary16).
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// Compares two buffers of so many bytes; nothing where they are the same.
pub(super) fn compare(
    element: &Element,
    (a, at_a): (&Encoded, u64),
    (b, at_b): (&Encoded, u64),
    bytes: u64,
) -> Result<Option<Compared>, Failure> {
    let size = element.size;
    if !bytes.is_multiple_of(size as u64) {
        return Err(a.broken("an array has a broken last element"));
    }
    let chunk = size * (CHUNK_BYTES / size).max(1);
    let (mut left, mut right) = (vec![0; chunk], vec![0; chunk]);
    let mut found: Option<Compared> = None;
    let mut done = 0;
    while done < bytes {
        let now = usize::try_from(bytes - done).map_or(chunk, |rest| rest.min(chunk));
        let (left, right) = (&mut left[..now], &mut right[..now]);
        a.read(at_a + done, left)?;
        b.read(at_b + done, right)?;
        if left != right {
            let pairs = left.chunks_exact(size).zip(right.chunks_exact(size)).enumerate();
            for (position, (x, y)) in pairs.filter(|(_, (x, y))| x != y) {
                let compared = found.get_or_insert_with(|| Compared {
                    first: done / size as u64 + position as u64,
                    original: element.shown(x),
                    replayed: element.shown(y),
                    spread: Spread { elements: bytes / size as u64, ..Spread::default() },
                });
                add(&mut compared.spread, element.distance(x, y));
            }
        }
        done += now as u64;
    }
    Ok(found)
}

fn add(spread: &mut Spread, distance: Option<(f64, f64)>) {
    spread.differing += 1;
    let Some((distance, larger)) = distance else { return };
    if !larger.is_finite() {
        spread.not_finite += 1;
        return;
    }
    let most = |known: &mut Option<f64>, new: f64| {
        if known.is_none_or(|known| known.total_cmp(&new) == Ordering::Less) {
            *known = Some(new);
        }
    };
    most(&mut spread.max_absolute, distance);
    most(&mut spread.max_relative, if larger > 0.0 { distance / larger } else { 0.0 });
}

/// A position in C order as an index of each dimension; a packed list has one.
pub(super) fn index(position: u64, shape: Option<&[u64]>) -> Vec<u64> {
    let Some(shape) = shape else { return vec![position] };
    let mut rest = position;
    let mut index: Vec<u64> = shape
        .iter()
        .rev()
        .map(|extent| {
            let extent = (*extent).max(1);
            let here = rest % extent;
            rest /= extent;
            here
        })
        .collect();
    index.reverse();
    index
}
