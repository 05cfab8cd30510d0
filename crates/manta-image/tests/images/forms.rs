//! Every form of image is taken in, and its layers are what is found inside.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::json;
use tar::EntryType;

use crate::support::{Layer, Layout, Place, architecture, config, gzip, packed, python_layers, zstd};

#[test]
fn layers_are_merged_as_their_marks_say() {
    let place = Place::new();
    let layout = Layout::image(place.path("layout"), &python_layers());
    let imported = place.store.import(&layout, Some("team/model:1".parse().unwrap())).unwrap();
    assert!(!imported.was_there);
    assert_eq!(imported.record.python(), Some(Path::new("/usr/bin/python3")));
    assert_eq!(imported.record.python_version(), Some((3, 12)));

    let held = place.store.hold("team/model:1").unwrap();
    let read = |path: &str| fs::read_to_string(held.root().join(path)).ok();
    assert_eq!(read("etc/removed"), None, "a later layer takes it away");
    assert_eq!(read("etc/hidden/below"), None, "nothing below shows through");
    assert_eq!(read("etc/hidden/above").as_deref(), Some("above"));
    assert_eq!(read("etc/same").as_deref(), Some("above"));
    assert_eq!(fs::read_link(held.root().join("bin")).unwrap(), Path::new("usr/bin"));
    let passwd = read("etc/passwd").unwrap();
    assert_eq!(passwd, "root:x:0:0:root:/root:/bin/sh\ntask:x:1000:1000:task:/tmp:/bin/sh\n");
    let added = fs::metadata(held.root().join("etc/added")).unwrap();
    assert_eq!((added.mtime(), added.permissions().mode() & 0o7777), (1_000_000_000, 0o644));
}

#[test]
fn layouts_and_saved_archives_hold_the_same_image() {
    let place = Place::new();
    let layers = python_layers();
    let layout = Layout::image(place.path("layout"), &layers);
    let first = place.store.import(&layout, Some("one".parse().unwrap())).unwrap();

    let archive = packed(&layout, place.path("layout.tar"));
    let second = place.store.import(&archive, Some("two".parse().unwrap())).unwrap();
    assert!(second.was_there);
    assert_eq!(second.record.id, first.record.id);

    // What `docker save` writes: plain layers, the second by a link to where an equal one lies.
    let saved = place.path("saved");
    fs::create_dir_all(saved.join("a")).unwrap();
    fs::create_dir_all(saved.join("b")).unwrap();
    fs::write(saved.join("a/layer.tar"), &layers[0]).unwrap();
    fs::write(saved.join("top.tar"), &layers[1]).unwrap();
    std::os::unix::fs::symlink("../top.tar", saved.join("b/layer.tar")).unwrap();
    fs::write(saved.join("config.json"), config(&layers).to_string()).unwrap();
    let manifest = json!([{
        "Config": "config.json", "RepoTags": ["docker.io/library/three:latest"],
        "Layers": ["a/layer.tar", "b/layer.tar"],
    }]);
    fs::write(saved.join("manifest.json"), manifest.to_string()).unwrap();
    let mut builder = tar::Builder::new(fs::File::create(place.path("saved.tar")).unwrap());
    builder.follow_symlinks(false);
    builder.append_dir_all(".", &saved).unwrap();
    builder.finish().unwrap();
    let third = Place::new();
    let imported = third.store.import(&place.path("saved.tar"), None).unwrap();
    assert_eq!(imported.record.id, first.record.id);
    assert_eq!(imported.names, ["three".parse().unwrap()]);
}

#[test]
fn the_image_for_this_machine_is_chosen_among_several() {
    let place = Place::new();
    let layers = vec![Layer::new().file("mine", b"").tar()];
    let layout = Layout::new(place.path("layout"));
    let mut mine = layout.manifest(&config(&layers), &[zstd(&layers[0])]);
    mine["platform"] = json!({"os": "linux", "architecture": architecture()});
    let mut other = layout.manifest(&json!({"of": "another"}), &[]);
    other["platform"] = json!({"os": "linux", "architecture": "riscv64"});
    let mut attestation = layout.manifest(&json!({"no": "image"}), &[]);
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let inner = json!({"schemaVersion": 2, "manifests": [other, attestation, mine]});
    let mut inner = layout.blob("application/vnd.oci.image.index.v1+json", inner.to_string().as_bytes());
    inner["annotations"] = json!({"io.containerd.image.name": "docker.io/library/several:2"});
    let imported = place.store.import(layout.index(&[inner]), None).unwrap();
    assert_eq!(imported.names, ["several:2".parse().unwrap()]);
}

#[test]
fn modes_lose_what_could_give_rights_and_keep_what_their_owner_needs() {
    let place = Place::new();
    let layer = Layer::new()
        .entry(EntryType::Directory, "closed/", "", b"", 0o000)
        .entry(EntryType::Regular, "closed/secret", "", b"x", 0o000)
        .entry(EntryType::Regular, "su", "", b"x", 0o6755)
        .entry(EntryType::Regular, "again", "", b"first", 0o644)
        .entry(EntryType::Regular, "again", "", b"second", 0o644)
        .file("without/its/directory", b"x")
        .tar();
    let layout = Layout::image(place.path("layout"), &[layer]);
    let imported = place.store.import(&layout, Some("modes".parse().unwrap())).unwrap();
    let held = place.store.hold(&imported.record.id.hex()[..12]).unwrap();
    let mode = |path: &str| fs::metadata(held.root().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("closed"), mode("closed/secret"), mode("su")), (0o700, 0o400, 0o755));
    assert_eq!(fs::read(held.root().join("again")).unwrap(), b"second");
    assert!(held.root().join("without/its/directory").is_file());
}

#[test]
fn layers_are_unpacked_once_for_all_images() {
    let place = Place::new();
    let mut layers = python_layers();
    place.store.import(&Layout::image(place.path("one"), &layers), Some("one".parse().unwrap())).unwrap();
    layers[1] = Layer::new().file("other", gzip(b"x").as_slice()).tar();
    place.store.import(&Layout::image(place.path("two"), &layers), Some("two".parse().unwrap())).unwrap();
    assert_eq!(place.left("layers").len(), 3);
    let inode =
        |name: &str| fs::metadata(place.store.hold(name).unwrap().root().join("usr/bin/python3.12")).unwrap().ino();
    assert_eq!(inode("one"), inode("two"));
}
