//! Package indexes as the user's environment names them: credentials go to their own host only, and are never kept or said.
use manta_module::Lock;

use crate::connection::variable;

/// Variables that name indexes, as uv reads them; several stand in one, between spaces, each perhaps as `name=url`.
const INDEXES: [&str; 5] = ["UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"];

/// User and password for the host of a URL, where the environment has them.
pub(super) fn credentials(url: &str) -> Option<(String, String)> {
    let indexes = INDEXES.into_iter().filter_map(variable);
    let entries = indexes.flat_map(|all| all.split([' ', ',']).map(str::to_owned).collect::<Vec<_>>());
    entries.filter(|entry| !entry.is_empty()).find_map(|entry| {
        let (name, index) = match entry.split_once('=') {
            Some((name, index)) if !name.contains("://") => (Some(name), index),
            _ => (None, entry.as_str()),
        };
        if origin(index)? != origin(url)? {
            return None;
        }
        in_url(index).or_else(|| named(name?))
    })
}

/// `UV_INDEX_NAME_USERNAME` and `UV_INDEX_NAME_PASSWORD`.
fn named(name: &str) -> Option<(String, String)> {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let part = |part: &str| std::env::var(format!("UV_INDEX_{name}_{part}")).ok();
    Some((part("USERNAME")?, part("PASSWORD").unwrap_or_default()))
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some((scheme, authority.rsplit_once('@').map_or(authority, |(_, host)| host)))
}

/// User and password that stand in a URL.
fn in_url(url: &str) -> Option<(String, String)> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let (user, password) = {
        let told = authority.rsplit_once('@')?.0;
        told.split_once(':').unwrap_or((told, ""))
    };
    Some((decoded(user), decoded(password)))
}

/// A text whose `%40` and the like are taken for what they stand for.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, others @ ..] = rest {
        let hex = others.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text without the user and password of any URL in it.
pub(super) fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '`' | '"' | '\'' | ')'))
            .unwrap_or(after.len());
        let (authority, others) = after.split_at(end);
        clean.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
        rest = others;
    }
    clean.push_str(rest);
    clean
}

/// Leaves of a lock's places those that mean something elsewhere: no file of this machine, no credentials.
pub(super) fn without_places_of_this_machine(lock: &mut Lock) {
    for file in lock.packages.iter_mut().flat_map(|package| package.wheels.iter_mut().chain(&mut package.sdist)) {
        let is_remote = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        file.url = file.url.take().filter(is_remote).map(|url| without_credentials(&url));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_said() {
        let said = "error: http://me:se@cret@host:8080/simple failed, see https://other/x and `https://u@h`";
        let clean = "error: http://host:8080/simple failed, see https://other/x and `https://h`";
        assert_eq!(without_credentials(said), clean);
    }

    #[test]
    fn credentials_in_a_url_are_read_as_they_were_meant() {
        assert_eq!(in_url("https://me:a%40b@host/simple"), Some(("me".to_owned(), "a@b".to_owned())));
        assert_eq!(in_url("https://token@host/simple"), Some(("token".to_owned(), String::new())));
        assert_eq!(in_url("https://host/a@b"), None);
        assert_eq!(origin("https://me:x@host:1/simple"), origin("https://host:1/packages/x.whl"));
        assert_ne!(origin("https://host/simple"), origin("http://host/simple"));
    }
}
