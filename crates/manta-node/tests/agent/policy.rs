//! What a node's policy holds against a manager that lies.
use std::sync::Arc;

use manta_api::node::Offer;
use manta_api::policy::PolicyForm;
use manta_module::{BundleManifest, SecretKey, Signature, Signed};
use manta_types::VersionRange;
use manta_types::policy::{Grant, ModuleRule, Policy, Signer};

use crate::cases::{Case, on_runtime};
use crate::module::{offer, publish};
use crate::node::Bench;

pub(crate) const ALL: &[Case] = &[
    ("code_that_nobody_trusted_signed_is_never_unpacked_whatever_the_manager_says", || on_runtime(refuses_unsigned())),
    ("an_old_version_does_not_run_though_it_is_signed_and_the_manager_offers_it", || on_runtime(refuses_old())),
    ("datasets_and_images_are_those_of_the_manifest_and_for_whom_the_site_says", || on_runtime(refuses_grants())),
];

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn policy() -> Policy {
    let signer = |name: &str, number: u8, line| Signer {
        name: name.to_owned(),
        key: key(number).public().fingerprint(),
        expires_ms: None,
        is_revoked: name == "eve",
        line,
    };
    let signers = vec![signer("ada", 1, 3), signer("eve", 2, 7), signer("bob", 4, 11)];
    Policy { file: "policy.toml".to_owned(), require_signature: Some(1), signers, ..Policy::default() }
}

/// A signature of a bundle that the manager holds.
fn sign(
    bench: &Bench,
    bundle: &str,
    number: u8,
    change: impl Fn(&mut BundleManifest),
    expires_ms: Option<u64>,
) -> String {
    let bytes = bench.manager.blobs.lock().unwrap()[bundle].clone();
    let mut manifest = BundleManifest::parse(&bytes).unwrap();
    change(&mut manifest);
    Signature::make(&key(number), Signed::new(&manifest, bundle.parse().unwrap()), 5, expires_ms).text()
}

async fn refuses_unsigned() {
    let mut bench = Bench::with(1, |settings| settings.policy = policy());
    let mut door = bench.door().await;
    let told: Policy = serde_json::from_str::<PolicyForm>(&door.hello.policy).unwrap().into();
    assert_eq!(told.rules(), policy(), "the manager can foresee");
    let bundle = publish(&bench.manager, "print('runs')");
    let signed = |number, expires| sign(&bench, &bundle, number, |_| {}, expires);
    let tampered = signed(1, None).replace("\"signed_ms\":5", "\"signed_ms\":6");
    let replayed = sign(&bench, &bundle, 1, |manifest| manifest.version = "0.9.0".to_owned(), None);
    let renamed = sign(&bench, &bundle, 1, |manifest| manifest.name = "mover".to_owned(), None);
    let refused = [
        (Vec::new(), "nobody signed it"),
        (vec![signed(3, None)], "is not trusted"),
        (vec![signed(2, None)], "by eve is revoked"),
        (vec![signed(1, Some(6))], "by ada is expired"),
        (vec![tampered], "nobody signed it"),
        (vec![replayed, renamed], "nobody signed it"),
        (vec!["x".repeat(64 << 10); 100], "nobody signed it"),
    ];
    let signatures = Arc::clone(&bench.manager.signatures);
    for (n, (sent, words)) in (1..).zip(refused) {
        *signatures.lock().unwrap() = sent;
        door.offer(offer(n, &bundle));
        let failure = door.finished_and_refused().await.failure.unwrap();
        assert_eq!(failure.class, "policy", "{}", failure.message);
        assert!(failure.message.contains(words) && failure.message.contains("policy.toml:1"), "{}", failure.message);
        assert!(failure.message.contains("ada or bob signs it"), "{}", failure.message);
        assert_eq!(failure.location, "policy.toml:1");
        let laid_out = std::fs::read_dir(bench.dir.path().join("node/bundles")).unwrap().count();
        assert_eq!(laid_out, 0, "nothing of it was unpacked");
    }
    *signatures.lock().unwrap() = vec![sign(&bench, &bundle, 3, |_| {}, None), sign(&bench, &bundle, 1, |_| {}, None)];
    door.offer(offer(20, &bundle));
    let report = door.finished().await;
    assert!(report.failure.is_none(), "{:?}", report.failure);
    door.accept(&report);
    bench.stop().await;
}

async fn refuses_old() {
    let rule = ModuleRule { line: 30, versions: VersionRange::parse(">=1.0.1").unwrap() };
    let mut bench = Bench::with(1, |settings| {
        settings.policy = Policy { modules: [("worker".to_owned(), rule)].into(), ..policy() };
    });
    let mut door = bench.door().await;
    let bundle = publish(&bench.manager, "print('runs')");
    *bench.manager.signatures.lock().unwrap() = vec![sign(&bench, &bundle, 1, |_| {}, None)];
    door.offer(offer(1, &bundle));
    let failure = door.finished_and_refused().await.failure.unwrap();
    assert_eq!(
        (failure.class.as_str(), failure.location.as_str()),
        ("policy", "policy.toml:30"),
        "{}",
        failure.message
    );
    let words = "refuses module `worker` 1.0.0 by its policy: of `worker` only a version that is >=1.0.1 runs here";
    assert!(failure.message.contains(words), "{}", failure.message);
    let laid_out = std::fs::read_dir(bench.dir.path().join("node/bundles")).unwrap().count();
    assert_eq!(laid_out, 0, "nothing of it was unpacked");
    bench.stop().await;
}

async fn refuses_grants() {
    let grant = Grant { line: 20, signers: Some(vec!["ada".to_owned()]), ..Grant::default() };
    let mut bench = Bench::with(1, |settings| {
        settings.policy = Policy { datasets: [("digits".to_owned(), grant)].into(), ..policy() };
    });
    let mut door = bench.door().await;
    let bundle = publish(&bench.manager, "print('runs')");
    *bench.manager.signatures.lock().unwrap() = vec![sign(&bench, &bundle, 4, |_| {}, None)];
    let more = vec!["digits".to_owned(), "mnist".to_owned()];
    let offers = [
        (offer(1, &bundle), "`datasets.digits`"),
        (Offer { datasets: more, ..offer(2, &bundle) }, "more datasets than the module itself"),
        (Offer { image: "manta_light:other".to_owned(), ..offer(3, &bundle) }, "another image"),
    ];
    for (offer, words) in offers {
        door.offer(offer);
        let failure = door.finished_and_refused().await.failure.unwrap();
        assert_eq!(failure.class, "policy", "{}", failure.message);
        assert!(failure.message.contains(words), "{}", failure.message);
    }
    *bench.manager.signatures.lock().unwrap() = vec![sign(&bench, &bundle, 1, |_| {}, None)];
    door.offer(offer(4, &bundle));
    assert!(door.finished_and_refused().await.failure.is_none(), "ada may");
    bench.stop().await;
}
