//! What a policy's file may say, and how mistakes in it are told.
use manta_module::SecretKey;

use super::*;

fn key(number: u8) -> String {
    SecretKey::from_seed(&[number; 32]).public().to_string()
}

fn policy(text: &str) -> Result<Policy, (u32, String, String)> {
    parse(text, "policy.toml".into())
        .map_err(|Mistake { span, problem, cure }| (span.map_or(0, |span| line_of(text, span.start)), problem, cure))
}

#[test]
fn every_rule_is_read_with_its_line() {
    let digest = "ab".repeat(32);
    let text = format!(
        "denied_digests = [\n  \"{digest}\",\n]\nimages = [\"numpy\"]\n\n[[allowed_signers]]\nname = \"ada\"\n\
         key = \"{}\"\nexpires = 2027-06-30\n\n[[allowed_signers]]\nname = \"eve\"\nkey = \"{}\"\nrevoked = true\n\n\
         [datasets.mnist]\nsigners = [\"ada\"]\nmodules = [\"worker\"]\n",
        key(1),
        key(2)
    );
    let read = policy(&text).unwrap();
    assert_eq!(read.denied_digests, Some(Listed { line: 1, all: vec![digest.parse().unwrap()] }));
    assert_eq!(read.images, Some(Listed { line: 4, all: vec!["numpy".to_owned()] }));
    assert_eq!(read.require_signature, Some(6), "who lists signers wants signatures");
    let told: Vec<_> = read.signers.iter().map(|one| (one.name.as_str(), one.expires_ms, one.is_revoked)).collect();
    assert_eq!(told, [("ada", Some(1_814_313_600_000), false), ("eve", None, true)]);
    let grant = &read.datasets["mnist"];
    assert_eq!((grant.line, grant.signers.as_deref()), (16, Some(&["ada".to_owned()][..])));
    assert_eq!(policy("require_signature = true\n").unwrap().require_signature, Some(1));
    assert!(policy("").unwrap().is_empty());
    let lax = format!("require_signature = false\n[[allowed_signers]]\nname = \"ada\"\nkey = \"{}\"\n", key(1));
    assert_eq!(policy(&lax).unwrap().require_signature, None);
}

#[test]
fn mistakes_are_told_with_their_line_and_what_is_near() {
    let signer = format!("[[allowed_signers]]\nname = \"ada\"\nkey = \"{}\"\n", key(1));
    for (text, line, problem, cure) in [
        ("\nrequire_signatures = true\n", 2, "`require_signatures` is no key", "did you mean `require_signature`?"),
        ("require_signature = 1\n", 1, "invalid type", "policy.md"),
        ("images = [\n", 1, "", "policy.md"),
        ("allowed_digests = [\n  \"ab\",\n]\n", 2, "`ab` is not a BLAKE3 digest", "manta module inspect"),
        ("[[allowed_signers]]\nname = \"ada\"\nkey = \"ssh\"\n", 3, "`ssh` is no public key", "manta key show"),
        (&format!("{signer}revokd = true\n"), 4, "`revokd`", "did you mean `revoked`?"),
        (&format!("{signer}{signer}"), 4, "of the signer `ada` in line 1", "once"),
        (&format!("{signer}expires = 12:00:00\n"), 4, "no date", "2027-06-30"),
        (&format!("{signer}[datasets.m]\nsigners = [\"adda\"]\n"), 5, "names the signer `adda`", "did you mean `ada`?"),
        ("[datasets.m]\nmodules = [\"w\"]\n", 1, "anybody may call code so", "require_signature"),
    ] {
        let (at, told, hint) = policy(text).unwrap_err();
        assert!(told.contains(problem) && hint.contains(cure), "{text}: {told} / {hint}");
        assert_eq!(at, line, "{text}: {told}");
    }
}

#[test]
fn versions_of_modules_are_read_each_with_its_line() {
    let text = "[modules.worker]\n# 1.1 leaked\nversion = \">=1.2\"\n\n[modules.exact]\nversion = \"2.0.0\"\n";
    let read = policy(text).unwrap();
    let told: Vec<_> =
        read.modules.iter().map(|(name, one)| (name.as_str(), one.line, one.versions.to_string())).collect();
    assert_eq!(told, [("exact", 6, "2.0.0".to_owned()), ("worker", 3, ">=1.2".to_owned())]);
    for (text, line, problem, cure) in [
        ("[modules.w]\nversion = \"new\"\n", 2, "`version` of `w` is `new`, which is neither a version", ">=1.2"),
        ("[modules.w]\nversions = \">=1\"\n", 2, "`versions` is no key", "did you mean `version`?"),
        ("\n[modules.w]\n", 2, "missing field `version`", "policy.md"),
        ("[modules.\"a/b\"]\nversion = \"*\"\n", 1, "module name `a/b`", "manifest"),
        ("[modules]\nw = \">=1\"\n", 2, "invalid type", "policy.md"),
    ] {
        let (at, told, hint) = policy(text).unwrap_err();
        assert!(told.contains(problem) && hint.contains(cure), "{text}: {told} / {hint}");
        assert_eq!(at, line, "{text}: {told}");
    }
}

#[test]
fn containment_hours_and_budgets_are_read() {
    let text = "isolation_min = \"full\"\nallow_hours = \"22:00-06:30\"\ntime_zone = \"Europe/Berlin\"\n\
                [datasets.mnist]\nisolation_min = \"rootless\"\negress_bytes_per_day = 10_000_000\n";
    let read = policy(text).unwrap();
    assert_eq!(read.isolation_min, Some((1, Isolation::Full)));
    let hours = read.hours.unwrap();
    assert_eq!((hours.line, hours.from_minute, hours.until_minute), (2, 1320, 390));
    assert_eq!(hours.zone, "Europe/Berlin");
    assert!(hours.contain(0) && hours.contain(1320) && !hours.contain(390) && !hours.contain(720));
    let grant = &read.datasets["mnist"];
    assert_eq!(grant.isolation_min, Some(Isolation::Rootless));
    assert_eq!(grant.egress, Some(EgressBudget { bytes_per_day: 10_000_000, is_spent: false }));
    for (text, line, problem, cure) in [
        ("isolation_min = \"best\"\n", 1, "`best`", "rootless"),
        ("\nallow_hours = \"22-06\"\n", 2, "`22-06`", "22:00-06:00"),
        ("allow_hours = \"22:00-24:30\"\n", 1, "`22:00-24:30`", "22:00-06:00"),
        ("allow_hours = \"06:00-06:00\"\n", 1, "begin when they end", "leave"),
        ("allow_hours = \"22:00-06:00\"\ntime_zone = \"Europe/Berln\"\n", 2, "`Europe/Berln`", "Europe/Berlin"),
        ("time_zone = \"UTC\"\n", 1, "not there", "leave"),
        ("[datasets.m]\negress_bytes_per_day = -1\n", 2, "is -1", "bytes"),
        (
            "[datasets.m]\negress_bytes_per_dya = 1\n",
            2,
            "`egress_bytes_per_dya`",
            "did you mean `egress_bytes_per_day`?",
        ),
    ] {
        let (at, told, hint) = policy(text).unwrap_err();
        assert!(told.contains(problem) && hint.contains(cure), "{text}: {told} / {hint}");
        assert_eq!(at, line, "{text}: {told}");
    }
}
