//! What a site allows on its node: whose code, which bundles, in which images, on which datasets.
//!
//! The node judges by it and has the last word; the manager judges by the same rules to foresee what the node will say.
mod bounds;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::{Digest, VersionRange, digest::DigestError};

pub use bounds::{EgressBudget, Hours, Isolation};

/// The digest of a publisher's public key, and so its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    /// Wraps a digest that was computed elsewhere.
    pub const fn new(digest: Digest) -> Self {
        Self(digest)
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(Self)
    }
}

crate::text_form!(Fingerprint);

/// A publisher whose key somebody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// What the key's owner is called here.
    pub name: String,
    /// The key.
    pub key: Fingerprint,
    /// From when on nothing that the key signed counts here; wall clock, ms since 1970.
    pub expires_ms: Option<u64>,
    /// Whether the key is not to be trusted any more, whatever it signed and whenever.
    pub is_revoked: bool,
    /// Its line in the policy's file, from 1.
    pub line: u32,
}

/// A signature whose bytes are sound: by which key, and until when it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedBy {
    /// The key.
    pub key: Fingerprint,
    /// From when on it counts no more; wall clock, ms since 1970.
    pub expires_ms: Option<u64>,
}

/// What a sound signature is worth to somebody who knows these signers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// A known key made it, and it holds.
    Valid(&'a Signer),
    /// A known key made it, and its time or the key's is over.
    Expired(&'a Signer),
    /// The key was revoked.
    Revoked(&'a Signer),
    /// Nobody here knows the key.
    Unknown,
}

impl<'a> Standing<'a> {
    /// Judges a signature; without a time, what has a time is taken to hold.
    pub fn of(signature: &SignedBy, signers: &'a [Signer], now_ms: Option<u64>) -> Self {
        let Some(signer) = signers.iter().find(|signer| signer.key == signature.key) else { return Self::Unknown };
        let is_over = |end: Option<u64>| end.zip(now_ms).is_some_and(|(end, now)| now >= end);
        match signer {
            signer if signer.is_revoked => Self::Revoked(signer),
            signer if is_over(signer.expires_ms) || is_over(signature.expires_ms) => Self::Expired(signer),
            signer => Self::Valid(signer),
        }
    }

    /// The standing's stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid(_) => "valid",
            Self::Expired(_) => "expired",
            Self::Revoked(_) => "revoked",
            Self::Unknown => "unknown",
        }
    }

    /// The signer, where it is known.
    pub const fn signer(self) -> Option<&'a Signer> {
        match self {
            Self::Valid(signer) | Self::Expired(signer) | Self::Revoked(signer) => Some(signer),
            Self::Unknown => None,
        }
    }
}

/// A list in a policy, and the line where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// From 1.
    pub line: u32,
    /// What is listed.
    pub all: Vec<T>,
}

/// Who may open a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// Its line in the policy's file, from 1.
    pub line: u32,
    /// Signers by the names that the policy gives them; none given: whoever may run here.
    pub signers: Option<Vec<String>>,
    /// Modules by name; none given: all.
    pub modules: Option<Vec<String>>,
    /// The weakest containment under which it is opened.
    pub isolation_min: Option<Isolation>,
    /// How much of it may leave.
    pub egress: Option<EgressBudget>,
}

/// Which versions of a module may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleRule {
    /// Its line in the policy's file, from 1.
    pub line: u32,
    /// The versions.
    pub versions: VersionRange,
}

/// The rules of one node. Without any, it runs whatever its manager sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The name of its file, for people.
    pub file: String,
    /// The line that says that unsigned code is refused, where one does.
    pub require_signature: Option<u32>,
    /// Whose code is trusted here, and whose no more.
    pub signers: Vec<Signer>,
    /// Bundles that may run, whoever signed them.
    pub allowed_digests: Option<Listed<Digest>>,
    /// Bundles that may not, whoever signed them.
    pub denied_digests: Option<Listed<Digest>>,
    /// Images that tasks may run in; none given: all that the node has.
    pub images: Option<Listed<String>>,
    /// Modules of which not every version may run.
    pub modules: BTreeMap<String, ModuleRule>,
    /// The weakest containment under which anything runs, and the line that says so.
    pub isolation_min: Option<(u32, Isolation)>,
    /// The hours in which tasks may begin; none given: all.
    pub hours: Option<Hours>,
    /// Datasets that not everybody may open.
    pub datasets: BTreeMap<String, Grant>,
    /// How well the node contains tasks, where it told; what nobody told is taken to be enough.
    pub isolation: Option<Isolation>,
}

/// What somebody wants to run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Code<'a> {
    /// The module's name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its bundle.
    pub bundle: Digest,
    /// The environment.
    pub image: &'a str,
    /// The datasets that it may open.
    pub datasets: &'a [String],
    /// Who signed it; whether the signatures are sound has been checked.
    pub signatures: &'a [SignedBy],
}

/// Why a policy refuses code, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRefusal {
    /// The rule, as the policy's file names it.
    pub rule: String,
    /// `policy.toml:7`.
    pub place: String,
    /// What follows "by its policy": `nobody that it trusts signed it`.
    pub why: String,
    /// What to do, as a clause.
    pub change: String,
}

