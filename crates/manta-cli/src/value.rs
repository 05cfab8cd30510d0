//! Encoded values, as far as a person wants to see them: the header is read, the buffers are not.
use serde_json::Value as Json;

use crate::text::{bytes, one_line};

const MAGIC: &[u8; 8] = b"MANTAVAL";
const VERSION: u32 = 1;
/// Where the header begins: magic, version, a reserved word, the header's length.
const HEADER_AT: usize = 24;
/// Bytes of a value that are enough to show it; larger headers are told by their size alone.
pub(crate) const HEAD_BYTES: usize = 64 << 10;
/// Characters of a rendering.
const SHOWN_CHARS: usize = 72;
/// Levels of nesting that are shown.
const SHOWN_LEVELS: usize = 3;
/// Entries of a list or mapping that are shown.
const SHOWN_ENTRIES: usize = 6;

/// A short rendering of a value of `size` bytes that begins with `head`: scalars as they are, arrays as type and shape.
pub(crate) fn summary(head: &[u8], size: u64) -> String {
    match tree(head) {
        Some(tree) => one_line(&render(&tree, 0), SHOWN_CHARS),
        None => format!("a value of {}", bytes(size)),
    }
}

/// The value itself where it is a plain number, text, truth value or nothing.
pub(crate) fn scalar(head: &[u8]) -> Option<Json> {
    tree(head).filter(|tree| !tree.is_object() && !tree.is_array())
}

