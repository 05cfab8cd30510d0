//! Publisher keys of this user: a private file for each, in the user's configuration.
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use manta_api::ErrorCode;
use manta_module::{SecretKey, Signature, Signed, Verified};
use manta_types::name::{check_label, nearest};
use serde::{Deserialize, Serialize};

use crate::home;
use crate::report::Failure;
use crate::text::iso;

const KEY_VERSION: u32 = 1;
const EXTENSION: &str = "key";
/// Bytes of a key's file.
const FILE_BYTES_MAX: u64 = 4 << 10;
/// Permissions that nobody but the owner may have.
const OTHERS: u32 = 0o077;

/// A publisher key of this user.
#[derive(Debug)]
pub(crate) struct Key {
    /// What the user calls it.
    pub(crate) name: String,
    /// When it was made; wall clock, ms since 1970.
    pub(crate) created_ms: u64,
    /// From when on it signs nothing any more, and nothing that it signed counts.
    pub(crate) expires_ms: Option<u64>,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// The key.
    pub(crate) secret: SecretKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    key_version: u32,
    name: String,
    created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
    public: String,
    secret: String,
}

impl Key {
    /// Signs a module now. The signature expires no later than the key, and at that moment where one is given.
    pub(crate) fn sign(&self, module: Signed<'_>, expires_ms: Option<u64>) -> Result<Verified<Signature>, Failure> {
        let now = now_ms();
        let ends = [self.expires_ms, expires_ms].into_iter().flatten().min();
        if let Some(end) = self.expires_ms.filter(|end| *end <= now) {
            let message = format!("the key `{}` expired at {}: it signs nothing any more", self.name, iso(end));
            return Err(Failure::new(ErrorCode::Untrusted, message).hint("make another with `manta key new NAME`"));
        }
        if expires_ms.is_some_and(|end| end <= now) {
            return Err(Failure::usage("--expires is in the past"));
        }
        let made = Signature::make(&self.secret, module, now, ends);
        made.verify(module).map_err(|error| Failure::internal(format!("a signature of our own is none: {error}")))
    }
}

/// Makes a key and keeps it where only this user can read it.
pub(crate) fn make(name: &str, expires_ms: Option<u64>) -> Result<Key, Failure> {
    check_label("key", name).map_err(|error| Failure::usage(error.to_string()))?;
    let folder = folder()?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|error| Failure::file("the keys' directory cannot be made:", &folder, &error))?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Failure::internal(format!("the system gives no chance: {error}")))?;
    let path = place(&folder, name);
    let key =
        Key { name: name.to_owned(), created_ms: now_ms(), expires_ms, path, secret: SecretKey::from_seed(&seed) };
    if expires_ms.is_some_and(|end| end <= key.created_ms) {
        return Err(Failure::usage("--expires is in the past"));
    }
    write(&key)?;
    Ok(key)
}

fn write(key: &Key) -> Result<(), Failure> {
    let file = KeyFile {
        key_version: KEY_VERSION,
        name: key.name.clone(),
        created_ms: key.created_ms,
        expires_ms: key.expires_ms,
        public: key.secret.public().to_string(),
        secret: key.secret.secret_text(),
    };
    let mut text = serde_json::to_string_pretty(&file).map_err(|error| Failure::internal(error.to_string()))?;
    text.push('\n');
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let message = format!("there is a key `{}` already, at `{}`", key.name, key.path.display());
            Failure::new(ErrorCode::Conflict, message).hint("give the new one another name; a key is never overwritten")
        }
        _ => Failure::file("the key cannot be kept at", &key.path, &error),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key.path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// The key of that name, or in that file.
pub(crate) fn open(named: &str) -> Result<Key, Failure> {
    let path = if named.contains('/') { PathBuf::from(named) } else { place(&folder()?, named) };
    let file = File::open(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unknown(named, &path),
        _ => Failure::file("the key cannot be read:", &path, &error),
    })?;
    read(file, &path)
}

/// Reads an open key file; one that others can read is no secret any more.
fn read(file: File, path: &Path) -> Result<Key, Failure> {
    let failed = |error: std::io::Error| Failure::file("the key cannot be read:", path, &error);
    let mode = file.metadata().map_err(failed)?.mode();
    if mode & OTHERS != 0 {
        let message = format!("the key `{}` may be read by others (its mode is {:04o})", path.display(), mode & 0o7777);
        let failure = Failure::new(ErrorCode::Untrusted, message);
        return Err(failure.hint(format!(
            "if nobody has read it, `chmod 600 {}`; else make another, and have this one revoked",
            path.display()
        )));
    }
    let bad = |why: String| Failure::new(ErrorCode::Untrusted, format!("`{}` is no key: {why}", path.display()));
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    let file: KeyFile = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    if file.key_version != KEY_VERSION {
        return Err(bad(format!("it has version {}; this build reads version {KEY_VERSION}", file.key_version)));
    }
    let secret = SecretKey::from_secret_text(&file.secret).ok_or_else(|| bad("its secret is cut off".to_owned()))?;
    if secret.public().to_string() != file.public {
        return Err(bad("its two halves do not belong together".to_owned()));
    }
    let KeyFile { name, created_ms, expires_ms, .. } = file;
    check_label("key", &name).map_err(|error| bad(error.to_string()))?;
    Ok(Key { name, created_ms, expires_ms, path: path.to_owned(), secret })
}

/// A key's name, and the key or why it cannot be used.
pub(crate) type Named = (String, Result<Key, Failure>);