impl fmt::Display for PolicyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, `{}`)", self.why, self.place, self.rule)
    }
}

impl Policy {
    /// Whether it says anything.
    pub fn is_empty(&self) -> bool {
        *self == Self { file: self.file.clone(), isolation: self.isolation, ..Self::default() }
    }

    /// Its rules alone, without what a node told of the moment and of itself.
    #[must_use]
    pub fn rules(&self) -> Self {
        let mut rules = Self { isolation: None, ..self.clone() };
        if let Some(hours) = &mut rules.hours {
            hours.is_open = true;
        }
        for budget in rules.datasets.values_mut().filter_map(|grant| grant.egress.as_mut()) {
            budget.is_spent = false;
        }
        rules
    }

    /// Whether it makes a difference here who signed a module.
    pub fn asks_for_signatures(&self) -> bool {
        self.must_be_vouched_for().is_some() || self.datasets.values().any(|grant| grant.signers.is_some())
    }

    /// Judges code; without a time, signatures and keys that have an end are taken to hold.
    ///
    /// # Errors
    /// The first rule that refuses it: denied bundles before signatures before versions before images before containment
    /// before datasets.
    pub fn judge(&self, code: &Code<'_>, now_ms: Option<u64>) -> Result<(), PolicyRefusal> {
        if let Some(denied) = self.denied_digests.as_ref().filter(|denied| denied.all.contains(&code.bundle)) {
            let why = format!("the bundle {} is denied", code.bundle.short());
            return Err(self.refusal(denied.line, "denied_digests", why, "the digest is taken off that list".into()));
        }
        let standings: Vec<Standing<'_>> =
            code.signatures.iter().map(|signature| Standing::of(signature, &self.signers, now_ms)).collect();
        let valid: Vec<&Signer> = standings
            .iter()
            .filter_map(|standing| match standing {
                Standing::Valid(signer) => Some(*signer),
                _ => None,
            })
            .collect();
        let is_allowed = self.allowed_digests.as_ref().is_some_and(|allowed| allowed.all.contains(&code.bundle));
        if let Some((line, rule)) = self.must_be_vouched_for()
            && !is_allowed
            && valid.is_empty()
        {
            let (why, change) = (unsigned(code, &standings), self.sign_it(code));
            return Err(self.refusal(line, rule, why, change));
        }
        self.judge_version(code)?;
        if let Some(images) = self.images.as_ref().filter(|images| !images.all.iter().any(|one| fits(one, code.image)))
        {
            let why = format!("the image `{}` is not allowed, only {}", code.image, images.all.join(", "));
            return Err(self.refusal(images.line, "images", why, "the module asks for one of these".into()));
        }
        if let Some((line, floor)) = self.isolation_min
            && let Some(here) = self.too_weak(floor)
        {
            let why = format!("it contains tasks at tier `{}`, and asks for `{}`", here.name(), floor.name());
            return Err(self.refusal(line, "isolation_min", why, contained_better(floor)));
        }
        code.datasets.iter().try_for_each(|dataset| self.judge_dataset(dataset, code, &valid))
    }

    /// Judges the moment at which code that may run here would begin, as far as the node told: it passes by itself.
    ///
    /// # Errors
    /// The first rule that refuses it: budgets of datasets before hours.
    pub fn judge_moment(&self, datasets: &[String]) -> Result<(), PolicyRefusal> {
        let spent = datasets.iter().find_map(|name| {
            let grant = self.datasets.get(name)?;
            Some(self.spent(grant, name, grant.egress.filter(|budget| budget.is_spent)?))
        });
        let closed = || {
            let hours = self.hours.as_ref().filter(|hours| !hours.is_open)?;
            let why = format!("tasks begin from {} alone", hours.span());
            Some(self.refusal(hours.line, "allow_hours", why, "it is one of these hours".to_owned()))
        };
        spent.or_else(closed).map_or(Ok(()), Err)
    }

    /// The names of the signers that vouch for code.
    pub fn vouching(&self, signatures: &[SignedBy], now_ms: Option<u64>) -> Vec<String> {
        let valid = signatures.iter().filter_map(|signature| match Standing::of(signature, &self.signers, now_ms) {
            Standing::Valid(signer) => Some(signer.name.clone()),
            _ => None,
        });
        valid.collect()
    }

    /// How well the node contains tasks, where that is less than is asked for.
    fn too_weak(&self, floor: Isolation) -> Option<Isolation> {
        self.isolation.filter(|here| *here < floor)
    }

    fn judge_version(&self, code: &Code<'_>) -> Result<(), PolicyRefusal> {
        let Some(ModuleRule { line, versions }) = self.modules.get(code.name) else { return Ok(()) };
        if versions.holds_text(code.version) {
            return Ok(());
        }
        let why = format!("of `{}` only a version that is {versions} runs here", code.name);
        let change = format!("the swarm uses a version of it that is {versions}, or the site allows {}", code.version);
        Err(self.refusal(*line, &format!("modules.{}.version", code.name), why, change))
    }

