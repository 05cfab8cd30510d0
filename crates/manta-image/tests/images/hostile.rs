//! Images that are wrong or mean harm: each is refused in one sentence, and nothing half unpacked remains.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::fs;

use manta_image::Sha256;
use serde_json::{Value, json};
use tar::EntryType;

use crate::support::{Layer, Layout, Place, config, gzip, packed};

/// What an import says, and that it left nothing.
fn refusal(place: &Place, path: &std::path::Path) -> String {
    let error = place.store.import(path, Some("hostile".parse().unwrap())).unwrap_err();
    assert!(place.left("images").is_empty() && place.left("layers").is_empty(), "{error}");
    assert!(place.store.names().unwrap().is_empty());
    place.store.prune(None).unwrap();
    assert!(place.left("new").is_empty(), "what was begun is swept");
    error.to_string()
}

#[test]
fn layers_that_hold_what_no_layer_may_are_refused() {
    let long = "n".repeat(100);
    let layer = Layer::new;
    let table: Vec<(Layer, &str)> = vec![
        (layer().file("/etc/cron.d/x", b"x"), "the path `/etc/cron.d/x` is an absolute path"),
        (layer().file("../outside", b"x"), "the path `../outside` climbs out by `..`"),
        (layer().file("a/../../outside", b"x"), "climbs out by `..`"),
        (layer().link("a", "../../outside"), "the link `a` climbs out of the image, to `../../outside`"),
        (layer().link("a/b", "../../outside"), "the link `a/b` climbs out of the image"),
        (layer().link("a", "/../etc"), "climbs out of the image"),
        (layer().link("a", "/tmp").file("a/x", b"x"), "the path `a/x` leads through a link or a file"),
        (layer().dir("d/").link("d/a", "/tmp").dir("d/a/b/c/"), "the path `d/a/b/c/` leads through a link"),
        (layer().file("f", b"x").file("f/x", b"x"), "the path `f/x` leads through a link or a file"),
        (layer().link("a", "/etc").hard_link("p", "a/passwd"), "`p` to `a/passwd`, which is no file of the layer"),
        (layer().hard_link("p", "/etc/passwd"), "the hard link `p` to `/etc/passwd`, which is an absolute path"),
        (layer().hard_link("p", "../../../etc/passwd"), "which climbs out by `..`"),
        (layer().hard_link("p", "nothing"), "which is no file of the layer"),
        (layer().dir("d/").hard_link("p", "d"), "which is no file of the layer"),
        (layer().link("l", "x").hard_link("p", "l"), "which is no file of the layer"),
        (layer().link("l", ""), "has a target that no link can have"),
        (layer().entry(EntryType::Char, "dev/null", "", b"", 0o666), "it holds the device node `dev/null`"),
        (layer().entry(EntryType::Block, "sda", "", b"", 0o666), "it holds the device node `sda`"),
        (layer().entry(EntryType::Fifo, "pipe", "", b"", 0o666), "it holds the pipe `pipe`"),
        (layer().entry(EntryType::new(b'V'), "v", "", b"", 0o666), "is of the unknown kind 'V'"),
        (layer().file("d/.wh..", b""), "takes away nothing that can be named"),
        (layer().file("d/.wh.", b""), "takes away nothing that can be named"),
        (layer().entry(EntryType::Regular, "./", "", b"x", 0o644), "replaces the root directory by a file"),
        (layer().dir("d/").file("d/x", b"").file("d", b"x"), "`d` cannot be made"),
        (
            (0..35)
                .fold(layer(), |layer, _| {
                    layer.entry(EntryType::GNULongName, "x", "", &long.repeat(100).into_bytes(), 0)
                })
                .file("x", b""),
            "cannot be read as an archive",
        ),
        (
            layer().entry(EntryType::GNULongName, "x", "", &long.repeat(40).into_bytes(), 0).file("x", b""),
            "is longer than 3072 bytes",
        ),
        (
            layer().entry(EntryType::GNULongName, "x", "", "n".repeat(300).as_bytes(), 0).file("x", b""),
            "has a name longer than 255",
        ),
    ];
    for (layer, words) in table {
        let place = Place::new();
        let path = Layout::image(place.path("layout"), &[layer.tar()]);
        let sentence = refusal(&place, &path);
        assert!(sentence.starts_with("layer 1 of the image is refused: ") && sentence.contains(words), "{sentence}");
        assert!(!sentence.contains('\n'));
    }
}

#[test]
fn nothing_is_written_outside_whatever_a_layer_says() {
    let place = Place::new();
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.to_str().unwrap();
    let layer = Layer::new().link("a", target).file("a/planted", b"x").tar();
    let sentence = refusal(&place, &Layout::image(place.path("layout"), &[layer]));
    assert!(sentence.contains("leads through a link"), "{sentence}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_whiteout_reaches_no_file_through_a_link_of_a_lower_layer() {
    let place = Place::new();
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), b"x").unwrap();
    let below = Layer::new().link("a", outside.to_str().unwrap()).tar();
    let above = Layer::new().file("a/.wh.kept", b"").file("a/.wh..wh..opq", b"").tar();
    let path = Layout::image(place.path("layout"), &[below, above]);
    place.store.import(&path, Some("links".parse().unwrap())).unwrap();
    assert!(outside.join("kept").exists());
}

