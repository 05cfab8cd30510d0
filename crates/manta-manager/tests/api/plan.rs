//! What a swarm would do, told before anything runs, by the code that a submission passes.
use http::{Method, StatusCode};
use manta_module::digest_of;
use serde_json::{Value, json};

use crate::harness::{Answer, Manager, chain, tcp, unstored_module};
use crate::node::{connect, hello_with};

async fn plan(manager: &Manager, submission: &Value, manifests: &[String]) -> Answer {
    let request = json!({"submission": submission, "manifests": manifests});
    manager.call(Method::POST, "/swarms/plan", request.to_string()).await
}

#[tokio::test]
async fn a_plan_names_nodes_causes_versions_limits_and_bytes_and_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _first = connect(&manager, hello_with("node-1", &["digits"])).await;
    let _second = connect(&manager, hello_with("node-2", &["digits"])).await;
    let _third = connect(&manager, hello_with("node-3", &[])).await;
    let modules = [manager.put_module("worker", &["digits"]).await, manager.put_module("collect", &[]).await];
    let mut submission = chain("FedAvg", &modules);
    submission["tasks"][1]["method"] = json!("any");
    submission["max_iteration"] = json!(3);
    submission["globals"] = json!({"rate": {"digest": digest_of(b"rate"), "size": 4}});
    let answer = plan(&manager, &submission, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let plan = answer.json();
    assert_eq!((&plan["possible"], &plan["max_iteration"]), (&json!(true), &json!(3)));
    let worker = &plan["tasks"][0];
    assert_eq!((&worker["placement"], &worker["count"]), (&json!("all 2 eligible nodes"), &json!(2)));
    assert_eq!(worker["nodes"], json!(["node-1", "node-2"]));
    assert_eq!(worker["ineligible"][0]["cause"], "does not offer dataset `digits` (it offers: none)");
    assert_eq!((&worker["version"], &worker["bundle"]), (&json!("1.0.0"), &modules[0]["bundle"]));
    assert!(worker["bundle_bytes"].as_u64().unwrap() > 0 && worker["limits"]["memory_bytes"].as_u64().unwrap() > 0);
    assert_eq!(plan["tasks"][1]["placement"], "the least loaded of 3 eligible nodes");
    assert_eq!(plan["upload"], json!({"blobs": 1, "bytes": 4, "is_partial": false, "what": ["global `rate`"]}));
    assert_eq!(manager.get("/swarms").await.json(), json!([]), "nothing was stored");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_plan_says_where_an_image_is_not_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let with = |name: &str, digest: &str| {
        let mut hello = hello_with(name, &["digits"]);
        hello.image_digests = [("latest".to_owned(), digest.to_owned()), ("other".to_owned(), name.to_owned())].into();
        hello
    };
    let _first = connect(&manager, with("node-1", "sha256:11112222333344445555")).await;
    let _second = connect(&manager, with("node-2", "sha256:11112222333344445555")).await;
    let submission = chain("FedAvg", &[manager.put_module("worker", &["digits"]).await]);
    let planned = plan(&manager, &submission, &[]).await.json();
    assert_eq!(planned["tasks"][0]["image_warning"], json!(null), "it is the same on both");
    let _third = connect(&manager, with("node-3", "host:aaaabbbbccccdddd")).await;
    let planned = plan(&manager, &submission, &[]).await.json();
    let warning = planned["tasks"][0]["image_warning"].as_str().unwrap();
    assert!(
        warning.ends_with(
            "is not the same everywhere: their own Python aaaabbbbcccc on node-3; sha256:111122223333 on node-1, node-2"
        ),
        "{warning}"
    );
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_plan_of_what_is_impossible_says_so_in_the_words_of_the_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let submission = chain("FedAvg", &[manager.put_module("worker", &["digit"]).await]);
    let planned = plan(&manager, &submission, &[]).await.json();
    let refused = manager.submit(&submission).await.json();
    assert_eq!((&planned["possible"], &planned["refused"][0]["code"]), (&json!(false), &refused["code"]));
    assert_eq!(planned["refused"][0]["message"], refused["detail"]);
    assert_eq!(planned["refused"][0]["hint"], refused["hint"]);
    let mut cyclic = submission.clone();
    cyclic["tasks"][0]["after"] = json!([0]);
    let (planned, refused) = (plan(&manager, &cyclic, &[]).await, manager.submit(&cyclic).await);
    assert_eq!((planned.status, planned.json()), (refused.status, refused.json()));
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn manifests_that_come_along_need_not_be_stored() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello_with("node-1", &[])).await;
    let (module, manifest) = unstored_module("worker");
    let submission = chain("s", &[module]);
    let without = plan(&manager, &submission, &[]).await.json();
    assert_eq!((&without["upload"]["is_partial"], &without["tasks"][0]["bundle_bytes"]), (&json!(true), &json!(null)));
    let size = manifest.len() as u64 + "worker".len() as u64;
    let with = plan(&manager, &submission, &[manifest]).await.json();
    assert_eq!((&with["upload"]["is_partial"], &with["upload"]["blobs"]), (&json!(false), &json!(2)));
    assert_eq!((&with["upload"]["bytes"], &with["tasks"][0]["bundle_bytes"]), (&json!(size), &json!(size)));
    manager.stop().await.unwrap();
}
