//! What the elements of arrays are: numpy's own strings, records of them, and the narrow formats of machine learning.
use super::{DIMENSIONS_MAX, Tree, ValueError, refuse};

/// Formats that numpy has from `ml_dtypes`, by their names there, with the bytes of one number.
const NARROW: [(&str, u64); 16] = [
    ("bfloat16", 2),
    ("float8_e3m4", 1),
    ("float8_e4m3", 1),
    ("float8_e4m3b11fnuz", 1),
    ("float8_e4m3fn", 1),
    ("float8_e4m3fnuz", 1),
    ("float8_e5m2", 1),
    ("float8_e5m2fnuz", 1),
    ("float8_e8m0fnu", 1),
    ("float6_e2m3fn", 1),
    ("float6_e3m2fn", 1),
    ("float4_e2m1fn", 1),
    ("int2", 1),
    ("int4", 1),
    ("uint2", 1),
    ("uint4", 1),
];
/// Units of dates and spans of time.
const UNITS: [&str; 13] = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"];
/// Fields of a record.
const FIELDS_MAX: usize = 1000;
/// Records inside records.
const NESTED_MAX: usize = 8;
/// Bytes of an element, as numpy counts them.
const ITEM_BYTES_MAX: u64 = i32::MAX as u64;

/// What an element is, as far as it can be read as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A truth value.
    Bool,
    /// A signed whole number.
    Int,
    /// One without a sign.
    Unsigned,
    /// IEEE 754.
    Float,
    /// Two of those.
    Complex,
    /// Text, dates, records, and formats of machine learning.
    Opaque,
}

/// The type of an array's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtype {
    /// What one of them is.
    pub kind: Kind,
    /// How many bytes it has.
    pub bytes: u64,
    /// Whether its most significant byte comes first.
    pub is_big_endian: bool,
}

impl Dtype {
    /// Reads a dtype of a header.
    ///
    /// # Errors
    /// Where no writer writes it.
    pub fn read(form: &Tree) -> Result<Self, ValueError> {
        read(form, 0)
    }
}

fn opaque(bytes: u64) -> Result<Dtype, ValueError> {
    if bytes > ITEM_BYTES_MAX {
        return refuse("an element of a dtype is too large");
    }
    Ok(Dtype { kind: Kind::Opaque, bytes, is_big_endian: false })
}

fn read(form: &Tree, depth: usize) -> Result<Dtype, ValueError> {
    if depth > NESTED_MAX {
        return refuse("a dtype is nested more than 8 deep");
    }
    match form {
        Tree::Text(code) => match NARROW.iter().find(|(name, _)| name == code) {
            // A field of such numbers is not what any writer writes.
            Some((_, bytes)) if depth == 0 => opaque(*bytes),
            _ => match simple(code) {
                Some(dtype) => Ok(dtype),
                None => refuse(format!("unknown dtype {:?}", code.chars().take(64).collect::<String>())),
            },
        },
        Tree::Map(fields) if fields.len() == 2 => match (form.get("base"), form.get("shape")) {
            (Some(base), Some(shape)) => repeated(read(base, depth + 1)?, shape),
            _ => refuse("a dtype has neither a known name nor fields"),
        },
        form => record(form, depth),
    }
}

fn repeated(base: Dtype, shape: &Tree) -> Result<Dtype, ValueError> {
    match elements(&self::shape(shape)?).and_then(|count| count.checked_mul(base.bytes)) {
        Some(bytes) => opaque(bytes),
        None => refuse("an element of a dtype is too large"),
    }
}

/// Reads an array's shape.
pub(super) fn shape(form: &Tree) -> Result<Vec<u64>, ValueError> {
    let read = form.list().filter(|extents| extents.len() <= DIMENSIONS_MAX);
    match read.and_then(|extents| extents.iter().map(Tree::count).collect()) {
        Some(extents) => Ok(extents),
        None => refuse("an array's shape is not a list of at most 64 counts"),
    }
}

