//! The typed client of Manta's public API, used by the command line and by nodes.
//!
//! [`Client`] makes the calls, over TLS, TCP or a Unix socket ([`Endpoint`]); [`Follow`] is a live stream that survives broken
//! connections; [`Connector`] opens connections for anything else that speaks to the manager. It prints nothing and
//! decides nothing.
#![forbid(unsafe_code)]

mod attempts;
mod blobs;
mod client;
mod clusters;
mod connector;
mod endpoint;
mod error;
mod follow;
mod join;
mod modules;
mod people;
mod proxy;
mod rollouts;
mod sign_in;
mod sse;
mod swarms;
mod tls;
mod token;

pub use client::Client;
pub use connector::{Connector, Stream};
pub use endpoint::{Endpoint, EndpointError};
pub use error::ClientError;
pub use follow::Follow;
pub use people::AuditFilter;
pub use swarms::LogFilter;
pub use tls::{Tls, TlsError, fingerprints};
pub use token::{Token, TokenFileError};
