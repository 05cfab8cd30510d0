//! The protocol over a real socket, spoken as a task speaks it.
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use manta_api::{GlobalView, InputResult};
use manta_types::{AttemptId, Blob, Digest, SwarmId};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::*;
use crate::Bounds;
use crate::GpuSource;
use crate::cache::Cache;
use crate::gpu::Asked;
use crate::host::Resources;
use crate::parting::Parting;
use crate::remote::{BlobSource, RemoteError};

struct Nowhere;

#[async_trait]
impl BlobSource for Nowhere {
    async fn fetch_to(&self, _: Digest, _: &mut tokio::fs::File) -> Result<u64, RemoteError> {
        Err(RemoteError::Refused("no such blob".to_owned()))
    }
}

/// A task's side: sends requests and reads answers, blocking.
struct Task {
    socket: OwnedFd,
    requests: u64,
}

impl Task {
    fn send_raw(&self, body: &[u8], fd: Option<BorrowedFd<'_>>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.map(|fd| [fd]);
        if let Some(fds) = &fds {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let head = u32::try_from(body.len()).unwrap().to_le_bytes();
        sendmsg(&self.socket, &[IoSlice::new(&head), IoSlice::new(body)], &mut control, SendFlags::empty()).unwrap();
    }

    fn ask_with(&mut self, request: Value, fd: Option<BorrowedFd<'_>>) -> (Value, Option<String>) {
        let (answer, lent) = self.exchange(request, fd);
        (answer, lent.map(content))
    }

    fn exchange(&mut self, mut request: Value, fd: Option<BorrowedFd<'_>>) -> (Value, Option<OwnedFd>) {
        self.requests += 1;
        request["id"] = self.requests.into();
        self.send_raw(request.to_string().as_bytes(), fd);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut head = [0; 4];
        recvmsg(&self.socket, &mut [IoSliceMut::new(&mut head)], &mut control, RecvFlags::empty()).unwrap();
        let lent = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let mut body = vec![0; u32::from_le_bytes(head) as usize];
        File::from(self.socket.try_clone().unwrap()).read_exact(&mut body).unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["id"], self.requests);
        (answer, lent)
    }

    fn ask(&mut self, request: Value) -> (Value, Option<String>) {
        self.ask_with(request, None)
    }

    fn publish(&mut self, request: Value, value: &str) -> Value {
        let mut memory = File::from(memfd_create("value", MemfdFlags::ALLOW_SEALING).unwrap());
        memory.write_all(value.as_bytes()).unwrap();
        fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
        self.ask_with(request, Some(memory.as_fd())).0
    }
}

