//! Backups: made beside a running manager, brought back whole or not at all, and the beginning of a new generation.
use std::fs;
use std::path::{Path, PathBuf};

use manta_api::node as wire;
use manta_manager::{ManagerError, backup, restore, scrub};
use manta_store::StateReader;
use serde_json::Value;

use crate::harness::{Manager, chain, settings, tcp};
use crate::node::{connect, hello};

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

async fn deploy(manager: &Manager, name: &str) -> String {
    let module = manager.put_module(name, &[]).await;
    manager.submit(&chain(name, &[module])).await.json()["id"].as_str().unwrap().to_owned()
}

fn generation(data_dir: &Path) -> u64 {
    StateReader::open(data_dir).unwrap().generation().unwrap()
}

#[tokio::test]
async fn a_running_managers_backup_comes_back_without_what_came_later() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy, again) = (dir.path().join("data"), dir.path().join("copy"), dir.path().join("again"));
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello("node-1")).await;
    let before = deploy(&manager, "before").await;
    let value = manager.put_blob(b"weights").await;
    let offer = node.offer().await;
    node.run(&offer, &[("weights", value)]).await;
    manager.wait_for_swarm(&before, "succeeded").await;
    let made = backup(&data, &copy).unwrap();
    assert_eq!((made.missing.len(), made.generation), (0, generation(&data)));
    let later = deploy(&manager, "later").await;
    let late = node.offer().await;
    assert_eq!(scrub(&data).unwrap().damage, Vec::<String>::new());
    let id = node.id.clone();
    node.leave().await;
    manager.stop().await.unwrap();

    let restored = restore(&copy, &again).unwrap();
    assert_eq!(restored.generation, generation(&again));
    assert!(restored.generation > made.generation, "what nodes hold is of a history that was undone");
    let found = scrub(&again).unwrap();
    assert_eq!((found.swarms, found.damage.len()), (1, 0));
    let manager = Manager::with(settings(again.clone(), tcp())).await;
    let swarms = manager.get("/swarms").await.json();
    assert_eq!(swarms.as_array().unwrap().len(), 1, "{swarms:#}");
    let results = manager.get(&format!("/swarms/{before}/results")).await.json();
    assert_eq!(results[0]["blob"]["digest"], value.digest.to_string(), "{results:#}");
    assert_eq!(manager.get(&format!("/blobs/{}", value.digest)).await.body, "weights");
    assert_eq!(manager.get(&format!("/swarms/{later}")).await.status, 404);
    // The node comes back with an attempt of the history that was undone: its end does not count.
    let (attempt, epoch, phase) = (late.attempt.clone(), late.epoch, "running".to_owned());
    let held = vec![wire::Held { attempt, epoch, phase, generation: made.generation }];
    let mut node = connect(&manager, wire::Hello { node_id: id, held, ..hello("node-1") }).await;
    node.finish(&late, &[("weights", value)]).await;
    assert!(!node.verdict().await.accepted);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_backup_that_is_not_whole_is_refused_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy, target) = (dir.path().join("data"), dir.path().join("copy"), dir.path().join("target"));
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello("node-1")).await;
    deploy(&manager, "s").await;
    manager.stop().await.unwrap();
    backup(&data, &copy).unwrap();
    let refuse = || {
        let error = restore(&copy, &target).unwrap_err();
        assert!(matches!(error, ManagerError::NotWhole { .. } | ManagerError::Store(_)), "{error:?}");
        assert!(error.hint().is_some());
        assert!(!target.exists() && !dir.path().join("target.partial").exists(), "{error}");
        error.to_string()
    };
    for file in files(&copy) {
        let sound = fs::read(&file).unwrap();
        let replace = |bytes: &[u8]| {
            fs::remove_file(&file).unwrap();
            fs::write(&file, bytes).unwrap();
        };
        let mut flipped = sound.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 16;
        if file.file_name().unwrap() != "manifest.json" {
            replace(&flipped);
            refuse();
        }
        replace(&sound[..sound.len() - 1]);
        refuse();
        fs::remove_file(&file).unwrap();
        refuse();
        fs::write(&file, &sound).unwrap();
    }
    restore(&copy, &target).unwrap();
    let error = restore(&copy, &target).unwrap_err();
    assert!(matches!(error, ManagerError::TargetExists(_)), "{error:?}");
    let error = backup(&target, &copy).unwrap_err();
    assert!(matches!(error, ManagerError::TargetExists(_)), "{error:?}");
}

#[tokio::test]
async fn two_restores_of_one_backup_are_two_generations() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    Manager::start(dir.path(), tcp()).await.stop().await.unwrap();
    backup(&data, &copy).unwrap();
    let first = restore(&copy, &dir.path().join("first")).unwrap().generation;
    let begun = std::time::Instant::now();
    while begun.elapsed().as_millis() < 2 {
        std::hint::spin_loop(); // generations follow the clock, which counts milliseconds
    }
    let second = restore(&copy, &dir.path().join("second")).unwrap().generation;
    assert!(generation(&data) < first && first < second);
}

#[tokio::test]
async fn a_scrub_names_all_that_is_damaged_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello("node-1")).await;
    let module: Value = manager.put_module("s", &[]).await;
    manager.submit(&chain("s", std::slice::from_ref(&module))).await;
    let value = manager.put_blob(b"nobody names this").await;
    manager.stop().await.unwrap();
    let name = value.digest.to_string();
    let path = data.join("blobs").join(&name[..2]).join(&name);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "nobody names that").unwrap();
    let bundle = module["bundle"].as_str().unwrap();
    fs::remove_file(data.join("blobs").join(&bundle[..2]).join(bundle)).unwrap();
    let found = scrub(&data).unwrap();
    assert_eq!(found.damage.len(), 2, "{:?}", found.damage);
    assert!(found.damage[0].contains(&name) && found.damage[0].contains("is damaged"), "{:?}", found.damage);
    assert!(found.damage[1].contains(bundle) && found.damage[1].contains("missing"), "{:?}", found.damage);
    assert!(path.exists());
    let copied = backup(&data, &dir.path().join("copy")).unwrap();
    assert_eq!(copied.missing.iter().map(ToString::to_string).collect::<Vec<_>>(), [bundle]);
}
