//! What a module needs beside its image: for each runtime one lock, and the wheels that it names.
use std::collections::{BTreeMap, BTreeSet};

use manta_types::{Blob, Digest, Platform, PythonVersion, Runtime, limits};
use serde::{Deserialize, Serialize};

use crate::lock::{Lock, is_sha256};
use crate::manifest::clip;
use crate::wheel::{WheelName, WheelNameProblem};

/// The dependencies of a module, for one runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// The lock, a `pylock.toml` (PEP 751).
    pub lock: Blob,
    /// The platform that it is for.
    pub platform: Platform,
    /// The Python that it is for.
    pub python: PythonVersion,
    /// The wheels that are installed, by name.
    pub wheels: BTreeMap<String, Wheel>,
}

/// A wheel: a blob, and the digest by which its lock names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// Its content.
    pub digest: Digest,
    /// SHA-256 of the same content, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

impl Wheel {
    /// The wheel as a blob.
    pub const fn blob(&self) -> Blob {
        Blob { digest: self.digest, size: self.size }
    }
}

/// Why dependencies cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// A wheel's name.
    #[error("the wheel `{name}` {problem}")]
    Name {
        /// The name, escaped and cut.
        name: String,
        /// What is wrong with it.
        problem: WheelNameProblem,
    },
    /// A wheel for other runtimes.
    #[error("the wheel `{name}` is not for {runtime}, which its lock is for")]
    Unfit {
        /// The wheel.
        name: String,
        /// The lock's runtime.
        runtime: Runtime,
    },
    /// Two wheels of one distribution.
    #[error("the lock for {runtime} has two wheels of `{distribution}`")]
    Twice {
        /// The lock's runtime.
        runtime: Runtime,
        /// The distribution.
        distribution: String,
    },
    /// A digest that is none.
    #[error("the wheel `{0}` has no SHA-256 of 64 lower-case hexadecimal digits")]
    Sha256(String),
    /// Two locks for one runtime.
    #[error("there are two locks for {0}")]
    TwoLocks(Runtime),
    /// More than is allowed.
    #[error("the dependencies have {has} {what}; {most} are the limit")]
    TooLarge {
        /// How many there are.
        has: u64,
        /// Of what.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// The lock and the wheels disagree.
    #[error("the lock for {runtime} does not name the wheel `{name}` with the SHA-256 {sha256}")]
    NotInLock {
        /// The lock's runtime.
        runtime: Runtime,
        /// The wheel.
        name: String,
        /// The digest that is not there.
        sha256: String,
    },
    /// The lock names a distribution of which there is no wheel.
    #[error("the lock for {runtime} names `{distribution}`, of which there is no wheel")]
    Missing {
        /// The lock's runtime.
        runtime: Runtime,
        /// The distribution.
        distribution: String,
    },
}

impl Locked {
    /// What the lock is for.
    pub fn runtime(&self) -> Runtime {
        Runtime { python: self.python, platform: self.platform.clone() }
    }

