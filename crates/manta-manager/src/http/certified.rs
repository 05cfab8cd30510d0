//! Nodes that show a certificate: whether it counts now, for this manager, and for this route.
use axum::extract::Request;
use manta_api::{ErrorCode, Problem, REVOKED};
use manta_types::NodeName;

use super::join::RENEW;
use crate::app::App;
use crate::clusters::Clusters;
use crate::identity::{NodeCertificate, Peer, RENEWABLE_FOR, instant};

/// The node that a request is of, as its certificate says; in the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct CertifiedNode(pub(crate) NodeName);

/// The other end of a request's connection.
pub(super) fn peer(request: &Request) -> Option<&Peer> {
    request.extensions().get()
}

/// The node that a request is of, where its connection shows a certificate that counts, and the node's cluster.
///
/// # Errors
/// When it shows one that does not.
pub(super) fn node(
    clusters: &Clusters,
    request: &Request,
    route: Option<&str>,
) -> Result<Option<(CertifiedNode, App)>, Problem> {
    let Some(certificate) = peer(request).and_then(|peer| peer.certificate.clone()) else { return Ok(None) };
    let Some(registrar) = &clusters.shared().registrar else { return Ok(None) };
    let node = &certificate.node;
    let foreign = || {
        let sentence = format!("the certificate of node `{node}` is of another manager or cluster");
        Problem::new(ErrorCode::Unauthorized, sentence).hint("join again, with a token of this manager")
    };
    if !registrar.issued(&certificate) {
        return Err(foreign());
    }
    let Some(app) = clusters.get(&certificate.cluster) else {
        let problem = clusters.own_unserved(&certificate.cluster);
        return Err(if problem.status == 404 { foreign() } else { problem });
    };
    let identities = app.identities.as_ref().filter(|identities| identities.is_ours(&certificate));
    let identities = identities.ok_or_else(foreign)?;
    if identities.members.is_revoked(node) {
        let sentence = format!("node `{node}` {REVOKED}");
        let problem = Problem::new(ErrorCode::Forbidden, sentence);
        return Err(problem.hint("join again under another name, with a data directory of its own"));
    }
    check_time(&certificate, clusters.shared().clock.now().wall_ms, route == Some(RENEW))?;
    Ok(Some((CertifiedNode(node.clone()), app)))
}

fn check_time(certificate: &NodeCertificate, now_ms: u64, is_renewal: bool) -> Result<(), Problem> {
    let NodeCertificate { node, from_ms, until_ms, .. } = certificate;
    let now = instant(now_ms);
    if now_ms < *from_ms {
        let from = instant(*from_ms);
        let sentence = format!(
            "this manager's clock says {now}, and the certificate of node `{node}` is valid from {from}; set the clock that is \
             wrong"
        );
        return Err(Problem::new(ErrorCode::Unauthorized, sentence));
    }
    let renewable_ms = u64::try_from(RENEWABLE_FOR.as_millis()).unwrap_or(u64::MAX);
    let until = instant(*until_ms);
    if now_ms > until_ms.saturating_add(renewable_ms) {
        let days = RENEWABLE_FOR.as_secs() / 86_400;
        let sentence = format!(
            "the certificate of node `{node}` was valid until {until}, more than {days} days before this manager's clock, {now}"
        );
        return Err(
            Problem::new(ErrorCode::Unauthorized, sentence).hint("join again, with a token of `manta node token`")
        );
    }
    if now_ms > *until_ms && !is_renewal {
        let sentence =
            format!("the certificate of node `{node}` was valid until {until}, and this manager's clock says {now}");
        return Err(Problem::new(ErrorCode::Unauthorized, sentence).hint("the node renews it when it dials again"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn a_certificate_counts_in_its_time_and_renews_for_a_week_after() {
        let (from_ms, until_ms) = (1_800_000_000_000, 1_800_000_000_000 + DAY_MS);
        let node = NodeName::new("a").unwrap();
        let manager = "0".to_owned();
        let certificate =
            NodeCertificate { manager, cluster: "default".to_owned(), node, serial: vec![1], from_ms, until_ms };
        let check = |now_ms, is_renewal| {
            check_time(&certificate, now_ms, is_renewal).map_err(|problem| problem.message.clone())
        };
        assert_eq!(check(from_ms, false), Ok(()));
        let early = check(from_ms - DAY_MS, true).unwrap_err();
        assert!(early.starts_with("this manager's clock says 2027-01-14T") && early.contains("valid from 2027-01-15T"));
        assert!(check(until_ms + 1, false).unwrap_err().contains("was valid until 2027-01-16T"));
        assert_eq!(check(until_ms + 6 * DAY_MS, true), Ok(()));
        assert!(check(until_ms + 8 * DAY_MS, true).unwrap_err().contains("more than 7 days"));
    }
}
