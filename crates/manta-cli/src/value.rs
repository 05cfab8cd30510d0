//! Encoded values, as far as a person wants to see them: the header is read, the buffers are not.
use manta_api::value::{Header, PREFIX_BYTES, Tree, header_bytes};
use serde_json::Value as Json;

use crate::text::{bytes, one_line};

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
    match tree(head, size) {
        Some(tree) => one_line(&render(&tree, 0), SHOWN_CHARS),
        None => format!("a value of {}", bytes(size)),
    }
}

/// The value itself where it is a plain number, text, truth value or nothing.
pub(crate) fn scalar(head: &[u8], size: u64) -> Option<Json> {
    match tree(head, size)? {
        Tree::None => Some(Json::Null),
        Tree::Bool(truth) => Some(truth.into()),
        Tree::Int(number) => Some(number.into()),
        Tree::Float(number) => Some(number.into()),
        Tree::Text(text) => Some(text.into()),
        Tree::List(_) | Tree::Map(_) => None,
    }
}

/// The header's tree, where the whole header is there and keeps to the format.
fn tree(head: &[u8], size: u64) -> Option<Tree> {
    let (prefix, rest) = head.split_first_chunk::<PREFIX_BYTES>()?;
    let length = usize::try_from(header_bytes(prefix, size).ok()?).ok()?;
    Header::parse(rest.get(..length)?, size).ok().map(|header| header.tree)
}

fn render(tree: &Tree, level: usize) -> String {
    match tree {
        Tree::None => "None".to_owned(),
        Tree::Bool(true) => "True".to_owned(),
        Tree::Bool(false) => "False".to_owned(),
        Tree::Int(number) => number.to_string(),
        Tree::Float(number) => format!("{number:?}"),
        Tree::Text(text) => format!("{text:?}"),
        Tree::List(items) => entries(items.iter().map(|item| render(item, level + 1)), items.len(), "[", "]", level),
        Tree::Map(fields) => match tree.tag() {
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

fn tagged(tag: &str, tree: &Tree, level: usize) -> String {
    let value = tree.get("v").unwrap_or(&Tree::None);
    let items = value.list().unwrap_or_default();
    let list = |open, close| entries(items.iter().map(|item| render(item, level + 1)), items.len(), open, close, level);
    match tag {
        "ndarray" => array(tree),
        "tensor" => format!("tensor {}", array(tree)),
        "dataframe" => "a DataFrame".to_owned(),
        "arrow" => "an Arrow table".to_owned(),
        "npscalar" => dtype(tree),
        "tuple" => list("(", ")"),
        "set" | "frozenset" => list("{", "}"),
        "dict" | "ordereddict" => {
            let part = |pair: &Tree, at: usize| {
                pair.list().and_then(|pair| pair.get(at)).map_or_else(String::new, |part| render(part, level + 1))
            };
            let shown = items.iter().map(|pair| format!("{}: {}", part(pair, 0), part(pair, 1)));
            entries(shown, items.len(), "{", "}", level)
        }
        "complex" => match items {
            [real, imaginary] => format!("({} + {}j)", render(real, level + 1), render(imaginary, level + 1)),
            _ => tag.to_owned(),
        },
        "int" | "float" | "datetime" | "date" | "timedelta" => match value {
            Tree::Text(text) => text.clone(),
            other => render(other, level + 1),
        },
        "floats" => "a list of floats".to_owned(),
        "ints" => "a list of ints".to_owned(),
        other => other.to_owned(),
    }
}

fn array(tree: &Tree) -> String {
    let sizes = tree.get("shape").and_then(Tree::list).unwrap_or_default();
    let sizes: Vec<String> = sizes.iter().map(|size| render(size, 0)).collect();
    format!("{}[{}]", dtype(tree), sizes.join("×"))
}

/// `<f4` as `float32`.
fn dtype(tree: &Tree) -> String {
    let Some(code) = tree.get("dtype").and_then(Tree::text) else { return "record".to_owned() };
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

    /// A value's first bytes, and how many it has in all, with buffers of these sizes.
    fn encoded(tree: &str, buffers: &[u64]) -> (Vec<u8>, u64) {
        let (mut header, mut size) = (String::new(), 0);
        // The offsets' digits change the header's length, which changes the offsets: once more until it holds.
        for _ in 0..4 {
            size = 24 + header.len() as u64;
            let places = buffers.iter().map(|bytes| {
                let start = size.next_multiple_of(64);
                size = start + bytes;
                format!("[{start},{bytes}]")
            });
            header = format!("{{\"tree\":{tree},\"buffers\":[{}]}}", places.collect::<Vec<_>>().join(","));
        }
        size = if buffers.is_empty() { (24 + header.len() as u64).next_multiple_of(64) } else { size };
        let mut bytes = b"MANTAVAL\x01\0\0\0\0\0\0\0".to_vec();
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header.as_bytes());
        (bytes, size)
    }

    fn shown(tree: &str, buffers: &[u64]) -> String {
        let (head, size) = encoded(tree, buffers);
        summary(&head, size)
    }

    #[test]
    fn scalars_are_shown_and_arrays_are_told_by_type_and_shape() {
        assert_eq!(shown("0.95", &[]), "0.95");
        assert_eq!(shown("true", &[]), "True");
        assert_eq!(shown("\"a\\u001b[31m\"", &[]), "\"a\\u{1b}[31m\"");
        assert_eq!(shown(r#"{"$":"ndarray","dtype":"<f4","shape":[64,10],"b":0}"#, &[2560]), "float32[64×10]");
        let weights = r#"{"weights":{"$":"ndarray","dtype":"<f8","shape":[3],"b":0},"n":2}"#;
        assert_eq!(shown(weights, &[24]), "{weights: float64[3], n: 2}");
        assert_eq!(shown(r#"{"$":"tuple","v":[1,{"$":"float","v":"nan"}]}"#, &[]), "(1, nan)");
        assert_eq!(shown("[1,2,3,4,5,6,7,8]", &[]), "[1, 2, 3, 4, 5, 6, … 2 more]");
        assert_eq!(shown("[[[[[1]]]]]", &[]), "[[[[1 entries]]]]");
        assert_eq!(shown(r#"{"$":"dict","v":[[1,2]]}"#, &[]), "{1: 2}");
        assert_eq!(shown(r#"{"$":"complex","v":[0.5,{"$":"float","v":"inf"}]}"#, &[]), "(0.5 + infj)");
    }

    #[test]
    fn hostile_and_unknown_bytes_are_told_by_size_alone() {
        let (good, _) = encoded("1", &[]);
        for bad in
            [&b""[..], b"MANTAVAL", &good[..good.len() - 1], &[0xff; 64], b"NOTAVALU\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"]
        {
            assert_eq!(summary(bad, 2048), "a value of 2.0 KiB");
        }
        let mut endless = good.clone();
        endless[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(summary(&endless, 10), "a value of 10 B");
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        let bad = [&deep, r#"{"$":"dict","v":[1]}"#, r#"{"$":"ndarray","dtype":"<f99999999999","shape":[1],"b":0}"#];
        for bad in bad {
            assert!(shown(bad, &[]).starts_with("a value of "), "{bad}");
        }
    }

    #[test]
    fn only_plain_values_are_given_as_they_are() {
        let (head, size) = encoded("0.5", &[]);
        assert_eq!(scalar(&head, size), Some(serde_json::json!(0.5)));
        let (head, size) = encoded("[1]", &[]);
        assert_eq!(scalar(&head, size), None);
    }
}
