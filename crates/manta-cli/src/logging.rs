//! The log of a manager or an agent, on standard error.
use tracing_subscriber::EnvFilter;

/// Starts logging at a level, or as MANTA_LOG says.
pub(crate) fn start(level: &str) {
    let filter = EnvFilter::try_from_env("MANTA_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(crate::out::colours())
        // A standard error that nobody reads any more must not bring the process down.
        .log_internal_errors(false);
    // Only a test in the same process could have started one before.
    let _ = log.try_init();
}
