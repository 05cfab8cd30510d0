//! A node's policy as the node tells it to its manager, which foresees by it what the node will refuse.
use std::collections::BTreeMap;

use manta_types::policy::{EgressBudget, Grant, Hours, Isolation, Listed, ModuleRule, Policy, Signer};
use manta_types::{Digest, Fingerprint, RangeError, VersionRange};
use serde::{Deserialize, Serialize};

/// Bytes of a policy's form.
pub const POLICY_BYTES_MAX: usize = 4 << 20;

/// A digest of a policy's rules, whatever the moment; nothing where it has none.
pub fn digest(policy: &Policy) -> Option<Digest> {
    if policy.is_empty() {
        return None;
    }
    let form = serde_json::to_vec(&PolicyForm::from(policy.rules())).expect("texts and numbers: always JSON");
    Some(Digest::from_bytes(*blake3::hash(&form).as_bytes()))
}

/// A [`Policy`] as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyForm {
    file: String,
    require_signature: Option<u32>,
    signers: Vec<SignerForm>,
    allowed_digests: Option<ListForm<Digest>>,
    denied_digests: Option<ListForm<Digest>>,
    images: Option<ListForm<String>>,
    isolation_min: Option<(u32, IsolationForm)>,
    hours: Option<HoursForm>,
    // Left out where there are none, so that rules from before they could be written keep their digest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    modules: BTreeMap<String, ModuleRuleForm>,
    datasets: BTreeMap<String, GrantForm>,
    isolation: Option<IsolationForm>,
}

/// A tier by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct IsolationForm(Isolation);

impl TryFrom<String> for IsolationForm {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Isolation::from_name(&name).map(Self).ok_or_else(|| format!("`{name}` is no tier of containment"))
    }
}

impl From<IsolationForm> for String {
    fn from(form: IsolationForm) -> Self {
        form.0.name().to_owned()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HoursForm {
    line: u32,
    from_minute: u16,
    until_minute: u16,
    zone: String,
    open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct EgressForm {
    bytes_per_day: u64,
    spent: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SignerForm {
    name: String,
    key: Fingerprint,
    expires_ms: Option<u64>,
    revoked: bool,
    line: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ListForm<T> {
    line: u32,
    all: Vec<T>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ModuleRuleForm {
    line: u32,
    versions: RangeForm,
}

/// A range of versions by its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct RangeForm(VersionRange);

impl TryFrom<String> for RangeForm {
    type Error = RangeError;

    fn try_from(text: String) -> Result<Self, RangeError> {
        VersionRange::parse(&text).map(Self)
    }
}

impl From<RangeForm> for String {
    fn from(form: RangeForm) -> Self {
        form.0.to_string()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct GrantForm {
    line: u32,
    signers: Option<Vec<String>>,
    modules: Option<Vec<String>>,
    #[serde(default)]
    isolation_min: Option<IsolationForm>,
    #[serde(default)]
    egress: Option<EgressForm>,
}

impl<T> From<Listed<T>> for ListForm<T> {
    fn from(Listed { line, all }: Listed<T>) -> Self {
        Self { line, all }
    }
}

impl<T> From<ListForm<T>> for Listed<T> {
    fn from(ListForm { line, all }: ListForm<T>) -> Self {
        Self { line, all }
    }
}

impl From<Policy> for PolicyForm {
    fn from(policy: Policy) -> Self {
        let Policy { file, require_signature, signers, allowed_digests, denied_digests, images, .. } = policy;
        let signer = |signer: Signer| {
            let Signer { name, key, expires_ms, is_revoked: revoked, line } = signer;
            SignerForm { name, key, expires_ms, revoked, line }
        };
        let hours = |Hours { line, from_minute, until_minute, zone, is_open: open }: Hours| HoursForm {
            line,
            from_minute,
            until_minute,
            zone,
            open,
        };
        let rule = |ModuleRule { line, versions }: ModuleRule| ModuleRuleForm { line, versions: RangeForm(versions) };
        let egress =
            |EgressBudget { bytes_per_day, is_spent: spent }: EgressBudget| EgressForm { bytes_per_day, spent };
        let grant = |Grant { line, signers, modules, isolation_min, egress: budget }: Grant| GrantForm {
            line,
            signers,
            modules,
            isolation_min: isolation_min.map(IsolationForm),
            egress: budget.map(egress),
        };
        Self {
            file,
            require_signature,
            signers: signers.into_iter().map(signer).collect(),
            allowed_digests: allowed_digests.map(Into::into),
            denied_digests: denied_digests.map(Into::into),
            images: images.map(Into::into),
            isolation_min: policy.isolation_min.map(|(line, floor)| (line, IsolationForm(floor))),
            hours: policy.hours.map(hours),
            modules: policy.modules.into_iter().map(|(name, one)| (name, rule(one))).collect(),
            datasets: policy.datasets.into_iter().map(|(name, one)| (name, grant(one))).collect(),
            isolation: policy.isolation.map(IsolationForm),
        }
    }
}

impl From<PolicyForm> for Policy {
    fn from(form: PolicyForm) -> Self {
        let PolicyForm { file, require_signature, signers, allowed_digests, denied_digests, images, .. } = form;
        let signer = |signer: SignerForm| {
            let SignerForm { name, key, expires_ms, revoked: is_revoked, line } = signer;
            Signer { name, key, expires_ms, is_revoked, line }
        };
        let hours = |HoursForm { line, from_minute, until_minute, zone, open: is_open }: HoursForm| Hours {
            line,
            from_minute,
            until_minute,
            zone,
            is_open,
        };
        let rule = |ModuleRuleForm { line, versions }: ModuleRuleForm| ModuleRule { line, versions: versions.0 };
        let egress =
            |EgressForm { bytes_per_day, spent: is_spent }: EgressForm| EgressBudget { bytes_per_day, is_spent };
        let grant = |GrantForm { line, signers, modules, isolation_min, egress: budget }: GrantForm| Grant {
            line,
            signers,
            modules,
            isolation_min: isolation_min.map(|form| form.0),
            egress: budget.map(egress),
        };
        Self {
            file,
            require_signature,
            signers: signers.into_iter().map(signer).collect(),
            allowed_digests: allowed_digests.map(Into::into),
            denied_digests: denied_digests.map(Into::into),
            images: images.map(Into::into),
            isolation_min: form.isolation_min.map(|(line, floor)| (line, floor.0)),
            hours: form.hours.map(hours),
            modules: form.modules.into_iter().map(|(name, one)| (name, rule(one))).collect(),
            datasets: form.datasets.into_iter().map(|(name, one)| (name, grant(one))).collect(),
            isolation: form.isolation.map(|form| form.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manta_types::policy::ModuleRule;

    #[test]
    fn rules_of_versions_are_told_and_where_there_are_none_nothing_says_so() {
        let policy = Policy { file: "policy.toml".into(), require_signature: Some(1), ..Policy::default() };
        let form = serde_json::to_value(PolicyForm::from(policy.clone())).unwrap();
        assert!(form.get("modules").is_none(), "{form}");
        let rule = ModuleRule { line: 3, versions: VersionRange::parse(">=1.2").unwrap() };
        let ruled = Policy { modules: [("worker".to_owned(), rule)].into(), ..policy.clone() };
        let form = serde_json::to_string(&PolicyForm::from(ruled.clone())).unwrap();
        assert!(form.contains(r#""modules":{"worker":{"line":3,"versions":">=1.2"}}"#), "{form}");
        assert_eq!(Policy::from(serde_json::from_str::<PolicyForm>(&form).unwrap()), ruled);
        assert_ne!(digest(&ruled), digest(&policy));
    }
}
