//! The `ftvmm` command.

use std::{io::IsTerminal, process::ExitCode};

use ftvmm::{
    cli::{Cli, report},
    host::console,
    logging,
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("FTVMM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    logging::start(filter, std::io::stderr().is_terminal());
    let result = Cli::read().and_then(Cli::execute);
    console::restore_terminal();
    let status = result.unwrap_or_else(|error| report(&error));
    logging::flush();
    ExitCode::from(status)
}
