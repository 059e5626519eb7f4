//! The structured log on standard error.
//!
//! Invariant: no passwords, tokens, SDP, request URLs or people's names are logged; people appear
//! by id, requests by route.

use std::io;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt};

use crate::config::{Log, LogFormat};

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.level is not understood: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    #[error("the log is running already: {0}")]
    Running(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts the log for the whole process; once.
pub fn init(config: &Log) -> Result<(), LogError> {
    let layer = match config.format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(io::stderr).boxed(),
        LogFormat::Text => {
            fmt::layer().with_writer(io::stderr).with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed()
        }
    };
    let level: Targets = config.level.parse()?;
    // These crates warn of what browsers do every day: unknown extensions, probes.
    let quiet = |level: Targets, name: &str| {
        if config.level.contains(name) { level } else { level.with_target(name, LevelFilter::ERROR) }
    };
    let level = ["rtc_dtls", "rtc_sctp", "rtc_srtp", "retina"].into_iter().fold(level, quiet);
    Ok(Registry::default().with(layer.with_filter(level)).try_init()?)
}
