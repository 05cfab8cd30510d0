//! What every [`BlobStore`] must do.
#![expect(missing_docs, reason = "the names of checks are their documentation")]
use std::io::{Cursor, Error, Read, Seek, SeekFrom};
use std::thread;
use std::time::Duration;

use manta_types::{Blob, Digest};

use crate::{BlobError, BlobStore};

/// Runs every check on a backend, one test each; the argument makes a fresh store and what must live as long (a directory).
#[macro_export]
macro_rules! blob_conformance {
    ($fresh:expr) => {
        $crate::blob_conformance!(@each $fresh;
            bytes_are_read_back_under_their_digest
            other_bytes_than_announced_are_refused_and_not_kept
            bytes_may_come_in_pieces_of_any_size
            an_unfinished_write_leaves_nothing
            stored_bytes_are_not_taken_again
            a_source_that_fails_leaves_nothing
            missing_names_what_is_not_stored
            many_writers_of_the_same_bytes_agree
            a_sound_blob_passes_verification
            a_stream_gives_every_byte_once
            a_blob_is_read_whole_within_a_limit
            digests_are_paged_in_order
            a_sweep_takes_what_nobody_holds
            a_blob_that_was_set_aside_is_missing_and_can_be_stored_again
        );
    };
    (@each $fresh:expr; $($check:ident)+) => {
        $(
            #[test]
            fn $check() {
                let (store, _keep) = ($fresh)();
                $crate::conformance::blob::$check(&store);
            }
        )+
    };
}

/// The name of some bytes.
pub fn name(bytes: &[u8]) -> Blob {
    Blob { digest: Digest::from_bytes(*blake3::hash(bytes).as_bytes()), size: bytes.len() as u64 }
}

fn put(store: &dyn BlobStore, bytes: &[u8]) -> Blob {
    store.put(&name(bytes).digest, &mut Cursor::new(bytes)).expect("these are the announced bytes")
}

fn read(store: &dyn BlobStore, digest: &Digest) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    store.open(digest).expect("a sound store opens")?.read_to_end(&mut bytes).expect("a sound store reads");
    Some(bytes)
}

pub fn bytes_are_read_back_under_their_digest(store: &dyn BlobStore) {
    for bytes in [Vec::new(), b"a".to_vec(), vec![7; 1_000_003]] {
        assert_eq!(put(store, &bytes), name(&bytes));
        assert_eq!(read(store, &name(&bytes).digest), Some(bytes.clone()));
        assert_eq!(store.size(&name(&bytes).digest).expect("sizes can be read"), Some(bytes.len() as u64));
    }
    let mut part = store.open(&name(b"a").digest).expect("it opens").expect("it is there");
    assert_eq!(part.seek(SeekFrom::Start(1)).expect("it seeks"), 1);
    assert_eq!(part.read(&mut [0; 4]).expect("it reads"), 0);
}

pub fn other_bytes_than_announced_are_refused_and_not_kept(store: &dyn BlobStore) {
    let (announced, came) = (name(b"good"), name(b"evil"));
    let error = store.put(&announced.digest, &mut Cursor::new(b"evil")).expect_err("the bytes differ");
    let BlobError::Mismatch { expected, found } = error else { panic!("{error:?}") };
    assert_eq!((expected, found), (announced.digest, came.digest));
    assert_eq!((read(store, &announced.digest), read(store, &came.digest)), (None, None));
}

pub fn bytes_may_come_in_pieces_of_any_size(store: &dyn BlobStore) {
    let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
    for piece in [1, 64, 4999, 5000] {
        let mut writer = store.begin().expect("a write begins");
        bytes.chunks(piece).for_each(|part| writer.write(part).expect("a piece is taken"));
        assert_eq!(writer.seal().expect("it is kept"), name(&bytes));
    }
    assert_eq!(read(store, &name(&bytes).digest), Some(bytes));
}

pub fn an_unfinished_write_leaves_nothing(store: &dyn BlobStore) {
    let mut writer = store.begin().expect("a write begins");
    writer.write(b"half").expect("a piece is taken");
    drop(writer);
    assert_eq!(read(store, &name(b"half").digest), None);
}

pub fn stored_bytes_are_not_taken_again(store: &dyn BlobStore) {
    let blob = put(store, b"once");
    let mut unread = Cursor::new(b"once");
    assert_eq!(store.put(&blob.digest, &mut unread).expect("it is there"), blob);
    assert_eq!(unread.position(), 0);
}

pub fn a_source_that_fails_leaves_nothing(store: &dyn BlobStore) {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> Result<usize, Error> {
            Err(Error::other("the line went dead"))
        }
    }
    let digest = name(b"partial").digest;
    let error = store.put(&digest, &mut Cursor::new(b"part").chain(Broken)).expect_err("the source failed");
    assert!(matches!(error, BlobError::Read { .. }), "{error:?}");
    assert_eq!(read(store, &digest), None);
}

