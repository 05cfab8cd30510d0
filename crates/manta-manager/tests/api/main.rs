//! The manager as its clients and nodes meet it: in this process, over TCP and Unix sockets, on real stores.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
mod auth;
mod backup;
mod bad_submissions;
mod blobs;
mod clusters;
mod gateway;
mod harness;
mod hostile;
mod keys;
mod modules;
mod node;
mod people;
mod plan;
mod replay;
mod storage;
mod stream;
mod submit;
mod swarms;
mod tls;
mod why;
