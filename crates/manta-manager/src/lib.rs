//! The control plane: public API, node gateway, and the service loop that owns the engine.
//!
//! [`open`] takes the data directory, [`bind`] the address, [`run`] serves until told to stop. Nothing is acknowledged
//! before it is durable; a storage that fails stops the manager.
#![forbid(unsafe_code)]
#![expect(clippy::result_large_err, reason = "a problem is made at most once per request, and then sent")]

mod app;
mod backup;
mod bearer;
mod clock;
mod clusters;
mod content;
mod distribution;
mod error;
mod gateway;
mod http;
mod identity;
mod keys;
mod links;
mod logs;
mod metrics;
mod oidc;
mod open;
pub mod orchestrator;
mod people;
mod quotas;
mod reach;
mod ready;
mod refusals;
mod replays;
mod run;
#[cfg(test)]
mod sample;
mod scrub;
mod serve;
mod settings;
mod space;
mod submit;
mod supervisor;
mod threads;
mod tokens;
mod traces;
mod upkeep;
mod view;

pub use backup::{Backup, Restored, StoredFile, backup, restore};
pub use clock::{Clock, RealClock};
pub use error::ManagerError;
pub use http::{about as module_about, access, openapi};
pub use identity::{AUTHORITY_FILE, SiteCertificate};
pub use oidc::OidcSettings;
pub use open::{Opened, open};
pub use orchestrator::allows_this_release;
pub use run::run;
pub use scrub::{Scrubbed, scrub};
pub use settings::{Bound, Collector, Keep, Listen, Settings, TlsSettings, bind};
pub use tokens::{NODE_TOKEN_FILE, TOKEN_FILE};
