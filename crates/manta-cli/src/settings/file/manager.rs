//! Reads a manager's own file of settings: for now, the issuer of identities that its people sign in at.
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use manta_api::ErrorCode;
use manta_manager::OidcSettings;
use manta_types::Role;
use toml_edit::{Item, Key, TableLike};

use super::{Found, Read, kind, load, path, unreadable};
use crate::report::Failure;
use crate::text::one_line;

/// Bytes of a client's secret.
const SECRET_BYTES_MAX: u64 = 4096;
/// Keys of `[oidc]`.
const OIDC_KEYS: [&str; 13] = [
    "ca_file",
    "client_id",
    "client_secret_file",
    "default_role",
    "device",
    "email_domain",
    "groups_claim",
    "issuer",
    "redirect",
    "roles",
    "scopes",
    "token_life",
    "user_claim",
];

/// The issuer that a manager's file names, where it names one.
///
/// # Errors
/// With file, line and key of the first mistake.
pub(crate) fn issuer(file: &Path) -> Result<Option<OidcSettings>, Failure> {
    let Some(text) = load(file)? else {
        return Err(unreadable(file, &std::io::ErrorKind::NotFound.into()));
    };
    let read = Read { path: file, text: &text };
    let document = read.document()?;
    read.known(document.as_table(), "this file", &["oidc"])?;
    let Some((key, item)) = document.get_key_value("oidc") else { return Ok(None) };
    let table = read.table(key, item)?;
    read.known(table, "[oidc]", &OIDC_KEYS)?;
    let needed = |name: &str, example: &str| {
        read.text(table, name)?.map(|found| found.value).ok_or_else(|| {
            read.mistake(key, &format!("[oidc] has no `{name}`")).hint(format!("add it, as {name} = \"{example}\""))
        })
    };
    let mut settings = OidcSettings::new(needed("issuer", "https://id.example")?, needed("client_id", "manta")?);
    let text = |name: &str| Ok::<_, Failure>(read.text(table, name)?.map(|found| found.value));
    settings.client_secret = read.text(table, "client_secret_file")?.map(|found| secret(&found)).transpose()?;
    if let Some(found) = read.text(table, "ca_file")? {
        let file = path(&found);
        settings.authorities = Some(std::fs::read(&file).map_err(|error| unreadable(&file, &error))?);
    }
    settings.user_claim = text("user_claim")?.unwrap_or(settings.user_claim);
    settings.groups_claim = text("groups_claim")?.unwrap_or(settings.groups_claim);
    settings.redirect = text("redirect")?.unwrap_or(settings.redirect);
    settings.email_domain = text("email_domain")?;
    settings.token_life = read.span(table, "token_life")?.map_or(settings.token_life, |found| found.value);
    settings.default_role = read.role(table, "default_role")?;
    settings.device = read.truth(table, "device")?.unwrap_or(settings.device);
    settings.scopes = read.texts(table, "scopes")?.unwrap_or(settings.scopes);
    settings.roles = read.roles(table)?;
    settings.check().map_err(|(name, sentence)| {
        let at = table.get_key_value(name).map_or(key, |(key, _)| key);
        read.mistake(at, &sentence)
    })?;
    Ok(Some(settings))
}

