//! The names of the two tables.

use std::env;
use std::fmt;

/// The two tables' names.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The table of login tokens.
    pub tokens: String,
    /// The table of everything else.
    pub livechat: String,
}

/// An environment variable is missing or empty, and the function can't start without it.
#[derive(Debug)]
pub struct MissingVariable(&'static str);

impl fmt::Display for MissingVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment variable {} is not set", self.0)
    }
}

impl std::error::Error for MissingVariable {}

impl Tables {
    /// The names from the environment variables `TOKENS_TABLE` and `LIVECHAT_TABLE`.
    ///
    /// # Errors
    /// One of them is missing or empty.
    pub fn from_env() -> Result<Self, MissingVariable> {
        let variable =
            |name| env::var(name).ok().filter(|value| !value.is_empty()).ok_or(MissingVariable(name));
        Ok(Self { tokens: variable("TOKENS_TABLE")?, livechat: variable("LIVECHAT_TABLE")? })
    }
}