/// All keys of this user, by name.
pub(crate) fn all() -> Result<Vec<Named>, Failure> {
    let names = names(&folder()?)?;
    Ok(names.into_iter().map(|name| (name.clone(), open(&name))).collect())
}

fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| Failure::file("the keys' directory cannot be read:", folder, &error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

fn unknown(named: &str, path: &Path) -> Failure {
    let failure = Failure::new(ErrorCode::NotFound, format!("there is no key `{named}` (`{}`)", path.display()));
    let known = folder().and_then(|folder| names(&folder)).unwrap_or_default();
    match nearest(named, known.iter().map(String::as_str)) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("`manta key ls` lists them, `manta key new NAME` makes one"),
    }
}

fn folder() -> Result<PathBuf, Failure> {
    let config = home::config().ok_or_else(|| {
        Failure::usage("there is no home directory to keep keys in").hint("name one with MANTA_HOME or XDG_CONFIG_HOME")
    })?;
    Ok(config.join("keys"))
}

fn place(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{EXTENSION}"))
}

/// Wall clock, ms since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A moment to come: a date (`2027-06-30`, midnight UTC), an instant (`2027-06-30T12:00Z`), or a time from now (`365d`).
pub(crate) fn moment(text: &str) -> Result<u64, Failure> {
    let utc = jiff::tz::TimeZone::UTC;
    let date = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(utc.clone()).ok().map(|zoned| zoned.timestamp());
    let after = || {
        let span: jiff::Span = text.parse().ok()?;
        jiff::Timestamp::now().to_zoned(utc.clone()).checked_add(span).ok().map(|zoned| zoned.timestamp())
    };
    // Whatever begins as a date is one, or an instant; `T` alone would make a span of it.
    let found = text.parse::<jiff::Timestamp>().ok().or_else(date).or_else(after);
    let ms = found.and_then(|stamp| u64::try_from(stamp.as_millisecond()).ok());
    ms.ok_or_else(|| {
        let failure = Failure::usage(format!("`{}` is no moment", crate::text::one_line(text, 40)));
        failure.hint("write a date such as 2027-06-30, or a time from now such as 365d")
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn kept(folder: &Path) -> Key {
        let secret = SecretKey::from_seed(&[3; 32]);
        let path = place(folder, "ada");
        Key { name: "ada".into(), created_ms: 1, expires_ms: None, path, secret }
    }

    fn read_at(path: &Path) -> Result<Key, Failure> {
        read(File::open(path).unwrap(), path)
    }

    #[test]
    fn a_key_is_kept_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let key = kept(dir.path());
        write(&key).unwrap();
        assert_eq!(fs::metadata(&key.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_at(&key.path).unwrap().secret.public(), key.secret.public());
        let again = write(&key).unwrap_err();
        assert_eq!(again.exit, 8, "{again:?}");
        assert_eq!(names(dir.path()).unwrap(), ["ada"]);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let key = kept(dir.path());
        write(&key).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o601] {
            fs::set_permissions(&key.path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = read_at(&key.path).unwrap_err();
            assert!(refused.message.contains("may be read by others"), "{refused:?}");
            assert!(refused.hint.unwrap().contains("chmod 600"));
        }
        fs::set_permissions(&key.path, fs::Permissions::from_mode(0o400)).unwrap();
        read_at(&key.path).unwrap();
    }

    #[test]
    fn what_is_no_key_is_refused_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let key = kept(dir.path());
        write(&key).unwrap();
        let text = fs::read_to_string(&key.path).unwrap();
        let (secret, other) = (key.secret.secret_text(), SecretKey::from_seed(&[4; 32]).secret_text());
        for (from, to, words) in [
            (secret.as_str(), other.as_str(), "do not belong together"),
            (&secret, &secret[2..], "cut off"),
            ("\"key_version\": 1", "\"key_version\": 9", "version 9"),
            ("\"name\": \"ada\"", "\"name\": \"../a\"", "key name"),
            ("{", "{\"x\": 1,", "unknown field"),
        ] {
            fs::write(&key.path, text.replacen(from, to, 1)).unwrap();
            let refused = read_at(&key.path).unwrap_err();
            assert!(refused.message.contains(words) && !refused.message.contains(&secret), "{refused:?}");
        }
    }

    #[test]
    fn an_expired_key_signs_nothing_and_a_signature_never_outlives_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let module = Signed { module: "w", version: "1.0.0", bundle: manta_module::digest_of(b"w") };
        let expired = Key { expires_ms: Some(2), ..kept(dir.path()) };
        assert!(expired.sign(module, None).unwrap_err().message.contains("expired at 1970-01-01"));
        let end = now_ms() + 1_000_000;
        let key = Key { expires_ms: Some(end), ..kept(dir.path()) };
        let ends = |asked| key.sign(module, asked).unwrap().statement().expires_ms;
        assert_eq!([ends(None), ends(Some(end + 5)), ends(Some(end - 5))], [Some(end), Some(end), Some(end - 5)]);
        assert_eq!(key.sign(module, Some(7)).unwrap_err().exit, 2);
    }

    #[test]
    fn moments_are_dates_instants_and_times_from_now() {
        assert_eq!(moment("2027-06-30").unwrap(), 1_814_313_600_000);
        assert_eq!(moment("2027-06-30T00:00:01Z").unwrap(), 1_814_313_601_000);
        let year = moment("365d").unwrap() - now_ms();
        assert!(year.abs_diff(365 * 86_400_000) < 60_000, "{year}");
        for bad in ["", "soon", "2027-13-01", "-5"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