/// Reads a client's secret from a file that only its owner reads.
fn secret(found: &Found<String>) -> Result<String, Failure> {
    let file = path(found);
    let about = std::fs::metadata(&file).map_err(|error| unreadable(&file, &error))?;
    let mode = about.permissions().mode() & 0o777;
    let refuse = |problem: &str| {
        let sentence = format!("{}: the client's secret in `{}` {problem}", found.origin, file.display());
        Failure::new(ErrorCode::Configuration, sentence)
    };
    if mode & 0o077 != 0 {
        let failure = refuse(&format!("can be read by others (mode {mode:o})"));
        return Err(failure.hint(format!("chmod 600 '{}'", file.display())));
    }
    if about.len() > SECRET_BYTES_MAX {
        return Err(refuse(&format!("has more than {SECRET_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
    match text.trim() {
        "" => Err(refuse("is empty")),
        secret => Ok(secret.to_owned()),
    }
}

impl Read<'_> {
    fn role(&self, table: &dyn TableLike, name: &str) -> Result<Option<Role>, Failure> {
        let Some((key, item)) = table.get_key_value(name) else { return Ok(None) };
        self.role_at(key, item).map(Some)
    }

    fn role_at(&self, key: &Key, item: &Item) -> Result<Role, Failure> {
        let refuse = |what: &str| self.mistake(key, &format!("`{}` is a role, not {what}", one_line(key.get(), 64)));
        let hint = "a role is viewer, developer, operator or admin";
        let text = item.as_str().ok_or_else(|| refuse(kind(item)).hint(hint))?;
        text.parse().map_err(|_| refuse(&format!("`{}`", one_line(text, 40))).hint(hint))
    }

    /// Which role each group gives.
    fn roles(&self, table: &dyn TableLike) -> Result<BTreeMap<String, Role>, Failure> {
        let Some((key, item)) = table.get_key_value("roles") else { return Ok(BTreeMap::new()) };
        let groups = self.table(key, item)?;
        let read = |(group, _): (&str, &Item)| {
            let (key, item) = groups.get_key_value(group).expect("it was just listed");
            Ok((group.to_owned(), self.role_at(key, item)?))
        };
        groups.iter().map(read).collect()
    }

    fn truth(&self, table: &dyn TableLike, name: &str) -> Result<Option<bool>, Failure> {
        let Some((key, item)) = table.get_key_value(name) else { return Ok(None) };
        let refuse = || self.mistake(key, &format!("`{name}` is true or false, not {}", kind(item)));
        item.as_bool().map(Some).ok_or_else(refuse)
    }

    fn texts(&self, table: &dyn TableLike, name: &str) -> Result<Option<Vec<String>>, Failure> {
        let Some((key, item)) = table.get_key_value(name) else { return Ok(None) };
        let list = item.as_array().and_then(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect());
        let refuse = || self.mistake(key, &format!("`{name}` is a list of texts, not {}", kind(item)));
        list.map(Some).ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(text: &str) -> Result<Option<OidcSettings>, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("manager.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
        std::fs::set_permissions(dir.path().join("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(dir.path().join("open"), "s3cret\n").unwrap();
        std::fs::set_permissions(dir.path().join("open"), std::fs::Permissions::from_mode(0o644)).unwrap();
        issuer(&file).map_err(|failure| {
            let message = failure.message.replace(&format!("{}/", dir.path().display()), "");
            Failure { message, ..failure }
        })
    }

    const LEAST: &str = "[oidc]\nissuer = \"https://id.example\"\nclient_id = \"manta\"\n";

    #[test]
    fn an_issuer_is_read_with_all_that_is_said_of_it() {
        assert_eq!(read("").unwrap(), None);
        let least = read(LEAST).unwrap().unwrap();
        assert_eq!(least, OidcSettings::new("https://id.example".to_owned(), "manta".to_owned()));
        let rest = "client_secret_file = \"secret\"\nscopes = [\"email\"]\nuser_claim = \"email\"\n\
                    email_domain = \"lab.example\"\ndefault_role = \"viewer\"\ntoken_life = \"8h\"\ndevice = true\n\
                    redirect = \"http://localhost:8765/back\"\n[oidc.roles]\n\"ops team\" = \"operator\"\n";
        let all = read(&format!("{LEAST}{rest}")).unwrap().unwrap();
        assert_eq!(all.client_secret.as_deref(), Some("s3cret"));
        assert_eq!((all.default_role, all.roles["ops team"]), (Some(Role::Viewer), Role::Operator));
        assert_eq!((all.token_life, all.device), (Duration::from_secs(8 * 3600), true));
        assert!(!format!("{all:?}").contains("s3cret"));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (more, told) in [
            ("isuer = \"x\"\n", "manager.toml:4: `isuer` is no key of [oidc]"),
            ("device = 1\n", "manager.toml:4: `device` is true or false, not a number"),
            ("scopes = \"email\"\n", "manager.toml:4: `scopes` is a list of texts, not a text"),
            ("default_role = \"root\"\n", "manager.toml:4: `default_role` is a role, not `root`"),
            ("token_life = 9\n", "manager.toml:4: `token_life` is a time with its unit, not a number"),
            ("token_life = \"9000d\"\n", "manager.toml:4: a token counts for 1 second to 366 days (token_life_max)"),
            ("redirect = \"https://evil.example/\"\n", "manager.toml:4: browsers are sent back to loopback"),
            ("user_claim = \"email\"\n", "manager.toml:4: `user_claim = \"email\"` and `email_domain` go together"),
            ("client_secret_file = \"open\"\n", "manager.toml:4: the client's secret in `open` can be read by others"),
            ("client_secret_file = \"none\"\n", "`none` cannot be read"),
            ("[oidc.roles]\nops = \"boss\"\n", "manager.toml:5: `ops` is a role, not `boss`"),
        ] {
            let failure = read(&format!("{LEAST}{more}")).unwrap_err();
            assert!(failure.message.starts_with(told), "{failure:?}");
            assert_eq!(failure.exit, 2);
        }
        let plain = read(&LEAST.replace("https", "http")).unwrap_err();
        assert!(plain.message.starts_with("manager.toml:2: the issuer's address begins with https://"), "{plain:?}");
        assert!(read("[oidc]\n").unwrap_err().message.ends_with("manager.toml:1: [oidc] has no `issuer`"));
        assert!(issuer(Path::new("/none/here.toml")).unwrap_err().message.contains("cannot be read"));
    }
}
