//! Blobs over HTTP.
use bytes::Bytes;
use http::{Method, StatusCode};
use manta_module::digest_of;
use serde_json::json;

use crate::harness::{BASE, Manager, tcp, unix};

#[tokio::test]
async fn a_blob_comes_back_as_it_went_over_tcp_and_unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..5_000_003_u32).map(|i| (i % 251) as u8).collect();
    for (listen, expected) in [(tcp(), StatusCode::CREATED), (unix(dir.path()), StatusCode::OK)] {
        let manager = Manager::start(dir.path(), listen).await;
        let path = format!("/blobs/{}", digest_of(&bytes));
        let put = manager.call(Method::PUT, &path, bytes.clone()).await;
        assert_eq!(put.status, expected, "new the first time, kept across the restart");
        let head = manager.call(Method::HEAD, &path, Bytes::new()).await;
        assert_eq!((head.status, &head.headers["content-length"]), (StatusCode::OK, &"5000003".parse().unwrap()));
        let got = manager.get(&path).await;
        assert_eq!(got.status, StatusCode::OK);
        assert!(got.body == bytes, "the same bytes");
        manager.stop().await.unwrap();
    }
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let blob = manager.put_blob(b"").await;
    let got = manager.get(&format!("/blobs/{}", blob.digest)).await;
    assert_eq!((got.status, got.body.len()), (StatusCode::OK, 0));
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn one_range_gives_just_those_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let blob = manager.put_blob(b"0123456789").await;
    let path = format!("{BASE}/blobs/{}", blob.digest);
    let bearer = format!("Bearer {}", manager.user);
    for (range, status, body, content_range) in [
        ("bytes=2-4", StatusCode::PARTIAL_CONTENT, "234", "bytes 2-4/10"),
        ("bytes=7-", StatusCode::PARTIAL_CONTENT, "789", "bytes 7-9/10"),
        ("bytes=-2", StatusCode::PARTIAL_CONTENT, "89", "bytes 8-9/10"),
        ("bytes=10-", StatusCode::RANGE_NOT_SATISFIABLE, "", "bytes */10"),
        ("bytes=0-1,3-4", StatusCode::OK, "0123456789", ""),
    ] {
        let headers = [("authorization", bearer.as_str()), ("range", range)];
        let got = manager.raw(Method::GET, &path, &headers, Bytes::new()).await;
        let told = got.headers.get("content-range").map_or("", |value| value.to_str().unwrap());
        assert_eq!((got.status, &got.body[..], told), (status, body.as_bytes(), content_range), "{range}");
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn bytes_under_another_name_are_refused_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let path = format!("/blobs/{}", digest_of(b"one"));
    let put = manager.call(Method::PUT, &path, "other").await;
    assert_eq!((put.status, put.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "MANTA-0205"));
    let got = manager.get(&path).await;
    assert_eq!((got.status, got.code().as_str()), (StatusCode::NOT_FOUND, "MANTA-0301"));
    let bad = manager.get("/blobs/..%2f..%2ftoken").await;
    assert_eq!((bad.status, bad.code().as_str()), (StatusCode::BAD_REQUEST, "MANTA-0501"));
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn missing_names_only_what_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let stored = manager.put_blob(b"here").await.digest;
    let absent = digest_of(b"not here");
    let asked = json!({"digests": [stored, absent]}).to_string();
    let answer = manager.call(Method::POST, "/blobs/missing", asked).await;
    assert_eq!(answer.json(), json!({"missing": [absent]}));
    let typo = manager.call(Method::POST, "/blobs/missing", r#"{"digest":[]}"#).await;
    assert_eq!((typo.status, typo.code().as_str()), (StatusCode::BAD_REQUEST, "MANTA-0501"));
    manager.stop().await.unwrap();
}

/// Passes connections on to the manager, and cuts the first ones after so many bytes from the client; counts all of them.
async fn cutting(
    manager: &Manager,
    dir: &std::path::Path,
    cuts: Vec<u64>,
) -> (manta_client::Endpoint, std::sync::Arc<std::sync::atomic::AtomicU64>) {
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let manta_client::Endpoint::Unix(target) = manager.endpoint.clone() else { panic!("a manager on a Unix socket") };
    let path = dir.join("cutting.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let endpoint = manta_client::Endpoint::Unix(path);
    let passed = std::sync::Arc::new(AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&passed);
    tokio::spawn(async move {
        let mut cuts = cuts.into_iter();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = tokio::net::UnixStream::connect(&target).await.unwrap();
            let (mut left, counted) = (cuts.next().unwrap_or(u64::MAX), std::sync::Arc::clone(&counted));
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.split();
                let (mut from_server, mut to_server) = server.split();
                let up = async {
                    let mut piece = vec![0; 64 << 10];
                    while left > 0
                        && let Ok(read @ 1..) = from_client.read(&mut piece).await
                    {
                        let read = read.min(usize::try_from(left).unwrap_or(usize::MAX));
                        left -= read as u64;
                        counted.fetch_add(read as u64, Ordering::SeqCst);
                        if to_server.write_all(&piece[..read]).await.is_err() {
                            break;
                        }
                    }
                };
                let down = tokio::io::copy(&mut from_server, &mut to_client);
                tokio::select! { () = up => {}, _ = down => {} }
            });
        }
    });
    (endpoint, passed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_breaks_off_goes_on_where_it_broke() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), unix(dir.path())).await;
    let bytes: Vec<u8> = (0..24_000_003_u32).map(|i| (i % 251) as u8).collect();
    let file = dir.path().join("file");
    std::fs::write(&file, &bytes).unwrap();
    let cut = 14 << 20;
    let (endpoint, passed) = cutting(&manager, dir.path(), vec![cut]).await;
    let token = manta_client::Token::new(manager.user.clone());
    let client = manta_client::Client::new(endpoint, token, manta_types::ClusterId::default());
    let blob = client.put_blob_file(&file).await.unwrap();
    assert_eq!(blob.digest, digest_of(&bytes));
    let got = manager.get(&format!("/blobs/{}", blob.digest)).await;
    assert!(got.body == bytes, "the same bytes");
    let (passed, whole) = (passed.load(std::sync::atomic::Ordering::SeqCst), bytes.len() as u64);
    assert!(passed < whole + cut / 2, "{passed} bytes were sent of a blob of {whole}, which broke off after {cut}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_part_that_does_not_follow_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let path = format!("{BASE}/blobs/{}", digest_of(b"0123456789"));
    let bearer = format!("Bearer {}", manager.user);
    for (range, status) in [("bytes 5-9/10", StatusCode::CONFLICT), ("from here", StatusCode::BAD_REQUEST)] {
        let headers = [("authorization", bearer.as_str()), ("content-range", range)];
        assert_eq!(manager.raw(Method::PUT, &path, &headers, &b"56789"[..]).await.status, status, "{range}");
    }
    let kept = manager.get(&format!("/blobs/{}/received", digest_of(b"0123456789"))).await.json();
    assert_eq!(kept, json!({"received": 0}));
    manager.stop().await.unwrap();
}
