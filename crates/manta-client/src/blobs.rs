//! Blobs: what is missing, sending, and fetching with the digest checked as the bytes stream past.
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use manta_types::{Blob, Digest};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt};

use crate::client::{Body, empty, full, request};
use crate::error::innermost;
use crate::{Client, ClientError};

/// Bytes read from a file at once while it is sent.
const CHUNK_BYTES: usize = 256 << 10;
/// How often an upload that broke off is tried again without getting further.
const TRIES_WITHOUT_PROGRESS: u32 = 3;
/// The wait before an upload that broke off goes on; the manager notices the broken connection meanwhile.
const RESUME_AFTER: Duration = Duration::from_millis(200);
/// Digests asked for at once.
const DIGESTS_PER_QUESTION: usize = 10_000;

#[derive(Serialize)]
struct Question<'a> {
    digests: &'a [Digest],
}

#[derive(Deserialize)]
struct Missing {
    missing: Vec<Digest>,
}

/// What a manager keeps of an upload that broke off.
#[derive(Deserialize)]
struct Received {
    received: u64,
}

/// A reader's bytes, as they come.
fn frames<R: AsyncRead + Send + Unpin + 'static>(reader: R) -> Body {
    let frames = futures_util::stream::try_unfold(reader, async |mut reader: R| {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        let read = reader.read_buf(&mut chunk).await?;
        Ok::<_, io::Error>((read > 0).then(|| (Frame::data(chunk.freeze()), reader)))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Client {
    /// Those of the digests whose blobs the manager does not have.
    ///
    /// # Errors
    /// When the manager refuses or cannot be reached.
    pub async fn blobs_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, ClientError> {
        let mut missing = Vec::new();
        for digests in digests.chunks(DIGESTS_PER_QUESTION) {
            let answer: Missing = self.ask_json("/blobs/missing", &Question { digests }).await?;
            missing.extend(answer.missing);
        }
        Ok(missing)
    }

    /// Whether the manager has a blob.
    ///
    /// # Errors
    /// When the manager refuses or cannot be reached.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, ClientError> {
        match self.send(request(Method::HEAD, &self.blob_uri(digest), empty())).await {
            Ok(_) => Ok(true),
            Err(ClientError::Problem(problem)) if problem.status == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends bytes; what the manager already has is accepted again.
    ///
    /// # Errors
    /// When the manager refuses or cannot be reached.
    pub async fn put_blob_bytes(&self, bytes: impl Into<Bytes>) -> Result<Blob, ClientError> {
        let bytes: Bytes = bytes.into();
        let blob = Blob { digest: manta_module::digest_of(&bytes), size: bytes.len() as u64 };
        self.put(&blob, full(bytes)).await?;
        Ok(blob)
    }

    /// Sends a file, which is read twice: to name it, and to send it.
    ///
    /// # Errors
    /// When the file cannot be read or changes meanwhile, or the manager refuses or cannot be reached.
    pub async fn put_blob_file(&self, path: &Path) -> Result<Blob, ClientError> {
        let failed = |source| ClientError::File { path: path.to_owned(), source };
        let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut size = 0;
        loop {
            let read = file.read(&mut chunk).await.map_err(failed)?;
            if read == 0 {
                break;
            }
            hasher.update(&chunk[..read]);
            size += read as u64;
        }
        let blob = Blob { digest: Digest::from_bytes(*hasher.finalize().as_bytes()), size };
        self.put_blob_path(&blob, path).await?;
        Ok(blob)
    }

    /// Sends what a reader gives; `blob` must say truly what that is.
    ///
    /// # Errors
    /// When the reader fails or gives other bytes, or the manager refuses or cannot be reached.
    pub async fn put_blob_from<R>(&self, blob: &Blob, reader: R) -> Result<(), ClientError>
    where
        R: AsyncRead + Send + Unpin + 'static,
    {
        self.put(blob, frames(reader)).await
    }

    /// Sends a file whose name in the store is known; when the connection breaks, it goes on where it broke.
    ///
    /// # Errors
    /// When the file cannot be read or is another one by now, or the manager refuses or cannot be reached.
    pub async fn put_blob_path(&self, blob: &Blob, path: &Path) -> Result<(), ClientError> {
        let failed = |source| ClientError::File { path: path.to_owned(), source };
        let (mut first, mut tries_left) = (0, TRIES_WITHOUT_PROGRESS);
        loop {
            let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
            file.seek(io::SeekFrom::Start(first)).await.map_err(failed)?;
            let error = match self.put_part(blob, first, frames(file)).await {
                Ok(()) => return Ok(()),
                Err(error) if error.may_have_been_heard() && tries_left > 0 => error,
                Err(error) => return Err(error),
            };
            tokio::time::sleep(RESUME_AFTER).await;
            // Who cannot be asked is not to be reached: the first error says more.
            let Ok(kept) = self.get_json::<Received>(&format!("/blobs/{}/received", blob.digest)).await else {
                return Err(error);
            };
            tries_left = if kept.received > first { TRIES_WITHOUT_PROGRESS } else { tries_left - 1 };
            first = kept.received.min(blob.size);
        }
    }

    async fn put(&self, blob: &Blob, body: Body) -> Result<(), ClientError> {
        self.put_part(blob, 0, body).await
    }

    /// Sends a blob from a byte on.
    async fn put_part(&self, blob: &Blob, first: u64, body: Body) -> Result<(), ClientError> {
        let mut request = request(Method::PUT, &self.blob_uri(&blob.digest), body);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(blob.size - first));
        if first > 0 {
            let range = format!("bytes {first}-{}/{}", blob.size.saturating_sub(1), blob.size);
            let range = HeaderValue::try_from(range).expect("digits and punctuation are a header's value");
            request.headers_mut().insert(CONTENT_RANGE, range);
        }
        self.send_patiently(request).await.map(drop)
    }

    /// Fetches a blob into a writer and checks its digest; after an error, what was written is not to be trusted.
    ///
    /// # Errors
    /// When the manager refuses, breaks off or sends other bytes, or the writer fails.
    pub async fn get_blob_to<W>(&self, digest: &Digest, out: &mut W) -> Result<u64, ClientError>
    where
        W: AsyncWrite + Unpin + ?Sized,
    {
        let mut body = self.get_blob(digest, None).await?.into_body();
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        while let Some(chunk) = self.next_chunk(&mut body).await? {
            hasher.update(&chunk);
            out.write_all(&chunk).await.map_err(ClientError::Write)?;
            size += chunk.len() as u64;
        }
        out.flush().await.map_err(ClientError::Write)?;
        check(digest, &hasher)?;
        Ok(size)
    }

    /// Fetches a whole blob of at most `limit` bytes and checks its digest.
    ///
    /// # Errors
    /// As [`Client::get_blob_to`], or when it is larger.
    pub async fn get_blob_bytes(&self, digest: &Digest, limit: u64) -> Result<Bytes, ClientError> {
        let mut body = self.get_blob(digest, None).await?.into_body();
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.next_chunk(&mut body).await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(ClientError::TooLarge { digest: *digest, limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        check(digest, &hasher)?;
        Ok(bytes.freeze())
    }

    /// Fetches the first bytes of a blob, which no digest can check.
    ///
    /// # Errors
    /// When the manager refuses or breaks off.
    pub async fn get_blob_head(&self, digest: &Digest, limit: usize) -> Result<Bytes, ClientError> {
        let range = (limit > 0).then(|| format!("bytes=0-{}", limit - 1));
        let mut body = self.get_blob(digest, range.as_deref()).await?.into_body();
        let mut bytes = BytesMut::new();
        while bytes.len() < limit
            && let Some(chunk) = self.next_chunk(&mut body).await?
        {
            bytes.extend_from_slice(&chunk);
        }
        bytes.truncate(limit);
        Ok(bytes.freeze())
    }

    async fn get_blob(&self, digest: &Digest, range: Option<&str>) -> Result<Response<Incoming>, ClientError> {
        let mut request = request(Method::GET, &self.blob_uri(digest), empty());
        if let Some(range) = range {
            let range = HeaderValue::from_str(range).expect("digits are a header value");
            request.headers_mut().insert(RANGE, range);
        }
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            other => Err(self.protocol(format!("status {other} for a blob"))),
        }
    }

    async fn next_chunk(&self, body: &mut Incoming) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.unreachable(innermost(&error)))?;
            if let Ok(chunk) = frame.into_data() {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    fn blob_uri(&self, digest: &Digest) -> String {
        self.uri(&format!("/blobs/{digest}"))
    }
}

fn check(digest: &Digest, hasher: &blake3::Hasher) -> Result<(), ClientError> {
    if hasher.finalize().as_bytes() == digest.bytes() {
        Ok(())
    } else {
        Err(ClientError::DigestMismatch { digest: *digest })
    }
}
