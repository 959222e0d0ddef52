//! Lambda's execution environment: a function's binary in a process of its own, invoked by its Runtime API.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use livechat_units::Tables;
use tokio::process::{Child, Command};

use crate::runtime_api::{Answer, RuntimeApi};

/// A process that runs a function's binary, with its Runtime API. The process is killed when this is dropped.
pub struct Environment {
    // This field is the first, so that the process is killed before its Runtime API ends.
    process: Child,
    api: RuntimeApi,
}

impl Environment {
    /// Starts `binary` with the environment variables that Lambda sets, and with `variables`. It has no other variables.
    ///
    /// # Errors
    /// The binary can't be started.
    pub async fn start(
        binary: &Path,
        variables: &[(&str, &str)],
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Result<Self> {
        let api = RuntimeApi::start().await?;
        let process = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "local")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        Ok(Self { process, api })
    }

    /// Starts the function's binary like [`Environment::start`], with the variables that name its tables and the
    /// endpoint of DynamoDB.
    ///
    /// # Errors
    /// The binary can't be started.
    pub async fn start_function(
        binary: &Path,
        endpoint: &str,
        tables: &Tables,
        variables: &[(&str, &str)],
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Result<Self> {
        let mut all = vec![
            ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
            ("TOKENS_TABLE", &tables.tokens),
            ("LIVECHAT_TABLE", &tables.livechat),
        ];
        all.extend(variables);
        Self::start(binary, &all, stdout, stderr).await
    }

    /// The process, to read its output or to send it signals.
    pub fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    /// Waits like [`RuntimeApi::idle`].
    ///
    /// # Errors
    /// The init failed, or the process has ended.
    pub async fn idle(&mut self) -> Result<Instant> {
        tokio::select! {
            since = self.api.idle() => since,
            ended = self.process.wait() => bail!("the process ended with {}", ended?),
        }
    }

    /// Invokes the function like [`RuntimeApi::invoke`].
    ///
    /// # Errors
    /// There is no answer in time, or the process has ended.
    pub async fn invoke(&mut self, event: impl Into<Bytes>, time: Duration) -> Result<Answer> {
        tokio::select! {
            biased;
            answer = self.api.invoke(event, time) => answer,
            ended = self.process.wait() => bail!("the process ended with {}", ended?),
        }
    }
}
