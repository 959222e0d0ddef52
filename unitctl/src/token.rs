//! `unitctl token`: creates, lists and revokes login tokens.

use std::fmt;
use std::io::{self, IsTerminal, Read};

use anyhow::{Context, Result, bail};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use clap::{Args, Subcommand};
use livechat_units::hashed_token;
use livechat_units::id::UserId;
use livechat_units::item::{Item, Key};
use serde::Serialize;
use time::OffsetDateTime;

use crate::arguments::{Lifetime, lifetime, name, user_id};
use crate::database::Database;
use crate::origin::{SOURCE, UNITCTL};
use crate::output::{Output, note, warn};
use crate::random;
use crate::timestamp::rfc3339;

/// The index of the tokens table whose partition key is the user.
const INDEX: &str = "byUser";

/// The maximum length of a token on standard input, in bytes.
const MAX_INPUT_BYTES: u64 = 4096;

/// Create, list and revoke login tokens.
#[derive(Args, Debug)]
pub struct Token {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Create a token, print it once, and store its hash.
#[derive(Args, Debug)]
#[command(after_help = "\
Prints only the token to standard output. Only its hash is stored, so the token can't be shown again.

Examples:
  unitctl token create --user rbAXPnMktTFbNpwtJ --name 'nightly sync' --expires never --stack livechat-units
  TOKEN=$(unitctl token create --user rbAXPnMktTFbNpwtJ --expires 12h)")]
struct Create {
    /// _id of the user who can log in with it
    #[arg(long, value_name = "ID", value_parser = user_id)]
    user: UserId,
    /// What the token is for; `token list` shows it
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Time until it expires, such as 90d or 12h; `never` makes a personal access token
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = lifetime)]
    expires: Lifetime,
}

/// List the tokens of a user, by their hashes.
#[derive(Args, Debug)]
#[command(after_help = "\
Reads the index byUser, which DynamoDB updates shortly after the table: a token that was created within the last
second may be missing.

Examples:
  unitctl token list --user rbAXPnMktTFbNpwtJ --stack livechat-units
  unitctl token list --user rbAXPnMktTFbNpwtJ --output json")]
struct List {
    /// _id of the user
    #[arg(long, value_name = "ID", value_parser = user_id)]
    user: UserId,
}

/// Revoke a token: the next request with it is refused.
#[derive(Args, Debug)]
#[command(after_help = "\
The token itself is read from standard input, because other users of the machine can see the command line. A token that
came from Rocket.Chat must be revoked there, too. Otherwise the next import brings it back.

Examples:
  unitctl token revoke --hash ui3/82zPrpjnqZbLqQeMM8D1K9n6EwuUOXOReep/WGc= --stack livechat-units
  unitctl token revoke --token - <token.txt")]
struct Revoke {
    #[command(flatten)]
    selector: TokenSelector,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct TokenSelector {
    /// Hash of the token, as `token list` shows it
    #[arg(long)]
    hash: Option<String>,
    /// The word `-`, to read the token from standard input
    #[arg(long, value_name = "-", value_parser = ["-"])]
    token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    token: String,
    hashed_token: String,
    user_id: String,
    /// Epoch seconds; absent if the token does not expire.
    expires_at: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    hashed_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    /// RFC 3339; absent if the token does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    is_expired: bool,
}

#[derive(Serialize)]
struct Tokens {
    tokens: Vec<Listed>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Revoked {
    hashed_token: String,
    user_id: String,
}

impl Token {
    /// Runs the command.
    ///
    /// # Errors
    /// The user or token does not exist, or DynamoDB refuses the request or can't be reached.
    pub async fn run(self, database: &Database, output: Output) -> Result<()> {
        match self.command {
            Command::Create(create) => create.run(database, output).await,
            Command::List(list) => list.run(database, output).await,
            Command::Revoke(revoke) => revoke.run(database, output).await,
        }
    }
}

impl Create {
    async fn run(self, database: &Database, output: Output) -> Result<()> {
        let Self { user, name, expires } = self;
        if database.get(&Key::User(user.clone())).await?.is_none() {
            bail!("there is no user {user}; create it with `unitctl user put`");
        }
        let now = OffsetDateTime::now_utc();
        let expires_at = match expires {
            Lifetime::For(duration) => Some((now + duration).unix_timestamp()),
            Lifetime::Forever => None,
        };
        let token = random::token();
        let hashed_token = hashed_token(&token);
        let item = token_item(&hashed_token, &user, name, now, expires_at);
        let table = &database.tables.tokens;
        let put = database.client.put_item().table_name(table).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(hashedToken)");
        put.send().await.map_err(|error| Database::describe_error(table, error))?;
        let created = Created { token, hashed_token, user_id: user.to_string(), expires_at };
        if output == Output::Text {
            note(format!(
                "Token of user {user}, with the hash {}. It can't be shown again.",
                created.hashed_token
            ));
        }
        output.print(&created)
    }
}

/// The item of a token. A token that does not expire is a personal access token, as in Rocket.Chat.
fn token_item(
    hashed_token: &str,
    user: &UserId,
    name: Option<String>,
    created_at: OffsetDateTime,
    expires_at: Option<i64>,
) -> Item {
    let mut item = Key::Token(hashed_token.to_owned()).attributes();
    let mut insert = |name: &str, value| item.insert(name.to_owned(), value);
    insert("userId", AttributeValue::S(user.to_string()));
    insert(SOURCE, AttributeValue::S(UNITCTL.into()));
    insert("createdAt", AttributeValue::S(rfc3339(created_at)));
    if let Some(name) = name {
        insert("name", AttributeValue::S(name));
    }
    match expires_at {
        Some(end) => insert("expiresAt", AttributeValue::N(end.to_string())),
        None => insert("type", AttributeValue::S("personalAccessToken".into())),
    };
    item
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.token)
    }
}