/// The header's tree, where the whole header is there and can be read.
fn tree(head: &[u8]) -> Option<Json> {
    let word = |at: usize| head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    if head.get(..8)? != MAGIC || word(8)? != VERSION || word(12)? != 0 {
        return None;
    }
    let length = u64::from_le_bytes(head.get(16..24)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    let header = head.get(HEADER_AT..HEADER_AT.checked_add(length)?)?;
    match serde_json::from_slice(header).ok()? {
        Json::Object(mut fields) => fields.remove("tree"),
        _ => None,
    }
}

fn render(tree: &Json, level: usize) -> String {
    match tree {
        Json::Null => "None".to_owned(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => format!("{text:?}"),
        Json::Array(items) => entries(items.iter().map(|item| render(item, level + 1)), items.len(), "[", "]", level),
        Json::Object(fields) => match fields.get("$").and_then(Json::as_str) {
            Some(tag) => tagged(tag, tree, level),
            None => {
                let shown = fields.iter().map(|(key, item)| format!("{key}: {}", render(item, level + 1)));
                entries(shown, fields.len(), "{", "}", level)
            }
        },
    }
}

fn entries(shown: impl Iterator<Item = String>, count: usize, open: &str, close: &str, level: usize) -> String {
    if level >= SHOWN_LEVELS && count > 0 {
        return format!("{open}{count} entries{close}");
    }
    let mut parts: Vec<String> = shown.take(SHOWN_ENTRIES).collect();
    if count > SHOWN_ENTRIES {
        parts.push(format!("… {} more", count - SHOWN_ENTRIES));
    }
    format!("{open}{}{close}", parts.join(", "))
}

fn tagged(tag: &str, tree: &Json, level: usize) -> String {
    let value = &tree["v"];
    let list = |open, close| match value.as_array() {
        Some(items) => entries(items.iter().map(|item| render(item, level + 1)), items.len(), open, close, level),
        None => tag.to_owned(),
    };
    match tag {
        "ndarray" => array(tree),
        "tensor" => format!("tensor {}", array(tree)),
        "dataframe" => "a DataFrame".to_owned(),
        "arrow" => "an Arrow table".to_owned(),
        "npscalar" => dtype(&tree["dtype"]),
        "tuple" => list("(", ")"),
        "set" | "frozenset" => list("{", "}"),
        "dict" | "ordereddict" => match value.as_array() {
            Some(pairs) => {
                let shown = pairs
                    .iter()
                    .map(|pair| format!("{}: {}", render(&pair[0], level + 1), render(&pair[1], level + 1)));
                entries(shown, pairs.len(), "{", "}", level)
            }
            None => tag.to_owned(),
        },
        "complex" => format!("({} + {}j)", value[0], value[1]),
        "int" | "float" | "datetime" | "date" | "timedelta" => match value {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        },
        "floats" => "a list of floats".to_owned(),
        "ints" => "a list of ints".to_owned(),
        other => other.to_owned(),
    }
}

fn array(tree: &Json) -> String {
    let sizes = tree["shape"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sizes: Vec<String> = sizes.iter().map(Json::to_string).collect();
    format!("{}[{}]", dtype(&tree["dtype"]), sizes.join("×"))
}

/// `<f4` as `float32`.
fn dtype(code: &Json) -> String {
    let Some(code) = code.as_str() else { return "record".to_owned() };
    let plain = code.trim_start_matches(['<', '>', '|', '=']);
    let Some(letter) = plain.chars().next() else { return code.to_owned() };
    let (kind, width) = (letter, plain[letter.len_utf8()..].parse::<u32>().ok());
    if code.len() > 4 && kind.is_ascii_lowercase() && width.is_none() {
        return code.to_owned();
    }
    let name = match kind {
        'f' => "float",
        'i' => "int",
        'u' => "uint",
        'c' => "complex",
        'b' => return "bool".to_owned(),
        _ => return code.to_owned(),
    };
    width.and_then(|bytes| bytes.checked_mul(8)).map_or_else(|| code.to_owned(), |bits| format!("{name}{bits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(tree: &str) -> Vec<u8> {
        let header = format!("{{\"tree\":{tree},\"buffers\":[]}}");
        let mut bytes = MAGIC.to_vec();
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes
    }

    fn check(tree: &str, shown: &str) {
        assert_eq!(summary(&encoded(tree), 1 << 20), shown);
    }

    #[test]
    fn scalars_are_shown_and_arrays_are_told_by_type_and_shape() {
        check("0.95", "0.95");
        check("true", "True");
        check("\"a\\u001b[31m\"", "\"a\\u{1b}[31m\"");
        check(r#"{"$":"ndarray","dtype":"<f4","shape":[64,10],"b":0}"#, "float32[64×10]");
        check(r#"{"weights":{"$":"ndarray","dtype":"<f8","shape":[3],"b":0},"n":2}"#, "{n: 2, weights: float64[3]}");
        check(r#"{"$":"tuple","v":[1,{"$":"float","v":"nan"}]}"#, "(1, nan)");
        check("[1,2,3,4,5,6,7,8]", "[1, 2, 3, 4, 5, 6, … 2 more]");
        check("[[[[[1]]]]]", "[[[[1 entries]]]]");
        check(r#"{"$":"dict","v":[[1,2]]}"#, "{1: 2}");
    }

    #[test]
    fn hostile_and_unknown_bytes_are_told_by_size_alone() {
        let good = encoded("1");
        for bad in
            [&b""[..], b"MANTAVAL", &good[..good.len() - 1], &[0xff; 64], b"NOTAVALU\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"]
        {
            assert_eq!(summary(bad, 2048), "a value of 2.0 KiB");
        }
        let mut endless = good.clone();
        endless[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(summary(&endless, 10), "a value of 10 B");
        check(&format!("{}1{}", "[".repeat(200), "]".repeat(200)), "a value of 1.0 MiB");
        check(r#"{"$":"dict","v":[1]}"#, "{null: null}".replace("null", "None").as_str());
        check(r#"{"$":"ndarray","dtype":"<f99999999999"}"#, "<f99999999999[]");
    }

    #[test]
    fn only_plain_values_are_given_as_they_are() {
        assert_eq!(scalar(&encoded("0.5")), Some(serde_json::json!(0.5)));
        assert_eq!(scalar(&encoded("[1]")), None);
    }
}
