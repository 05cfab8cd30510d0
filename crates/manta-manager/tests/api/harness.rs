//! A manager in this process, and a client that says exactly what a test wants said.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use manta_client::{Client, Connector, Endpoint, Tls, Token};
use manta_manager::{
    Keep, Listen, ManagerError, NODE_TOKEN_FILE, RealClock, Settings, TOKEN_FILE, TlsSettings, bind, open, run,
};
use manta_module::{BundleMeta, Entry, ModuleResources, Target, digest_of, pack};
use manta_types::{Blob, ClusterId, limits};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The longest that anything may take before a test fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// The beginning of every path.
pub(crate) const BASE: &str = "/v1/clusters/default";

/// A running manager.
pub(crate) struct Manager {
    pub(crate) endpoint: Endpoint,
    pub(crate) user: String,
    pub(crate) node: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), ManagerError>>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Waits until a look says that it is so.
pub(crate) async fn until<F: Future<Output = bool>>(look: impl Fn() -> F) {
    let waiting = async {
        while !look().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("it comes about in time");
}

pub(crate) fn tcp() -> Listen {
    "127.0.0.1:0".parse().unwrap()
}

pub(crate) fn unix(dir: &Path) -> Listen {
    Listen::Unix(dir.join("manager.sock"))
}

pub(crate) fn settings(data_dir: PathBuf, listen: Listen) -> Settings {
    let (cluster, keep) = (ClusterId::default(), Keep::default());
    let (tls, swarms_running_max) = (TlsSettings::default(), limits::SWARMS_RUNNING_MAX);
    Settings { data_dir, listen, tls, cluster, ephemeral: false, keep, swarms_running_max, collector: None, oidc: None }
}

impl Manager {
    /// Starts a manager with its data below a directory.
    pub(crate) async fn start(dir: &Path, listen: Listen) -> Self {
        Self::with(settings(dir.join("data"), listen)).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let opened = open(&settings).unwrap();
        let bound = bind(&settings.listen).await.unwrap();
        let token = |file| std::fs::read_to_string(settings.data_dir.join(file)).unwrap().trim().to_owned();
        let (user, node) = (token(TOKEN_FILE), token(NODE_TOKEN_FILE));
        let endpoint = bound.url().parse().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let running = tokio::spawn(run(settings, bound, opened, Arc::new(RealClock::new()), shutdown));
        Self { endpoint, user, node, stop, running }
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) -> Result<(), ManagerError> {
        self.stop.send(()).unwrap();
        tokio::time::timeout(LIMIT, self.running).await.expect("the manager stops in time").unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.endpoint.clone(), Token::new(self.user.clone()), ClusterId::default())
    }

    /// One request, with these headers and no others.
    pub(crate) async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (parts, body) = self.open(method, path, headers, body).await.into_parts();
        let body = tokio::time::timeout(LIMIT, body.collect()).await.expect("a body comes in time").unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// One request without a token over TLS, with the certificate that is shown there.
    pub(crate) async fn shown(&self, tls: &Tls, method: Method, path: &str) -> Answer {
        let endpoint: Endpoint = self.endpoint.to_string().replace("http://", "https://").parse().unwrap();
        let request = Request::builder().method(method).uri(format!("{}{path}", endpoint.origin()));
        let client = legacy::Client::builder(TokioExecutor::new()).build(Connector::with_tls(&endpoint, tls));
        let asked = client.request(request.body(Full::new(Bytes::new())).unwrap());
        let response = tokio::time::timeout(LIMIT, asked).await.expect("an answer comes in time").unwrap();
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(LIMIT, body.collect()).await.expect("a body comes in time").unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// As [`Self::raw`], with the answer's body still to come.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.endpoint.origin()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client = legacy::Client::builder(TokioExecutor::new()).build(Connector::new(&self.endpoint));
        let asked = client.request(request.body(Full::new(body.into())).unwrap());
        tokio::time::timeout(LIMIT, asked).await.expect("an answer comes in time").unwrap()
    }

    /// One request with the user's token.
    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let token = format!("Bearer {}", self.user);
        self.raw(method, &format!("{BASE}{path}"), &[(header::AUTHORIZATION.as_str(), &token)], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn put_blob(&self, bytes: &[u8]) -> Blob {
        let blob = Blob { digest: digest_of(bytes), size: bytes.len() as u64 };
        let answer = self.call(Method::PUT, &format!("/blobs/{}", blob.digest), bytes.to_vec()).await;
        assert!(answer.status.is_success(), "{answer:?}");
        blob
    }

    /// Stores a module of one file; what a submission says of it.
    pub(crate) async fn put_module(&self, name: &str, datasets: &[&str]) -> Value {
        let file = self.put_blob(format!("# {name}\ndef main(): ...\n").as_bytes()).await;
        let bundle = pack(meta(name, datasets), [("worker.py".to_owned(), file)]).unwrap();
        self.put_blob(&bundle.bytes).await;
        module_ref(name, bundle.blob, datasets)
    }

    pub(crate) async fn submit(&self, submission: &Value) -> Answer {
        self.call(Method::POST, "/swarms", submission.to_string()).await
    }

    /// Waits until a swarm is in a state.
    pub(crate) async fn wait_for_swarm(&self, id: &str, wanted: &str) -> Value {
        self.wait_until(&format!("/swarms/{id}"), |swarm| swarm["state"] == wanted).await
    }

    /// Asks again and again until the answer is as wanted; then gives it.
    pub(crate) async fn wait_until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let seen = self.get(path).await.json();
            if is_so(&seen) {
                return seen;
            }
            assert!(begun.elapsed() < LIMIT, "last seen at {path}: {seen:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn meta(name: &str, datasets: &[&str]) -> BundleMeta {
    BundleMeta {
        name: name.to_owned(),
        version: Some("1.0.0".to_owned()),
        entry: Entry::Code { file: "worker.py".to_owned(), target: Target::Call("main".to_owned()) },
        image: "manta_light:latest".to_owned(),
        datasets: datasets.iter().map(|name| (*name).to_owned()).collect(),
        resources: ModuleResources::default(),
        isolation: None,
        description: None,
        requires_manta: None,
        images: Vec::new(),
        architectures: Vec::new(),
        requires_python: None,
        dependencies: Vec::new(),
    }
}

/// A module of one file: its file, its manifest, and what a submission says of it.
pub(crate) fn module_of(name: &str) -> (Vec<u8>, Vec<u8>, Value) {
    let bytes = format!("# {name}\ndef main(): ...\n").into_bytes();
    let file = Blob { digest: digest_of(&bytes), size: bytes.len() as u64 };
    let bundle = pack(meta(name, &[]), [("worker.py".to_owned(), file)]).unwrap();
    (bytes, bundle.bytes, module_ref(name, bundle.blob, &[]))
}

/// What a submission says of a module that nobody has uploaded, and its manifest.
pub(crate) fn unstored_module(name: &str) -> (Value, String) {
    let file = Blob { digest: digest_of(name.as_bytes()), size: name.len() as u64 };
    let bundle = pack(meta(name, &[]), [("worker.py".to_owned(), file)]).unwrap();
    (module_ref(name, bundle.blob, &[]), String::from_utf8(bundle.bytes).unwrap())
}

fn module_ref(name: &str, bundle: Blob, datasets: &[&str]) -> Value {
    json!({
        "bundle": bundle.digest, "name": name, "version": "1.0.0", "image": "manta_light:latest", "datasets": datasets,
    })
}

/// A submission whose tasks run one after another, each over a module of its own name.
pub(crate) fn chain(name: &str, modules: &[Value]) -> Value {
    let tasks = modules.iter().enumerate().map(|(index, module)| {
        let after: Vec<_> = index.checked_sub(1).into_iter().collect();
        json!({"alias": module["name"], "module": index, "after": after, "method": "all"})
    });
    json!({"name": name, "modules": modules, "tasks": tasks.collect::<Vec<_>>()})
}
