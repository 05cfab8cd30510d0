//! Blobs over HTTP: streamed in while their digest is checked, streamed out in ranges, never whole in memory.
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use manta_api::{ErrorCode, Problem};
use manta_store::{BlobError, BlobRead, BlobStore, BlobStream, BlobWriter};
use manta_types::{Digest, limits};
use serde::{Deserialize, Serialize};

use super::call::{Answer, Call, json};
use super::partial::Partial;
use super::problem::internal;
use super::range::{Part, part};
use crate::ManagerError;
use crate::app::App;
use crate::metrics::{Direction, Metrics};
use crate::quotas::admit_bytes;

/// Bytes that are read or written in one go on a blocking thread.
const CHUNK_BYTES: usize = 1 << 20;
/// Digests in one question.
const DIGESTS_MAX: usize = 10_000;

/// What `POST blobs/missing` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Digests {
    digests: Vec<Digest>,
}

/// What it gives.
#[derive(Debug, Serialize)]
struct Missing {
    missing: Vec<Digest>,
}

pub(super) async fn missing(app: App, call: Call) -> Answer {
    let Digests { digests } = call.json().await?;
    if digests.len() > DIGESTS_MAX {
        let count = digests.len();
        return Err(Problem::new(ErrorCode::TooLarge, format!("{count} digests; {DIGESTS_MAX} at once are the limit")));
    }
    let blobs = Arc::clone(&app.blobs);
    let missing = blocking(move || blobs.missing(&digests)).await?;
    json(StatusCode::OK, &Missing { missing })
}

pub(super) async fn head(app: App, call: Call) -> Answer {
    let digest = digest(&call)?;
    let blobs = Arc::clone(&app.blobs);
    let size = blocking(move || blobs.size(&digest)).await?.ok_or_else(|| not_stored(&digest))?;
    Ok(described(&digest, Body::empty(), size))
}

pub(super) async fn get(app: App, call: Call) -> Answer {
    let digest = digest(&call)?;
    let blobs = Arc::clone(&app.blobs);
    let size = blocking(move || blobs.size(&digest)).await?.ok_or_else(|| not_stored(&digest))?;
    match part(call.header(header::RANGE), size) {
        Part::Whole => whole(&app, digest).await,
        Part::Unsatisfiable => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            response.headers_mut().insert(header::CONTENT_RANGE, text(format!("bytes */{size}")));
            Ok(response)
        }
        Part::Range { first, last } => {
            // Only the whole can prove that a part is right.
            let blobs = Arc::clone(&app.blobs);
            let verified = tokio::task::spawn_blocking(move || blobs.verify(&digest)).await.map_err(internal)?;
            verified.map_err(|error| failed(set_aside(app.blobs.as_ref(), error)))?;
            let blobs = Arc::clone(&app.blobs);
            let reader = blocking(move || blobs.open(&digest)).await?.ok_or_else(|| not_stored(&digest))?;
            let reader = seek(reader, first).await?;
            let length = last - first + 1;
            if first > 0 {
                app.metrics.resumed();
            }
            let chunks = counted(chunks(reader, length), Arc::clone(&app.metrics));
            let mut response = described(&digest, Body::from_stream(chunks), length);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response.headers_mut().insert(header::CONTENT_RANGE, text(format!("bytes {first}-{last}/{size}")));
            Ok(response)
        }
    }
}

/// A blob, verified as it leaves: the last piece of damaged bytes is never sent, so that nobody can take them for whole.
async fn whole(app: &App, digest: Digest) -> Answer {
    let blobs = Arc::clone(&app.blobs);
    let stream = blocking(move || blobs.stream(&digest)).await?.ok_or_else(|| not_stored(&digest))?;
    let size = stream.blob().size;
    // A small blob is one piece, so that its damage can still be said.
    let (first, stream) = piece(stream, Arc::clone(&app.blobs)).await.map_err(failed)?;
    let rest = stream::try_unfold((stream, Arc::clone(&app.blobs)), |(stream, blobs)| async move {
        let (piece, stream) = piece(stream, Arc::clone(&blobs)).await.map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(piece.map(|piece| (piece, (stream, blobs))))
    });
    let pieces = stream::iter(first.map(Ok)).chain(rest);
    Ok(described(&digest, Body::from_stream(counted(pieces, Arc::clone(&app.metrics))), size))
}

/// Counts what leaves.
fn counted<E>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Send,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    pieces.inspect_ok(move |piece| metrics.transferred(Direction::Out, piece.len()))
}

/// The next piece of a blob, read where reading may block; a blob that proves damaged is set aside.
async fn piece(mut stream: BlobStream, blobs: Arc<dyn BlobStore>) -> Result<(Option<Bytes>, BlobStream), BlobError> {
    let digest = stream.blob().digest;
    let read = move || match stream.next_piece() {
        Ok(piece) => Ok((piece.map(Bytes::from), stream)),
        Err(error) => Err(set_aside(blobs.as_ref(), error)),
    };
    let failed = |error| BlobError::Io { path: digest.to_string(), source: std::io::Error::other(error) };
    tokio::task::spawn_blocking(read).await.map_err(failed)?
}

/// What `GET blobs/{digest}/received` gives.
#[derive(Debug, Serialize)]
struct Received {
    received: u64,
}

pub(super) async fn received(app: App, call: Call) -> Answer {
    let digest = digest(&call)?;
    json(StatusCode::OK, &Received { received: app.partials.received(&digest) })
}

/// Takes a blob, or the rest of one that broke off. It goes on where its connection ends, so that what came is kept.
pub(super) async fn put(app: App, call: Call) -> Answer {
    tokio::spawn(take(app, call)).await.map_err(internal)?
}

