//! Names of wheels (binary distribution format): what is in them, and which runtimes they are for.
use std::str::FromStr;

use manta_types::{Library, Runtime};

/// Bytes of a wheel's name, as file systems have it.
const NAME_BYTES_MAX: usize = 255;

/// A wheel's name, taken apart: `numpy-2.1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelName {
    /// The distribution, normalised: lower case, `-` between its parts.
    pub distribution: String,
    /// Its version.
    pub version: pep440_rs::Version,
    pythons: Vec<String>,
    abis: Vec<String>,
    platforms: Vec<String>,
}

/// Why a text is no wheel's name, to follow the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WheelNameProblem {
    /// Longer than a file's name may be.
    #[error("is longer than 255 bytes")]
    TooLong,
    /// Not five or six parts before `.whl`.
    #[error("is not `name-version-python-abi-platform.whl`")]
    Parts,
    /// The distribution's name has other characters than letters, digits, `_`, `.` and `-`.
    #[error("does not begin with a distribution's name")]
    Distribution,
    /// The version is none of PEP 440.
    #[error("has no version of PEP 440")]
    Version,
    /// A build number or tag that cannot be one.
    #[error("has a build number or a tag that no wheel has")]
    Tag,
}

impl FromStr for WheelName {
    type Err = WheelNameProblem;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name.len() > NAME_BYTES_MAX {
            return Err(WheelNameProblem::TooLong);
        }
        let stem = name.strip_suffix(".whl").ok_or(WheelNameProblem::Parts)?;
        let parts: Vec<&str> = stem.split('-').collect();
        let (distribution, version, build, [pythons, abis, platforms]) = match parts[..] {
            [distribution, version, python, abi, platform] => (distribution, version, None, [python, abi, platform]),
            [distribution, version, build, python, abi, platform] => {
                (distribution, version, Some(build), [python, abi, platform])
            }
            _ => return Err(WheelNameProblem::Parts),
        };
        if !is_distribution(distribution) {
            return Err(WheelNameProblem::Distribution);
        }
        let version = version.replace('_', "-").parse().map_err(|_| WheelNameProblem::Version)?;
        if build.is_some_and(|build| !build.starts_with(|c: char| c.is_ascii_digit()) || !is_tag(build)) {
            return Err(WheelNameProblem::Tag);
        }
        let tags = |text: &str| {
            let tags: Vec<String> = text.split('.').map(str::to_owned).collect();
            tags.iter().all(|tag| is_tag(tag)).then_some(tags).ok_or(WheelNameProblem::Tag)
        };
        Ok(Self {
            distribution: normalised(distribution),
            version,
            pythons: tags(pythons)?,
            abis: tags(abis)?,
            platforms: tags(platforms)?,
        })
    }
}

impl WheelName {
    /// Whether the wheel can be used by that runtime.
    pub fn fits(&self, runtime: &Runtime) -> bool {
        let python = self.pythons.iter().any(|python| self.abis.iter().any(|abi| fits_python(python, abi, runtime)));
        python && self.platforms.iter().any(|platform| fits_platform(platform, runtime))
    }
}

