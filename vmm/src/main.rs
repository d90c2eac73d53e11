//! The `ftvmm` command.

use std::{io::IsTerminal, process::ExitCode};

use ftvmm::cli::{Cli, report};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("FTVMM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let result = Cli::read().and_then(Cli::execute);
    ExitCode::from(result.unwrap_or_else(|error| report(&error)))
}
