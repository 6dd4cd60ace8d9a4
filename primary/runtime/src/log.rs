//! Logs: one logfmt-like line to stderr for each event; nothing per packet, ever.

use tracing_subscriber::EnvFilter;

/// Sends events to stderr; `BATON_LOG` is the filter (`info` unless set).
pub(crate) fn init() {
    let filter = EnvFilter::try_from_env("BATON_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init();
}
