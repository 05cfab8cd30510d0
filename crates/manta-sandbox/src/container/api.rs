//! The few requests that an engine's HTTP API is asked, over its Unix socket; Docker's and Podman's are alike in these.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::SandboxError;

/// How long one answer may take; an engine that starts many containers at once is slow.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long a container that is being removed may take to be gone.
const REMOVAL_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether it is gone.
const LOOK: Duration = Duration::from_millis(20);

/// Label of every container: the agent that it belongs to.
pub(super) const AGENT_LABEL: &str = "io.manta.agent";

/// One engine of this machine.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) engine: &'static str,
    pub(super) socket: PathBuf,
}

/// A container as a list shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    #[serde(rename = "Id")]
    pub(super) id: String,
    #[serde(rename = "Labels", default)]
    pub(super) labels: std::collections::HashMap<String, String>,
}

impl Api {
    /// The answer to `GET`, which must be a success.
    pub(super) async fn get(&self, path: &str) -> Result<Value, SandboxError> {
        let answer = self.ask(Method::GET, path, None, "answer").await?;
        self.success(&answer, "answer")?;
        self.read(&answer, "answer")
    }

    /// Whether an image is there.
    pub(super) async fn has_image(&self, name: &str) -> Result<bool, SandboxError> {
        let answer = self.ask(Method::GET, &format!("/images/{name}/json"), None, "look for an image").await?;
        Ok(answer.status == StatusCode::OK)
    }

    /// Makes an image of one layer, and names it.
    pub(super) async fn import(&self, name: &str, layer: Vec<u8>) -> Result<(), SandboxError> {
        let doing = "take in a root directory";
        let body = Body { bytes: layer.into(), kind: "application/x-tar" };
        let answer = self.ask(Method::POST, "/images/create?fromSrc=-", Some(body), doing).await?;
        self.success(&answer, doing)?;
        // A line of JSON for each step, the last with the image's id.
        let text = String::from_utf8_lossy(&answer.body);
        let last: Option<Value> = text.lines().rev().find_map(|line| serde_json::from_str(line.trim()).ok());
        let id = last.as_ref().and_then(|line| line["status"].as_str()).filter(|id| id.starts_with("sha256:"));
        let Some(id) = id else { return Err(self.failed(doing, text.trim())) };
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let path = format!("/images/{id}/tag?repo={repository}&tag={tag}");
        let answer = self.ask(Method::POST, &path, None, doing).await?;
        self.success(&answer, doing)
    }

    /// Makes a container and answers with its id.
    pub(super) async fn create(&self, name: &str, description: &Value) -> Result<String, SandboxError> {
        let doing = "create a container";
        let body = Body { bytes: description.to_string().into(), kind: "application/json" };
        let answer = self.ask(Method::POST, &format!("/containers/create?name={name}"), Some(body), doing).await?;
        self.success(&answer, doing)?;
        let made = self.read(&answer, doing)?;
        made["Id"].as_str().map(str::to_owned).ok_or_else(|| self.failed(doing, "it told no id"))
    }

    pub(super) async fn start(&self, container: &str) -> Result<(), SandboxError> {
        let doing = "start a container";
        let answer = self.ask(Method::POST, &format!("/containers/{container}/start"), None, doing).await?;
        self.success(&answer, doing)
    }

    /// Kills a container's first process, and with it all others; one that has ended is fine.
    pub(super) async fn kill(&self, container: &str) -> Result<(), SandboxError> {
        let path = format!("/containers/{container}/kill?signal=KILL");
        let answer = self.ask(Method::POST, &path, None, "kill a container").await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(()),
            _ => self.success(&answer, "kill a container"),
        }
    }

    /// Ends a container and waits until it is gone; one that is gone already is fine.
    pub(super) async fn remove(&self, container: &str) -> Result<(), SandboxError> {
        let doing = "remove a container";
        let path = format!("/containers/{container}?force=1&v=1");
        let mut last = None;
        let removed = async {
            loop {
                let answer = self.ask(Method::DELETE, &path, None, doing).await?;
                if answer.status == StatusCode::NOT_FOUND {
                    return Ok(());
                }
                // One that removes itself is in the midst of it, which engines refuse in words of their own.
                last = self.success(&answer, doing).err();
                tokio::time::sleep(LOOK).await;
            }
        };
        let in_time = tokio::time::timeout(REMOVAL_MAX, removed).await;
        let late = || Err(last.unwrap_or_else(|| self.failed(doing, "it is not gone after ten seconds")));
        in_time.unwrap_or_else(|_| late())
    }

    /// All containers that agents made, whether they run or not.
    pub(super) async fn list(&self) -> Result<Vec<Listed>, SandboxError> {
        let filters: String = json!({ "label": [AGENT_LABEL] }).to_string();
        let path = format!("/containers/json?all=true&filters={}", escape(&filters));
        let list = self.get(&path).await?;
        serde_json::from_value(list).map_err(|error| self.failed("list containers", &error.to_string()))
    }

    pub(super) fn failed(&self, doing: &str, cause: &str) -> SandboxError {
        let socket = self.socket.clone();
        SandboxError::Engine { engine: self.engine, socket, doing: doing.to_owned(), cause: cause.to_owned() }
    }

    fn success(&self, answer: &Answer, doing: &str) -> Result<(), SandboxError> {
        // 304: a container was started, or had ended, already.
        if answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED {
            return Ok(());
        }
        let said: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let said = said.as_ref().and_then(|said| said["message"].as_str());
        let plain = String::from_utf8_lossy(&answer.body);
        Err(self.failed(doing, &format!("{} ({})", said.unwrap_or(plain.trim()), answer.status.as_u16())))
    }

    fn read(&self, answer: &Answer, doing: &str) -> Result<Value, SandboxError> {
        serde_json::from_slice(&answer.body).map_err(|error| self.failed(doing, &error.to_string()))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Body>, doing: &str) -> Result<Answer, SandboxError> {
        let asked = tokio::time::timeout(ANSWER_MAX, self.exchange(method, path, body)).await;
        let answer = asked.unwrap_or_else(|_| Err(format!("it did not answer within {} s", ANSWER_MAX.as_secs())));
        answer.map_err(|cause| self.failed(doing, &cause))
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<Body>) -> Result<Answer, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| text(&error))?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
        let asking = async {
            let request = Request::builder().method(method).uri(path).header("host", "engine");
            let (kind, bytes) = body.map_or(("application/json", Bytes::new()), |body| (body.kind, body.bytes));
            let request = request.header("content-type", kind).body(Full::new(bytes)).map_err(|error| text(&error))?;
            let response = sender.send_request(request).await.map_err(|error| text(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok(Answer { status, body: body.map_err(|error| error.to_string())?.to_bytes() })
        };
        tokio::pin!(asking);
        tokio::select! {
            answer = &mut asking => answer,
            // It ends once the answer is here, or with the engine.
            ended = connection => match ended {
                Ok(()) => asking.await,
                Err(error) => Err(text(&error)),
            },
        }
    }
}

struct Body {
    bytes: Bytes,
    kind: &'static str,
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

/// Text as part of a query.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
