//! Which names a request may use for this manager; a page on another site that resolves to loopback uses its own name.
use std::net::SocketAddr;

use http::{HeaderMap, Uri, header};
use manta_api::{ErrorCode, Problem};

use crate::settings::Listen;

/// Refuses a request that names another host.
pub(super) fn check_host(address: &Listen, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let named = match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    if named.is_some_and(|named| is_ours(address, named)) {
        return Ok(());
    }
    let named: String = named.unwrap_or("no host").chars().take(80).collect();
    let problem = Problem::new(ErrorCode::BadHost, format!("the request names `{named}`, which is not this manager"));
    Err(problem.hint(match address {
        Listen::Tcp(address) => format!("call it 127.0.0.1:{port} or localhost:{port}", port = address.port()),
        Listen::Unix(_) => "call it localhost".to_owned(),
    }))
}

fn is_ours(address: &Listen, named: &str) -> bool {
    match address {
        Listen::Unix(_) => named.eq_ignore_ascii_case("localhost"),
        Listen::Tcp(address) => {
            let Some((host, port)) = named.rsplit_once(':') else { return false };
            port == address.port().to_string() && is_loopback_name(address, host)
        }
    }
}

fn is_loopback_name(address: &SocketAddr, host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    matches!(host, "127.0.0.1" | "[::1]") || host.eq_ignore_ascii_case("localhost") || bare == address.ip().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_with_the_right_port_are_ours() {
        let tcp: Listen = "127.0.0.1:7766".parse().unwrap();
        for good in ["127.0.0.1:7766", "localhost:7766", "LOCALHOST:7766", "[::1]:7766"] {
            assert!(is_ours(&tcp, good), "{good}");
        }
        for bad in
            ["127.0.0.1", "127.0.0.1:7767", "evil.example:7766", "localhost.evil.example:7766", "", ":7766", "[::1"]
        {
            assert!(!is_ours(&tcp, bad), "{bad}");
        }
        let unix: Listen = "unix:/run/m.sock".parse().unwrap();
        assert!(is_ours(&unix, "localhost"));
        assert!(!is_ours(&unix, "evil.example"));
    }
}