#[test]
fn bombs_end_at_a_limit() {
    let place = Place::new();
    let zeros = vec![0; 300 << 20];
    let layer = Layer::new().file("zeros", &zeros).tar();
    let sentence = refusal(&place, &Layout::image(place.path("layout"), &[layer]));
    assert!(sentence.contains("more than 200 times as large"), "{sentence}");
}

#[test]
fn digests_that_do_not_match_are_named() {
    let good = Layer::new().file("a", b"1").tar();
    let bad = Layer::new().file("a", b"2").tar();
    let place = Place::new();
    let layout = Layout::new(place.path("packed"));
    let manifest = layout.manifest(&config(std::slice::from_ref(&good)), &[gzip(&good)]);
    layout.index(&[manifest]);
    let blob = layout.0.join("blobs/sha256").join(Sha256::of(&gzip(&good)).hex());
    let mut bytes = fs::read(&blob).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let sentence = refusal(&place, &layout.0);
    assert!(sentence.starts_with("layer 1 of the image has the digest sha256:"), "{sentence}");

    let layout = Layout::new(place.path("unpacked"));
    let manifest = layout.manifest(&config(&[good]), &[gzip(&bad)]);
    let sentence = refusal(&place, layout.index(&[manifest]));
    assert!(sentence.starts_with("layer 1 of the image, unpacked, has the digest"), "{sentence}");

    let layout = Layout::new(place.path("config"));
    let manifest = layout.manifest(&config(&[]), &[]);
    let digest = Sha256::of(config(&[]).to_string().as_bytes());
    fs::write(layout.0.join("blobs/sha256").join(digest.hex()), b"{}").unwrap();
    let sentence = refusal(&place, layout.index(&[manifest]));
    assert!(sentence.contains("has the digest") && sentence.contains("the image says"), "{sentence}");
}

#[test]
fn images_for_other_machines_are_refused_by_their_platform() {
    let place = Place::new();
    let layers = [Layer::new().file("a", b"1").tar()];
    let mut other: Value = config(&layers);
    other["architecture"] = json!("s390x");
    let layout = Layout::new(place.path("config"));
    let manifest = layout.manifest(&other, &[gzip(&layers[0])]);
    let sentence = refusal(&place, layout.index(&[manifest]));
    assert!(sentence.starts_with("the image is for linux/s390x, and this machine is linux/"), "{sentence}");

    let layout = Layout::new(place.path("index"));
    let mut manifest = layout.manifest(&other, &[gzip(&layers[0])]);
    manifest["platform"] = json!({"os": "windows", "architecture": "amd64"});
    let sentence = refusal(&place, layout.index(&[manifest]));
    assert!(sentence.starts_with("the image is for windows/amd64"), "{sentence}");
}

#[test]
fn what_is_no_image_is_told_apart() {
    let place = Place::new();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(place.path(name), bytes).unwrap();
        place.path(name)
    };
    let layers = [Layer::new().file("a", b"1").tar()];
    let image = Layout::image(place.path("layout"), &layers);
    let whole = fs::read(packed(&image, place.path("whole.tar"))).unwrap();
    fs::create_dir(place.path("empty")).unwrap();
    let two = Layout::new(place.path("two"));
    let more = [Layer::new().file("b", b"1").tar()];
    let manifests =
        [two.manifest(&config(&layers), &[gzip(&layers[0])]), two.manifest(&config(&more), &[gzip(&more[0])])];
    two.index(&manifests);
    let lacking = Layout::image(place.path("lacking"), &layers);
    fs::remove_file(lacking.join("blobs/sha256").join(Sha256::of(&gzip(&layers[0])).hex())).unwrap();
    let escaping = place.path("escaping");
    fs::create_dir(&escaping).unwrap();
    fs::write(escaping.join("manifest.json"), r#"[{"Config":"../secret.json","Layers":[]}]"#).unwrap();
    fs::write(place.path("secret.json"), "{}").unwrap();
    for (path, words) in [
        (place.path("nothing"), "No such file"),
        (place.path("empty"), "has neither an `index.json`"),
        (file("text", b"hello"), "cannot be read as an image"),
        (file("cut.tar", &whole[..2000]), "cannot be read as an image"),
        (file("image.tar.gz", &gzip(&whole)), "compressed as a whole"),
        (two.0.clone(), "holds 2 images"),
        (lacking, "it lacks the file `blobs/sha256/"),
        (escaping, "it lacks the file `../secret.json`"),
    ] {
        let sentence = refusal(&place, &path);
        assert!(sentence.contains(words), "{sentence}");
    }
    let error = place.store.import(&image, None).unwrap_err();
    assert!(error.to_string().contains("does not say what its image is called"), "{error}");
}