/// A distribution's name in the form by which two are compared (PEP 503).
pub fn normalised(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

fn is_distribution(name: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    plain && ends(name.chars().next()) && ends(name.chars().next_back())
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `py3` and `py3N` up to the runtime's own with no ABI; `cp3N` with its own, or up to the runtime's own with the stable one.
fn fits_python(python: &str, abi: &str, runtime: &Runtime) -> bool {
    let (major, minor) = (runtime.python.major, runtime.python.minor);
    let minor_of = |prefix: &str| {
        let rest = python.strip_prefix(prefix)?.strip_prefix(&major.to_string())?;
        if rest.is_empty() { Some(0) } else { rest.parse::<u16>().ok() }
    };
    if let Some(own) = minor_of("py") {
        return own <= minor && abi == "none";
    }
    let Some(own) = minor_of("cp") else { return false };
    match abi {
        "abi3" => own <= minor,
        "none" => own == minor || python.len() == "cp3".len(),
        abi => own == minor && abi == python,
    }
}

fn fits_platform(tag: &str, runtime: &Runtime) -> bool {
    let (machine, library) = (runtime.platform.machine.as_str(), runtime.platform.library);
    if tag == "any" {
        return true;
    }
    let Some(family) = tag.strip_suffix(machine).and_then(|family| family.strip_suffix('_')) else { return false };
    let numbered = |prefix: &str| {
        let (major, minor) = family.strip_prefix(prefix)?.split_once('_')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let needs = match family {
        "linux" => return true,
        "manylinux1" => Library::Glibc(2, 5),
        "manylinux2010" => Library::Glibc(2, 12),
        "manylinux2014" => Library::Glibc(2, 17),
        _ => {
            let glibc = numbered("manylinux_").map(|(major, minor)| Library::Glibc(major, minor));
            match glibc.or_else(|| numbered("musllinux_").map(|(major, minor)| Library::Musl(major, minor))) {
                Some(library) => library,
                None => return false,
            }
        }
    };
    library.has(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(python: &str, platform: &str) -> Runtime {
        Runtime { python: python.parse().unwrap(), platform: platform.parse().unwrap() }
    }

    #[test]
    fn names_are_taken_apart_and_normalised() {
        let name: WheelName = "Scikit_Learn-1.5.0rc1-2-cp311-cp311-manylinux_2_17_x86_64.whl".parse().unwrap();
        assert_eq!((name.distribution.as_str(), name.version.to_string().as_str()), ("scikit-learn", "1.5.0rc1"));
        let name: WheelName = "torch-2.5.1+cu124-cp311-cp311-linux_x86_64.whl".parse().unwrap();
        assert_eq!(name.version.to_string(), "2.5.1+cu124");
    }

    #[test]
    fn what_is_no_wheels_name_is_refused_by_its_part() {
        use WheelNameProblem as P;
        for (name, problem) in [
            ("six-1.0.tar.gz", P::Parts),
            ("six-1.0-any.whl", P::Parts),
            ("../six-1.0-py3-none-any.whl", P::Distribution),
            ("six/x-1.0-py3-none-any.whl", P::Distribution),
            ("six-one-py3-none-any.whl", P::Version),
            ("six-1.0-x-py3-none-any.whl", P::Tag),
            ("six-1.0-py3-none-a/b.whl", P::Tag),
            ("six-1.0-py3..py2-none-any.whl", P::Tag),
        ] {
            assert_eq!(name.parse::<WheelName>().unwrap_err(), problem, "{name}");
        }
        assert_eq!(format!("{}-1.0-py3-none-any.whl", "x".repeat(250)).parse::<WheelName>(), Err(P::TooLong));
    }

    #[test]
    fn a_wheel_fits_the_runtimes_of_its_tags_alone() {
        let here = runtime("3.11", "x86_64-manylinux_2_28");
        let musl = runtime("3.11", "x86_64-musllinux_1_2");
        for (tags, fits, on_musl) in [
            ("py3-none-any", true, true),
            ("py2.py3-none-any", true, true),
            ("py311-none-any", true, true),
            ("py312-none-any", false, false),
            ("py2-none-any", false, false),
            ("cp311-cp311-manylinux_2_28_x86_64", true, false),
            ("cp311-cp311-manylinux_2_34_x86_64", false, false),
            ("cp311-cp311-manylinux2014_aarch64", false, false),
            ("cp310-cp310-manylinux1_x86_64", false, false),
            ("cp38-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64", true, false),
            ("cp312-abi3-manylinux_2_17_x86_64", false, false),
            ("cp311-cp311-musllinux_1_1_x86_64", false, true),
            ("cp311-cp311-linux_x86_64", true, true),
            ("cp311-cp311-win_amd64", false, false),
            ("cp311-cp311t-manylinux_2_17_x86_64", false, false),
        ] {
            let name: WheelName = format!("x-1-{tags}.whl").parse().unwrap();
            assert_eq!((name.fits(&here), name.fits(&musl)), (fits, on_musl), "{tags}");
        }
    }
}
