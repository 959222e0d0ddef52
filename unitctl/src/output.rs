//! How a command prints: text for people, or JSON lines for scripts.
//!
//! Results go to standard output. Notes, warnings and errors go to standard error.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Result;
use clap::ValueEnum;
use owo_colors::OwoColorize;
use serde::Serialize;

/// The format of the results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text for people
    #[default]
    Text,
    /// JSON for scripts, one value on a line
    Json,
}

impl Output {
    /// Prints one result: its text, or its JSON on one line.
    ///
    /// # Errors
    /// Writing to standard output fails, for instance because the reader of a pipe has ended.
    pub fn print(self, result: &(impl Display + Serialize)) -> Result<()> {
        match self {
            // `anstream` removes colours if standard output is not a terminal, or if NO_COLOR is set.
            Self::Text => writeln!(anstream::stdout(), "{result}")?,
            Self::Json => {
                let mut stdout = io::stdout().lock();
                serde_json::to_writer(&mut stdout, result)?;
                writeln!(stdout)?;
            }
        }
        Ok(())
    }
}

/// Prints a message to standard error that is not part of the result.
pub fn note(message: impl Display) {
    anstream::eprintln!("{message}");
}

/// Prints a warning to standard error: something unexpected that does not stop the command.
pub fn warn(message: impl Display) {
    anstream::eprintln!("{} {message}", "warning:".yellow());
}

/// Prints the error that stopped the command to standard error, with its causes.
pub fn error(error: &anyhow::Error) {
    anstream::eprintln!("{} {error:#}", "error:".red());
}
