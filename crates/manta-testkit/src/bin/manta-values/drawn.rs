//! Values drawn by chance, and an encoder of them that shares nothing with the one in Python.
use manta_api::value::{ALIGNMENT, Kind, MAGIC, PREFIX_BYTES, VERSION};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value as Json, json};

use crate::describe::{float, int, name, sorted};
use crate::hex;

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Drawn {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Complex(f64, f64),
    Str(String),
    Bytes(Vec<u8>),
    List(Vec<Self>),
    Tuple(Vec<Self>),
    /// Keys are different.
    Dict(Vec<(String, Self)>),
    /// By numbers, which are different.
    Numbered(Vec<(i64, Self)>),
    Set(std::collections::BTreeSet<i64>),
    Packed(Vec<f64>),
    Date(String),
    Span(i64, i64, i64),
    Array {
        code: &'static str,
        kind: Kind,
        item: usize,
        shape: Vec<usize>,
        bytes: Vec<u8>,
    },
}

/// As many values as are asked for: the same ones for the same seed.
pub(crate) fn values(seed: u64, count: usize) -> Vec<Drawn> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let all = value();
    (0..count).map(|_| all.new_tree(&mut runner).expect("nothing is filtered out").current()).collect()
}

fn value() -> impl Strategy<Value = Drawn> {
    let bits = || any::<u64>().prop_map(f64::from_bits);
    let leaf = prop_oneof![
        Just(Drawn::None),
        any::<bool>().prop_map(Drawn::Bool),
        any::<i64>().prop_map(|number| Drawn::Int(i128::from(number))),
        any::<i128>().prop_map(Drawn::Int),
        any::<f64>().prop_map(Drawn::Float),
        bits().prop_map(Drawn::Float),
        (bits(), any::<f64>()).prop_map(|(real, imaginary)| Drawn::Complex(real, imaginary)),
        ".*".prop_map(Drawn::Str),
        vec(any::<u8>(), 0..100).prop_map(Drawn::Bytes),
        vec(bits(), 0..50).prop_map(Drawn::Packed),
        proptest::collection::btree_set(any::<i64>(), 0..5).prop_map(Drawn::Set),
        (1u32..=9999, 1u32..=12, 1u32..=28).prop_map(|(y, m, d)| Drawn::Date(format!("{y:04}-{m:02}-{d:02}"))),
        (-999_999_999i64..=999_999_998, 0i64..86_400, 0i64..1_000_000).prop_map(|(d, s, us)| Drawn::Span(d, s, us)),
        array(),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Drawn::List),
            vec(inner.clone(), 0..5).prop_map(Drawn::Tuple),
            proptest::collection::btree_map(".*", inner.clone(), 0..5)
                .prop_map(|fields| Drawn::Dict(fields.into_iter().collect())),
            proptest::collection::btree_map(any::<i64>(), inner, 0..5)
                .prop_map(|pairs| Drawn::Numbered(pairs.into_iter().collect())),
        ]
    })
}

/// Of every kind of element; truth values are two.
fn array() -> impl Strategy<Value = Drawn> {
    let elements = [
        ("<f4", Kind::Float, 4),
        (">f8", Kind::Float, 8),
        ("<f2", Kind::Float, 2),
        ("|i1", Kind::Int, 1),
        (">i4", Kind::Int, 4),
        ("<u8", Kind::Unsigned, 8),
        ("<c8", Kind::Complex, 8),
        ("|V5", Kind::Opaque, 5),
        ("|S3", Kind::Opaque, 3),
        ("<M8[ns]", Kind::Opaque, 8),
    ];
    (proptest::sample::select(elements.to_vec()), vec(0usize..4, 0..4)).prop_flat_map(|((code, kind, item), shape)| {
        let length = item * shape.iter().product::<usize>();
        vec(any::<u8>(), length).prop_map(move |bytes| Drawn::Array { code, kind, item, shape: shape.clone(), bytes })
    })
}

