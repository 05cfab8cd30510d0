//! Which names a request may use for this manager; a page on another site that resolves to loopback uses its own name.
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Uri, header};
use manta_api::{ErrorCode, Problem};

use crate::settings::Listen;

/// Refuses a request that names another host.
pub(super) fn check_host(
    address: &Listen,
    public_names: &[String],
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let named = match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    if named.is_some_and(|named| is_ours(address, named) || is_public(address, public_names, named)) {
        return Ok(());
    }
    let named: String = named.unwrap_or("no host").chars().take(80).collect();
    let problem = Problem::new(ErrorCode::BadHost, format!("the request names `{named}`, which is not this manager"));
    Err(problem.hint(match address {
        Listen::Tcp(_) if address.is_remote() => {
            "call it by a name that it was given with --public-name, or by its address".to_owned()
        }
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

/// Whether it is a name that the manager was given, whatever the port, which may be another before it gets here; or an address,
/// where TLS is spoken: no name of a page leads there.
fn is_public(address: &Listen, public_names: &[String], named: &str) -> bool {
    let (host, port) = named.rsplit_once(':').unwrap_or((named, ""));
    let host = if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { named };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_name = public_names.iter().any(|name| name.eq_ignore_ascii_case(bare));
    is_name || address.is_remote() && (bare.parse::<IpAddr>().is_ok() || bare.eq_ignore_ascii_case("localhost"))
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
        let (any, names) = ("0.0.0.0:7766".parse().unwrap(), ["m.example".to_owned()]);
        for good in ["m.example", "M.example:443", "192.0.2.1:7766", "[2001:db8::1]", "[2001:db8::1]:7766"] {
            assert!(is_public(&any, &names, good), "{good}");
        }
        for bad in ["evil.example:7766", "m.example.evil", "", ":7766"] {
            assert!(!is_public(&any, &names, bad), "{bad}");
        }
        assert!(is_public(&tcp, &names, "m.example:7766") && !is_public(&tcp, &names, "192.0.2.1:7766"));
        let unix: Listen = "unix:/run/m.sock".parse().unwrap();
        assert!(is_ours(&unix, "localhost"));
        assert!(!is_ours(&unix, "evil.example"));
    }
}
