//! The public API: one table of routes, a guard that denies what the table does not allow, and a file per kind of thing.
mod attempts;
mod auth;
mod blobs;
mod call;
mod events;
mod history;
mod host;
mod logs;
mod modules;
mod nodes;
mod openapi;
mod past;
mod plan;
mod problem;
mod range;
mod replays;
mod routes;
mod stream;
mod swarms;
mod why;

pub(crate) use blobs::set_aside;
pub(crate) use call::parse;
pub use modules::about;
pub use openapi::openapi;
pub(crate) use problem::internal;
pub(crate) use routes::router;
