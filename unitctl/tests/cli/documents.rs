//! Documents whose commands are tests: the blocks of a page, and a shell that runs them.

use std::path::Path;

use assert_cmd::Command;

use crate::stack::cloudformation;
use crate::world::{World, endpoint};

/// The contents of a page's fenced blocks of this language.
pub fn blocks(page: &'static str, language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().expect("a block ends")).collect()
}

/// A shell that runs commands, such as all `sh` blocks of a page, in an empty folder, which is also its home. It stops
/// at the first command that fails.
///
/// The stack `livechat-units` has the tables of `world`. The shell finds `unitctl`, and the programs in `bin`.
pub async fn shell(commands: &str, world: &World, folder: &Path, bin: &Path) -> Command {
    let tables = &world.database.tables;
    let outputs = [("TokensTableName", &*tables.tokens), ("LivechatTableName", &*tables.livechat)];
    let unitctl = Path::new(env!("CARGO_BIN_EXE_unitctl")).parent().expect("it is in a folder");
    let path = std::env::var("PATH").expect("there is a PATH");
    let mut shell = Command::new("sh");
    shell
        .args(["-euxc", commands])
        .current_dir(folder)
        .env("HOME", folder)
        .env("PATH", format!("{}:{}:{path}", bin.display(), unitctl.display()))
        .env("AWS_ENDPOINT_URL_CLOUDFORMATION", cloudformation(&outputs).await)
        .env("AWS_ENDPOINT_URL_DYNAMODB", endpoint())
        .env("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", endpoint())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "eu-west-1")
        .env_remove("AWS_PROFILE")
        .env_remove("TOKENS_TABLE")
        .env_remove("LIVECHAT_TABLE");
    shell
}
