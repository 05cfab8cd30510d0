//! The log of a manager or an agent, on standard error: lines for people, or one JSON object a line for programs.
mod json;

use std::sync::atomic::{AtomicU8, Ordering};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// For whom a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// How often `-v` was given.
static VERBOSE: AtomicU8 = AtomicU8::new(0);

/// Notes how often `-v` was given; a command that keeps no log begins one for it, on standard error.
pub(crate) fn be_verbose(times: u8, keeps_log: bool) {
    VERBOSE.store(times, Ordering::Relaxed);
    if times > 0 && !keeps_log {
        LogArgs { log_format: LogFormat::Text }.start("warn", None);
    }
}

/// What is logged where nothing else says so: more than usual with `-v`.
fn level(usual: &str) -> String {
    match VERBOSE.load(Ordering::Relaxed) {
        0 => usual.to_owned(),
        1 => format!("{usual},manta=debug,manta_client=debug,manta_node=debug,manta_manager=debug"),
        _ => "debug,manta=trace,manta_client=trace,manta_node=trace,manta_manager=trace".to_owned(),
    }
}

/// Options of whatever keeps a log.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// How the log is written to standard error: lines for people, or one JSON object a line. How much is in it says MANTA_LOG.
    #[arg(long, value_name = "FORMAT", env = "MANTA_LOG_FORMAT", hide_env_values = true, value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
}

impl LogArgs {
    /// Starts logging at a level, or as MANTA_LOG says; of a node, every JSON object names it.
    pub(crate) fn start(&self, level: &str, node: Option<&str>) {
        let filter = EnvFilter::try_from_env("MANTA_LOG").unwrap_or_else(|_| EnvFilter::new(self::level(level)));
        let registry = tracing_subscriber::registry().with(filter);
        // Only a test in the same process could have started one before.
        let _ = match self.log_format {
            LogFormat::Text => {
                let log = tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(crate::out::colours())
                    // A standard error that nobody reads any more must not bring the process down.
                    .log_internal_errors(false);
                registry.with(log).try_init()
            }
            LogFormat::Json => registry.with(json::JsonLog::new(std::io::stderr, node)).try_init(),
        };
    }
}
