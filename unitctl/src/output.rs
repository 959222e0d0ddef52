//! What a command prints: text for people, JSON lines for scripts.
//!
//! Results go to standard output; progress, warnings and errors to standard error.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Result;
use clap::ValueEnum;
use owo_colors::OwoColorize;
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text for people; colours on a terminal
    #[default]
    Text,
    /// One JSON value a line
    Json,
}

impl Output {
    /// Prints one result: as its text, or as its JSON on one line.
    ///
    /// # Errors
    /// Standard output can't be written to, for instance because the reader of a pipe is gone.
    pub fn print(self, result: &(impl Display + Serialize)) -> Result<()> {
        match self {
            // `anstream` leaves colours out where there is no terminal, and when NO_COLOR says so.
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

/// Tells on standard error what is no result, but good to know.
pub fn note(message: impl Display) {
    anstream::eprintln!("{message}");
}

/// Tells on standard error what is odd and does not stop the command.
pub fn warn(message: impl Display) {
    anstream::eprintln!("{} {message}", "warning:".yellow());
}

/// Tells on standard error what stopped the command: the error and what it comes from.
pub fn error(error: &anyhow::Error) {
    anstream::eprintln!("{} {error:#}", "error:".red());
}
