//! The registry over HTTP: versions that stay, marks that move, ranges that choose, and what keeps the bytes.
use http::{Method, StatusCode, header};
use manta_api::ModuleMark;
use manta_client::Client;
use manta_module::{BundleMeta, Entry, ModuleResources, SecretKey, Signature, Signed, Target, pack};
use manta_types::Digest;
use serde_json::json;

use crate::harness::{BASE, Manager, chain, tcp};

/// Stores a module of one file; the digest of its bundle.
async fn stored(manager: &Manager, version: &str, code: &str, requires_manta: Option<&str>) -> Digest {
    let file = manager.put_blob(code.as_bytes()).await;
    let meta = BundleMeta {
        name: "worker".to_owned(),
        version: Some(version.to_owned()),
        entry: Entry::Code { file: "worker.py".to_owned(), target: Target::Call("main".to_owned()) },
        image: "manta_light:latest".to_owned(),
        datasets: Vec::new(),
        resources: ModuleResources::default(),
        isolation: None,
        description: Some("averages".to_owned()),
        requires_manta: requires_manta.map(str::to_owned),
        images: vec!["manta_light:pytorch>=2.0".to_owned()],
        architectures: Vec::new(),
        requires_python: None,
        dependencies: Vec::new(),
    };
    let bundle = pack(meta, [("worker.py".to_owned(), file)]).unwrap();
    manager.put_blob(&bundle.bytes).await;
    bundle.blob.digest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_published_once_and_chosen_by_ranges_until_it_is_yanked() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let client = manager.client();
    let mut bundles = Vec::new();
    for version in ["1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1"] {
        let bundle = stored(&manager, version, version, None).await;
        let published = client.publish(bundle, "ada@lab", &Client::new_key()).await.unwrap();
        assert_eq!((published.version.as_str(), published.bundle), (version, bundle));
        bundles.push(bundle);
    }
    let again = client.publish(bundles[0], "bob", &Client::new_key()).await.unwrap();
    assert_eq!(again.publisher, "ada@lab", "the same bundle again changes nothing");
    let other = stored(&manager, "1.0.0", "evil", None).await;
    let told = client.publish(other, "eve", &Client::new_key()).await.unwrap_err();
    assert!(told.to_string().contains("published already by ada@lab, as bundle"), "{told}");
    assert_eq!(told.exit(), 8);

    let chosen = async |wanted| client.module_version("worker", wanted).await.map(|chosen| chosen.version);
    assert_eq!(chosen(None).await.unwrap(), "1.10.0");
    assert_eq!(chosen(Some("^1.0")).await.unwrap(), "1.10.0");
    let yank = ModuleMark::Yank("wrong mean".to_owned());
    client.mark_module("worker", "1.10.0", yank, &Client::new_key()).await.unwrap();
    assert_eq!(chosen(Some("^1.0")).await.unwrap(), "1.2.0");
    assert_eq!(chosen(Some("1.10.0")).await.unwrap(), "1.10.0", "who names it gets it");
    client.mark_module("worker", "1.0.0", ModuleMark::Tag("stable".into()), &Client::new_key()).await.unwrap();
    let moved = client.mark_module("worker", "1.2.0", ModuleMark::Tag("stable".into()), &Client::new_key()).await;
    assert_eq!(moved.unwrap().tags, ["stable"]);
    assert_eq!(chosen(Some("stable")).await.unwrap(), "1.2.0");
    let none = client.module_version("worker", Some("^3")).await.unwrap_err();
    assert!(none.to_string().contains("there are 2.0.0-rc.1, 1.10.0 (yanked), 1.2.0, 1.0.0"), "{none}");
    let near = client.module("wroker").await.unwrap_err();
    assert_eq!(near.hint(), Some("did you mean `worker`?"));
    let tag = ModuleMark::Tag("1.0".into());
    assert_eq!(client.mark_module("worker", "1.0.0", tag, &Client::new_key()).await.unwrap_err().exit(), 2);

    manager.stop().await.unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let versions = manager.client().module("worker").await.unwrap();
    let shown: Vec<_> = versions.iter().map(|one| (one.version.as_str(), one.yanked.is_some())).collect();
    assert_eq!(shown, [("2.0.0-rc.1", false), ("1.10.0", true), ("1.2.0", false), ("1.0.0", false)]);
    let listed = manager.client().modules(Some("AVERAGES")).await.unwrap();
    assert_eq!((listed[0].newest.as_deref(), listed[0].versions), (Some("1.2.0"), 4));
    assert!(manager.client().modules(Some("nothing")).await.unwrap().is_empty());
    assert_eq!(manager.client().modules_after(None, None, 1).await.unwrap().len(), 1);
    assert_eq!(manager.client().modules_after(Some("worker"), None, 1).await.unwrap(), []);
    manager.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_publishers_one_wins_and_the_others_are_told_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut bundles = Vec::new();
    for number in 0..8 {
        bundles.push(stored(&manager, "1.0.0", &format!("# {number}"), None).await);
    }
    let publish = bundles.iter().map(|bundle| {
        let client = manager.client();
        async move { client.publish(*bundle, &bundle.short(), &Client::new_key()).await }
    });
    let outcomes = futures_util::future::join_all(publish).await;
    let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    let winner = won[0].bundle.short();
    for lost in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(lost.to_string().contains(&format!("published already by {winner}")), "{lost}");
    }
    manager.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_publishes_once_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let bundle = stored(&manager, "1.0.0", "x", None).await;
    let other = stored(&manager, "1.1.0", "y", None).await;
    let token = format!("Bearer {}", manager.user);
    let headers = [(header::AUTHORIZATION.as_str(), token.as_str()), ("idempotency-key", "k")];
    let publish = async |bundle: Digest| {
        let body = json!({"bundle": bundle, "publisher": "ada"}).to_string();
        manager.raw(Method::POST, &format!("{BASE}/modules"), &headers, body).await
    };
    assert_eq!(publish(bundle).await.status, StatusCode::CREATED);
    assert!(publish(bundle).await.status.is_success());
    let used = publish(other).await;
    assert_eq!((used.status, used.code()), (StatusCode::CONFLICT, "MANTA-0502".to_owned()));
    assert!(used.json()["detail"].as_str().unwrap().contains("published module `worker` 1.0.0"), "{used:?}");
    manager.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_published_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let client = manager.client();
    let refused = async |bundle: Digest| client.publish(bundle, "", &Client::new_key()).await.unwrap_err().to_string();
    let unknown = manta_module::digest_of(b"nothing of that kind");
    assert!(refused(unknown).await.contains("not stored at the manager: the bundle"));
    let unversioned = stored(&manager, "0.0.0+abc", "x", None).await;
    assert!(refused(unversioned).await.contains("what follows the `+` tells no versions apart"));
    let no_manifest = manager.put_blob(b"{}").await.digest;
    assert!(refused(no_manifest).await.contains("cannot be used"));
    manager.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_for_another_release_is_neither_chosen_nor_run() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let client = manager.client();
    let (now, later) =
        (stored(&manager, "1.0.0", "x", Some(">=0.1")).await, stored(&manager, "1.1.0", "y", Some(">=99")).await);
    for bundle in [now, later] {
        client.publish(bundle, "", &Client::new_key()).await.unwrap();
    }
    assert_eq!(client.module_version("worker", Some("^1")).await.unwrap().version, "1.0.0");
    let module = json!({"bundle": later, "name": "worker", "version": "1.1.0", "image": "manta_light:latest"});
    let refused = manager.submit(&chain("s", &[module])).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let sentence = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(sentence.contains("module `worker` 1.1.0 needs manta >=99, and this is manta"), "{sentence}");
    manager.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_are_verified_when_they_come_and_stay_with_their_version() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let client = manager.client();
    let bundle = stored(&manager, "1.0.0", "x = 1", None).await;
    client.publish(bundle, "ada", &Client::new_key()).await.unwrap();
    let module = Signed { module: "worker", version: "1.0.0", bundle };
    let sign = |module, signed_ms| Signature::make(&SecretKey::from_seed(&[1; 32]), module, signed_ms, None).text();
    let mark =
        async |text: String| client.mark_module("worker", "1.0.0", ModuleMark::Sign(text), &Client::new_key()).await;
    let replayed = sign(Signed { version: "0.9.0", ..module }, 5);
    let tampered = sign(module, 5).replace("\"signed_ms\":5", "\"signed_ms\":6");
    for bad in [replayed, tampered, "x".repeat(64 << 10), "{}".to_owned()] {
        let refused = mark(bad).await.unwrap_err();
        assert_eq!((refused.code(), refused.exit()), ("MANTA-0210", 4), "{refused}");
    }
    assert!(client.module_version("worker", None).await.unwrap().signatures.is_empty());
    assert_eq!(mark(sign(module, 5)).await.unwrap().signatures, [sign(module, 5)]);
    assert_eq!(mark(sign(module, 7)).await.unwrap().signatures, [sign(module, 7)], "of one key the newest stays");
    assert_eq!(mark(sign(module, 6)).await.unwrap().signatures, [sign(module, 7)]);
    manager.stop().await.unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let told = manager.client().module("worker").await.unwrap();
    assert_eq!(told[0].signatures, [sign(module, 7)]);
    manager.stop().await.unwrap();
}
