//! The rules that each entry of a tree keeps to.
use super::dtype::{self, Dtype};
use super::{DEPTH_MAX, ENTRIES_MAX, Place, Tree, ValueError, refuse};

/// Fields of a tagged entry beside its tag.
const FIELDS: [(&str, &[&str]); 20] = [
    ("int", &["v"]),
    ("float", &["v"]),
    ("complex", &["v"]),
    ("str", &["b"]),
    ("bytes", &["b"]),
    ("floats", &["b"]),
    ("ints", &["b"]),
    ("tuple", &["v"]),
    ("dict", &["v"]),
    ("ordereddict", &["v"]),
    ("set", &["v"]),
    ("frozenset", &["v"]),
    ("datetime", &["v"]),
    ("date", &["v"]),
    ("timedelta", &["v"]),
    ("ndarray", &["dtype", "shape", "b"]),
    ("tensor", &["dtype", "shape", "b"]),
    ("dataframe", &["b"]),
    ("arrow", &["b"]),
    ("npscalar", &["dtype", "hex"]),
];

/// Checks a whole tree over these buffers.
pub(super) fn tree(tree: &Tree, buffers: &[Place]) -> Result<(), ValueError> {
    let mut check = Check { buffers, used: vec![false; buffers.len()], entries: 0 };
    check.node(tree, 0)?;
    if check.used.iter().all(|used| *used) { Ok(()) } else { refuse("a buffer is used by no entry of the tree") }
}

struct Check<'a> {
    buffers: &'a [Place],
    used: Vec<bool>,
    entries: usize,
}

impl Check<'_> {
    fn node(&mut self, tree: &Tree, depth: usize) -> Result<(), ValueError> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return refuse(format!("the tree has more than {ENTRIES_MAX} entries"));
        }
        if depth > DEPTH_MAX {
            return refuse(format!("the tree is nested more than {DEPTH_MAX} deep"));
        }
        match tree {
            Tree::List(entries) => entries.iter().try_for_each(|entry| self.node(entry, depth + 1)),
            Tree::Map(fields) if tree.get("$").is_none() => {
                fields.iter().try_for_each(|(_, entry)| self.node(entry, depth + 1))
            }
            Tree::Map(fields) => self.tagged(tree, fields, depth),
            _ => Ok(()),
        }
    }

    fn tagged(&mut self, tree: &Tree, fields: &[(String, Tree)], depth: usize) -> Result<(), ValueError> {
        let known = tree.tag().and_then(|tag| FIELDS.iter().find(|(name, _)| *name == tag));
        let Some((tag, wanted)) = known else { return refuse("an entry has an unknown tag") };
        let more = usize::from(*tag == "datetime" && tree.get("fold").is_some());
        if fields.len() != 1 + wanted.len() + more || wanted.iter().any(|name| tree.get(name).is_none()) {
            return refuse(format!("an entry with the tag `{tag}` has the wrong fields"));
        }
        let value = tree.get("v").unwrap_or(&Tree::None);
        match *tag {
            "int" => whole(value),
            "float" => odd(value),
            "complex" => self.complex(value, depth),
            "tuple" | "set" | "frozenset" => self.entries(value, depth),
            "dict" | "ordereddict" => self.pairs(value, depth),
            "timedelta" => self.timedelta(value, depth),
            "datetime" | "date" => match value.text() {
                Some(_) => Ok(()),
                None => refuse("a date is not in its ISO form"),
            },
            "npscalar" => scalar(tree),
            "ndarray" | "tensor" => self.array(tree),
            tag => {
                let bytes = self.buffer(tree)?.bytes;
                match tag {
                    "floats" | "ints" if !bytes.is_multiple_of(8) => refuse("a packed list has a broken last entry"),
                    _ => Ok(()),
                }
            }
        }
    }

    fn buffer(&mut self, tree: &Tree) -> Result<Place, ValueError> {
        let index = tree.get("b").and_then(Tree::count).and_then(|index| usize::try_from(index).ok());
        let Some((index, place)) = index.and_then(|index| Some((index, *self.buffers.get(index)?))) else {
            return refuse("an entry refers to a buffer that is not there");
        };
        if std::mem::replace(&mut self.used[index], true) {
            return refuse("two entries share a buffer");
        }
        Ok(place)
    }

    fn array(&mut self, tree: &Tree) -> Result<(), ValueError> {
        let bytes = self.buffer(tree)?.bytes;
        let (dtype, shape) = (tree.get("dtype").unwrap_or(&Tree::None), tree.get("shape").unwrap_or(&Tree::None));
        let (dtype, shape) = (Dtype::read(dtype)?, dtype::shape(shape)?);
        if dtype.bytes == 0 {
            return refuse("an array's items have no bytes");
        }
        match dtype::elements(&shape).and_then(|count| count.checked_mul(dtype.bytes)) {
            Some(needed) if needed == bytes => Ok(()),
            _ => refuse(format!("an array of shape {shape:?} and elements of {} bytes has {bytes} bytes", dtype.bytes)),
        }
    }

    fn entries(&mut self, value: &Tree, depth: usize) -> Result<(), ValueError> {
        listed(value)?.iter().try_for_each(|entry| self.node(entry, depth + 1))
    }

    fn pairs(&mut self, value: &Tree, depth: usize) -> Result<(), ValueError> {
        for pair in listed(value)? {
            let [key, entry] = listed(pair)? else { return refuse("a dict has an entry that is no pair") };
            if !is_key(key) {
                return refuse("a dict has a key that is no scalar");
            }
            self.node(key, depth + 2)?;
            self.node(entry, depth + 2)?;
        }
        Ok(())
    }

    fn complex(&mut self, value: &Tree, depth: usize) -> Result<(), ValueError> {
        let is_float = |part: &Tree| matches!(part, Tree::Float(_)) || part.tag() == Some("float");
        match listed(value)? {
            parts @ [_, _] if parts.iter().all(is_float) => self.entries(value, depth),
            _ => refuse("a complex number has a part that is no float"),
        }
    }

    fn timedelta(&mut self, value: &Tree, depth: usize) -> Result<(), ValueError> {
        match listed(value)? {
            parts @ [_, _, _] if parts.iter().all(|part| matches!(part, Tree::Int(_)) || part.tag() == Some("int")) => {
                self.entries(value, depth)
            }
            _ => refuse("a timedelta has a part that is no int"),
        }
    }
}

