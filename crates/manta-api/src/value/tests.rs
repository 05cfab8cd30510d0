//! Headers by hand, and documents that are drawn.
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn of(tree: &str) -> Result<Tree, ValueError> {
    let header = format!("{{\"tree\":{tree},\"buffers\":[]}}");
    let size = (PREFIX_BYTES as u64 + header.len() as u64).next_multiple_of(ALIGNMENT);
    Header::parse(header.as_bytes(), size).map(|header| header.tree)
}

#[test]
fn numbers_are_read_to_the_bit_and_what_two_readers_might_take_differently_is_refused() {
    assert_eq!(of("5e-324"), Ok(Tree::Float(5e-324)));
    assert_eq!(of("-9223372036854775808"), Ok(Tree::Int(i64::MIN)));
    assert_eq!(of(r#""\ud83d\ude00\n""#), Ok(Tree::Text("😀\n".to_owned())));
    let bad = [
        "9223372036854775808",
        "1e999",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "NaN",
        "1 2",
        "[1,]",
        "{\"a\":1,\"a\":2}",
        "'a'",
        r#""\ud83d""#,
        r#""\u12"#,
        "\"\u{1}\"",
        "tru",
        r#"{"$":"new","v":1}"#,
        r#"{"$":"tuple","v":[],"w":1}"#,
        r#"{"$":"int","v":"0x1"}"#,
        r#"{"$":"float","v":"1.0"}"#,
        r#"{"$":"dict","v":[[[],1]]}"#,
        r#"{"$":"npscalar","dtype":"<f4","hex":"00"}"#,
        r#"{"$":"complex","v":[1,2.0]}"#,
    ];
    for bad in bad {
        assert!(of(bad).is_err(), "{bad}: {:?}", of(bad));
    }
}

#[test]
fn a_tree_is_as_deep_as_the_format_allows_and_no_deeper() {
    let lists = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(of(&lists(DEPTH_MAX)).is_ok() && of(&lists(DEPTH_MAX + 1)).is_err());
    // A dict whose keys are no texts is three deep in JSON, and two in the tree.
    let dicts = |depth: usize| format!(r#"{}1{}"#, r#"{"$":"dict","v":[[1,"#.repeat(depth), "]]}".repeat(depth));
    assert!(of(&dicts(DEPTH_MAX / 2)).is_ok() && of(&dicts(DEPTH_MAX / 2 + 1)).is_err());
    assert!(of(&lists(1_000_000)).is_err());
}

#[test]
fn dtypes_are_those_that_writers_write() {
    let read = |form: Json| {
        let text = form.to_string();
        Dtype::read(&Parser::read(text.as_bytes()).unwrap()).map(|dtype| (dtype.kind, dtype.bytes, dtype.is_big_endian))
    };
    let record =
        |size: u64, offset: u64| json!({"names": ["a"], "formats": ["<f4"], "offsets": [offset], "itemsize": size});
    assert_eq!(read(json!(">f8")), Ok((Kind::Float, 8, true)));
    assert_eq!(read(json!("<U12")), Ok((Kind::Opaque, 48, false)));
    assert_eq!(read(json!("<M8[25s]")), Ok((Kind::Opaque, 8, false)));
    assert_eq!(read(json!("bfloat16")), Ok((Kind::Opaque, 2, false)));
    assert_eq!(read(json!({"base": "<f4", "shape": [2, 3]})), Ok((Kind::Opaque, 24, false)));
    assert_eq!(read(record(8, 4)), Ok((Kind::Opaque, 8, false)));
    for bad in
        [json!("O"), json!("<f3"), json!("|f4"), json!("<U0"), json!("<M8[x]"), json!("=f4"), json!(4), record(8, 5)]
    {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
}

fn document() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Json::from),
        ".*".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::btree_map("[^$].*", inner, 0..5)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

fn same(tree: &Tree, json: &Json) -> bool {
    match (tree, json) {
        (Tree::None, Json::Null) => true,
        (Tree::Bool(a), Json::Bool(b)) => a == b,
        (Tree::Int(a), json) if json.is_i64() => Some(*a) == json.as_i64(),
        (Tree::Float(a), json) if json.is_f64() => json.as_f64().is_some_and(|b| a.to_bits() == b.to_bits()),
        (Tree::Text(a), Json::String(b)) => a == b,
        (Tree::List(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Tree::Map(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn whatever_is_json_is_read_as_it_was_written(document in document()) {
        for text in [document.to_string(), serde_json::to_string_pretty(&document).unwrap()] {
            let read = of(&text);
            prop_assert!(read.as_ref().is_ok_and(|tree| same(tree, &document)), "{text}: {read:?}");
        }
    }

    #[test]
    fn damaged_headers_never_do_worse_than_being_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0usize..200) {
        let mut header = br#"{"tree":{"$":"ndarray","dtype":"<f4","shape":[2],"b":0},"buffers":[[128,8]]}"#.to_vec();
        let at = at.min(header.len());
        header.splice(at..(at + bytes.len() / 2).min(header.len()), bytes);
        let _ = Header::parse(&header, 136);
    }
}