impl Drawn {
    /// What it is made of.
    pub(crate) fn describe(&self) -> Json {
        let all = |entries: &[Self]| entries.iter().map(Self::describe).collect::<Vec<_>>();
        match self {
            Self::None => json!(["none"]),
            Self::Bool(truth) => json!(["bool", truth]),
            Self::Int(number) => int(*number),
            Self::Float(number) => float(*number),
            Self::Complex(real, imaginary) => json!(["complex", [float(*real), float(*imaginary)]]),
            Self::Str(text) => json!(["str", hex(text.as_bytes())]),
            Self::Bytes(bytes) => json!(["bytes", hex(bytes)]),
            Self::List(entries) => json!(["list", all(entries)]),
            Self::Tuple(entries) => json!(["tuple", all(entries)]),
            Self::Dict(fields) => {
                let pairs = fields.iter().map(|(key, value)| json!([["str", hex(key.as_bytes())], value.describe()]));
                json!(["dict", pairs.collect::<Vec<_>>()])
            }
            Self::Numbered(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| json!([int(i128::from(*key)), value.describe()]));
                json!(["dict", pairs.collect::<Vec<_>>()])
            }
            Self::Set(numbers) => {
                json!(["set", sorted(numbers.iter().map(|number| int(i128::from(*number))).collect())])
            }
            Self::Packed(numbers) => json!(["list", numbers.iter().copied().map(float).collect::<Vec<_>>()]),
            Self::Date(text) => json!(["date", text]),
            Self::Span(days, seconds, micros) => {
                let parts = [days, seconds, micros].map(|part| int(i128::from(*part)));
                json!(["timedelta", parts])
            }
            Self::Array { kind, item, shape, bytes, code } => {
                json!(["ndarray", name(*kind), item, code.starts_with('>'), shape, hex(bytes)])
            }
        }
    }

    /// The encoded value.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut buffers = Vec::new();
        let tree = self.tree(&mut buffers);
        let (mut header, mut places) = (String::new(), Vec::new());
        // The offsets' digits change the header's length, which changes the offsets: once more until it holds.
        loop {
            let mut end = (PREFIX_BYTES + header.len()) as u64;
            places.clear();
            for buffer in &buffers {
                let start = end.next_multiple_of(ALIGNMENT);
                end = start + buffer.len() as u64;
                places.push((start, buffer.len()));
            }
            let next = json!({"tree": tree, "buffers": places}).to_string();
            let holds = next.len() == header.len();
            header = next;
            if holds {
                break;
            }
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u64::from(VERSION).to_le_bytes());
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        for ((start, _), buffer) in places.iter().zip(&buffers) {
            bytes.resize(usize::try_from(*start).expect("small values"), 0);
            bytes.extend(buffer);
        }
        bytes
    }

    fn tree(&self, buffers: &mut Vec<Vec<u8>>) -> Json {
        let mut put = |bytes: Vec<u8>| {
            buffers.push(bytes);
            buffers.len() - 1
        };
        match self {
            Self::None => Json::Null,
            Self::Bool(truth) => json!(truth),
            Self::Int(number) => match i64::try_from(*number) {
                Ok(small) => json!(small),
                Err(_) => json!({"$": "int", "v": int(*number)[1]}),
            },
            Self::Float(number) => number_form(*number),
            Self::Complex(real, imaginary) => {
                json!({"$": "complex", "v": [number_form(*real), number_form(*imaginary)]})
            }
            Self::Str(text) if text.len() % 2 == 0 => json!(text),
            Self::Str(text) => json!({"$": "str", "b": put(text.clone().into_bytes())}),
            Self::Bytes(bytes) => json!({"$": "bytes", "b": put(bytes.clone())}),
            Self::Packed(numbers) => {
                let bytes = numbers.iter().flat_map(|number| number.to_bits().to_le_bytes()).collect();
                json!({"$": "floats", "b": put(bytes)})
            }
            Self::Set(numbers) => json!({"$": "set", "v": numbers}),
            Self::Date(text) => json!({"$": "date", "v": text}),
            Self::Span(days, seconds, micros) => json!({"$": "timedelta", "v": [days, seconds, micros]}),
            Self::Array { code, shape, bytes, .. } => {
                json!({"$": "ndarray", "dtype": code, "shape": shape, "b": put(bytes.clone())})
            }
            Self::List(entries) => Json::from(entries.iter().map(|entry| entry.tree(buffers)).collect::<Vec<_>>()),
            Self::Tuple(entries) => {
                json!({"$": "tuple", "v": entries.iter().map(|entry| entry.tree(buffers)).collect::<Vec<_>>()})
            }
            // An object has no order in every JSON library, so that pairs are the safer form, and the only one for the key `$`.
            Self::Dict(fields) => {
                json!({"$": "dict", "v": fields.iter().map(|(key, value)| json!([key, value.tree(buffers)])).collect::<Vec<_>>()})
            }
            Self::Numbered(pairs) => {
                json!({"$": "dict", "v": pairs.iter().map(|(key, value)| json!([key, value.tree(buffers)])).collect::<Vec<_>>()})
            }
        }
    }
}

fn number_form(number: f64) -> Json {
    if number.is_finite() {
        return json!(number);
    }
    let text = match number.to_bits() {
        0x7ff8_0000_0000_0000 => "nan".to_owned(),
        bits if number.is_nan() => format!("nan:{bits:016x}"),
        _ => number.to_string(),
    };
    json!({"$": "float", "v": text})
}
