//! What an encoded value is made of.
use std::path::Path;

use manta_api::value::{Dtype, Header, Kind, PREFIX_BYTES, Tree, header_bytes};
use serde_json::{Value as Json, json};

use crate::hex;

/// Describes the value in a file, or says why it is refused.
pub(crate) fn file(path: &Path) -> std::io::Result<Json> {
    let bytes = std::fs::read(path)?;
    Ok(whole(&bytes).unwrap_or_else(|problem| json!({"refused": problem})))
}

fn whole(bytes: &[u8]) -> Result<Json, String> {
    let (prefix, rest) = bytes.split_first_chunk::<PREFIX_BYTES>().ok_or("it is too short")?;
    let size = bytes.len() as u64;
    let length = header_bytes(prefix, size).map_err(|error| error.to_string())?;
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    let header = Header::parse(&rest[..length], size).map_err(|error| error.to_string())?;
    Ok(Value { bytes, header: &header }.describe(&header.tree))
}

struct Value<'a> {
    bytes: &'a [u8],
    header: &'a Header,
}

impl Value<'_> {
    fn buffer(&self, tree: &Tree) -> &[u8] {
        let number = tree.get("b").and_then(Tree::count).and_then(|number| usize::try_from(number).ok());
        let place = self.header.buffers[number.expect("the header was checked")];
        let at = |offset: u64| usize::try_from(offset).expect("the file is in memory");
        &self.bytes[at(place.offset)..at(place.offset + place.bytes)]
    }

    fn all(&self, tree: &Tree) -> Vec<Json> {
        tree.list().unwrap_or_default().iter().map(|entry| self.describe(entry)).collect()
    }

    fn describe(&self, tree: &Tree) -> Json {
        match tree {
            Tree::None => json!(["none"]),
            Tree::Bool(truth) => json!(["bool", truth]),
            Tree::Int(number) => int(i128::from(*number)),
            Tree::Float(number) => float(*number),
            Tree::Text(text) => json!(["str", hex(text.as_bytes())]),
            Tree::List(_) => json!(["list", self.all(tree)]),
            Tree::Map(fields) => match tree.tag() {
                Some(tag) => self.tagged(tag, tree),
                None => {
                    let pair =
                        |(key, value): &(String, Tree)| json!([["str", hex(key.as_bytes())], self.describe(value)]);
                    json!(["dict", fields.iter().map(pair).collect::<Vec<_>>()])
                }
            },
        }
    }

    fn tagged(&self, tag: &str, tree: &Tree) -> Json {
        let value = tree.get("v").unwrap_or(&Tree::None);
        let text = value.text().unwrap_or_default();
        match tag {
            "int" => json!(["int", text]),
            "float" => float(odd(text)),
            "complex" => json!(["complex", self.all(value)]),
            "str" | "bytes" => json!([tag, hex(self.buffer(tree))]),
            "floats" => {
                json!(["list", words(self.buffer(tree)).map(|word| float(f64::from_bits(word))).collect::<Vec<_>>()])
            }
            "ints" => json!([
                "list",
                words(self.buffer(tree)).map(|word| int(i128::from(word.cast_signed()))).collect::<Vec<_>>()
            ]),
            "tuple" => json!([tag, self.all(value)]),
            "set" | "frozenset" => json!([tag, sorted(self.all(value))]),
            "dict" | "ordereddict" => {
                let pairs = value.list().unwrap_or_default().iter().map(|pair| Json::from(self.all(pair)));
                json!([tag, pairs.collect::<Vec<_>>()])
            }
            "datetime" => json!([tag, text, tree.get("fold").and_then(Tree::count) == Some(1)]),
            "date" => json!([tag, text]),
            "timedelta" => json!([tag, self.all(value)]),
            "ndarray" | "tensor" => {
                let shape: Vec<u64> =
                    tree.get("shape").and_then(Tree::list).unwrap_or_default().iter().filter_map(Tree::count).collect();
                array(tag, tree, json!(shape), self.buffer(tree))
            }
            "npscalar" => json!([tag, tree.get("hex").and_then(Tree::text)]),
            other => json!([other, self.buffer(tree).len()]),
        }
    }
}

fn array(tag: &str, tree: &Tree, shape: Json, bytes: &[u8]) -> Json {
    let dtype = Dtype::read(tree.get("dtype").unwrap_or(&Tree::None)).expect("the header was checked");
    json!([tag, name(dtype.kind), dtype.bytes, dtype.is_big_endian, shape, hex(bytes)])
}

pub(crate) const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int => "int",
        Kind::Unsigned => "uint",
        Kind::Float => "float",
        Kind::Complex => "complex",
        Kind::Opaque => "opaque",
    }
}

/// Of any size, in hexadecimal.
pub(crate) fn int(number: i128) -> Json {
    let sign = if number < 0 { "-" } else { "" };
    json!(["int", format!("{sign}0x{:x}", number.unsigned_abs())])
}

/// By its bits.
pub(crate) fn float(number: f64) -> Json {
    json!(["float", format!("{:016x}", number.to_bits())])
}

fn odd(text: &str) -> f64 {
    match text.strip_prefix("nan:") {
        Some(bits) => f64::from_bits(u64::from_str_radix(bits, 16).expect("the header was checked")),
        None if text == "nan" => f64::from_bits(0x7ff8_0000_0000_0000),
        None => text.parse().expect("the header was checked"),
    }
}

/// Entries of a set in an order that depends on nothing else.
pub(crate) fn sorted(mut entries: Vec<Json>) -> Vec<Json> {
    entries.sort_by_key(Json::to_string);
    entries
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
}
