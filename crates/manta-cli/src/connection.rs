//! Which manager a command speaks to, and with which token.
use std::path::{Path, PathBuf};

use manta_api::ErrorCode;
use manta_client::{Client, Endpoint, Tls, Token};
use manta_types::ClusterId;

use crate::report::Failure;
use crate::settings::{Origin, Secret, Settings};

/// The address that a manager takes unless told otherwise.
pub(crate) const ADDRESS_DEFAULT: &str = "127.0.0.1:7766";

/// The cluster that is meant unless told otherwise.
pub(crate) const CLUSTER_DEFAULT: &str = "default";

/// Options of every command that speaks to a manager.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ConnectionArgs {
    /// The manager's address, `https://manager.example:7766`, `http://127.0.0.1:7766` or `unix:/path` [default: MANTA_MANAGER,
    /// the context's, else port 7766 here].
    #[arg(long, value_name = "URL", help_heading = "Connection")]
    pub(crate) manager: Option<String>,

    /// The file with the token [default: MANTA_TOKEN, MANTA_TOKEN_FILE, the context's].
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub(crate) token_file: Option<PathBuf>,

    /// The certificate by which a manager at an `https://` address is recognised [default: MANTA_CA_FILE, the context's, else
    /// what this machine trusts].
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub(crate) ca_file: Option<PathBuf>,

    /// The cluster [default: MANTA_CLUSTER, the context's, else `default`].
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    pub(crate) cluster: Option<String>,

    /// The context: a manager by the name that you gave it [default: MANTA_CONTEXT, the project's, the current one].
    #[arg(long, value_name = "NAME", help_heading = "Connection", conflicts_with = "manager")]
    pub(crate) context: Option<String>,
}

impl ConnectionArgs {
    /// Whether an option or the environment names a manager.
    pub(crate) fn names_manager(&self) -> bool {
        let variables = ["MANTA_MANAGER", "MANTA_CONTEXT"];
        self.manager.is_some() || self.context.is_some() || variables.into_iter().any(|name| variable(name).is_some())
    }

    /// A client; nothing is sent yet.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let settings = Settings::resolve(self)?;
        // An address that is none is the first thing to mend.
        endpoint_of(&settings)?;
        Self::client_of(&settings, Some(token(&settings)?))
    }

    /// The same with another token, or with none.
    pub(crate) fn client_as(&self, token: Option<Token>) -> Result<Client, Failure> {
        Self::client_of(&Settings::resolve(self)?, token)
    }

    fn client_of(settings: &Settings, token: Option<Token>) -> Result<Client, Failure> {
        let endpoint = endpoint_of(settings)?;
        let cluster = parse_cluster(Some(&settings.cluster.value))?;
        let tls = match &settings.ca_file {
            Some(file) if matches!(endpoint, Endpoint::Https { .. }) => Some(trusting(&file.value)?),
            _ => None,
        };
        Ok(match (tls, token) {
            (tls, None) => Client::without_token(endpoint, tls.as_ref(), &cluster),
            (Some(tls), Some(token)) => Client::with_tls(endpoint, &tls, Some(&token), &cluster),
            (None, Some(token)) => Client::new(endpoint, token, cluster),
        })
    }

    /// The same for a manager at another address; a context's token is not for it.
    pub(crate) fn client_at(&self, address: &str) -> Result<Client, Failure> {
        Self { manager: Some(address.to_owned()), context: None, ..self.clone() }.client()
    }
}

fn endpoint_of(settings: &Settings) -> Result<Endpoint, Failure> {
    let address = &settings.manager;
    endpoint(&address.value).map_err(|failure| match address.origin {
        Origin::Option(_) => failure,
        _ => Failure { message: format!("{}: {}", address.origin, failure.message), ..failure },
    })
}

fn token(settings: &Settings) -> Result<Token, Failure> {
    match settings.token.as_ref().map(|found| &found.value) {
        Some(Secret::Token(token)) => Ok(token.clone()),
        Some(Secret::File(file)) => read_token(file),
        None => {
            let whose = match &settings.context {
                Some(context) => format!("no token is kept for the context `{}`", context.value),
                None => "no token was given for the manager".to_owned(),
            };
            Err(Failure::new(ErrorCode::Unauthorized, whose).hint(
                "set MANTA_TOKEN_FILE to the `token` file in the manager's data directory, keep it with a context (`manta \
                 context add NAME --manager URL --token-file FILE`), or sign in where the manager offers it: `manta login`",
            ))
        }
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
