//! Reads a policy's file; every mistake is told with its line, its key and what is known there.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use manta_module::PublicKey;
use manta_types::policy::{EgressBudget, Grant, Isolation, Listed, ModuleRule, Policy, Signer};
use manta_types::{Digest, VersionRange, name};
use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::hours;
use crate::NodeError;

/// A policy's name in a node's data directory.
pub const POLICY_FILE: &str = "policy.toml";
/// Bytes of a policy's file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Entries of one list.
const ENTRIES_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    require_signature: Option<Spanned<bool>>,
    #[serde(default)]
    allowed_signers: Vec<Spanned<SignerForm>>,
    allowed_digests: Option<Spanned<Vec<Spanned<String>>>>,
    denied_digests: Option<Spanned<Vec<Spanned<String>>>>,
    images: Option<Spanned<Vec<String>>>,
    isolation_min: Option<Spanned<String>>,
    allow_hours: Option<Spanned<String>>,
    time_zone: Option<Spanned<String>>,
    #[serde(default)]
    modules: BTreeMap<String, Spanned<ModuleRuleForm>>,
    #[serde(default)]
    datasets: BTreeMap<String, Spanned<GrantForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignerForm {
    name: String,
    key: Spanned<String>,
    expires: Option<Spanned<Datetime>>,
    #[serde(default)]
    revoked: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModuleRuleForm {
    version: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantForm {
    signers: Option<Vec<Spanned<String>>>,
    modules: Option<Vec<String>>,
    isolation_min: Option<Spanned<String>>,
    egress_bytes_per_day: Option<Spanned<i64>>,
}

/// A mistake: where, what, and what to do.
pub(super) struct Mistake {
    span: Option<Range<usize>>,
    problem: String,
    cure: String,
}

pub(super) fn mistake(span: Range<usize>, problem: impl Into<String>, cure: impl Into<String>) -> Mistake {
    Mistake { span: Some(span), problem: problem.into(), cure: cure.into() }
}

/// Reads the policy in a file.
///
/// # Errors
/// [`NodeError::Policy`], with the line of the first mistake.
pub fn read(path: &Path) -> Result<Policy, NodeError> {
    let failed = |problem: String, cure: &str| NodeError::Policy {
        place: path.display().to_string(),
        problem,
        cure: cure.to_owned(),
    };
    let unreadable =
        |error: std::io::Error| failed(error.to_string(), "name a file that is there, or leave --policy out");
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(format!("it has {size} bytes; {FILE_BYTES_MAX} are the limit"), "make it shorter"));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    parse(&text, file).map_err(|Mistake { span, problem, cure }| {
        let line = span.map(|span| format!(":{}", line_of(&text, span.start))).unwrap_or_default();
        NodeError::Policy { place: format!("{}{line}", path.display()), problem, cure }
    })
}

fn line_of(text: &str, at: usize) -> u32 {
    let lines = text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
    u32::try_from(lines + 1).unwrap_or(u32::MAX)
}

fn parse(text: &str, file: String) -> Result<Policy, Mistake> {
    let form: Form = toml::from_str(text).map_err(|error| syntax(&error))?;
    let line = |span: &Range<usize>| line_of(text, span.start);
    let mut signers = Vec::new();
    for entry in &form.allowed_signers {
        signers.push(signer(entry, line(&entry.span()), &signers)?);
    }
    let required = form.require_signature.as_ref().map(|asked| (*asked.get_ref(), line(&asked.span())));
    let require_signature = match (required, signers.first()) {
        (Some((true, line)), _) => Some(line),
        (Some((false, _)), _) | (None, None) => None,
        (None, Some(first)) => Some(first.line),
    };
    let digests = |list: &Option<Spanned<Vec<Spanned<String>>>>| {
        list.as_ref().map(|list| digests(list, line(&list.span()))).transpose()
    };
    let (allowed_digests, denied_digests) = (digests(&form.allowed_digests)?, digests(&form.denied_digests)?);
    let is_vouched = require_signature.is_some() || allowed_digests.is_some();
    let mut datasets = BTreeMap::new();
    for (name, entry) in &form.datasets {
        name::check_component("dataset", name)
            .map_err(|error| mistake(entry.span(), error.to_string(), "write the dataset's name as nodes offer it"))?;
        datasets.insert(name.clone(), grant(name, entry, line(&entry.span()), &signers, is_vouched)?);
    }
    let mut modules = BTreeMap::new();
    for (name, entry) in &form.modules {
        name::check_component("module", name).map_err(|error| {
            mistake(entry.span(), error.to_string(), "write the module's name as its manifest has it")
        })?;
        let asked = &entry.get_ref().version;
        modules.insert(name.clone(), ModuleRule { line: line(&asked.span()), versions: versions(name, asked)? });
    }
    let images = form.images.map(|list| {
        let at = line(&list.span());
        Listed { line: at, all: list.into_inner() }
    });
    let isolation_min = match &form.isolation_min {
        Some(asked) => Some((line(&asked.span()), isolation(asked)?)),
        None => None,
    };
    let hours = match (&form.allow_hours, &form.time_zone) {
        (Some(asked), zone) => Some(hours::read(asked, zone.as_ref(), line(&asked.span()))?),
        (None, Some(zone)) => {
            return Err(mistake(zone.span(), "`time_zone` is for `allow_hours`, which is not there", "leave it out"));
        }
        (None, None) => None,
    };
    let isolation = None;
    Ok(Policy {
        file,
        require_signature,
        signers,
        allowed_digests,
        denied_digests,
        images,
        modules,
        isolation_min,
        hours,
        datasets,
        isolation,
    })
}

fn signer(entry: &Spanned<SignerForm>, line: u32, before: &[Signer]) -> Result<Signer, Mistake> {
    let SignerForm { name, key, expires, revoked } = entry.get_ref();
    name::check_label("signer", name).map_err(|error| {
        mistake(entry.span(), error.to_string(), "call the signer what `manta key new` calls a key")
    })?;
    let public: PublicKey = key.get_ref().parse().map_err(|error: manta_module::KeyError| {
        mistake(key.span(), format!("`key` of `{name}`: {error}"), "take the line that `manta key show` prints")
    })?;
    let fingerprint = public.fingerprint();
    if let Some(twice) = before.iter().find(|known| known.name == *name || known.key == fingerprint) {
        let problem = format!("`{name}` has the name or the key of the signer `{}` in line {}", twice.name, twice.line);
        return Err(mistake(entry.span(), problem, "list each key once, each under a name of its own"));
    }
    let expires_ms = expires.as_ref().map(moment).transpose()?;
    Ok(Signer { name: name.clone(), key: fingerprint, expires_ms, is_revoked: *revoked, line })
}

/// A date, at midnight UTC, or an instant.
fn moment(written: &Spanned<Datetime>) -> Result<u64, Mistake> {
    let text = written.get_ref().to_string();
    let date = || {
        text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let found = if written.get_ref().time.is_none() { date() } else { text.parse::<jiff::Timestamp>().ok() };
    let ms = found.and_then(|stamp| u64::try_from(stamp.as_millisecond()).ok());
    ms.ok_or_else(|| {
        let problem = format!("`expires` is {text}, which is no date and no instant with its offset");
        mistake(written.span(), problem, "write a date such as 2027-06-30, or an instant such as 2027-06-30T12:00:00Z")
    })
}

fn digests(list: &Spanned<Vec<Spanned<String>>>, line: u32) -> Result<Listed<Digest>, Mistake> {
    let all = list.get_ref();
    if all.len() > ENTRIES_MAX {
        let problem = format!("{} digests are listed; {ENTRIES_MAX} are the limit", all.len());
        return Err(mistake(list.span(), problem, "list signers in place of digests"));
    }
    let read = all.iter().map(|text| {
        text.get_ref().parse::<Digest>().map_err(|error| {
            mistake(text.span(), error.to_string(), "take the bundle's digest that `manta module inspect` shows")
        })
    });
    Ok(Listed { line, all: read.collect::<Result<_, _>>()? })
}

fn grant(
    dataset: &str,
    entry: &Spanned<GrantForm>,
    line: u32,
    signers: &[Signer],
    is_vouched: bool,
) -> Result<Grant, Mistake> {
    let GrantForm { signers: named, modules, isolation_min, egress_bytes_per_day } = entry.get_ref();
    for one in named.iter().flatten() {
        if !signers.iter().any(|signer| signer.name == *one.get_ref()) {
            let problem = format!("the dataset `{dataset}` names the signer `{}`, which is not listed", one.get_ref());
            let near = name::nearest(one.get_ref(), signers.iter().map(|signer| signer.name.as_str()));
            let cure = near
                .map_or_else(|| "list it in [[allowed_signers]]".to_owned(), |near| format!("did you mean `{near}`?"));
            return Err(mistake(one.span(), problem, cure));
        }
    }
    if modules.is_some() && named.is_none() && !is_vouched {
        let problem = format!("the dataset `{dataset}` is given to modules by name, and anybody may call code so");
        return Err(mistake(entry.span(), problem, "add `signers` there, or `require_signature = true` at the top"));
    }
    let signers = named.as_ref().map(|named| named.iter().map(|one| one.get_ref().clone()).collect());
    let egress = egress_bytes_per_day.as_ref().map(|asked| match u64::try_from(*asked.get_ref()) {
        Ok(bytes_per_day) => Ok(EgressBudget { bytes_per_day, is_spent: false }),
        Err(_) => {
            let problem = format!("`egress_bytes_per_day` of `{dataset}` is {}", asked.get_ref());
            Err(mistake(asked.span(), problem, "write a number of bytes, 0 for none"))
        }
    });
    Ok(Grant {
        line,
        signers,
        modules: modules.clone(),
        isolation_min: isolation_min.as_ref().map(isolation).transpose()?,
        egress: egress.transpose()?,
    })
}

fn versions(module: &str, asked: &Spanned<String>) -> Result<VersionRange, Mistake> {
    VersionRange::parse(asked.get_ref()).map_err(|error| {
        let problem = format!("`version` of `{module}` {error}");
        mistake(asked.span(), problem, "write the least that runs here, such as \">=1.2\"")
    })
}

fn isolation(asked: &Spanned<String>) -> Result<Isolation, Mistake> {
    Isolation::from_name(asked.get_ref()).ok_or_else(|| {
        let problem = format!("`isolation_min` is `{}`, which is no tier of containment", asked.get_ref());
        mistake(asked.span(), problem, "write `full`, `rootless` or `reduced`")
    })
}

/// A text that is no TOML, or holds a key or value that is not known there.
fn syntax(error: &toml::de::Error) -> Mistake {
    let message = error.message();
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    let Some((key, rest)) = unknown else {
        let cure = "see docs/guides/policy.md for what a policy may say".to_owned();
        return Mistake { span: error.span(), problem: message.trim_end().replace('\n', ", "), cure };
    };
    let known: BTreeSet<&str> = rest.split('`').skip(1).step_by(2).collect();
    let cure = match name::nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known there: {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    };
    Mistake { span: error.span(), problem: format!("`{key}` is no key of a policy there"), cure }
}

#[cfg(test)]
mod tests;
