//! The cache over real files, with a source that counts what it is asked for.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::*;

/// Room for all that a test keeps.
const BYTES_MAX: u64 = 1 << 20;

#[derive(Default)]
struct Shop {
    goods: BTreeMap<Digest, Vec<u8>>,
    asked: AtomicUsize,
}

#[async_trait]
impl BlobSource for Shop {
    async fn fetch_to(&self, digest: Digest, out: &mut tokio::fs::File) -> Result<u64, RemoteError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let Some(content) = self.goods.get(&digest) else {
            out.write_all(b"half of ").await.unwrap();
            return Err(RemoteError::Refused("no such blob".to_owned()));
        };
        out.write_all(content).await.unwrap();
        Ok(content.len() as u64)
    }
}

fn digest(content: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(content).as_bytes())
}

fn read(pin: &Pin) -> Vec<u8> {
    let mut content = Vec::new();
    pin.open().unwrap().read_to_end(&mut content).unwrap();
    content
}

fn shop(goods: &[&[u8]]) -> Arc<Shop> {
    Arc::new(Shop {
        goods: goods.iter().map(|content| (digest(content), content.to_vec())).collect(),
        ..Shop::default()
    })
}

#[tokio::test]
async fn tasks_that_want_one_blob_share_one_download() {
    let dir = tempfile::tempdir().unwrap();
    let (content, shop) = (b"a model of some size", shop(&[b"a model of some size"]));
    let cache = Arc::new(Cache::open(dir.path(), shop.clone(), BYTES_MAX).unwrap());
    for pin in join_all((0..16).map(|_| cache.fetch(digest(content)))).await {
        assert_eq!(read(&pin.unwrap()), content);
    }
    assert_eq!(shop.asked.load(Ordering::SeqCst), 1);
    assert!(cache.flights.is_empty());
}

#[tokio::test]
async fn what_did_not_arrive_whole_is_never_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Arc::new(Cache::open(dir.path(), shop(&[]), BYTES_MAX).unwrap());
    assert!(matches!(cache.fetch(digest(b"unknown")).await, Err(CacheError::Remote { .. })));
    assert!(cache.pin(digest(b"unknown")).is_none());
    assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 0);
}

#[tokio::test]
async fn the_least_recently_used_goes_and_what_is_pinned_stays() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Arc::new(Cache::open(dir.path(), shop(&[]), 10).unwrap());
    let first = cache.take_in(&b"aaaa"[..]).unwrap();
    let second = cache.take_in(&b"bbbb"[..]).unwrap().blob().digest;
    let third = cache.take_in(&b"cccc"[..]).unwrap().blob().digest;
    assert!(cache.pin(second).is_none());
    assert!(cache.pin(third).is_some());
    assert_eq!(read(&first), b"aaaa");
}

#[tokio::test]
async fn a_restarted_agent_finds_what_the_last_one_had() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Arc::new(Cache::open(dir.path(), shop(&[]), BYTES_MAX).unwrap());
    let blob = cache.take_in(&b"kept"[..]).unwrap().blob();
    fs::write(dir.path().join("new/unfinished"), b"ke").unwrap();
    let cache = Arc::new(Cache::open(dir.path(), shop(&[]), BYTES_MAX).unwrap());
    assert_eq!(cache.fetch(blob.digest).await.unwrap().blob(), blob);
    assert!(!dir.path().join("new/unfinished").exists());
}

#[tokio::test]
async fn what_was_damaged_while_no_agent_ran_is_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let (content, shop) = (b"weights", shop(&[b"weights"]));
    let cache = Arc::new(Cache::open(dir.path(), shop.clone(), BYTES_MAX).unwrap());
    drop(cache.fetch(digest(content)).await.unwrap());
    for damage in [&b""[..], b"Weights", b"weights and more"] {
        let path = dir.path().join(digest(content).to_string());
        fs::remove_file(&path).unwrap();
        fs::write(&path, damage).unwrap();
        let cache = Arc::new(Cache::open(dir.path(), shop.clone(), BYTES_MAX).unwrap());
        let pin = cache.fetch(digest(content)).await.unwrap();
        assert_eq!((read(&pin), pin.blob().size), (content.to_vec(), 7));
    }
    assert_eq!(shop.asked.load(Ordering::SeqCst), 4);
}
