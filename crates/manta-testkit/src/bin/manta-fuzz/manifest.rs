//! The manifest of a bundle: whatever bytes come, they are refused, or say the one thing that they say.
use std::collections::BTreeMap;

use manta_module::{BundleManifest, BundleMeta, Entry, ModuleResources, Target as Call, digest_of, pack};
use manta_testkit::sim::Chance;
use manta_types::Blob;
use serde_json::{Map, Value as Json, json};

use crate::run::Target;

/// The target.
pub(crate) struct Manifest;

/// A manifest over files of these contents.
pub(crate) fn over(files: &BTreeMap<String, Vec<u8>>) -> BundleManifest {
    let meta = BundleMeta {
        name: "worker".to_owned(),
        version: Some("1.0.0-rc.1+build".to_owned()),
        entry: Entry::Code { file: "worker.py".to_owned(), target: Call::Call("main".to_owned()) },
        image: "manta_light:pytorch>=2.0".to_owned(),
        datasets: vec!["digits".to_owned()],
        resources: ModuleResources::default(),
        isolation: None,
        description: Some("what it does".to_owned()),
        requires_manta: Some(">=0.1".to_owned()),
        images: vec!["pytorch>=2.0".to_owned()],
        architectures: vec!["x86_64".to_owned()],
        requires_python: None,
        dependencies: Vec::new(),
    };
    let blob = |bytes: &Vec<u8>| Blob { digest: digest_of(bytes), size: bytes.len() as u64 };
    pack(meta, files.iter().map(|(path, bytes)| (path.clone(), blob(bytes)))).expect("it is a bundle").manifest
}

impl Target for Manifest {
    fn name(&self) -> &'static str {
        "manifest"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let one = BTreeMap::from([("worker.py".to_owned(), b"def main(): pass\n".to_vec())]);
        let mut more = one.clone();
        more.insert("data/\u{e9}/weights.bin".to_owned(), vec![7; 300]);
        [one, more].iter().map(|files| over(files).canonical_bytes()).collect()
    }

    fn made(&self, chance: &mut Chance, base: &[u8]) -> Option<Vec<u8>> {
        let mut document: Json = serde_json::from_slice(base).ok()?;
        for _ in 0..chance.pick(&[1, 1, 2, 3]) {
            document = changed(chance, document, 0);
        }
        let write = if chance.one_in(4) { serde_json::to_vec_pretty } else { serde_json::to_vec };
        write(&document).ok()
    }

    fn ending(&self, input: &[u8]) -> Result<String, String> {
        let read = match BundleManifest::parse(input) {
            Ok(read) => read,
            Err(error) => return Ok(error.to_string()),
        };
        let bytes = read.canonical_bytes();
        let again =
            BundleManifest::parse(&bytes).map_err(|error| format!("it is refused once written again: {error}"))?;
        if again != read || again.canonical_bytes() != bytes {
            return Err("it says something else once written again".to_owned());
        }
        if bytes != input {
            return Err("it is read, and is not in its one form: two digests for one manifest".to_owned());
        }
        read.files.keys().try_for_each(|path| {
            let is_inside = !path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if is_inside { Ok(()) } else { Err(format!("`{path}` leaves the bundle")) }
        })?;
        Ok(format!("read: {} files, {} datasets, {:?}", read.files.len(), read.datasets.len(), read.entry))
    }
}

/// The document with one place in it changed.
fn changed(chance: &mut Chance, document: Json, depth: usize) -> Json {
    if depth > 6 || chance.one_in(4) {
        return invented(chance, document);
    }
    match document {
        Json::Object(fields) if !fields.is_empty() => {
            let at = chance.index(fields.len());
            let mut made = Map::new();
            for (index, (key, value)) in fields.into_iter().enumerate() {
                if index != at {
                    made.insert(key, value);
                } else if !chance.one_in(8) {
                    let key = if chance.one_in(8) { text(chance) } else { key };
                    let value = changed(chance, value, depth + 1);
                    made.insert(key, value);
                }
            }
            Json::Object(made)
        }
        Json::Array(mut entries) if !entries.is_empty() => {
            let at = chance.index(entries.len());
            let entry = entries.remove(at);
            let entry = changed(chance, entry, depth + 1);
            entries.insert(at, entry);
            Json::Array(entries)
        }
        other => invented(chance, other),
    }
}

fn invented(chance: &mut Chance, old: Json) -> Json {
    match chance.between(0, 8) {
        0 => Json::Null,
        1 => json!(chance.pick(&[0, 1, -1, i64::MAX, i64::MIN])),
        2 => json!(chance.pick(&[0.5, 1e300, -0.0])),
        3 => json!([old.clone(), old]),
        4 => json!({"": old}),
        5 => json!({}),
        _ => Json::String(text(chance)),
    }
}

fn text(chance: &mut Chance) -> String {
    let texts = [
        "",
        "a",
        "../a",
        "/a",
        "a/../b",
        "a//b",
        "con",
        "NUL.txt",
        "a.",
        "e\u{301}",
        "\u{e9}",
        "\u{202e}",
        "\0",
        "1.0.0",
        "^1.2",
        ">=2,<1",
        "x86_64",
        "MANTA.json",
        "WORKER.PY",
        "worker.py/x",
        "c:\\x",
        "\u{feff}",
        "\u{1f600}",
    ];
    let chosen = chance.pick(&texts).to_owned();
    if chance.one_in(12) { chosen.repeat(5_000) } else { chosen }
}
