//! Who a person is, read from an ID token that was verified.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use manta_types::Role;
use manta_types::name::printable;
use serde_json::{Map, Value};

use super::OidcSettings;

/// Characters of a claim that are repeated in a sentence.
const SHOWN_CHARS_MAX: usize = 64;

/// A person, as the issuer knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// The user that they are here.
    pub(crate) name: String,
    /// Who they are for ever: the issuer, and what it calls them.
    pub(crate) subject: String,
    /// The greatest role that their groups give.
    pub(crate) role: Option<Role>,
}

/// Reads the claims of a token whose signature and claims hold.
///
/// # Errors
/// A sentence about a claim that is missing, or that names no user.
pub(super) fn person(token: &str, subject: &str, settings: &OidcSettings) -> Result<Person, String> {
    let unreadable = || "the ID token's claims cannot be read".to_owned();
    let payload = token.split('.').nth(1).ok_or_else(unreadable)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| unreadable())?;
    let claims: Map<String, Value> = serde_json::from_slice(&payload).map_err(|_| unreadable())?;
    let subject = format!("{}#{subject}", settings.issuer);
    let groups = claims.get(&settings.groups_claim).map(texts).unwrap_or_default();
    let role = groups.iter().filter_map(|group| settings.roles.get(*group)).max().copied();
    Ok(Person { name: name(&claims, settings)?, subject, role })
}

fn name(claims: &Map<String, Value>, settings: &OidcSettings) -> Result<String, String> {
    let claim = settings.user_claim.as_str();
    let text = match claims.get(claim) {
        Some(Value::String(text)) => text.as_str(),
        Some(_) => return Err(format!("the ID token's `{claim}` is no text, so it names nobody")),
        None => return Err(format!("the ID token has no `{claim}`, which was to name the user")),
    };
    let Some(domain) = &settings.email_domain else { return Ok(text.to_owned()) };
    if claims.get("email_verified") != Some(&Value::Bool(true)) {
        let shown = printable(text, SHOWN_CHARS_MAX);
        return Err(format!("the issuer did not verify that `{shown}` is the person's own address"));
    }
    match text.rsplit_once('@') {
        Some((name, of)) if of.eq_ignore_ascii_case(domain) => Ok(name.to_ascii_lowercase()),
        _ => Err(format!("`{}` is no address of `{domain}`", printable(text, SHOWN_CHARS_MAX))),
    }
}

/// A list of texts, or the one that stands for itself.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> OidcSettings {
        let roles = [("staff", Role::Viewer), ("ops", Role::Operator)];
        let mut settings = OidcSettings::new("https://id.example".to_owned(), "manta".to_owned());
        settings.roles = roles.map(|(group, role)| (group.to_owned(), role)).into();
        settings
    }

    fn read(claims: &Value, settings: &OidcSettings) -> Result<Person, String> {
        let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
        person(&format!("e30.{payload}.c2ln"), "42", settings)
    }

    #[test]
    fn the_greatest_role_of_all_groups_counts() {
        for (groups, role) in [
            (json!(["staff", "ops", "other"]), Some(Role::Operator)),
            (json!("staff"), Some(Role::Viewer)),
            (json!(["Staff", 7]), None),
            (json!({"ops": true}), None),
        ] {
            let read = read(&json!({"preferred_username": "ada", "groups": groups}), &settings()).unwrap();
            assert_eq!((read.name.as_str(), read.role), ("ada", role), "{groups}");
            assert_eq!(read.subject, "https://id.example#42");
        }
    }

    #[test]
    fn an_address_names_somebody_where_it_is_verified_and_of_the_domain() {
        let mut settings = settings();
        (settings.user_claim, settings.email_domain) = ("email".to_owned(), Some("lab.example".to_owned()));
        let of = |email: &str, verified: Value| read(&json!({"email": email, "email_verified": verified}), &settings);
        assert_eq!(of("Ada@Lab.example", json!(true)).unwrap().name, "ada");
        assert!(of("ada@lab.example", json!(false)).unwrap_err().contains("did not verify"));
        assert!(of("ada@lab.example", json!("true")).is_err());
        for other in ["ada@other.example", "ada", "ada@lab.example@evil.example"] {
            assert!(of(other, json!(true)).unwrap_err().contains("no address of `lab.example`"), "{other}");
        }
    }

    #[test]
    fn a_token_that_names_nobody_is_refused() {
        assert!(read(&json!({}), &settings()).unwrap_err().contains("has no `preferred_username`"));
        assert!(read(&json!({"preferred_username": 7}), &settings()).unwrap_err().contains("is no text"));
        assert!(person("one", "42", &settings()).is_err());
    }
}