    /// Of several, the newest whose packages run there: its wheels were made for a machine most like that one.
    pub fn fitting<'a>(locks: &'a [Self], runtime: &Runtime) -> Option<&'a Self> {
        locks.iter().filter(|locked| runtime.runs(&locked.runtime())).max_by_key(|locked| locked.runtime())
    }

    /// Names the wheels together: whoever has the same ones has the same layer, whatever its module.
    pub fn layer(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for (name, wheel) in &self.wheels {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(wheel.digest.bytes());
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Checks that the lock names these wheels, by their digests, and no other distribution.
    ///
    /// # Errors
    /// The first wheel or distribution that only one of the two has.
    pub fn agrees_with(&self, lock: &Lock) -> Result<(), DependencyError> {
        let mut named: BTreeMap<&str, &str> = BTreeMap::new();
        for wheel in lock.packages.iter().flat_map(|package| &package.wheels) {
            named.insert(&wheel.name, &wheel.hashes.sha256);
        }
        let mut here = BTreeSet::new();
        for (name, wheel) in &self.wheels {
            if named.get(name.as_str()) != Some(&wheel.sha256.as_str()) {
                let (name, sha256) = (name.clone(), wheel.sha256.clone());
                return Err(DependencyError::NotInLock { runtime: self.runtime(), name, sha256 });
            }
            here.extend(name.parse::<WheelName>().ok().map(|name| name.distribution));
        }
        let absent = lock.packages.iter().find(|package| !here.contains(&crate::wheel::normalised(&package.name)));
        match absent {
            None => Ok(()),
            Some(package) => {
                Err(DependencyError::Missing { runtime: self.runtime(), distribution: clip(&package.name) })
            }
        }
    }

    fn check(&self) -> Result<(), DependencyError> {
        let too_large = |has: u64, what, most: u64| Err(DependencyError::TooLarge { has, what, most });
        if self.lock.size > limits::LOCK_BYTES_MAX {
            return too_large(self.lock.size, "bytes of lock", limits::LOCK_BYTES_MAX);
        }
        if self.wheels.len() > limits::WHEELS_PER_LOCK_MAX {
            return too_large(self.wheels.len() as u64, "wheels", limits::WHEELS_PER_LOCK_MAX as u64);
        }
        let bytes = self.wheels.values().fold(0, |sum: u64, wheel| sum.saturating_add(wheel.size));
        if bytes > limits::WHEELS_BYTES_MAX {
            return too_large(bytes, "bytes of wheels", limits::WHEELS_BYTES_MAX);
        }
        let (runtime, mut seen) = (self.runtime(), BTreeSet::new());
        for (text, wheel) in &self.wheels {
            let name: WheelName =
                text.parse().map_err(|problem| DependencyError::Name { name: clip(text), problem })?;
            if !name.fits(&runtime) {
                return Err(DependencyError::Unfit { name: clip(text), runtime });
            }
            if !is_sha256(&wheel.sha256) {
                return Err(DependencyError::Sha256(clip(text)));
            }
            if let Some(distribution) = seen.replace(name.distribution) {
                return Err(DependencyError::Twice { runtime, distribution });
            }
        }
        Ok(())
    }
}

/// Checks the dependencies of a module.
///
/// # Errors
/// The first rule that is broken.
pub(crate) fn check(dependencies: &[Locked]) -> Result<(), DependencyError> {
    if dependencies.len() > limits::LOCKS_PER_MODULE_MAX {
        let (has, most) = (dependencies.len() as u64, limits::LOCKS_PER_MODULE_MAX as u64);
        return Err(DependencyError::TooLarge { has, what: "locks", most });
    }
    let mut runtimes = BTreeSet::new();
    dependencies.iter().try_for_each(|locked| {
        locked.check()?;
        if runtimes.insert(locked.runtime()) { Ok(()) } else { Err(DependencyError::TwoLocks(locked.runtime())) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest_of;

    const NAME: &str = "six-1.17.0-py2.py3-none-any.whl";

    fn wheel(content: &str) -> Wheel {
        Wheel { digest: digest_of(content.as_bytes()), sha256: "0".repeat(64), size: content.len() as u64 }
    }

    fn locked(names: &[&str]) -> Locked {
        Locked {
            lock: Blob { digest: digest_of(b"lock"), size: 4 },
            platform: "x86_64-manylinux_2_28".parse().unwrap(),
            python: "3.11".parse().unwrap(),
            wheels: names.iter().map(|name| ((*name).to_owned(), wheel(name))).collect(),
        }
    }

    #[test]
    fn broken_dependencies_are_refused_by_name() {
        let refused = |locked: Locked| check(&[locked]).unwrap_err().to_string();
        assert_eq!(check(&[locked(&[NAME])]), Ok(()));
        assert!(refused(locked(&["six.zip"])).contains("`six.zip` is not"));
        assert!(refused(locked(&["a-1-cp312-cp312-linux_x86_64.whl"])).contains("not for Python 3.11 on x86_64"));
        assert!(refused(locked(&[NAME, "Six-2.0-py3-none-any.whl"])).contains("two wheels of `six`"));
        let mut bad = locked(&[NAME]);
        bad.wheels.get_mut(NAME).unwrap().sha256 = "F".repeat(64);
        assert!(refused(bad).contains("no SHA-256"));
        assert!(check(&[locked(&[]), locked(&[])]).unwrap_err().to_string().contains("two locks"));
    }

    #[test]
    fn a_lock_and_its_wheels_agree_or_the_wheel_is_named() {
        let text = |sha256: &str, more: &str| {
            format!(
                "lock-version = \"1.0\"\ncreated-by = \"uv\"\n[[packages]]\nname = \"six\"\n\
                 wheels = [{{ name = \"{NAME}\", hashes = {{ sha256 = \"{sha256}\" }} }}]\n{more}"
            )
        };
        let judge = |text: String| locked(&[NAME]).agrees_with(&Lock::parse(text.as_bytes()).unwrap());
        assert_eq!(judge(text(&"0".repeat(64), "")), Ok(()));
        let tampered = judge(text(&"1".repeat(64), "")).unwrap_err().to_string();
        assert!(tampered.contains(NAME) && tampered.contains(&"0".repeat(64)), "{tampered}");
        let more = "[[packages]]\nname = \"other\"\n";
        assert!(judge(text(&"0".repeat(64), more)).unwrap_err().to_string().contains("`other`"));
    }

    #[test]
    fn modules_with_the_same_wheels_share_a_layer_whatever_their_locks_say_besides() {
        let other = Locked { lock: Blob { digest: digest_of(b"other"), size: 5 }, ..locked(&[NAME]) };
        assert_eq!(locked(&[NAME]).layer(), other.layer());
        assert_ne!(locked(&[NAME]).layer(), locked(&[]).layer());
    }
}
