//! The JSON of headers: numbers to the bit, every key once, and a depth that the format allows.
//!
//! Other readers take a number of any length for a float, and the last of two equal keys; a header that says two things to two
//! readers is none.
use super::{ENTRIES_MAX, Tree, ValueError, refuse};

/// How deep arrays and objects may be nested: a dict's entries are three deep, and a dtype is some more.
const NESTED_MAX: usize = 256;
/// Entries of arrays and objects together, in terms of the tree's: a dict's are four.
const PARTS_MAX: usize = 4 * ENTRIES_MAX;

pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
    parts: usize,
}

impl<'a> Parser<'a> {
    /// Reads a document, to its last byte.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Tree, ValueError> {
        let Ok(text) = std::str::from_utf8(bytes) else { return refuse("the header is no UTF-8") };
        let mut parser = Parser { text, at: 0, parts: 0 };
        let tree = parser.value(0)?;
        parser.space();
        if parser.at == text.len() { Ok(tree) } else { parser.broken() }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.space();
        let is_there = self.rest().starts_with(token);
        self.at += if is_there { token.len() } else { 0 };
        is_there
    }

    fn broken<T>(&self) -> Result<T, ValueError> {
        refuse(format!("the header is no JSON at its byte {}", self.at))
    }

    fn value(&mut self, depth: usize) -> Result<Tree, ValueError> {
        self.parts += 1;
        if depth > NESTED_MAX || self.parts > PARTS_MAX {
            return refuse("the header is nested too deep or has too many entries");
        }
        self.space();
        match self.rest().bytes().next() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Tree::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.take("null") => Ok(Tree::None),
            _ if self.take("true") => Ok(Tree::Bool(true)),
            _ if self.take("false") => Ok(Tree::Bool(false)),
            _ => self.broken(),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Tree, ValueError> {
        let mut entries = Vec::new();
        self.take("[");
        if self.take("]") {
            return Ok(Tree::List(entries));
        }
        loop {
            entries.push(self.value(depth + 1)?);
            if self.take("]") {
                return Ok(Tree::List(entries));
            }
            if !self.take(",") {
                return self.broken();
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Tree, ValueError> {
        let mut fields = Vec::new();
        self.take("{");
        if self.take("}") {
            return Ok(Tree::Map(fields));
        }
        loop {
            self.space();
            let key = self.string()?;
            if !self.take(":") {
                return self.broken();
            }
            fields.push((key, self.value(depth + 1)?));
            if self.take("}") {
                break;
            }
            if !self.take(",") {
                return self.broken();
            }
        }
        let mut keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return refuse("an object of the header has a key twice");
        }
        Ok(Tree::Map(fields))
    }

    fn number(&mut self) -> Result<Tree, ValueError> {
        let rest = self.rest();
        let text = &rest[..rest
            .find(|letter: char| !matches!(letter, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len())];
        let (whole, more) = text.split_at(text.find(['.', 'e', 'E']).unwrap_or(text.len()));
        let digits = whole.strip_prefix('-').unwrap_or(whole);
        let is_whole = is_digits(digits) && (digits == "0" || !digits.starts_with('0'));
        let (fraction, exponent) = more.split_at(more.find(['e', 'E']).unwrap_or(more.len()));
        let is_fraction = fraction.is_empty() || is_digits(&fraction[1..]);
        let is_exponent =
            exponent.is_empty() || is_digits(exponent[1..].strip_prefix(['+', '-']).unwrap_or(&exponent[1..]));
        if !(is_whole && is_fraction && is_exponent) {
            return self.broken();
        }
        self.at += text.len();
        if more.is_empty() {
            return match text.parse() {
                Ok(number) => Ok(Tree::Int(number)),
                Err(_) => refuse("a plain number of the header is beyond 64 bits"),
            };
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Tree::Float(number)),
            _ => refuse("a number of the header is beyond a float"),
        }
    }

    fn string(&mut self) -> Result<String, ValueError> {
        if !self.rest().starts_with('"') {
            return self.broken();
        }
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let plain = rest.find(|letter: char| matches!(letter, '"' | '\\') || letter < ' ');
            let Some(end) = plain else { return self.broken() };
            text.push_str(&rest[..end]);
            self.at += end;
            match rest.as_bytes()[end] {
                b'"' => {
                    self.at += 1;
                    return Ok(text);
                }
                b'\\' => text.push(self.escaped()?),
                _ => return self.broken(),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, ValueError> {
        let letter = match self.rest().as_bytes().get(1) {
            Some(b'u') => return self.surrogates(),
            Some(letter @ (b'"' | b'\\' | b'/')) => char::from(*letter),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return self.broken(),
        };
        self.at += 2;
        Ok(letter)
    }

    /// One character by its number, or by the two halves of it; a half alone is no text.
    fn surrogates(&mut self) -> Result<char, ValueError> {
        let first = self.unit()?;
        let units = if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            vec![first, self.unit()?]
        } else {
            vec![first]
        };
        match char::decode_utf16(units).collect::<Result<Vec<_>, _>>().as_deref() {
            Ok([letter]) => Ok(*letter),
            _ => refuse("a string of the header has half a character"),
        }
    }

    fn unit(&mut self) -> Result<u16, ValueError> {
        let digits = self.rest().get(2..6).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(unit) = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) else { return self.broken() };
        self.at += 6;
        Ok(unit)
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
