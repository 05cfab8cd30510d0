//! Values written by hand, so that the reader here is not checked against itself.
use std::path::PathBuf;

use super::*;

/// A value of that tree and those buffers, in the form that `docs/reference/values.md` describes.
fn encoded(dir: &Path, name: &str, tree: &str, buffers: &[&[u8]]) -> PathBuf {
    let mut header = String::new();
    // The offsets' digits change the header's length, which changes the offsets: once more until it holds.
    for _ in 0..4 {
        let mut end = 24 + header.len();
        let places: Vec<String> = buffers
            .iter()
            .map(|buffer| {
                let start = end.next_multiple_of(64);
                end = start + buffer.len();
                format!("[{start},{}]", buffer.len())
            })
            .collect();
        header = format!("{{\"tree\":{tree},\"buffers\":[{}]}}", places.join(","));
    }
    let mut bytes = b"MANTAVAL".to_vec();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(64), 0);
    for buffer in buffers {
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        bytes.extend(*buffer);
    }
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn between(a: (&str, &[&[u8]]), b: (&str, &[&[u8]])) -> Option<Difference> {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (encoded(dir.path(), "a", a.0, a.1), encoded(dir.path(), "b", b.0, b.1));
    values(&a, &b).unwrap()
}

fn plain(a: &str, b: &str) -> Option<Difference> {
    between((a, &[]), (b, &[]))
}