pub fn missing_names_what_is_not_stored(store: &dyn BlobStore) {
    let (here, there, gone) = (put(store, b"1").digest, put(store, b"2").digest, name(b"3").digest);
    assert_eq!(store.missing(&[here, gone, there]).expect("digests can be asked for"), [gone]);
    assert_eq!(store.missing(&[]).expect("nothing can be asked for"), []);
}

pub fn many_writers_of_the_same_bytes_agree(store: &dyn BlobStore) {
    let bytes = vec![42; 300_000];
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut writer = store.begin().expect("a write begins");
                bytes.chunks(10_000).for_each(|part| writer.write(part).expect("a piece is taken"));
                assert_eq!(writer.finish(&name(&bytes).digest).expect("it is kept"), name(&bytes));
                assert_eq!(read(store, &name(&bytes).digest).as_ref(), Some(&bytes));
            });
        }
    });
}

pub fn a_sound_blob_passes_verification(store: &dyn BlobStore) {
    let blob = put(store, b"sound");
    assert_eq!(store.verify(&blob.digest).expect("it is sound"), blob);
    let error = store.verify(&name(b"absent").digest).expect_err("it is not there");
    assert!(matches!(error, BlobError::Missing { .. }), "{error:?}");
}

pub fn a_stream_gives_every_byte_once(store: &dyn BlobStore) {
    for bytes in [Vec::new(), b"a".to_vec(), vec![7; 1 << 20], vec![8; (2 << 20) + 3]] {
        let blob = put(store, &bytes);
        let mut stream = store.stream(&blob.digest).expect("it opens").expect("it is there");
        assert_eq!(stream.blob(), blob);
        let mut found = Vec::new();
        let mut pieces = 0;
        while let Some(piece) = stream.next_piece().expect("it is sound") {
            found.extend(piece);
            pieces += 1;
        }
        assert_eq!((found.len(), found == bytes), (bytes.len(), true));
        assert_eq!(pieces, bytes.len().div_ceil(1 << 20).max(1));
    }
    assert!(store.stream(&name(b"absent").digest).expect("it can be asked for").is_none());
}

pub fn a_blob_is_read_whole_within_a_limit(store: &dyn BlobStore) {
    let digest = put(store, b"value").digest;
    assert_eq!(store.read(&digest, 5).expect("it is sound"), Some(b"value".to_vec()));
    let error = store.read(&digest, 4).expect_err("it is longer");
    assert!(matches!(error, BlobError::TooLarge { limit: 4 }), "{error:?}");
    assert_eq!(store.read(&name(b"absent").digest, 5).expect("it can be asked for"), None);
}

pub fn digests_are_paged_in_order(store: &dyn BlobStore) {
    let mut all: Vec<_> = (0..300u32).map(|number| put(store, &number.to_le_bytes()).digest).collect();
    all.sort_unstable();
    let mut found = Vec::new();
    loop {
        let page = store.digests(found.last(), 7).expect("digests can be listed");
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, all);
}

pub fn a_sweep_takes_what_nobody_holds(store: &dyn BlobStore) {
    let digest = put(store, b"value").digest;
    let hour = Duration::from_secs(3600);
    assert_eq!(store.sweep(&digest, hour).expect("it can be swept"), 0, "it was stored just now");
    assert_eq!(store.sweep(&digest, Duration::ZERO).expect("it can be swept"), 5);
    assert_eq!(store.size(&digest).expect("sizes can be read"), None);
    assert_eq!(store.hold(&digest).expect("what is gone can be asked for"), None);
    assert_eq!(store.sweep(&digest, Duration::ZERO).expect("what is gone can be swept"), 0);
    assert_eq!(put(store, b"value").digest, digest);
    assert_eq!(store.hold(&digest).expect("it is held"), Some(5));
    assert_eq!(store.sweep(&digest, hour).expect("it can be swept"), 0, "it is held");
}

pub fn a_blob_that_was_set_aside_is_missing_and_can_be_stored_again(store: &dyn BlobStore) {
    for _ in 0..2 {
        let digest = put(store, b"value").digest;
        store.quarantine(&digest).expect("it is set aside");
        assert_eq!((read(store, &digest), store.digests(None, 9).expect("digests can be listed")), (None, vec![]));
        assert_eq!(store.missing(&[digest]).expect("digests can be asked for"), [digest]);
    }
    store.quarantine(&name(b"absent").digest).expect("what is not there is set aside already");
    assert_eq!(read(store, &put(store, b"value").digest), Some(b"value".to_vec()));
}