    fn judge_dataset(&self, dataset: &str, code: &Code<'_>, valid: &[&Signer]) -> Result<(), PolicyRefusal> {
        let Some(grant) = self.datasets.get(dataset) else { return Ok(()) };
        let rule = format!("datasets.{dataset}");
        if let Some(modules) = grant.modules.as_ref().filter(|modules| !modules.iter().any(|name| name == code.name)) {
            let why = format!("the dataset `{dataset}` is for {} alone", listed(modules, "no module"));
            let change = format!("`{}` is listed there", code.name);
            return Err(self.refusal(grant.line, &rule, why, change));
        }
        let is_granted = |signers: &Vec<String>| valid.iter().any(|signer| signers.contains(&signer.name));
        if let Some(signers) = grant.signers.as_ref().filter(|signers| !is_granted(signers)) {
            let by = valid.iter().map(|signer| signer.name.clone()).collect::<Vec<_>>();
            let why = format!(
                "the dataset `{dataset}` is for code signed by {}, and this is signed by {}",
                listed(signers, "nobody"),
                listed(&by, "nobody that it trusts")
            );
            return Err(self.refusal(grant.line, &rule, why, format!("one of them signs it ({})", sign(code))));
        }
        if let Some(floor) = grant.isolation_min
            && let Some(here) = self.too_weak(floor)
        {
            let why = format!(
                "the dataset `{dataset}` is opened at tier `{}` or better, and this node has `{}`",
                floor.name(),
                here.name()
            );
            return Err(self.refusal(grant.line, &rule, why, contained_better(floor)));
        }
        Ok(())
    }

    fn spent(&self, grant: &Grant, dataset: &str, budget: EgressBudget) -> PolicyRefusal {
        let rule = format!("datasets.{dataset}.egress_bytes_per_day");
        let why =
            format!("what may leave of the dataset `{dataset}` in a day, {} bytes, is used up", budget.bytes_per_day);
        self.refusal(grant.line, &rule, why, "the day (UTC) is over, or the site raises the budget".to_owned())
    }

    /// Why no more of a dataset leaves today, where it has a budget.
    pub fn egress_refusal(&self, dataset: &str) -> Option<PolicyRefusal> {
        let grant = self.datasets.get(dataset)?;
        Some(self.spent(grant, dataset, grant.egress?))
    }

    /// The rule by which code needs somebody who vouches for it.
    fn must_be_vouched_for(&self) -> Option<(u32, &'static str)> {
        let required = self.require_signature.map(|line| (line, "require_signature"));
        required.or_else(|| Some((self.allowed_digests.as_ref()?.line, "allowed_digests")))
    }

    fn sign_it(&self, code: &Code<'_>) -> String {
        let trusted: Vec<String> =
            self.signers.iter().filter(|signer| !signer.is_revoked).map(|signer| signer.name.clone()).collect();
        if trusted.is_empty() {
            return format!("the site lists the bundle {} in `allowed_digests`, or a signer", code.bundle);
        }
        format!("{} signs it ({}), or the site trusts its signer", trusted.join(" or "), sign(code))
    }

    fn refusal(&self, line: u32, rule: &str, why: String, change: String) -> PolicyRefusal {
        PolicyRefusal { rule: rule.to_owned(), place: format!("{}:{line}", self.file), why, change }
    }
}

fn contained_better(floor: Isolation) -> String {
    format!("the node contains tasks at tier `{}` (manta doctor says what is missing)", floor.name())
}

fn sign(code: &Code<'_>) -> String {
    format!("manta module sign {}@{} --key NAME", code.name, code.version)
}

/// Why none of the signatures counts.
fn unsigned(code: &Code<'_>, standings: &[Standing<'_>]) -> String {
    const TOLD: usize = 4;
    if standings.is_empty() {
        return "nobody signed it".to_owned();
    }
    let of = |(signature, standing): (&SignedBy, &Standing<'_>)| match standing.signer() {
        Some(signer) => format!("the signature by {} is {}", signer.name, standing.name()),
        None => format!("the key {} is not trusted", signature.key.short()),
    };
    let mut told: Vec<String> = code.signatures.iter().zip(standings).take(TOLD).map(of).collect();
    if standings.len() > TOLD {
        told.push(format!("and {} more", standings.len() - TOLD));
    }
    format!("nobody that it trusts signed it: {}", told.join(", "))
}

fn listed(names: &[String], none: &str) -> String {
    if names.is_empty() { none.to_owned() } else { names.join(", ") }
}

/// Whether an image that code asks for is one that a policy lists: `pytorch` allows `manta_light:pytorch` and
/// `pytorch>=2.0`, `pytorch:2.1` that alone.
fn fits(listed: &str, wanted: &str) -> bool {
    let short = |image: &str| image.strip_prefix("manta_light:").unwrap_or(image).to_owned();
    let (listed, wanted) = (short(listed), short(wanted));
    listed == wanted || wanted.split([':', '>', '=', '<', '~', '!']).next() == Some(listed.as_str())
}

#[cfg(test)]
mod tests;