fn arrays(dtype: &str, shape: &str, a: &[u8], b: &[u8]) -> Option<Difference> {
    let tree = format!(r#"{{"w":{{"$":"ndarray","dtype":"{dtype}","shape":{shape},"b":0}}}}"#);
    between((&tree, &[a]), (&tree, &[b]))
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn the_same_value_differs_nowhere() {
    let tree = r#"[1,2.5,"a",null,true,{"$":"ndarray","dtype":"<f4","shape":[2],"b":0},{"$":"bytes","b":1}]"#;
    assert_eq!(
        between((tree, &[&floats(&[f32::NAN, -0.0]), b"xyz"]), (tree, &[&floats(&[f32::NAN, -0.0]), b"xyz"])),
        None
    );
}

#[test]
fn an_array_is_told_by_its_first_differing_element_and_the_spread() {
    let found =
        arrays("<f4", "[2,3]", &floats(&[0., 1., 2., 3., 4., 5.]), &floats(&[0., 1., 2., 3., 4.5, 5.25])).unwrap();
    assert_eq!((found.path.as_str(), found.what, found.index), (r#"["w"]"#, "elements", Some(vec![1, 1])));
    assert_eq!((found.original.as_str(), found.replayed.as_str()), ("4.0", "4.5"));
    let spread = found.spread.unwrap();
    assert_eq!((spread.differing, spread.elements, spread.not_finite), (2, 6, 0));
    assert_eq!((spread.max_absolute, spread.max_relative), (Some(0.5), Some(0.5 / 4.5)));
}

#[test]
fn elements_are_compared_to_the_bit_and_what_is_not_finite_is_counted() {
    let quiet = f32::from_bits(0x7fc0_0001);
    assert_eq!(arrays("<f4", "[1]", &floats(&[quiet]), &floats(&[quiet])), None);
    let found =
        arrays("<f4", "[4]", &floats(&[f32::NAN, -0.0, 1., 2.]), &floats(&[quiet, 0.0, f32::INFINITY, 2.])).unwrap();
    assert_eq!((found.original.as_str(), found.replayed.as_str()), ("nan (0x7fc00000)", "nan (0x7fc00001)"));
    let spread = found.spread.unwrap();
    assert_eq!((spread.differing, spread.not_finite, spread.max_absolute), (3, 2, Some(0.0)));
}

#[test]
fn every_kind_of_element_is_shown_as_what_it_is() {
    let check = |dtype: &str, a: &[u8], b: &[u8], shown: (&str, &str)| {
        let found = arrays(dtype, "[1]", a, b).unwrap();
        assert_eq!((found.original.as_str(), found.replayed.as_str()), shown, "{dtype}");
    };
    check("|b1", &[0], &[1], ("False", "True"));
    check("<i2", &(-2i16).to_le_bytes(), &3i16.to_le_bytes(), ("-2", "3"));
    check(">i4", &(-2i32).to_be_bytes(), &3i32.to_be_bytes(), ("-2", "3"));
    check("<u8", &u64::MAX.to_le_bytes(), &[0; 8], ("18446744073709551615", "0"));
    check("<f2", &0x3c00u16.to_le_bytes(), &0xbe00u16.to_le_bytes(), ("1.0", "-1.5"));
    check(">f8", &0.1f64.to_be_bytes(), &0.2f64.to_be_bytes(), ("0.1", "0.2"));
    check("<c8", &floats(&[1., 2.]), &floats(&[1., -2.]), ("(1.0 + 2.0j)", "(1.0 + -2.0j)"));
    check("|S2", b"ab", b"ac", ("0x6162", "0x6163"));
}

#[test]
fn a_large_array_is_read_in_parts() {
    let mut a = vec![0u8; 3 << 20];
    let mut b = a.clone();
    (a[2_999_999], b[2_999_999], b[3_000_001]) = (1, 2, 9);
    let found = arrays("|u1", "[3145728]", &a, &b).unwrap();
    assert_eq!(found.index, Some(vec![2_999_999]));
    assert_eq!(found.spread.unwrap().differing, 2);
}

#[test]
fn another_dtype_shape_length_or_type_is_told_as_such() {
    let array = |dtype: &str, shape: &str| format!(r#"{{"$":"ndarray","dtype":"{dtype}","shape":{shape},"b":0}}"#);
    let check = |a: &str, b: &str, what: &str| {
        let found = between((a, &[&[0; 8]]), (b, &[&[0; 8]])).unwrap();
        assert_eq!(found.what, what, "{found:?}");
    };
    check(&array("<f4", "[2]"), &array("<i4", "[2]"), "dtype");
    check(&array("<f4", "[2]"), &array("<f4", "[2,1]"), "shape");
    check(&array("<f4", "[2]"), r#"{"$":"bytes","b":0}"#, "type");
    let found = between((r#"{"$":"floats","b":0}"#, &[&[0; 8]]), (r#"{"$":"floats","b":0}"#, &[&[0; 16]])).unwrap();
    assert_eq!((found.what, found.original.as_str(), found.replayed.as_str()), ("length", "1", "2"));
}

#[test]
fn the_way_to_a_difference_is_named() {
    let check = |a: &str, b: &str, path: &str, what: &str, shown: (&str, &str)| {
        let found = plain(a, b).unwrap();
        assert_eq!((found.path.as_str(), found.what), (path, what));
        assert_eq!((found.original.as_str(), found.replayed.as_str()), shown);
    };
    check(r#"{"a":[1,{"b":2.5}]}"#, r#"{"a":[1,{"b":2.25}]}"#, r#"["a"][1]["b"]"#, "value", ("2.5", "2.25"));
    check("[1,2]", "[1,2,3]", "", "length", ("2", "3"));
    check("1", "1.0", "", "type", ("int", "float"));
    check("0.0", "-0.0", "", "value", ("0.0", "-0.0"));
    check(r#"{"a":1,"b":2}"#, r#"{"a":1,"c":2}"#, "", "keys", ("also \"b\"", "also \"c\""));
    let order = ("in the order \"a\", \"b\"", "in the order \"b\", \"a\"");
    check(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, "", "keys", order);
    let (a, b) = (r#"{"$":"dict","v":[[1,"x"],[2,"y"]]}"#, r#"{"$":"dict","v":[[1,"x"],[2,"z"]]}"#);
    check(a, b, "[2]", "value", ("\"y\"", "\"z\""));
    let scalar = |hex: &str| format!(r#"{{"$":"npscalar","dtype":"<f4","hex":"{hex}"}}"#);
    check(&scalar("0000803f"), &scalar("00000040"), "", "value", ("1.0", "2.0"));
    check(r#"{"$":"float","v":"nan"}"#, r#"{"$":"float","v":"inf"}"#, "", "value", ("nan", "inf"));
}

#[test]
fn two_spellings_of_one_value_are_told_by_where_their_bytes_part() {
    let found = plain("[10.0]", "[1e1]").unwrap();
    assert_eq!((found.what, found.path.as_str()), ("encoding", ""));
    assert!(found.original.contains("10.0") && found.replayed.contains("1e1"), "{found:?}");
}

#[test]
fn every_test_vector_is_read_and_every_bad_one_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/values");
    let listed: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("vectors.json")).unwrap()).unwrap();
    let vectors = listed["vectors"].as_array().unwrap();
    assert!(vectors.len() > 30);
    for vector in vectors {
        let name = vector["file"].as_str().unwrap();
        let path = folder.join(name);
        let found = values(&path, &path);
        // Padding is no part of the header.
        let is_good = !name.starts_with("bad_") || name == "bad_padding_not_zero.value";
        assert!(
            if is_good { found.as_ref().is_ok_and(Option::is_none) } else { found.is_err() },
            "{path:?}: {found:?}"
        );
    }
}

#[test]
fn bytes_that_are_no_value_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = encoded(dir.path(), "good", "1", &[]);
    let bytes = std::fs::read(&good).unwrap();
    let mut endless = bytes.clone();
    endless[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    for (bad, words) in [(&bytes[..20], "too short"), (&[0xff; 64][..], "magic number"), (&endless, "too long")] {
        let path = dir.path().join("bad");
        std::fs::write(&path, bad).unwrap();
        let error = values(&good, &path).unwrap_err().message;
        assert!(error.contains(words), "{error}");
    }
    let array = encoded(dir.path(), "array", r#"{"$":"ndarray","dtype":"<f4","shape":[2],"b":3}"#, &[&[0; 8]]);
    assert!(values(&array, &array).unwrap_err().message.contains("a buffer that is not there"));
}

#[test]
fn a_sentence_names_place_values_and_spread() {
    let found = arrays("<f4", "[2]", &floats(&[0.5, 1.]), &floats(&[0.25, 1.])).unwrap();
    let words = r#"["w"]: element [0]: 0.5 in the original, 0.25 in the replay (1 of 2 elements differ, by at most 2.5e-1, relative 5e-1)"#;
    assert_eq!(found.sentence(), words);
}