fn listed(tree: &Tree) -> Result<&[Tree], ValueError> {
    tree.list().ok_or_else(|| ValueError("an entry holds no list where one belongs".to_owned()))
}

fn is_key(tree: &Tree) -> bool {
    const SCALARS: [&str; 9] = ["int", "float", "complex", "str", "bytes", "datetime", "date", "timedelta", "npscalar"];
    match tree {
        Tree::List(_) => false,
        Tree::Map(_) => tree.tag().is_some_and(|tag| SCALARS.contains(&tag)),
        _ => true,
    }
}

/// An int beyond 64 bits, in hexadecimal.
fn whole(value: &Tree) -> Result<(), ValueError> {
    let text = value.text().unwrap_or_default();
    let (sign, digits) = text.split_at(usize::from(text.starts_with('-')));
    let digits = digits.strip_prefix("0x").unwrap_or_default();
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(is_hex) {
        return refuse("a large int is not written in hexadecimal");
    }
    let small = u64::from_str_radix(digits, 16).ok();
    let most = if sign.is_empty() { i64::MAX.unsigned_abs() } else { i64::MIN.unsigned_abs() };
    if small.is_some_and(|number| number <= most) {
        return refuse("a small int is written as a large one");
    }
    Ok(())
}

/// A float that is not finite.
fn odd(value: &Tree) -> Result<(), ValueError> {
    let text = value.text().unwrap_or_default();
    let bits = text.strip_prefix("nan:").filter(|bits| bits.len() == 16);
    let is_hex = |bits: &&str| bits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let bits = bits.filter(is_hex).and_then(|bits| u64::from_str_radix(bits, 16).ok());
    let is_odd = bits.is_some_and(|bits| f64::from_bits(bits).is_nan() && bits != 0x7ff8_0000_0000_0000);
    if is_odd || matches!(text, "nan" | "inf" | "-inf") {
        return Ok(());
    }
    refuse("a tagged float is neither nan nor infinite")
}

/// A numpy scalar: its dtype, and as many bytes in hexadecimal.
fn scalar(tree: &Tree) -> Result<(), ValueError> {
    let digits = tree.get("hex").and_then(Tree::text).unwrap_or("?");
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return refuse("a numpy scalar has no bytes");
    }
    let (dtype, bytes) = (tree.get("dtype").unwrap_or(&Tree::None), digits.len() as u64 / 2);
    let fits = match dtype.text() {
        Some("<U") => bytes.is_multiple_of(4),
        Some("|S") => true,
        _ => bytes > 0 && Dtype::read(dtype)?.bytes == bytes,
    };
    if fits { Ok(()) } else { refuse(format!("a numpy scalar of that dtype has {bytes} bytes")) }
}
