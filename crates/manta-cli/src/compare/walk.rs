//! Two trees, entry by entry, to the first place where they differ.
use manta_api::value::{Kind, Tree};

use super::Difference;
use super::array::{self, Element};
use super::encoded::Encoded;
use crate::report::Failure;
use crate::text::one_line;

/// Characters of an entry that are shown.
const SHOWN_CHARS: usize = 120;

/// Two values, and the way through them.
pub(super) struct Walk<'a> {
    pub(super) a: &'a Encoded,
    pub(super) b: &'a Encoded,
}

type Found = Result<Option<Difference>, Failure>;

impl Walk<'_> {
    /// The first difference of two entries at the same place.
    pub(super) fn walk(&self, path: &str, a: &Tree, b: &Tree) -> Found {
        let (kind_a, kind_b) = (kind(a), kind(b));
        if kind_a != kind_b {
            return Ok(Some(difference(path, "type", kind_a.to_owned(), kind_b.to_owned())));
        }
        match (a, b) {
            (Tree::List(a), Tree::List(b)) => self.lists(path, a, b),
            (Tree::Map(fields_a), Tree::Map(fields_b)) => match a.tag() {
                Some(tag) => self.tagged(path, tag, a, b),
                None => self.maps(path, fields_a, fields_b),
            },
            (Tree::Float(x), Tree::Float(y)) if x.to_bits() == y.to_bits() => Ok(None),
            (a, b) if !matches!(a, Tree::Float(_)) && a == b => Ok(None),
            (a, b) => Ok(Some(difference(path, "value", shown(a), shown(b)))),
        }
    }

    fn lists(&self, path: &str, a: &[Tree], b: &[Tree]) -> Found {
        if a.len() != b.len() {
            return Ok(Some(difference(path, "length", a.len().to_string(), b.len().to_string())));
        }
        for (index, (a, b)) in a.iter().zip(b).enumerate() {
            if let Some(found) = self.walk(&format!("{path}[{index}]"), a, b)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn maps(&self, path: &str, a: &[(String, Tree)], b: &[(String, Tree)]) -> Found {
        let keys = |fields: &[(String, Tree)]| fields.iter().map(|(key, _)| Tree::Text(key.clone())).collect();
        if let Some(found) = same_keys(path, keys(a), keys(b)) {
            return Ok(Some(found));
        }
        for ((key, a), (_, b)) in a.iter().zip(b) {
            if let Some(found) = self.walk(&format!("{path}[{key:?}]"), a, b)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn tagged(&self, path: &str, tag: &str, a: &Tree, b: &Tree) -> Found {
        match tag {
            "ndarray" | "tensor" => {
                for what in ["dtype", "shape"] {
                    if a.get(what) != b.get(what) {
                        let told = |tree: &Tree| tree.get(what).map(shown).unwrap_or_default();
                        return Ok(Some(difference(path, what, told(a), told(b))));
                    }
                }
                let shape = a.get("shape").and_then(Tree::list).unwrap_or_default();
                let shape: Vec<u64> = shape.iter().filter_map(Tree::count).collect();
                let element = Element::of(a.get("dtype")).ok_or_else(|| self.a.broken("it has an unknown dtype"))?;
                self.buffers(path, &element, Some(&shape), a, b)
            }
            "floats" => self.buffers(path, &Element::plain(Kind::Float, 8), None, a, b),
            "ints" => self.buffers(path, &Element::plain(Kind::Int, 8), None, a, b),
            "bytes" | "str" | "dataframe" | "arrow" => {
                self.buffers(path, &Element::plain(Kind::Unsigned, 1), None, a, b)
            }
            "npscalar" if a.get("dtype") == b.get("dtype") => {
                let (x, y) = (hex(a), hex(b));
                if x == y {
                    return Ok(None);
                }
                let element =
                    Element::of(a.get("dtype")).filter(|element| x.len() == element.size && y.len() == x.len());
                let told = |bytes: &[u8]| element.as_ref().map_or_else(|| format!("{bytes:02x?}"), |e| e.shown(bytes));
                Ok(Some(difference(path, "value", told(&x), told(&y))))
            }
            "dict" | "ordereddict" => self.pairs(path, a, b),
            "tuple" | "set" | "frozenset" => self.lists(path, entries(a), entries(b)),
            _ if a == b => Ok(None),
            _ => Ok(Some(difference(path, "value", shown(a), shown(b)))),
        }
    }

    fn pairs(&self, path: &str, a: &Tree, b: &Tree) -> Found {
        let split = |tree: &Tree| -> (Vec<Tree>, Vec<Tree>) {
            let pairs = entries(tree).iter().filter_map(|pair| match pair.list() {
                Some([key, value]) => Some((key.clone(), value.clone())),
                _ => None,
            });
            pairs.unzip()
        };
        let ((keys_a, values_a), (keys_b, values_b)) = (split(a), split(b));
        if let Some(found) = same_keys(path, keys_a.clone(), keys_b) {
            return Ok(Some(found));
        }
        for (key, (a, b)) in keys_a.iter().zip(values_a.iter().zip(&values_b)) {
            if let Some(found) = self.walk(&format!("{path}[{}]", shown(key)), a, b)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Compares two buffers, element by element; one that is longer is told by its length.
    fn buffers(&self, path: &str, element: &Element, shape: Option<&[u64]>, a: &Tree, b: &Tree) -> Found {
        let none = Tree::None;
        let (at_a, bytes_a) = self.a.place(a.get("b").unwrap_or(&none))?;
        let (at_b, bytes_b) = self.b.place(b.get("b").unwrap_or(&none))?;
        if bytes_a != bytes_b {
            let count = |bytes: u64| (bytes / element.size as u64).to_string();
            return Ok(Some(difference(path, "length", count(bytes_a), count(bytes_b))));
        }
        let compared = array::compare(element, (self.a, at_a), (self.b, at_b), bytes_a)?;
        Ok(compared.map(|compared| Difference {
            index: Some(array::index(compared.first, shape)),
            spread: Some(compared.spread),
            ..difference(path, "elements", compared.original, compared.replayed)
        }))
    }
}

/// What a person calls an entry's type.
fn kind(tree: &Tree) -> &str {
    match tree {
        Tree::None => "None",
        Tree::Bool(_) => "bool",
        Tree::Int(_) => "int",
        Tree::Float(_) => "float",
        Tree::Text(_) => "str",
        Tree::List(_) => "list",
        // A long text or list has another form than a short one, but the same type.
        Tree::Map(_) => match tree.tag() {
            None => "dict",
            Some(tag) => tag,
        },
    }
}

fn same_keys(path: &str, a: Vec<Tree>, b: Vec<Tree>) -> Option<Difference> {
    if a == b {
        return None;
    }
    let missing = |from: &[Tree], other: &[Tree]| {
        let lacking: Vec<String> = from.iter().filter(|key| !other.contains(key)).map(shown).collect();
        lacking.join(", ")
    };
    let (only_a, only_b) = (missing(&a, &b), missing(&b, &a));
    let told = |only: String, all: &[Tree]| match (only.as_str(), only_a.is_empty() && only_b.is_empty()) {
        (_, true) => format!("in the order {}", all.iter().map(shown).collect::<Vec<_>>().join(", ")),
        ("", false) => "nothing more".to_owned(),
        (_, false) => format!("also {only}"),
    };
    let (original, replayed) = (told(only_a.clone(), &a), told(only_b.clone(), &b));
    Some(difference(path, "keys", one_line(&original, SHOWN_CHARS), one_line(&replayed, SHOWN_CHARS)))
}

fn entries(tree: &Tree) -> &[Tree] {
    tree.get("v").and_then(Tree::list).unwrap_or_default()
}

fn hex(tree: &Tree) -> Vec<u8> {
    let Some(Tree::Text(text)) = tree.get("hex") else { return Vec::new() };
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes().chunks(2).filter_map(digits).collect()
}

fn difference(path: &str, what: &'static str, original: String, replayed: String) -> Difference {
    Difference { path: path.to_owned(), what, index: None, original, replayed, spread: None }
}

/// An entry in few characters.
fn shown(tree: &Tree) -> String {
    let text = match tree {
        Tree::None => "None".to_owned(),
        Tree::Bool(true) => "True".to_owned(),
        Tree::Bool(false) => "False".to_owned(),
        Tree::Int(number) => number.to_string(),
        Tree::Float(number) => format!("{number:?}"),
        Tree::Text(text) => format!("{text:?}"),
        Tree::List(entries) => format!("[{}]", entries.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Tree::Map(fields) => match (tree.tag(), tree.get("v")) {
            (Some(_), Some(Tree::Text(text))) => text.clone(),
            (Some(tag), Some(value)) => format!("{tag}({})", shown(value)),
            (Some(tag), None) => tag.to_owned(),
            (None, _) => {
                let pairs = fields.iter().map(|(key, value)| format!("{key:?}: {}", shown(value)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
        },
    };
    one_line(&text, SHOWN_CHARS)
}