impl List {
    async fn run(self, database: &Database, output: Output) -> Result<()> {
        let table = &database.tables.tokens;
        let query = database.client.query().table_name(table).index_name(INDEX);
        let query = query.key_condition_expression("userId = :user");
        let query = query.expression_attribute_values(":user", AttributeValue::S(self.user.to_string()));
        let items: Vec<Item> = query
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| Database::describe_error(table, error))?;
        let now = OffsetDateTime::now_utc();
        let mut tokens: Vec<Listed> = items.iter().map(|item| Listed::new(item, now)).collect();
        tokens.sort_by(|one, other| {
            (&one.created_at, &one.hashed_token).cmp(&(&other.created_at, &other.hashed_token))
        });
        output.print(&Tokens { tokens })
    }
}

impl Listed {
    fn new(item: &Item, now: OffsetDateTime) -> Self {
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
        // The seconds of an imported token may have a fraction.
        let expires_at = item.get("expiresAt").and_then(|value| value.as_n().ok()?.parse::<f64>().ok());
        let moment = |seconds: f64| OffsetDateTime::from_unix_timestamp(seconds as i64).ok().map(rfc3339);
        Self {
            hashed_token: text("hashedToken").unwrap_or_default(),
            name: text("name"),
            kind: text("type"),
            created_at: text("createdAt"),
            expires_at: expires_at.and_then(moment),
            is_expired: expires_at.is_some_and(|end| end <= now.unix_timestamp_nanos() as f64 / 1e9),
        }
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tokens.is_empty() {
            return f.write_str("no tokens");
        }
        for (place, token) in self.tokens.iter().enumerate() {
            let Listed { hashed_token, name, kind, created_at, expires_at, is_expired } = token;
            let separator = if place == 0 { "" } else { "\n" };
            write!(f, "{separator}{hashed_token}")?;
            if let Some(created_at) = created_at {
                write!(f, "  created {created_at}")?;
            }
            match expires_at {
                Some(end) if *is_expired => write!(f, "  expired {end}")?,
                Some(end) => write!(f, "  expires {end}")?,
                None => write!(f, "  does not expire")?,
            }
            for word in [kind, name].into_iter().flatten() {
                write!(f, "  {word}")?;
            }
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(self, database: &Database, output: Output) -> Result<()> {
        let hashed_token = match self.selector.hash {
            Some(hash) => hash,
            None => hashed_token(&read_token()?),
        };
        let table = &database.tables.tokens;
        let delete = database.client.delete_item().table_name(table);
        let delete = delete.set_key(Some(Key::Token(hashed_token.clone()).attributes()));
        let old = match delete.return_values(ReturnValue::AllOld).send().await {
            Ok(output) => output.attributes,
            // DynamoDB refuses an empty hash, because it can't be a key.
            Err(error) if error.code() == Some("ValidationException") => None,
            Err(error) => return Err(Database::describe_error(table, error)),
        };
        let Some(old) = old else { bail!("there is no token with the hash {hashed_token}") };
        if !old.contains_key(SOURCE) {
            warn(
                "the token came from Rocket.Chat; the next import brings it back, unless it is revoked in Rocket.Chat, too",
            );
        }
        let user_id = old.get("userId").and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
        output.print(&Revoked { hashed_token, user_id })
    }
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revoked {}, a token of user {}", self.hashed_token, self.user_id)
    }
}

/// Reads the token from standard input.
fn read_token() -> Result<String> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        note("Type or paste the token and end with Enter and Ctrl-D. It is shown as you type.");
    }
    let mut text = String::new();
    stdin.take(MAX_INPUT_BYTES).read_to_string(&mut text).context("reading the token from standard input")?;
    match text.trim() {
        "" => bail!("there is no token on standard input"),
        token => Ok(token.to_owned()),
    }
}
