//! How well this host contains tasks, held against what the site asks for.
use manta_sandbox::{HostReport, Tier};

use crate::NodeError;

/// The host's tier, if it is as good as the site asks for.
pub(crate) fn check_tier(report: &HostReport, wanted: Tier) -> Result<Tier, NodeError> {
    if let Some(tier) = report.tier.filter(|tier| tier.is_at_least(wanted)) {
        return Ok(tier);
    }
    Err(NodeError::NoContainment {
        found: report.tier.map_or("none", Tier::name).to_owned(),
        wanted: wanted.name().to_owned(),
        why: joined(report.shortcomings.iter().map(|short| short.what.as_str())),
        cure: joined(report.shortcomings.iter().map(|short| short.cure.as_str())),
    })
}

/// Sentences in one line, each once: several shortcomings often have one cure.
fn joined<'a>(sentences: impl Iterator<Item = &'a str>) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for sentence in sentences {
        if !seen.contains(&sentence) {
            seen.push(sentence);
        }
    }
    seen.join("; ")
}

#[cfg(test)]
mod tests {
    use manta_sandbox::Shortcoming;

    use super::*;

    fn report(tier: Option<Tier>) -> HostReport {
        let short = |what: &str, cure: &str| Shortcoming { what: what.to_owned(), cure: cure.to_owned() };
        HostReport {
            tier,
            kernel: "6.8.0".to_owned(),
            user_namespaces: false,
            id_mapped_mounts: false,
            landlock_abi: 0,
            seccomp: true,
            cgroup: manta_sandbox::CgroupReport {
                version: manta_sandbox::CgroupVersion::None,
                controllers: Vec::new(),
            },
            shortcomings: vec![short("user namespaces are closed to ordinary users", "run the agent as root")],
        }
    }

    #[test]
    fn a_host_below_what_the_site_asks_for_is_refused_with_the_cure() {
        assert_eq!(check_tier(&report(Some(Tier::Full)), Tier::Rootless).unwrap(), Tier::Full);
        assert_eq!(check_tier(&report(Some(Tier::Reduced)), Tier::Reduced).unwrap(), Tier::Reduced);
        let error = check_tier(&report(Some(Tier::Reduced)), Tier::Rootless).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this host can contain tasks only at tier `reduced`, and this node asks for `rootless` or better: \
             user namespaces are closed to ordinary users"
        );
        assert_eq!(error.hint().as_deref(), Some("run the agent as root"));
        assert!(check_tier(&report(None), Tier::Reduced).is_err());
    }
}
