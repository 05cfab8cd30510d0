//! Every rule of a policy, both ways.
use super::*;

fn key(number: u8) -> Fingerprint {
    Fingerprint::new(Digest::from_bytes([number; 32]))
}

fn signer(name: &str, number: u8) -> Signer {
    Signer { name: name.into(), key: key(number), expires_ms: None, is_revoked: false, line: u32::from(number) }
}

fn by(number: u8) -> SignedBy {
    SignedBy { key: key(number), expires_ms: None }
}

fn strict() -> Policy {
    let signers = vec![signer("ada", 1), Signer { is_revoked: true, ..signer("eve", 2) }];
    Policy { file: "policy.toml".into(), require_signature: Some(3), signers, ..Policy::default() }
}

fn judge(policy: &Policy, signatures: &[SignedBy], now_ms: u64) -> Result<(), String> {
    let datasets = ["mnist".to_owned()];
    let code = Code {
        name: "worker",
        version: "1.0.0",
        bundle: Digest::from_bytes([9; 32]),
        image: "manta_light:numpy",
        datasets: &datasets,
        signatures,
    };
    policy.judge(&code, Some(now_ms)).map_err(|refusal| refusal.to_string())
}

#[test]
fn a_policy_without_rules_refuses_nothing() {
    assert!(Policy::default().is_empty());
    assert_eq!(judge(&Policy::default(), &[], 0), Ok(()));
}

#[test]
fn code_runs_where_a_trusted_key_signed_it_and_nowhere_else() {
    assert_eq!(judge(&strict(), &[by(7), by(1)], 0), Ok(()));
    let refused = |signatures: &[SignedBy]| judge(&strict(), signatures, 5).unwrap_err();
    assert_eq!(refused(&[]), "nobody signed it (policy.toml:3, `require_signature`)");
    assert!(refused(&[by(7)]).contains("the key 070707070707 is not trusted"));
    assert!(refused(&[by(2)]).contains("the signature by eve is revoked"));
    assert!(refused(&[SignedBy { expires_ms: Some(5), ..by(1) }]).contains("the signature by ada is expired"));
    assert_eq!(judge(&strict(), &[SignedBy { expires_ms: Some(6), ..by(1) }], 5), Ok(()));
    assert!(refused(&[by(7); 9]).contains("and 5 more"));
}

#[test]
fn a_key_whose_time_is_over_here_counts_no_more() {
    let mut policy = strict();
    policy.signers[0].expires_ms = Some(10);
    assert_eq!(judge(&policy, &[by(1)], 9), Ok(()));
    assert!(judge(&policy, &[by(1)], 10).unwrap_err().contains("expired"));
}

#[test]
fn digests_are_allowed_without_a_signature_and_denied_with_one() {
    let listed = |line| Some(Listed { line, all: vec![Digest::from_bytes([9; 32])] });
    let allowed = Policy { allowed_digests: listed(4), ..strict() };
    assert_eq!(judge(&allowed, &[], 0), Ok(()));
    let denied = Policy { denied_digests: listed(5), ..allowed };
    assert!(judge(&denied, &[by(1)], 0).unwrap_err().contains("(policy.toml:5, `denied_digests`)"));
    let others = Listed { line: 2, all: vec![Digest::from_bytes([8; 32])] };
    let others = Policy { file: "p".into(), allowed_digests: Some(others), ..Policy::default() };
    assert!(judge(&others, &[], 0).unwrap_err().contains("nobody signed it (p:2, `allowed_digests`)"));
}

#[test]
fn a_version_below_the_floor_is_refused_whoever_signed_it_and_other_modules_are_free() {
    let floor = |module: &str, range: &str| {
        let rule = ModuleRule { line: 7, versions: VersionRange::parse(range).unwrap() };
        Policy { modules: [(module.to_owned(), rule)].into(), ..strict() }
    };
    assert_eq!(judge(&floor("worker", ">=1.0"), &[by(1)], 0), Ok(()));
    assert_eq!(judge(&floor("other", ">=9"), &[by(1)], 0), Ok(()));
    let refused = judge(&floor("worker", ">=1.0.1"), &[by(1)], 0).unwrap_err();
    let words = "of `worker` only a version that is >=1.0.1 runs here (policy.toml:7, `modules.worker.version`)";
    assert_eq!(refused, words);
    assert!(
        judge(&floor("worker", ">=1.1"), &[], 0).unwrap_err().contains("nobody signed it"),
        "signatures come first"
    );
    let allowed = Some(Listed { line: 4, all: vec![Digest::from_bytes([9; 32])] });
    let allowed = Policy { allowed_digests: allowed, ..floor("worker", "^2") };
    assert!(judge(&allowed, &[], 0).unwrap_err().contains("is ^2"), "a digest stands for a signature alone");
    assert!(!floor("worker", "*").is_empty());
}

