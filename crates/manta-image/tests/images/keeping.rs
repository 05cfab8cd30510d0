//! What is named or used stays; what nobody needs goes, layers with it.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::fs;

use manta_image::ImageError;

use crate::support::{Layer, Layout, Place, python_layers};

fn image(place: &Place, name: &str, content: &[u8]) {
    let mut layers = vec![python_layers().remove(0)];
    layers.push(Layer::new().file("content", content).tar());
    let path = Layout::image(place.path(&format!("layout-{name}")), &layers);
    place.store.import(&path, Some(name.parse().unwrap())).unwrap();
}

#[test]
fn an_image_in_use_is_kept_and_one_that_is_not_goes_with_its_layers() {
    let place = Place::new();
    image(&place, "one", b"1");
    image(&place, "two", b"2");
    let held = place.store.hold("one").unwrap();
    assert!(matches!(place.store.remove("one"), Err(ImageError::InUse { .. })));
    assert!(held.root().join("content").exists());
    assert!(place.store.find("one").is_ok(), "a refused removal changes nothing");

    let removed = place.store.remove("two").unwrap().unwrap();
    assert_eq!((removed.bytes, place.left("layers").len()), (1, 2), "the shared layer stays");
    drop(held);
    place.store.remove("one").unwrap().unwrap();
    assert!(place.left("layers").is_empty() && place.left("images").is_empty() && place.left("new").is_empty());
}

#[test]
fn an_image_goes_with_its_last_name() {
    let place = Place::new();
    image(&place, "one", b"1");
    image(&place, "other", b"1");
    assert_eq!(place.store.list().unwrap()[0].names.len(), 2);
    assert!(place.store.remove("one").unwrap().is_none());
    assert_eq!(place.store.remove("other").unwrap().unwrap().names, ["other".parse().unwrap()]);
    assert!(matches!(place.store.find("other"), Err(ImageError::Unknown { .. })));
}

#[test]
fn the_least_recently_used_go_first_and_what_is_used_never() {
    let place = Place::new();
    for name in ["old", "used", "new"] {
        image(&place, name, &name.as_bytes().repeat(100_000));
    }
    let used = place.store.hold("used").unwrap();
    drop(place.store.hold("new").unwrap());
    let removed = place.store.prune(Some(750_000)).unwrap();
    assert_eq!(
        removed.iter().flat_map(|one| &one.names).map(manta_image::ImageName::as_str).collect::<Vec<_>>(),
        ["old"]
    );
    let removed = place.store.prune(Some(0)).unwrap();
    assert_eq!(removed[0].names, ["new".parse().unwrap()]);
    assert!(used.root().join("content").exists());
    drop(used);
    place.store.prune(Some(0)).unwrap();
    assert_eq!(place.store.bytes().unwrap(), 0);
}

#[test]
fn what_an_interrupted_import_left_is_swept_by_the_next() {
    let place = Place::new();
    let left = place.store.root().join("new/0/tree/deep");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("file"), b"x").unwrap();
    image(&place, "one", b"1");
    assert!(place.left("new").is_empty());
}

#[test]
fn a_name_that_is_not_there_comes_with_the_nearest() {
    let place = Place::new();
    assert!(place.store.find("x").unwrap_err().hint().unwrap().contains("manta image import"));
    image(&place, "numpy", b"1");
    let error = place.store.find("nunpy").unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("did you mean `numpy`?"));
    assert!(place.store.find("sha256:0000000").is_err());
    let id = place.store.find("numpy").unwrap().id;
    for wanted in [id.to_string(), id.hex(), id.short()] {
        assert_eq!(place.store.find(&wanted).unwrap().id, id);
    }
}
