//! Settings: what holds for this command, and where each value comes from.
//!
//! An option wins over the environment, that over the project's file, that over the user's, that over what is built in. A
//! context's values go together and rank as the place that names the context; an address from an option or the
//! environment replaces it whole, so that its token is never sent anywhere else.
mod edit;
mod file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use manta_api::ErrorCode;
use manta_client::Token;
use manta_types::name::nearest;

pub(crate) use edit::{NewContext, add, drop_token, keep_token, make_current, remove};
pub(crate) use file::{Context, ProjectFile, UserFile, issuer};

use crate::connection::{self, ADDRESS_DEFAULT, ConnectionArgs, variable};
use crate::home;
use crate::report::Failure;
use crate::text::one_line;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An option of the command.
    Option(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// A file that holds nothing else.
    Secret(PathBuf),
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) | Self::Variable(name) => f.write_str(name),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Secret(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

impl<T> Found<T> {
    fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }

    fn map<U>(self, with: impl FnOnce(T) -> U) -> Found<U> {
        Found { value: with(self.value), origin: self.origin }
    }
}

/// How the manager is told who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// The token itself.
    Token(Token),
    /// A file that holds it.
    File(PathBuf),
}

/// The files of settings of this user and this project.
#[derive(Debug)]
pub(crate) struct Files {
    folder: Option<PathBuf>,
    /// The user's.
    pub(crate) user: UserFile,
    /// The project's.
    pub(crate) project: ProjectFile,
}

impl Files {
    /// Reads them.
    ///
    /// # Errors
    /// With file, line and key of the first mistake.
    pub(crate) fn read() -> Result<Self, Failure> {
        let folder = home::config();
        let here = std::env::current_dir().unwrap_or_default();
        let user = folder.as_ref().map(|folder| file::user(&user_file(folder))).transpose()?.unwrap_or_default();
        Ok(Self { folder, user, project: file::project(&here)? })
    }

    /// The context that holds where neither option nor environment nor project names one.
    pub(crate) fn current(&self) -> Option<&Found<String>> {
        self.user.context.as_ref()
    }

    /// The context of that name.
    pub(crate) fn context(&self, name: &str) -> Result<&Context, Failure> {
        self.user.contexts.get(name).ok_or_else(|| {
            let failure = Failure::new(ErrorCode::NotFound, format!("there is no context `{}`", one_line(name, 64)));
            match nearest(name, self.user.contexts.keys().map(String::as_str)) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None if self.user.contexts.is_empty() => {
                    failure.hint("`manta context add NAME --manager URL` makes one")
                }
                None => failure.hint("`manta context ls` lists them"),
            }
        })
    }

    /// A context's token, where one is kept for it.
    pub(crate) fn secret(&self, name: &str, context: &Context) -> Result<Option<Found<Secret>>, Failure> {
        if let Some(found) = &context.token_file {
            return Ok(Some(Found::new(Secret::File(file::path(found)), found.origin.clone())));
        }
        let Some(path) = self.folder.as_deref().map(credentials_file) else { return Ok(None) };
        let token = file::credential(&path, name)?;
        Ok(token.map(|token| Found::new(Secret::Token(Token::new(token)), Origin::Secret(path))))
    }
}

/// What holds for one command.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The context that is used; none where an option or the environment gives an address.
    pub(crate) context: Option<Found<String>>,
    /// The manager's address.
    pub(crate) manager: Found<String>,
    /// The cluster's name.
    pub(crate) cluster: Found<String>,
    /// The token; none where none is kept.
    pub(crate) token: Option<Found<Secret>>,
    /// The file with the certificates that the manager's is checked against.
    pub(crate) ca_file: Option<Found<PathBuf>>,
    /// The interpreter; none where it is searched for.
    pub(crate) python: Option<Found<PathBuf>>,
    /// Where published modules are; none is the manager.
    pub(crate) registry: Option<Found<String>>,
    /// How long `manta wait` waits; none is for ever.
    pub(crate) wait_timeout: Option<Found<Duration>>,
}

/// A variable of the environment as a value.
fn from_environment(name: &'static str) -> Option<Found<String>> {
    variable(name).map(|value| Found::new(value, Origin::Variable(name)))
}