async fn take(app: App, call: Call) -> Answer {
    let digest = digest(&call)?;
    let first = call.header(header::CONTENT_RANGE).map(first_of).transpose()?.unwrap_or(0);
    let length = call.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits::BLOB_BYTES_MAX) {
        return Err(too_large());
    }
    let mut body = call.body.into_data_stream();
    let blobs = Arc::clone(&app.blobs);
    if blocking(move || blobs.hold(&digest)).await?.is_some() {
        while body.next().await.transpose().map_err(broken_off)?.is_some() {}
        return Ok(Response::new(Body::empty()));
    }
    app.space.admit(length.unwrap_or(0))?;
    admit_bytes(&app, length.unwrap_or(0)).await?;
    let _turn = app.uploads.acquire().await.map_err(internal)?;
    let (mut writer, mut written) = match first {
        0 => {
            let blobs = Arc::clone(&app.blobs);
            (blocking(move || blobs.begin()).await?, 0)
        }
        first => match app.partials.take(&digest, first) {
            Some(partial) => {
                app.metrics.resumed();
                (partial.writer, partial.received)
            }
            None => return Err(not_there(&app, &digest, first)),
        },
    };
    let mut buffer = BytesMut::new();
    let mut received = written;
    loop {
        let bytes = match body.next().await.transpose() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(error) => {
                let since_ms = app.clock.now().monotonic.ms();
                app.partials.keep(digest, Partial { writer, received: written, since_ms });
                return Err(broken_off(error));
            }
        };
        received += bytes.len() as u64;
        app.metrics.transferred(Direction::In, bytes.len());
        if received > limits::BLOB_BYTES_MAX {
            return Err(too_large());
        }
        buffer.extend_from_slice(&bytes);
        if buffer.len() >= CHUNK_BYTES {
            app.space.admit(0)?;
            written += buffer.len() as u64;
            writer = write(writer, buffer.split().freeze()).await?;
        }
    }
    writer = write(writer, buffer.freeze()).await?;
    blocking(move || writer.finish(&digest)).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Where a part begins, by its `Content-Range`.
fn first_of(range: &str) -> Result<u64, Problem> {
    let first =
        range.strip_prefix("bytes ").and_then(|range| range.split('-').next()).and_then(|first| first.parse().ok());
    first.ok_or_else(|| {
        Problem::new(ErrorCode::BadRequest, "the `Content-Range` is not of the form `bytes FIRST-LAST/SIZE`")
    })
}

fn not_there(app: &App, digest: &Digest, first: u64) -> Problem {
    let received = app.partials.received(digest);
    let sentence = format!("the blob cannot go on at byte {first}: {received} bytes of it are kept");
    Problem::new(ErrorCode::Conflict, sentence).hint("ask `received`, and go on there")
}

async fn write(mut writer: Box<dyn BlobWriter>, bytes: Bytes) -> Result<Box<dyn BlobWriter>, Problem> {
    blocking(move || writer.write(&bytes).map(|()| writer)).await
}

async fn seek(mut reader: Box<dyn BlobRead>, first: u64) -> Result<Box<dyn BlobRead>, Problem> {
    let sought = tokio::task::spawn_blocking(move || reader.seek(SeekFrom::Start(first)).map(|_| reader)).await;
    sought.map_err(internal)?.map_err(internal)
}

/// So many bytes of a reader. No thread is held while the client takes its time.
fn chunks(reader: Box<dyn BlobRead>, length: u64) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    stream::try_unfold((reader, length), |(mut reader, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = move || {
            let want = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let mut chunk = vec![0; want];
            reader.read_exact(&mut chunk).map(|()| (reader, chunk))
        };
        let (reader, chunk) = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)??;
        let left = left - chunk.len() as u64;
        Ok(Some((Bytes::from(chunk), (reader, left))))
    })
}

/// Runs a call of the blob store where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(job).await.map_err(internal)?.map_err(failed)
}

/// A failure of the blob store, as a client is told of it.
fn failed(error: BlobError) -> Problem {
    match error {
        BlobError::Mismatch { .. } => Problem::new(ErrorCode::DigestMismatch, error.to_string()),
        BlobError::TooLarge { .. } => Problem::new(ErrorCode::TooLarge, error.to_string()),
        BlobError::Missing { .. } => Problem::new(ErrorCode::NotFound, error.to_string()),
        BlobError::Damaged { .. } => {
            let hint = "it was set aside; upload it again, or restore a backup with `manta manager restore`";
            Problem::new(ErrorCode::Corrupt, error.to_string()).hint(hint)
        }
        other => ManagerError::from(other).into(),
    }
}

/// Sets the blob aside that an error says is damaged.
pub(crate) fn set_aside(blobs: &dyn BlobStore, error: BlobError) -> BlobError {
    match error {
        BlobError::Damaged { digest, .. } => blobs.quarantine(&digest).err().unwrap_or(error),
        other => other,
    }
}

fn digest(call: &Call) -> Result<Digest, Problem> {
    let refuse = |error: manta_types::digest::DigestError| Problem::new(ErrorCode::BadRequest, error.to_string());
    call.param("digest").parse().map_err(refuse)
}

fn described(digest: &Digest, body: Body, length: u64) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, text(format!("\"{digest}\"")));
    response
}

fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits and punctuation are a header's value")
}

fn not_stored(digest: &Digest) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("blob `{}` is not stored", digest.short()))
}

fn too_large() -> Problem {
    Problem::new(ErrorCode::TooLarge, format!("the blob has more than {} bytes", limits::BLOB_BYTES_MAX))
}

fn broken_off(error: impl std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::BadRequest, format!("the blob broke off: {error}"))
}
