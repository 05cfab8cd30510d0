//! State in one SQLite file, for one manager at a time.
//!
//! `database` opens files and knows their format, `lock` keeps a second manager out, `commit` writes a transaction,
//! `query` reads; `store` puts them together.
mod commit;
pub(crate) mod database;
mod lock;
mod query;
mod store;

pub use store::SqliteStore;