#[test]
fn images_and_datasets_are_for_whom_the_policy_says() {
    let images =
        |all: &[&str]| Some(Listed { line: 6, all: all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>() });
    assert_eq!(judge(&Policy { images: images(&["numpy"]), ..strict() }, &[by(1)], 0), Ok(()));
    let refused = judge(&Policy { images: images(&["pytorch", "nump"]), ..strict() }, &[by(1)], 0).unwrap_err();
    assert!(refused.contains("only pytorch, nump (policy.toml:6, `images`)"), "{refused}");
    let with = |signers: Option<&str>, modules: Option<&str>| {
        let list = |name: Option<&str>| name.map(|name| vec![name.to_owned()]);
        let grant = Grant { line: 8, signers: list(signers), modules: list(modules), ..Grant::default() };
        let mut policy = strict();
        policy.signers.push(signer("bob", 4));
        Policy { datasets: [("mnist".to_owned(), grant)].into(), ..policy }
    };
    assert_eq!(judge(&with(Some("ada"), Some("worker")), &[by(1)], 0), Ok(()));
    assert_eq!(judge(&with(Some("ada"), None), &[by(4), by(1)], 0), Ok(()));
    let refused = judge(&with(Some("ada"), None), &[by(4)], 0).unwrap_err();
    assert!(refused.contains("for code signed by ada, and this is signed by bob (policy.toml:8"), "{refused}");
    assert!(judge(&with(None, Some("other")), &[by(1)], 0).unwrap_err().contains("is for other alone"));
}

#[test]
fn a_listed_image_stands_for_its_versions_and_not_the_other_way_round() {
    for (listed, wanted) in [("pytorch", "pytorch>=2.0"), ("pytorch", "manta_light:pytorch"), ("a:1", "a:1")] {
        assert!(fits(listed, wanted), "{listed} {wanted}");
    }
    for (listed, wanted) in [("pytorch:2.1", "pytorch"), ("pytorch", "pytorch-evil"), ("", "x")] {
        assert!(!fits(listed, wanted), "{listed} {wanted}");
    }
}

#[test]
fn containment_that_is_too_weak_is_refused_and_told_how_weak_it_is() {
    let floor = Policy { isolation_min: Some((3, Isolation::Full)), ..strict() };
    assert_eq!(judge(&floor, &[by(1)], 0), Ok(()), "what nobody told is taken to be enough");
    let weak = Policy { isolation: Some(Isolation::Rootless), ..floor };
    let refused = judge(&weak, &[by(1)], 0).unwrap_err();
    assert!(refused.contains("at tier `rootless`, and asks for `full` (policy.toml:3, `isolation_min`)"), "{refused}");
    let grant = Grant { line: 8, isolation_min: Some(Isolation::Full), ..Grant::default() };
    let of_dataset = |isolation| Policy {
        datasets: [("mnist".to_owned(), grant.clone())].into(),
        isolation: Some(isolation),
        ..strict()
    };
    assert_eq!(judge(&of_dataset(Isolation::Full), &[by(1)], 0), Ok(()));
    let refused = judge(&of_dataset(Isolation::Reduced), &[by(1)], 0).unwrap_err();
    assert!(refused.contains("opened at tier `full` or better, and this node has `reduced`"), "{refused}");
}

#[test]
fn hours_and_budgets_are_of_the_moment_and_no_part_of_the_rules() {
    let hours = Hours { line: 2, from_minute: 1320, until_minute: 360, zone: "UTC".to_owned(), is_open: false };
    let budget = EgressBudget { bytes_per_day: 10, is_spent: true };
    let grant = Grant { line: 8, egress: Some(budget), ..Grant::default() };
    let policy = Policy { hours: Some(hours), datasets: [("mnist".to_owned(), grant)].into(), ..strict() };
    assert_eq!(judge(&policy, &[by(1)], 0), Ok(()), "it may run here at another time");
    let closed = policy.judge_moment(&[]).unwrap_err();
    assert_eq!((closed.place.as_str(), closed.rule.as_str()), ("policy.toml:2", "allow_hours"));
    assert!(closed.why.contains("22:00 to 06:00 (UTC)"), "{}", closed.why);
    let spent = policy.judge_moment(&["mnist".to_owned()]).unwrap_err();
    assert_eq!(spent.rule, "datasets.mnist.egress_bytes_per_day");
    assert_eq!(policy.rules().judge_moment(&["mnist".to_owned()]), Ok(()));
    assert_eq!(policy.egress_refusal("mnist"), Some(spent));
    assert_eq!(policy.egress_refusal("other"), None);
}
