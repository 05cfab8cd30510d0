//! The client against a small HTTP server on a Unix socket: what it sends, checks, and how it goes on after a break.
#![expect(clippy::unwrap_used, reason = "tests")]
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use manta_client::{Client, ClientError, Endpoint, Token};
use manta_types::{Blob, ClusterId, SwarmId};

/// What the server answers: a status, then pieces of a body; `Err` breaks the connection off.
type Script = (u16, Vec<Result<&'static str, ()>>);

struct Seen {
    line: String,
    last_event_id: Option<String>,
    authorization: String,
    key: Option<String>,
    body: Bytes,
}

struct Server {
    client: Client,
    seen: Arc<Mutex<Vec<Seen>>>,
    _folder: tempfile::TempDir,
}

fn serve(script: Vec<Script>) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let shared = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (script, seen) = (script.clone(), shared.clone());
            let service = service_fn(move |request| answer(request, script.clone(), seen.clone()));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let client = Client::new(Endpoint::Unix(path), Token::new("s3cret"), ClusterId::default());
    Server { client, seen, _folder: folder }
}

async fn answer(
    request: Request<Incoming>,
    script: Arc<Mutex<VecDeque<Script>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<UnsyncBoxBody<Bytes, io::Error>>, Infallible> {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (last_event_id, authorization) = (header("last-event-id"), header("authorization").unwrap_or_default());
    let key = header("idempotency-key");
    let line = format!("{} {}", request.method(), request.uri());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    seen.lock().unwrap().push(Seen { line, last_event_id, authorization, key, body });
    let (status, pieces) = script.lock().unwrap().pop_front().unwrap_or((500, vec![]));
    // Having to wait makes the server send what it has, so that a break comes after the piece before it.
    let frames = futures_util::stream::iter(pieces).then(async |piece| {
        tokio::task::yield_now().await;
        piece.map(|text| Frame::data(Bytes::from(text))).map_err(|()| io::Error::other("cut"))
    });
    let body = StreamBody::new(frames).boxed_unsync();
    Ok(Response::builder().status(status).body(body).unwrap())
}

fn swarm() -> SwarmId {
    "sw_00000000000000000000000007".parse().unwrap()
}

#[tokio::test]
async fn a_broken_stream_goes_on_after_the_last_event_without_repeating_it() {
    let server = serve(vec![
        (
            200,
            vec![
                Ok(
                    "id: sw:1\ndata: {\"seq\":1,\"time_ms\":0,\"message\":\"a\",\"event\":{\"kind\":\"x\"}}\n\nid: sw:2\nda",
                ),
                Ok("ta: {\"seq\":2,\"time_ms\":0,\"message\":\"b\",\"event\":{}}\n\n"),
                Err(()),
            ],
        ),
        (503, vec![]),
        (
            200,
            vec![Ok(
                "data: {\"seq\":2,\"time_ms\":0,\"message\":\"b\",\"event\":{}}\n\nid: sw:3\ndata: {\"seq\":3,\"time_ms\":0,\"message\":\"c\",\"event\":{\"kind\":\"swarm_succeeded\"}}\n\n",
            )],
        ),
    ]);
    let events: Vec<_> = server.client.events_stream(swarm(), 0).map(|event| event.unwrap().message).collect().await;
    assert_eq!(events, ["a", "b", "c"]);
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(
        seen[0].line,
        "GET /v1/clusters/default/swarms/sw_00000000000000000000000007/events?after=0&follow=true"
    );
    assert_eq!(seen[0].last_event_id, None);
    assert_eq!(seen[2].last_event_id.as_deref(), Some("sw:2"));
    assert!(seen[2].line.contains("after=2"), "{}", seen[2].line);
    assert!(seen.iter().all(|request| request.authorization == "Bearer s3cret"));
}

#[tokio::test]
async fn a_stream_that_the_manager_refuses_ends_with_the_problem() {
    let problem = r#"{"type":"about:blank","title":"t","status":404,"code":"MANTA-0301","detail":"there is no swarm `x`","hint":"h"}"#;
    let server = serve(vec![(404, vec![Ok(problem)])]);
    let items: Vec<_> = server.client.events_stream(swarm(), 0).collect().await;
    let [Err(error)] = items.as_slice() else { panic!("{items:?}") };
    assert_eq!((error.code(), error.exit(), error.to_string().as_str()), ("MANTA-0301", 3, "there is no swarm `x`"));
}

#[tokio::test]
async fn a_log_stream_ends_when_a_connection_brings_nothing_new() {
    let server = serve(vec![(200, vec![]), (200, vec![])]);
    let lines: Vec<_> = server.client.logs_stream(swarm(), manta_client::LogFilter::default()).collect().await;
    assert!(lines.is_empty());
    assert_eq!(server.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_change_whose_answer_broke_off_is_said_again_under_its_key() {
    let replay = r#"{"id":"rp_00000000000000000000000007","attempt":"at_00000000000000000000000007","node":"n","state":"stopped"}"#;
    let server = serve(vec![(200, vec![Ok("{"), Err(())]), (200, vec![Err(())]), (200, vec![Ok(replay)])]);
    let id = "rp_00000000000000000000000007".parse().unwrap();
    assert_eq!(server.client.stop_replay(id, "k1").await.unwrap().state, "stopped");
    let keys: Vec<_> = server.seen.lock().unwrap().iter().map(|request| request.key.clone()).collect();
    assert_eq!(keys, [Some("k1".to_owned()), Some("k1".to_owned()), Some("k1".to_owned())]);
}

#[tokio::test]
async fn blobs_are_checked_while_they_stream() {
    let digest = manta_module::digest_of(b"hello world");
    let script = || vec![Ok("hello "), Ok("world")];
    let server = serve(vec![(200, script()), (200, vec![Ok("hello mars!")]), (200, script()), (206, script())]);
    let mut out = Vec::new();
    assert_eq!(server.client.get_blob_to(&digest, &mut out).await.unwrap(), 11);
    assert_eq!(out, b"hello world");
    let wrong = server.client.get_blob_bytes(&digest, 100).await.unwrap_err();
    assert!(matches!(wrong, ClientError::DigestMismatch { .. }), "{wrong}");
    let large = server.client.get_blob_bytes(&digest, 10).await.unwrap_err();
    assert!(matches!(large, ClientError::TooLarge { .. }), "{large}");
    assert_eq!(&server.client.get_blob_head(&digest, 7).await.unwrap()[..], b"hello w");
}

#[tokio::test]
async fn files_are_named_by_their_digest_and_sent_whole() {
    let server = serve(vec![(201, vec![]), (201, vec![])]);
    let folder = tempfile::tempdir().unwrap();
    let content = vec![7u8; (256 << 10) * 2 + 5];
    std::fs::write(folder.path().join("f"), &content).unwrap();
    let blob = server.client.put_blob_file(&folder.path().join("f")).await.unwrap();
    assert_eq!(blob, Blob { digest: manta_module::digest_of(&content), size: content.len() as u64 });
    assert_eq!(server.client.put_blob_bytes(content.clone()).await.unwrap(), blob);
    for request in server.seen.lock().unwrap().iter() {
        assert_eq!(request.line, format!("PUT /v1/clusters/default/blobs/{}", blob.digest));
        assert!(request.body == content, "{} bytes came", request.body.len());
    }
}

#[tokio::test]
async fn a_manager_that_is_not_there_is_named() {
    let endpoint: Endpoint = "unix:/nonexistent/manta.sock".parse().unwrap();
    let error = Client::new(endpoint, Token::new("x"), ClusterId::default()).health().await.unwrap_err();
    assert_eq!((error.code(), error.exit()), ("MANTA-0601", 5));
    assert!(
        error.to_string().starts_with("the manager at `unix:/nonexistent/manta.sock` cannot be reached: No such file"),
        "{error}"
    );
}
