//! How a command line that cannot be used is reported.

use clap::error::ErrorKind;

/// Prints what clap says: help on stdout, and a value that cannot be used as the one line that every other error is.
pub fn report(program: &str, error: &clap::Error) {
    if matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        eprintln!("{program}: {}", line.strip_prefix("error: ").unwrap_or(line));
    } else {
        // Nobody is left to tell if that fails.
        let _ = error.print();
    }
}