/// How many elements an array of that shape has.
pub(super) fn elements(shape: &[u64]) -> Option<u64> {
    // Whatever the others are, a dimension of none leaves none.
    if shape.contains(&0) {
        Some(0)
    } else {
        shape.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent))
    }
}

fn record(form: &Tree, depth: usize) -> Result<Dtype, ValueError> {
    let list = |name: &str| form.get(name).and_then(Tree::list);
    let lists = (list("names"), list("formats"), list("offsets"), form.get("itemsize").and_then(Tree::count));
    let (Some(names), Some(formats), Some(offsets), Some(size)) = lists else {
        return refuse("a dtype has neither a known name nor fields");
    };
    let is_whole = matches!(form, Tree::Map(fields) if fields.len() == 4);
    let fit = names.len() == formats.len() && names.len() == offsets.len() && (1..=FIELDS_MAX).contains(&names.len());
    if !is_whole || !fit {
        return refuse("the fields of a dtype do not fit together");
    }
    let mut known: Vec<&str> = names.iter().filter_map(Tree::text).collect();
    known.sort_unstable();
    if known.len() != names.len() || known.windows(2).any(|pair| pair[0] == pair[1]) {
        return refuse("the names of a dtype's fields are not different strings");
    }
    for (format, offset) in formats.iter().zip(offsets) {
        let bytes = read(format, depth + 1)?.bytes;
        if offset.count().and_then(|offset| offset.checked_add(bytes)).is_none_or(|end| end > size) {
            return refuse("a field of a dtype lies beyond its record");
        }
    }
    opaque(size)
}

/// One of numpy's strings: `<f4`, `|b1`, `<U12`, `<M8[ns]`, `|V16`.
fn simple(code: &str) -> Option<Dtype> {
    let (order, rest) = (code.chars().next()?, code.get(1..)?);
    let (kind, size) = (rest.chars().next()?, rest.get(1..)?);
    let made = |kind, bytes| Some(Dtype { kind, bytes, is_big_endian: order == '>' });
    let number = |allowed: &[u64]| {
        let bytes = allowed.iter().find(|bytes| bytes.to_string() == size).copied()?;
        matches!(order, '<' | '>').then_some(bytes)
    };
    let bytes = match (order, kind) {
        ('|', 'b') => return (size == "1").then_some(Dtype { kind: Kind::Bool, bytes: 1, is_big_endian: false }),
        ('|', 'i' | 'u') if size == "1" => 1,
        (_, 'i' | 'u') => number(&[2, 4, 8])?,
        (_, 'f') => number(&[2, 4, 8, 12, 16])?,
        (_, 'c') => number(&[8, 16, 24, 32])?,
        ('|', 'S' | 'V') => counted(size, 10)?,
        ('<' | '>', 'U') => counted(size, 9)?.checked_mul(4)?,
        ('<' | '>', 'm' | 'M') => is_time(size).then_some(8)?,
        _ => return None,
    };
    let kind = match kind {
        'i' => Kind::Int,
        'u' => Kind::Unsigned,
        'f' if bytes <= 8 => Kind::Float,
        'c' if bytes <= 16 => Kind::Complex,
        _ => Kind::Opaque,
    };
    made(kind, bytes).filter(|dtype| dtype.bytes <= ITEM_BYTES_MAX)
}

/// A number from 1 on of at most so many digits.
fn counted(text: &str, digits_max: usize) -> Option<u64> {
    let is_plain = text.len() <= digits_max && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// `8`, or `8[ns]`, or `8[25s]`.
fn is_time(text: &str) -> bool {
    let Some(unit) = text.strip_prefix('8') else { return false };
    if unit.is_empty() {
        return true;
    }
    let Some(inner) = unit.strip_prefix('[').and_then(|unit| unit.strip_suffix(']')) else { return false };
    let named = inner.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let times = &inner[..inner.len() - named.len()];
    UNITS.contains(&named) && (times.is_empty() || counted(times, 9).is_some())
}