impl Settings {
    /// What holds with these options.
    ///
    /// # Errors
    /// Where a file cannot be used, or a context is named that is not there.
    pub(crate) fn resolve(options: &ConnectionArgs) -> Result<Self, Failure> {
        let files = Files::read()?;
        let option = |value: &Option<String>, name| value.clone().map(|value| Found::new(value, Origin::Option(name)));
        let (flag_manager, flag_context) =
            (option(&options.manager, "--manager"), option(&options.context, "--context"));
        let (env_manager, env_context) = (from_environment("MANTA_MANAGER"), from_environment("MANTA_CONTEXT"));
        let file_context = files.project.context.clone().or_else(|| files.user.context.clone());
        // The first of these that is there; a context only where no address was given above it.
        let chosen = match (flag_manager, flag_context, env_manager, env_context, file_context) {
            (Some(address), ..) => Chosen::Address(address),
            (None, Some(name), ..) => Chosen::Context(name),
            (None, None, Some(address), ..) => Chosen::Address(address),
            (None, None, None, Some(name), _) | (None, None, None, None, Some(name)) => Chosen::Context(name),
            (None, None, None, None, None) => Chosen::Address(Found::new(ADDRESS_DEFAULT.to_owned(), Origin::Default)),
        };
        let named = match &chosen {
            Chosen::Address(_) => None,
            Chosen::Context(name) => Some((name, files.context(&name.value).map_err(|error| placed(error, name))?)),
        };
        let is_option = named.is_some_and(|(name, _)| matches!(name.origin, Origin::Option(_)));
        let of_context = |is_first: bool| named.filter(|_| is_option == is_first).map(|(_, context)| context);
        let cluster = |is_first| of_context(is_first).and_then(|context| context.cluster.clone());
        let secret = |is_first: bool| match named.filter(|_| is_option == is_first) {
            Some((name, context)) => files.secret(&name.value, context),
            None => Ok(None),
        };
        let option_file = options.token_file.clone();
        let file = |path: String| Secret::File(PathBuf::from(path));
        let given = option_file
            .map(|path| Found::new(Secret::File(path), Origin::Option("--token-file")))
            .map_or_else(|| secret(true), |found| Ok(Some(found)))?
            .or_else(|| from_environment("MANTA_TOKEN").map(|found| found.map(|t| Secret::Token(Token::new(t)))))
            .or_else(|| from_environment("MANTA_TOKEN_FILE").map(|found| found.map(file)));
        let token = given.map_or_else(|| secret(false), |found| Ok(Some(found)))?;
        Ok(Self {
            cluster: option(&options.cluster, "--cluster")
                .or_else(|| cluster(true))
                .or_else(|| from_environment("MANTA_CLUSTER"))
                .or_else(|| files.project.cluster.clone())
                .or_else(|| cluster(false))
                .unwrap_or_else(|| Found::new(connection::CLUSTER_DEFAULT.to_owned(), Origin::Default)),
            ca_file: (options.ca_file.clone())
                .map(|path| Found::new(path, Origin::Option("--ca-file")))
                .or_else(|| from_environment("MANTA_CA_FILE").map(|found| found.map(PathBuf::from)))
                .or_else(|| named.and_then(|(_, context)| context.ca_file.as_ref()).map(located)),
            token,
            python: python_of(&files),
            registry: registry_of(&files),
            wait_timeout: wait_timeout_of(&files),
            manager: match (&chosen, named) {
                (Chosen::Address(address), _) => address.clone(),
                (Chosen::Context(_), Some((_, context))) => context.manager.clone(),
                (Chosen::Context(_), None) => Found::new(ADDRESS_DEFAULT.to_owned(), Origin::Default),
            },
            context: match chosen {
                Chosen::Address(_) => None,
                Chosen::Context(name) => Some(name),
            },
        })
    }
}

/// What says which manager is meant.
enum Chosen {
    Address(Found<String>),
    Context(Found<String>),
}

/// The same failure; where a file named the context, with the line.
fn placed(failure: Failure, name: &Found<String>) -> Failure {
    match &name.origin {
        Origin::File { .. } => {
            let message = format!("{}: {}", name.origin, failure.message);
            Failure { hint: failure.hint, ..Failure::new(ErrorCode::Configuration, message) }
        }
        Origin::Variable(variable) => Failure { message: format!("{} ({variable})", failure.message), ..failure },
        _ => failure,
    }
}

fn located(found: &Found<String>) -> Found<PathBuf> {
    Found::new(file::path(found), found.origin.clone())
}

fn python_of(files: &Files) -> Option<Found<PathBuf>> {
    let file = files.project.python.as_ref().or(files.user.python.as_ref());
    from_environment("MANTA_PYTHON").map(|found| found.map(PathBuf::from)).or_else(|| file.map(interpreter))
}

/// A name without a slash is searched for; a path is taken from the file's folder.
fn interpreter(found: &Found<String>) -> Found<PathBuf> {
    if found.value.contains('/') { located(found) } else { found.clone().map(PathBuf::from) }
}

fn registry_of(files: &Files) -> Option<Found<String>> {
    let named = |found: &Found<String>| {
        let is_address = found.value.contains("://") || found.value.starts_with("unix:");
        if is_address { found.clone() } else { located(found).map(|path| path.display().to_string()) }
    };
    from_environment("MANTA_REGISTRY").or_else(|| files.user.registry.as_ref().map(named))
}

/// The interpreter that the environment or a file names.
pub(crate) fn python() -> Result<Option<Found<PathBuf>>, Failure> {
    match from_environment("MANTA_PYTHON") {
        // No file is read for what is known, so that an agent does not hang on one.
        Some(found) => Ok(Some(found.map(PathBuf::from))),
        None => Ok(python_of(&Files::read()?)),
    }
}

/// Where published modules are, as the environment or the user's file says.
pub(crate) fn registry() -> Result<Option<String>, Failure> {
    Ok(registry_of(&Files::read()?).map(|found| found.value))
}

/// How long `manta wait` waits, as a file says.
pub(crate) fn wait_timeout() -> Result<Option<Duration>, Failure> {
    Ok(wait_timeout_of(&Files::read()?).map(|found| found.value))
}

fn wait_timeout_of(files: &Files) -> Option<Found<Duration>> {
    files.project.wait_timeout.clone().or_else(|| files.user.wait_timeout.clone())
}

/// The user's file in the folder of settings.
fn user_file(folder: &Path) -> PathBuf {
    folder.join("config.toml")
}

/// The file of tokens beside it.
fn credentials_file(folder: &Path) -> PathBuf {
    folder.join("credentials.toml")
}
