//! What a bundle is made of, as CycloneDX 1.6 says it: for tools that look for known faults and licences.
//!
//! The document follows from the manifest alone: no time, no chance, keys in one order, so that the same bundle always has the
//! same one.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Bundle, Locked, Wheel, WheelName};

/// The bill of materials of a bundle; `release` is the version of the program that writes it.
pub fn sbom(bundle: &Bundle, release: &str) -> Value {
    let manifest = &bundle.manifest;
    let module = purl("generic", &manifest.name, &manifest.version);
    let image = format!("image:{}", manifest.image);
    let wheels = wheels(&manifest.dependencies);
    let mut needed: Vec<&str> = wheels.keys().map(String::as_str).collect();
    needed.push(&image);
    let files = manifest.files.iter().map(|(path, blob)| {
        json!({
            "type": "file",
            "bom-ref": format!("file:{path}"),
            "name": path,
            "hashes": [{"alg": "BLAKE3", "content": blob.digest}],
            "properties": [property("manta:bytes", &blob.size.to_string())],
        })
    });
    let external = json!({
        "type": "container",
        "bom-ref": image,
        "name": manifest.image,
        "description": "the environment that the node makes; none of the bundle",
        "properties": [property("manta:external", "true")],
    });
    let components: Vec<Value> = files.chain(wheels.values().cloned()).chain([external]).collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(bundle),
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "manta", "version": release}]},
            "component": {
                "type": "application",
                "bom-ref": module,
                "name": manifest.name,
                "version": manifest.version,
                "description": manifest.description.as_deref().unwrap_or_default(),
                "purl": module,
                "hashes": [{"alg": "BLAKE3", "content": bundle.blob.digest}],
                "properties": [property("manta:tree", &manifest.tree_digest().to_string())],
            },
        },
        "components": components,
        "dependencies": [{"ref": module, "dependsOn": needed}],
    })
}

/// The wheels of all locks by their references; one that several locks name is there once, with every runtime that it is for.
fn wheels(locks: &[Locked]) -> BTreeMap<String, Value> {
    let mut found: BTreeMap<&String, (&Wheel, Vec<Value>)> = BTreeMap::new();
    for locked in locks {
        let runtime = property("manta:runtime", &locked.runtime().to_string());
        for (file, wheel) in &locked.wheels {
            found.entry(file).or_insert_with(|| (wheel, Vec::new())).1.push(runtime.clone());
        }
    }
    found
        .into_iter()
        .map(|(file, (wheel, runtimes))| (format!("wheel:{file}"), library(file, wheel, runtimes)))
        .collect()
}

fn library(file: &str, wheel: &Wheel, runtimes: Vec<Value>) -> Value {
    // A manifest is checked to name wheels only by names that say what they are.
    let parsed = file.parse::<WheelName>().ok();
    let name = parsed.as_ref().map_or_else(|| file.to_owned(), |parsed| parsed.distribution.clone());
    let version = parsed.map(|parsed| parsed.version.to_string()).unwrap_or_default();
    json!({
        "type": "library",
        "bom-ref": format!("wheel:{file}"),
        "name": name,
        "version": version,
        "purl": format!("{}?file_name={}", purl("pypi", &name, &version), escaped(file)),
        "scope": "required",
        "hashes": [{"alg": "SHA-256", "content": wheel.sha256}, {"alg": "BLAKE3", "content": wheel.digest}],
        "properties": runtimes,
    })
}

fn property(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

fn purl(kind: &str, name: &str, version: &str) -> String {
    format!("pkg:{kind}/{}@{}", escaped(name), escaped(version))
}

/// A part of a package URL: letters, digits and `.-_~` stand for themselves.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A UUID of the bundle's digest: version 8, whose bits are whoever makes it's own.
fn serial(bundle: &Bundle) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&bundle.blob.digest.bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use manta_types::Blob;

    use super::*;
    use crate::{BundleMeta, Entry, ModuleResources, Target, digest_of, pack};

    const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn bundle() -> Bundle {
        let blob = |content: &str| Blob { digest: digest_of(content.as_bytes()), size: content.len() as u64 };
        let locked = |python: &str| Locked {
            lock: blob("lock"),
            platform: "x86_64-manylinux_2_17".parse().unwrap(),
            python: python.parse().unwrap(),
            wheels: [(
                "Six_Pack-1.16.0-py3-none-any.whl".to_owned(),
                Wheel { digest: digest_of(b"six"), sha256: SHA256.to_owned(), size: 3 },
            )]
            .into(),
        };
        let meta = BundleMeta {
            name: "fl worker".into(),
            version: Some("1.1.0".into()),
            entry: Entry::Code { file: "worker.py".into(), target: Target::Call("main".into()) },
            image: "manta_light:numpy".into(),
            datasets: vec![],
            resources: ModuleResources::default(),
            isolation: None,
            description: None,
            requires_manta: None,
            images: vec![],
            architectures: vec![],
            requires_python: None,
            dependencies: vec![locked("3.11"), locked("3.12")],
        };
        pack(meta, [("worker.py".to_owned(), blob("x")), ("lib/a.py".to_owned(), blob("y"))]).unwrap()
    }

    #[test]
    fn the_same_bundle_has_the_same_document_of_the_form_that_the_standard_has() {
        let (document, again) = (sbom(&bundle(), "0.1.0"), sbom(&bundle(), "0.1.0"));
        assert_eq!(document.to_string(), again.to_string());
        assert_eq!(
            (document["bomFormat"].as_str(), document["specVersion"].as_str()),
            (Some("CycloneDX"), Some("1.6"))
        );
        let serial = document["serialNumber"].as_str().unwrap();
        assert!(serial.len() == 45 && serial.starts_with("urn:uuid:") && serial.as_bytes()[23] == b'8', "{serial}");
        let module = &document["metadata"]["component"];
        assert_eq!(module["purl"], "pkg:generic/fl%20worker@1.1.0");
        assert_eq!(module["hashes"][0]["content"], bundle().blob.digest.to_string());
        let components = document["components"].as_array().unwrap();
        let kinds: Vec<_> = components.iter().map(|one| one["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["file", "file", "library", "container"]);
        let wheel = &components[2];
        assert_eq!(wheel["purl"], "pkg:pypi/six-pack@1.16.0?file_name=Six_Pack-1.16.0-py3-none-any.whl");
        assert_eq!(wheel["hashes"][0], json!({"alg": "SHA-256", "content": SHA256}));
        assert_eq!(wheel["properties"].as_array().unwrap().len(), 2, "a wheel of two locks is there once");
        let references: BTreeSet<_> = components.iter().map(|one| one["bom-ref"].as_str().unwrap()).collect();
        assert_eq!(references.len(), components.len());
        let needed = document["dependencies"][0]["dependsOn"].as_array().unwrap();
        assert!(needed.iter().all(|one| references.contains(one.as_str().unwrap())));
        for hash in components.iter().flat_map(|one| one["hashes"].as_array().into_iter().flatten()) {
            let content = hash["content"].as_str().unwrap();
            assert!(content.len() == 64 && content.bytes().all(|byte| byte.is_ascii_hexdigit()), "{content}");
        }
    }
}
