//! State in one SQLite file, for one manager at a time.
//!
//! `database` opens files and knows their format, `migrate` brings older ones up to date, `lock` keeps a second manager
//! out; `commit`, `nodes` and `derive` write a transaction, `query` reads, `checksum` finds rows that changed on the
//! disk; `store` puts them together, and
//! `reader` looks on beside it.
pub(crate) mod checksum;
mod clusters;
mod commit;
pub(crate) mod database;
mod derive;
mod lock;
pub(crate) mod migrate;
mod modules;
mod nodes;
mod query;
mod reader;
mod store;
mod tail;
mod tally;
mod wal;

pub use reader::StateReader;
pub use store::SqliteStore;
