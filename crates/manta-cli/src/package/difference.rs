//! What differs between two packages: fields of their manifests, and their files.
use std::collections::{BTreeMap, BTreeSet};

use manta_module::BundleManifest;
use serde::Serialize;
use serde_json::Value;
use similar::TextDiff;

use super::Package;
use crate::report::Failure;

/// Bytes of a file beyond which it is not compared line by line.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Lines around a change.
const CONTEXT_LINES: usize = 3;

/// How one package becomes another.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    /// Fields of the manifest: `resources.cpu`, `version`.
    pub(crate) fields: Vec<FieldChange>,
    /// Files.
    pub(crate) files: Vec<FileChange>,
}

/// A field of the manifest that differs.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct FieldChange {
    /// Its name, with those of the objects that it is in.
    pub(crate) field: String,
    /// What it was.
    pub(crate) before: Option<Value>,
    /// What it is.
    pub(crate) after: Option<Value>,
}

/// A file that differs.
#[derive(Debug, Serialize)]
pub(crate) struct FileChange {
    /// Its path.
    pub(crate) path: String,
    /// Bytes that it had.
    pub(crate) before: Option<u64>,
    /// Bytes that it has.
    pub(crate) after: Option<u64>,
    /// The unified difference, where it is text and not large.
    pub(crate) text: Option<String>,
}

/// Compares two packages.
pub(crate) fn difference(one: &Package, other: &Package) -> Result<Difference, Failure> {
    let (before, after) = (&one.manifest().files, &other.manifest().files);
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut files = Vec::new();
    for path in paths.into_iter().filter(|path| before.get(*path) != after.get(*path)) {
        let (old, new) = (before.get(path).map(|blob| blob.size), after.get(path).map(|blob| blob.size));
        let read = |package: &Package, size: Option<u64>| match size {
            None => Ok(Some(String::new())),
            Some(size) if size > TEXT_BYTES_MAX => Ok(None),
            Some(_) => {
                package.read(path).map(|bytes| String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')))
            }
        };
        let failed =
            |error: std::io::Error| Failure::file("a file cannot be read:", std::path::Path::new(path), &error);
        let texts = (read(one, old).map_err(failed)?, read(other, new).map_err(failed)?);
        let text = match &texts {
            (Some(old_text), Some(new_text)) => Some(unified(path, (old, old_text), (new, new_text))),
            _ => None,
        };
        files.push(FileChange { path: path.clone(), before: old, after: new, text });
    }
    Ok(Difference { fields: fields(one.manifest(), other.manifest()), files })
}

fn unified(path: &str, (old, before): (Option<u64>, &str), (new, after): (Option<u64>, &str)) -> String {
    let name =
        |side: &str, size: Option<u64>| size.map_or_else(|| "/dev/null".to_owned(), |_| format!("{side}/{path}"));
    let diff = TextDiff::from_lines(before, after);
    diff.unified_diff().context_radius(CONTEXT_LINES).header(&name("a", old), &name("b", new)).to_string()
}

/// The fields of two manifests that differ, but for the files.
fn fields(one: &BundleManifest, other: &BundleManifest) -> Vec<FieldChange> {
    let leaves = |manifest: &BundleManifest| {
        let mut value = serde_json::to_value(manifest).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.remove("files");
        }
        let mut leaves = BTreeMap::new();
        flatten("", value, &mut leaves);
        leaves
    };
    let (mut before, mut after) = (leaves(one), leaves(other));
    let names: BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
    let changes = names.into_iter().map(|field| {
        let (before, after) = (before.remove(&field), after.remove(&field));
        FieldChange { field, before, after }
    });
    changes.filter(|change| change.before != change.after).collect()
}

fn flatten(name: &str, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, value) in object {
                let name = if name.is_empty() { key } else { format!("{name}.{key}") };
                flatten(&name, value, leaves);
            }
        }
        leaf => drop(leaves.insert(name.to_owned(), leaf)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_fields_are_named_with_what_they_are_in() {
        let mut leaves = BTreeMap::new();
        flatten("", serde_json::json!({"a": {"b": 1, "c": [1, 2]}, "d": {}}), &mut leaves);
        assert_eq!(leaves.keys().collect::<Vec<_>>(), ["a.b", "a.c", "d"]);
    }

    #[test]
    fn a_new_file_is_a_difference_to_nothing() {
        let text = unified("a.py", (None, ""), (Some(2), "x\n"));
        assert_eq!(text, "--- /dev/null\n+++ b/a.py\n@@ -0,0 +1 @@\n+x\n");
    }
}