fn content(fd: OwnedFd) -> String {
    let (mut file, mut text) = (File::from(fd), String::new());
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

fn bounds() -> Bounds {
    Bounds { published_bytes: 1 << 20, ..Bounds::default() }
}

fn order() -> Order {
    Order {
        trace_parent: None,
        attempt: AttemptId::from_uuid(uuid::Uuid::from_u128(1)),
        replay: None,
        epoch: 1,
        swarm: SwarmId::from_uuid(uuid::Uuid::from_u128(2)),
        state_of: SwarmId::from_uuid(uuid::Uuid::from_u128(2)),
        swarm_name: "FedAvg".to_owned(),
        task: "worker".to_owned(),
        iteration: 3,
        number: 0,
        seed: 42,
        bundle: Digest::from_bytes([0; 32]),
        datasets: vec!["digits".to_owned(), "moved".to_owned()],
        image: "latest".to_owned(),
        resources: Resources { cpu: 1.0, memory_bytes: 1 << 30, tmp_bytes: 1 << 20, pids: 64, bounds: bounds() },
        gpus: Asked::default(),
        timeout: None,
        stop_after: None,
    }
}

fn manifest() -> BundleManifest {
    serde_json::from_value(json!({
        "manifest_version": 1, "name": "worker", "version": "1.0.0", "entry": {"file": "worker.py", "call": "main"},
        "image": "latest", "datasets": ["digits"], "files": {},
    }))
    .unwrap()
}

fn inputs(global: Blob, result: Blob) -> AttemptInputs {
    AttemptInputs {
        globals: vec![
            GlobalView { name: "rate".to_owned(), revision: 7, writer: None, blob: global },
            GlobalView {
                name: "lost".to_owned(),
                revision: 1,
                writer: None,
                blob: Blob { digest: Digest::from_bytes([0; 32]), size: 1 },
            },
        ],
        results: vec![InputResult {
            task: "gather".to_owned(),
            iteration: 3,
            node: "node-2".to_owned(),
            labels: BTreeMap::new(),
            name: "model".to_owned(),
            blob: result,
            distance: 1,
        }],
        missing: Vec::new(),
        tasks: vec!["gather".to_owned(), "worker".to_owned()],
        nodes: vec!["node-1".to_owned(), "node-2".to_owned()],
        ran_before: Vec::new(),
    }
}

/// Lets a task talk to a server, and answers how that ended, what was staged, and how often code began.
async fn talk(act: impl FnOnce(Task) + Send + 'static) -> (Ending, Staged, u32) {
    let dir = tempfile::tempdir().unwrap();
    let cache_dir = dir.path().join("cache");
    std::fs::create_dir(&cache_dir).unwrap();
    let cache = Arc::new(Cache::open(&cache_dir, Arc::new(Nowhere), 1 << 20).unwrap());
    let (global, result) = (cache.take_in(&b"0.1"[..]).unwrap(), cache.take_in(&b"weights"[..]).unwrap());
    let (order, manifest, inputs) = (order(), manifest(), inputs(global.blob(), result.blob()));
    let (node, labels, starts) = (NodeName::new("node-1").unwrap(), BTreeMap::new(), AtomicU32::new(0));
    let state_dir = dir.path().join("state");
    std::fs::create_dir(&state_dir).unwrap();
    let (values, state) = (Values::new(Arc::clone(&cache), false), StateStore::open(&state_dir).unwrap());
    let gpus = Gpus::find(&GpuSource::Off, true).unwrap();
    let (link, usage, log) = (
        Link::new(Arc::default(), Duration::ZERO),
        Usage::default(),
        AttemptLog::new("at_1".to_owned(), Arc::default(), bounds()),
    );
    let started = || {
        starts.fetch_add(1, Ordering::SeqCst);
    };
    let grant = Grant {
        node: &node,
        labels: &labels,
        node_datasets: vec!["digits"],
        datasets: BTreeMap::from([("digits", (PathBuf::from("/data/digits"), "digits.npy".to_owned()))]),
        code: PathBuf::from("/code"),
        packages: None,
        order: &order,
        manifest: &manifest,
        inputs: &inputs,
        values: &values,
        state: &state,
        link: &link,
        usage: &usage,
        node_gpus: &gpus,
        lends_memory: false,
        gpus: (0, 0),
        log: &log,
        started: &started,
    };
    let mut server = Server::new(grant, Said::default());
    let (channel, socket) = Channel::pair().unwrap();
    let task = std::thread::spawn(move || act(Task { socket, requests: 0 }));
    let busy = Arc::<Parting>::default().begin().await.unwrap();
    let ending = server.serve(&channel, &busy).await;
    drop(channel);
    task.join().unwrap();
    let staged = server.into_said().staged;
    (ending, staged, starts.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_task_learns_who_it_is_and_reads_what_it_may() {
    let (ending, _, starts) = talk(|mut task| {
        let (hello, _) = task.ask(json!({"op": "hello"}));
        assert_eq!((&hello["task"], &hello["iteration"], &hello["seed"]), (&json!("worker"), &json!(3), &json!(42)));
        assert_eq!(hello["module"]["entry"], json!({"file": "worker.py", "call": "main"}));
        task.send_raw(br#"{"op":"started"}"#, None);
        let (digits, _) = task.ask(json!({"op": "dataset", "name": "digits"}));
        assert_eq!((&digits["path"], &digits["file"]), (&json!("/data/digits"), &json!("digits.npy")));
        let (rate, value) = task.ask(json!({"op": "global_get", "name": "rate"}));
        assert_eq!((&rate["revision"], value.as_deref()), (&json!(7), Some("0.1")));
        let (chosen, _) = task.ask(json!({"op": "select", "name": "model", "task": null, "iteration": null}));
        let (_, value) = task.ask(json!({"op": "fetch", "ref": chosen["entries"][0]["ref"]}));
        assert_eq!(value.as_deref(), Some("weights"));
        assert_eq!(task.ask(json!({"op": "finished", "ok": true})).0["ok"], true);
    })
    .await;
    assert_eq!((ending, starts), (Ending::Finished(Ok(())), 1));
}

#[tokio::test]
async fn writes_are_staged_read_back_and_replaced() {
    let (_, staged, _) = talk(|mut task| {
        for value in ["first", "second"] {
            assert_eq!(task.publish(json!({"op": "result_add", "name": "model"}), value)["ok"], true);
            assert_eq!(task.publish(json!({"op": "global_set", "name": "rate"}), value)["ok"], true);
            assert_eq!(task.publish(json!({"op": "state_set", "name": "momentum"}), value)["ok"], true);
        }
        assert_eq!(task.ask(json!({"op": "global_get", "name": "rate"})).1.as_deref(), Some("second"));
        assert_eq!(task.ask(json!({"op": "state_get", "name": "momentum"})).1.as_deref(), Some("second"));
        assert_eq!(task.ask(json!({"op": "global_keys"})).0["names"], json!(["lost", "rate"]));
        assert_eq!(
            task.ask(json!({"op": "schedule_next_iter", "node_ids": ["node-2"], "task": "worker"})).0["ok"],
            true
        );
        assert_eq!(task.ask(json!({"op": "stop_swarm"})).0["ok"], true);
    })
    .await;
    let read = |pin: &crate::cache::Pin| pin.blob().size;
    assert_eq!(staged.results.iter().map(|(name, pin)| (name.as_str(), read(pin))).collect::<Vec<_>>(), [("model", 6)]);
    assert_eq!(
        (staged.globals.len(), staged.state.len(), staged.next_iterations.len(), staged.stop_swarm),
        (1, 1, 1, true)
    );
}

#[tokio::test]
async fn what_cannot_be_granted_is_an_error_in_the_task_and_nothing_more() {
    let (ending, staged, _) = talk(|mut task| {
        let mut kind = |request| task.ask(request).0["error"].clone();
        assert_eq!(kind(json!({"op": "dataset", "name": "digit"})), "dataset_not_authorized");
        assert_eq!(kind(json!({"op": "dataset", "name": "moved"})), "dataset_missing");
        assert_eq!(kind(json!({"op": "fetch", "ref": 9})), "unknown_ref");
        assert_eq!(kind(json!({"op": "schedule_next_iter", "node_ids": ["node-9"], "task": null})), "unknown_node");
        assert_eq!(kind(json!({"op": "schedule_next_iter", "node_ids": null, "task": "workr"})), "unknown_task");
        assert_eq!(kind(json!({"op": "select", "name": "model", "iteration": 1})), "iteration_not_available");
        assert_eq!(task.publish(json!({"op": "result_add", "name": "a\u{0}b"}), "x")["error"], "bad_name");
        let file = tempfile::tempfile().unwrap();
        assert_eq!(
            task.ask_with(json!({"op": "result_add", "name": "x"}), Some(file.as_fd())).0["error"],
            "not_a_value"
        );
        let (missing, _) = task.ask(json!({"op": "global_get", "name": "rat"}));
        assert_eq!((&missing["found"], &missing["names"]), (&json!(false), &json!(["lost", "rate"])));
    })
    .await;
    assert_eq!(ending, Ending::Closed);
    assert!(staged.results.is_empty());
}

#[tokio::test]
async fn requests_for_another_iteration_unite_however_many_there_are() {
    let (_, staged, _) = talk(|mut task| {
        let many = vec!["node-2"; 100_000];
        assert_eq!(task.ask(json!({"op": "schedule_next_iter", "node_ids": many, "task": "worker"})).0["ok"], true);
        for _ in 0..1000 {
            assert_eq!(task.ask(json!({"op": "schedule_next_iter", "node_ids": null, "task": null})).0["ok"], true);
            assert_eq!(task.ask(json!({"op": "schedule_next_iter", "node_ids": null, "task": "worker"})).0["ok"], true);
            assert_eq!(task.ask(json!({"op": "stop_swarm"})).0["ok"], true);
        }
    })
    .await;
    let nodes = |names: &[&str]| names.iter().map(|name| manta_types::NodeName::new(name).unwrap()).collect();
    let asked = [(None, None), (Some("worker".to_owned()), Some(nodes(&["node-2"])))];
    assert_eq!(staged.next_iterations.into_iter().collect::<Vec<_>>(), asked);
}

#[tokio::test]
async fn garbage_ends_the_conversation() {
    for (garbage, words) in [
        (&b"not json"[..], "cannot be read"),
        (br#"{"op":"no_such_thing","id":1}"#, "cannot be read"),
        (br#"{"op":"hello"}"#, "without an id"),
        (br#"{"op":"started","id":1}"#, "a notice with one"),
        (br#"{"op":"result_add","id":1,"name":"x"}"#, "descriptor"),
        (&[b'['; 100_000], "cannot be read"),
    ] {
        let (ending, ..) = talk(|task| task.send_raw(garbage, None)).await;
        let Ending::Violation(found) = ending else { panic!("{ending:?}") };
        assert!(found.contains(words), "{found}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_not_quoted_at_length() {
    let garbage = format!(r#"{{"op":"{}","id":1}}"#, "\u{202e}x".repeat(100_000)).into_bytes();
    let (ending, ..) = talk(move |task| task.send_raw(&garbage, None)).await;
    let Ending::Violation(found) = ending else { panic!("{ending:?}") };
    assert!(found.len() < 2000 && found.contains("unknown variant") && !found.contains('\u{202e}'), "{found}");
}

#[tokio::test]
async fn a_failure_is_told_in_the_tasks_own_words() {
    let (ending, ..) = talk(|mut task| {
        let error =
            json!({"type": "ValueError", "message": "shapes differ", "traceback": "…", "where": "worker.py:12"});
        task.ask(json!({"op": "finished", "ok": false, "error": error}));
    })
    .await;
    let Ending::Finished(Err(error)) = ending else { panic!("{ending:?}") };
    assert_eq!((error.r#type.as_str(), error.r#where.as_deref()), ("ValueError", Some("worker.py:12")));
}

#[tokio::test]
async fn what_the_node_could_not_do_is_its_own_fault_and_no_other_failure_is() {
    let (ending, ..) = talk(|mut task| fail_after_a_lost_value(&mut task, |words| format!("not read: {words}"))).await;
    let Ending::Finished(Err(error)) = ending else { panic!("{ending:?}") };
    assert!(error.is_nodes_fault, "{error:?}");
    let (ending, ..) = talk(|mut task| fail_after_a_lost_value(&mut task, |_| "shapes differ".to_owned())).await;
    let Ending::Finished(Err(error)) = ending else { panic!("{ending:?}") };
    assert!(!error.is_nodes_fault, "{error:?}");
    let (ending, ..) = talk(|mut task| {
        let error = json!({"type": "MantaError", "message": "the node's disk is full", "is_nodes_fault": true});
        task.ask(json!({"op": "finished", "ok": false, "error": error}));
    })
    .await;
    let Ending::Finished(Err(error)) = ending else { panic!("{ending:?}") };
    assert!(!error.is_nodes_fault, "a task's word for it is not taken: {error:?}");
}

/// Asks for a value that no longer exists, and fails with what is made of the answer.
fn fail_after_a_lost_value(task: &mut Task, message: impl Fn(&str) -> String) {
    let (answer, _) = task.ask(json!({"op": "global_get", "name": "lost"}));
    assert_eq!(answer["error"], "value_unavailable", "{answer}");
    let error = json!({"type": "MantaError", "message": message(answer["message"].as_str().unwrap())});
    task.ask(json!({"op": "finished", "ok": false, "error": error}));
}

#[tokio::test]
async fn a_value_is_published_by_the_memory_that_was_lent_for_it_and_sealed() {
    let (ending, staged, _) = talk(|mut task| {
        let (_, lent) = task.exchange(json!({"op": "memory"}), None);
        let mut lent = File::from(lent.unwrap());
        lent.write_all(b"from a guest").unwrap();
        let (answer, _) = task.ask(json!({"op": "result_add", "name": "model"}));
        assert_eq!(answer["ok"], true, "{answer}");
        assert!(lent.write_all(b"later").is_err(), "what was published is sealed");
        // One value for each time that memory was lent.
        task.send_raw(br#"{"op":"result_add","name":"more","id":3}"#, None);
    })
    .await;
    assert!(matches!(ending, Ending::Violation(_)), "{ending:?}");
    assert_eq!(staged.results.len(), 1);
    assert_eq!(staged.results[0].1.blob().size, 12);
}
