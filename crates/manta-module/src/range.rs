//! Which version is meant of those that exist.
use manta_types::VersionRange;
use manta_types::name::printable;
use semver::Version;

/// This release of Manta; every part of it has the same version.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Versions that an error lists.
const LISTED: usize = 12;

/// A version that exists, as far as choosing one goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The version.
    pub version: &'a Version,
    /// Whether it was yanked: it is chosen where exactly it is asked for, and nowhere else.
    pub is_yanked: bool,
    /// The range of Manta's versions that it needs, where this release is not in it.
    pub needs: Option<&'a str>,
}

/// Why no version is chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no version of module `{name}` is {wanted}{}{}", .because.as_ref().map(|why| format!(": {why}")).unwrap_or_default(), .exists)]
pub struct NoVersion {
    name: String,
    wanted: String,
    because: Option<String>,
    exists: String,
}

/// The highest version that is wanted, of those that exist, newest first: neither yanked nor for another Manta; one that is named exactly is given though it was
/// yanked, so that what worked goes on working.
///
/// # Errors
/// When there is none; the error lists what exists.
pub fn resolve<'a>(
    name: &str,
    wanted: &VersionRange,
    newest_first: impl Iterator<Item = Candidate<'a>> + Clone,
) -> Result<&'a Version, NoVersion> {
    let is_exact = matches!(wanted, VersionRange::Exact(_));
    let fits = |candidate: &Candidate<'_>| wanted.holds(candidate.version);
    let may_be = |candidate: &Candidate<'_>| candidate.needs.is_none() && (is_exact || !candidate.is_yanked);
    if let Some(chosen) = newest_first.clone().find(|candidate| fits(candidate) && may_be(candidate)) {
        return Ok(chosen.version);
    }
    let all: Vec<_> = newest_first.collect();
    let fitting: Vec<_> = all.iter().filter(|candidate| fits(candidate)).collect();
    let because = why_none(&fitting, is_exact);
    let listed = all.iter().take(LISTED).map(|candidate| {
        let yanked = if candidate.is_yanked { " (yanked)" } else { "" };
        format!("{}{yanked}", candidate.version)
    });
    let listed = listed.collect::<Vec<_>>().join(", ");
    let exists = match all.len() {
        0 => "; there is none".to_owned(),
        few if few <= LISTED => format!("; there are {listed}"),
        many => format!("; there are {listed} and {} more", many - LISTED),
    };
    Err(NoVersion { name: printable(name, 64), wanted: wanted.to_string(), because, exists })
}

/// Why none of those that fit may be chosen, where some do: each was yanked, is for another release, or both.
fn why_none(fitting: &[&Candidate<'_>], is_exact: bool) -> Option<String> {
    let some_yanked = !is_exact && fitting.iter().any(|candidate| candidate.is_yanked && candidate.needs.is_none());
    let unfit = fitting.iter().find_map(|candidate| Some((candidate.version, candidate.needs?)));
    let Some((version, needs)) = unfit else { return some_yanked.then(|| "what fits was yanked".to_owned()) };
    let needs = format!("{version} needs manta {}, and this is manta {RELEASE}", printable(needs, 64));
    Some(if some_yanked { format!("what fits was yanked, or is for another release: {needs}") } else { needs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn choose(wanted: &str, exist: &[&str]) -> Result<String, String> {
        let versions: Vec<(Version, bool, bool)> = exist
            .iter()
            .map(|text| {
                let plain = text.trim_end_matches(['!', '-']);
                (Version::parse(plain).unwrap(), text.ends_with('!'), !text.ends_with('-'))
            })
            .collect();
        let candidates: Vec<_> = versions
            .iter()
            .map(|(version, is_yanked, is_compatible)| Candidate {
                version,
                is_yanked: *is_yanked,
                needs: (!is_compatible).then_some(">=9"),
            })
            .collect();
        let wanted = if wanted.is_empty() { VersionRange::Newest } else { VersionRange::parse(wanted).unwrap() };
        let mut candidates = candidates;
        candidates.sort_by(|one, other| other.version.cmp(one.version));
        resolve("w", &wanted, candidates.into_iter()).map(ToString::to_string).map_err(|error| error.to_string())
    }

    #[test]
    fn the_highest_that_fits_is_chosen() {
        let exist = ["1.0.0", "1.1.0", "1.2.0!", "1.3.0-rc.1", "2.0.0", "2.1.0-"];
        for (wanted, chosen) in [
            ("", "2.0.0"),
            ("*", "2.0.0"),
            ("^1.0", "1.1.0"),
            (">=1.1,<2", "1.1.0"),
            ("~1.0", "1.0.0"),
            ("1.2.0", "1.2.0"),
            ("1.3.0-rc.1", "1.3.0-rc.1"),
            (">=1.3.0-rc.0,<2", "1.3.0-rc.1"),
        ] {
            assert_eq!(choose(wanted, &exist).as_deref(), Ok(chosen), "{wanted}");
        }
    }

    #[test]
    fn what_does_not_exist_lists_what_does() {
        let none = choose("^3", &["1.0.0", "1.1.0!"]).unwrap_err();
        assert_eq!(none, "no version of module `w` is ^3; there are 1.1.0 (yanked), 1.0.0");
        let yanked = choose("^1.1", &["1.0.0", "1.1.0!"]).unwrap_err();
        assert!(yanked.contains(": what fits was yanked; there are 1.1.0 (yanked), 1.0.0"), "{yanked}");
        let later = format!("2.1.0 needs manta >=9, and this is manta {RELEASE}; there");
        let unfit = choose("2.1.0", &["2.1.0-"]).unwrap_err();
        assert!(unfit.contains(&format!("is 2.1.0: {later}")), "{unfit}");
        let both = choose("^2", &["2.0.0!", "2.1.0-"]).unwrap_err();
        assert!(both.contains(&format!("was yanked, or is for another release: {later}")), "{both}");
        assert_eq!(choose("*", &[]).unwrap_err(), "no version of module `w` is *; there is none");
    }

    proptest! {
        /// What the brief of a resolver is: never a yanked one by a range, never one for another release, never one outside.
        #[test]
        fn a_choice_fits_and_nothing_higher_does(
            exist in proptest::collection::btree_map((0u64..4, 0u64..4, 0u64..4), (any::<bool>(), any::<bool>()), 0..20),
            low in (0u64..4, 0u64..4),
            high in (0u64..5, 0u64..4),
        ) {
            let versions: Vec<_> = exist.iter().map(|((a, b, c), flags)| (Version::new(*a, *b, *c), *flags)).collect();
            let candidates: Vec<_> = versions
                .iter()
                .map(|(version, (is_yanked, is_compatible))| Candidate {
                    version,
                    is_yanked: *is_yanked,
                    needs: (!is_compatible).then_some(">=9"),
                })
                .collect();
            let wanted = VersionRange::parse(&format!(">={}.{},<{}.{}", low.0, low.1, high.0, high.1)).unwrap();
            let fits = |candidate: &&Candidate<'_>| {
                let version = candidate.version;
                let inside = (version.major, version.minor) >= low && (version.major, version.minor) < high;
                inside && !candidate.is_yanked && candidate.needs.is_none()
            };
            let best = candidates.iter().filter(fits).map(|candidate| candidate.version).max();
            prop_assert_eq!(resolve("w", &wanted, candidates.iter().rev().cloned()).ok(), best);
        }
    }
}
