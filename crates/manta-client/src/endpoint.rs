//! Where a manager listens: a loopback address, any address with TLS, or a Unix socket.
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port that a manager takes unless told otherwise.
const PORT_DEFAULT: u16 = 7766;

/// What an address looks like.
const FORMS: &str = "`https://HOST:PORT`, `http://LOOPBACK:PORT` or `unix:/PATH` is needed";

/// An address of a manager.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `http://127.0.0.1:7766`.
    Http {
        /// Name or address, brackets around IPv6 removed.
        host: String,
        /// The port.
        port: u16,
    },
    /// `https://manager.example:7766`.
    Https {
        /// Name or address, brackets around IPv6 removed.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:/path/to/socket`.
    Unix(PathBuf),
}

/// A text that is no address of a manager.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a manager's address: {problem}")]
pub struct EndpointError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Endpoint {
    /// The origin for request URIs; the socket's path is not part of it.
    pub fn origin(&self) -> String {
        let (scheme, host, port) = match self {
            Self::Http { host, port } => ("http", host, port),
            Self::Https { host, port } => ("https", host, port),
            Self::Unix(_) => return "http://localhost".to_owned(),
        };
        if host.contains(':') { format!("{scheme}://[{host}]:{port}") } else { format!("{scheme}://{host}:{port}") }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { .. } | Self::Https { .. } => f.write_str(&self.origin()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let refuse =
            |problem| EndpointError { text: text.chars().take(120).flat_map(char::escape_debug).collect(), problem };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(refuse("an absolute path must follow `unix:`"));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let secure = text.strip_prefix("https://");
        let rest = secure.or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        if rest.contains("://") {
            return Err(refuse(FORMS));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(rest).ok_or_else(|| refuse("the port must be a number from 1 to 65535"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(refuse(FORMS));
        }
        let host = host.to_owned();
        Ok(if secure.is_some() { Self::Https { host, port } } else { Self::Http { host, port } })
    }
}

fn split_port(text: &str) -> Option<(&str, u16)> {
    let port = |digits: &str| digits.parse().ok().filter(|port| *port != 0);
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(digits) => Some((host, port(digits)?)),
            None => rest.is_empty().then_some((host, PORT_DEFAULT)),
        };
    }
    match text.split_once(':') {
        Some((host, digits)) => Some((host, port(digits)?)),
        None => Some((text, PORT_DEFAULT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, printed: &str) {
        let endpoint: Endpoint = text.parse().unwrap();
        assert_eq!(endpoint.to_string(), printed);
        assert_eq!(printed.parse(), Ok(endpoint));
    }

    #[test]
    fn addresses_read_back_what_they_print() {
        check("http://127.0.0.1:7766", "http://127.0.0.1:7766");
        check("127.0.0.1:80/", "http://127.0.0.1:80");
        check("localhost", "http://localhost:7766");
        check("http://[::1]:99", "http://[::1]:99");
        check("https://manager.example", "https://manager.example:7766");
        check("https://[2001:db8::1]:443/", "https://[2001:db8::1]:443");
        check("unix:/run/m.sock", "unix:/run/m.sock");
        check("unix:///run/m.sock", "unix:/run/m.sock");
    }

    #[test]
    fn other_texts_are_refused_with_the_form_that_is_needed() {
        for (text, words) in [
            ("unix:relative", "absolute"),
            ("http://host:0", "port"),
            ("http://host:x", "port"),
            ("http://a/b", "needed"),
            ("", "needed"),
            ("ftp://host", "needed"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
