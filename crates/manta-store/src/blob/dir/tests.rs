//! Blobs in a directory, under the common suite and as files.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::DirBlobs;
use crate::conformance::blob::name;
use crate::conformance::fault::each_blob_is_stored_wholly_or_not_at_all;
use crate::{BlobError, BlobStore};

fn fresh() -> (DirBlobs, TempDir) {
    let dir = TempDir::new().unwrap();
    (DirBlobs::open(&dir.path().join("blobs")).unwrap(), dir)
}

crate::blob_conformance!(fresh);

fn drafts(dir: &TempDir) -> usize {
    fs::read_dir(dir.path().join("blobs/tmp")).unwrap().count()
}

fn put(store: &DirBlobs, bytes: &[u8]) {
    store.put(&name(bytes).digest, &mut &*bytes).unwrap();
}

#[test]
fn a_blob_is_one_private_file_named_by_its_digest() {
    let (store, dir) = fresh();
    put(&store, b"value");
    let digest = name(b"value").digest;
    let path = dir.path().join("blobs").join(&digest.to_string()[..2]).join(digest.to_string());
    assert_eq!(store.path(&digest), path);
    assert_eq!(fs::read(&path).unwrap(), b"value");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(&dir.path().join("blobs"))), (0o400, 0o700, 0o700));
    assert!(store.open_file(&digest).unwrap().is_some());
}

#[test]
fn folders_are_made_as_blobs_need_them() {
    let (store, dir) = fresh();
    let made = || {
        let entries = fs::read_dir(dir.path().join("blobs")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> =
            entries.map(|name| name.into_string().unwrap()).filter(|name| name.len() == 2).collect();
        names.sort();
        names
    };
    assert_eq!(made(), [""; 0]);
    let folder = name(b"value").digest.to_string()[..2].to_owned();
    for _ in 0..2 {
        put(&store, b"value");
        assert_eq!(made(), [folder.as_str()]);
    }
    let store = DirBlobs::open(&dir.path().join("blobs")).unwrap();
    put(&store, b"another");
    assert_eq!(store.digests(None, 9).unwrap().len(), 2);
}

#[test]
fn no_draft_outlives_its_write() {
    let (store, dir) = fresh();
    put(&store, b"kept");
    let again = |bytes: &[u8]| {
        let mut writer = store.begin().unwrap();
        writer.write(bytes).unwrap();
        writer
    };
    again(b"kept").seal().unwrap();
    again(b"other").finish(&name(b"kept").digest).unwrap_err();
    let unfinished = again(b"dropped");
    assert_eq!(drafts(&dir), 1);
    drop(unfinished);
    assert_eq!(drafts(&dir), 0);
}

#[test]
fn opening_keeps_blobs_and_removes_what_a_dead_process_left() {
    let (store, dir) = fresh();
    put(&store, b"value");
    fs::write(dir.path().join("blobs/tmp/0"), "half").unwrap();
    drop(store);
    let store = DirBlobs::open(&dir.path().join("blobs")).unwrap();
    assert_eq!(drafts(&dir), 0);
    assert_eq!(store.verify(&name(b"value").digest).unwrap(), name(b"value"));
    put(&store, b"another");
}

#[test]
fn a_damaged_blob_fails_verification() {
    let (store, _dir) = fresh();
    put(&store, b"value");
    let digest = name(b"value").digest;
    fs::remove_file(store.path(&digest)).unwrap();
    fs::write(store.path(&digest), b"valuE").unwrap();
    let error = store.verify(&digest).unwrap_err();
    assert!(matches!(error, BlobError::Damaged { found, .. } if found == name(b"valuE").digest), "{error:?}");
}

#[test]
fn a_damaged_blob_never_gives_its_last_piece_and_is_kept_for_people() {
    let (store, dir) = fresh();
    let bytes = vec![7; (1 << 20) + 10];
    put(&store, &bytes);
    let digest = name(&bytes).digest;
    let mut damaged = bytes.clone();
    damaged[5] ^= 1;
    for spoilt in [&damaged[..], &bytes[..bytes.len() - 1], &[]] {
        fs::remove_file(store.path(&digest)).unwrap();
        fs::write(store.path(&digest), spoilt).unwrap();
        let mut stream = store.stream(&digest).unwrap().unwrap();
        let mut given = 0;
        let error = loop {
            match stream.next_piece() {
                Ok(Some(piece)) => given += piece.len(),
                Ok(None) => panic!("damaged bytes were given whole"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, BlobError::Damaged { .. }), "{error:?}");
        assert!(given < spoilt.len().max(1));
    }
    store.quarantine(&digest).unwrap();
    assert_eq!(fs::read(dir.path().join(format!("blobs/quarantine/{digest}.0"))).unwrap(), b"");
    put(&store, &bytes);
    assert_eq!(store.verify(&digest).unwrap(), name(&bytes));
}

#[test]
fn a_blob_is_held_across_restarts_and_by_either_clock() {
    let (store, dir) = fresh();
    put(&store, b"value");
    let (digest, hour) = (name(b"value").digest, Duration::from_secs(3600));
    let long_ago = SystemTime::UNIX_EPOCH;
    let set = |time| fs::File::open(store.path(&digest)).unwrap().set_modified(time).unwrap();
    set(long_ago);
    assert_eq!(store.sweep(&digest, hour).unwrap(), 0, "this process stored it just now, whatever the wall clock says");
    let reopened = DirBlobs::open(&dir.path().join("blobs")).unwrap();
    set(SystemTime::now() + 10 * hour);
    assert_eq!(reopened.sweep(&digest, hour).unwrap(), 0, "the wall clock was set back");
    set(SystemTime::now());
    assert_eq!(reopened.sweep(&digest, hour).unwrap(), 0, "it was stored just now");
    set(long_ago);
    assert_eq!(reopened.hold(&digest).unwrap(), Some(5));
    let again = DirBlobs::open(&dir.path().join("blobs")).unwrap();
    assert_eq!(again.sweep(&digest, hour).unwrap(), 0, "it was held just now");
    set(long_ago);
    assert_eq!(again.sweep(&digest, hour).unwrap(), 5);
}

#[test]
fn a_fault_leaves_whole_blobs() {
    let dirs = TempDir::new().unwrap();
    let mut number = 0;
    let fresh = || {
        number += 1;
        DirBlobs::open(&dirs.path().join(number.to_string())).unwrap()
    };
    let reopened = |store: DirBlobs| DirBlobs::open(&store.shared.dir).unwrap();
    each_blob_is_stored_wholly_or_not_at_all(fresh, reopened);
}

#[test]
fn a_store_that_lost_its_folders_says_which_file_it_could_not_use() {
    let (store, dir) = fresh();
    fs::remove_dir_all(dir.path().join("blobs")).unwrap();
    let Err(BlobError::Io { path, .. }) = store.begin() else { panic!("it wrote into nothing") };
    assert_eq!(path, dir.path().join("blobs/tmp/0").display().to_string());
}
