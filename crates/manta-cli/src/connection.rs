//! Which manager a command speaks to, and with which token.
use std::path::{Path, PathBuf};

use manta_api::ErrorCode;
use manta_client::{Client, Endpoint, Tls, Token};
use manta_types::ClusterId;

use crate::report::Failure;

/// The address that a manager takes unless told otherwise.
pub(crate) const ADDRESS_DEFAULT: &str = "127.0.0.1:7766";

/// Options of every command that speaks to a manager.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ConnectionArgs {
    /// The manager's address, `https://manager.example:7766`, `http://127.0.0.1:7766` or `unix:/path` [default: MANTA_MANAGER,
    /// else port 7766 here].
    #[arg(long, value_name = "URL", help_heading = "Connection")]
    manager: Option<String>,

    /// The file with the token [default: MANTA_TOKEN or MANTA_TOKEN_FILE].
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    token_file: Option<PathBuf>,

    /// The certificate by which a manager at an `https://` address is recognised [default: MANTA_CA_FILE, else what this
    /// machine trusts].
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    ca_file: Option<PathBuf>,

    /// The cluster [default: MANTA_CLUSTER, else `default`].
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    cluster: Option<String>,
}

impl ConnectionArgs {
    /// Whether an option or the environment names a manager.
    pub(crate) fn names_manager(&self) -> bool {
        self.manager.is_some() || variable("MANTA_MANAGER").is_some()
    }

    /// A client; nothing is sent yet.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let address = self.manager.clone().or_else(|| variable("MANTA_MANAGER"));
        self.client_at(address.as_deref().unwrap_or(ADDRESS_DEFAULT))
    }

    /// The same for a manager at another address.
    pub(crate) fn client_at(&self, address: &str) -> Result<Client, Failure> {
        let endpoint = endpoint(address)?;
        let cluster = self.cluster.clone().or_else(|| variable("MANTA_CLUSTER"));
        let (token, cluster) = (self.token()?, parse_cluster(cluster.as_deref())?);
        match self.ca_file.clone().or_else(|| variable("MANTA_CA_FILE").map(PathBuf::from)) {
            Some(file) if matches!(endpoint, Endpoint::Https { .. }) => {
                Ok(Client::with_tls(endpoint, &trusting(&file)?, Some(&token), &cluster))
            }
            _ => Ok(Client::new(endpoint, token, cluster)),
        }
    }

    fn token(&self) -> Result<Token, Failure> {
        let file = match (&self.token_file, variable("MANTA_TOKEN")) {
            (Some(file), _) => file.clone(),
            (None, Some(token)) => return Ok(Token::new(token)),
            (None, None) => match variable("MANTA_TOKEN_FILE") {
                Some(file) => PathBuf::from(file),
                None => {
                    let failure = Failure::new(ErrorCode::Unauthorized, "no token was given for the manager");
                    return Err(
                        failure.hint("set MANTA_TOKEN_FILE to the `token` file in the manager's data directory")
                    );
                }
            },
        };
        read_token(&file)
    }
}

/// Trusts what the file says.
fn trusting(file: &Path) -> Result<Tls, Failure> {
    let pem = std::fs::read(file).map_err(|error| Failure::file("the CA file cannot be read:", file, &error))?;
    Tls::with_authorities(&pem).map_err(|error| {
        let sentence = format!("the CA file `{}` cannot be used: {error}", file.display());
        Failure::new(ErrorCode::Untrusted, sentence).hint("give the `ca.pem` of the manager's data directory")
    })
}

/// Reads a token file.
pub(crate) fn read_token(file: &Path) -> Result<Token, Failure> {
    Token::from_file(file).map_err(|error| {
        let failure = Failure::new(ErrorCode::Unauthorized, error.to_string());
        Failure { hint: error.hint(), ..failure }
    })
}

/// Reads an address.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, Failure> {
    text.parse().map_err(|error: manta_client::EndpointError| Failure::usage(error.to_string()))
}

/// Reads a cluster's name; none is the first cluster.
pub(crate) fn parse_cluster(name: Option<&str>) -> Result<ClusterId, Failure> {
    name.map_or_else(
        || Ok(ClusterId::default()),
        |name| ClusterId::new(name).map_err(|e| Failure::usage(e.to_string())),
    )
}

/// An environment variable that is set to something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
