//! Decides what to write of a user. There are no requests here.

use std::collections::{BTreeMap, BTreeSet};

use livechat_units::item::Item;
use time::OffsetDateTime;

use super::change::{ListChange, UserChange, UserWrite};
use super::state::{Found, Options, StoredUser, hashes};
use crate::import::equality::equal;
use crate::import::user::{LoginToken, User};
use crate::sync::dynamodb::Decision;

/// Says what to write so that DynamoDB has the user as MongoDB has them.
pub fn decide(stored: &StoredUser, found: Found, options: &Options) -> Decision<UserWrite> {
    match found {
        Found::User(user) => present(stored, *user, options),
        Found::Absent { was_deleted } if was_deleted || stored.list.is_some() => deleted(stored, options),
        // The user was created by an operator, or does not exist. A token without `source` came from Rocket.Chat, so it
        // is revoked.
        Found::Absent { .. } => {
            let mut write = UserWrite::new(stored, ListChange::StaysAbsent, options.now);
            write.delete_tokens(stored, |_| true);
            match write.tokens_to_delete.is_empty() {
                true => Decision::nothing(),
                false => Decision::removal(write, options.removal),
            }
        }
        Found::Broken { reason, hashes } => {
            let write = hashes.and_then(|hashes| without_revoked(stored, &hashes, options.now));
            Decision { write, problems: vec![reason], ..Decision::nothing() }
        }
    }
}

/// A user whom MongoDB does not have any more. The list stays for a while, without hashes. So the write of a process
/// that read the user before the deletion is refused.
fn deleted(stored: &StoredUser, options: &Options) -> Decision<UserWrite> {
    let mut write = UserWrite::new(stored, ListChange::Deleted, options.now);
    write.delete_tokens(stored, |_| true);
    if stored.user.is_some() {
        write.user = UserChange::Delete;
    }
    let is_remembered = stored.list.as_ref().is_some_and(|list| list.contains_key("deletedAt"));
    let removes = stored.user.is_some() || !write.tokens_to_delete.is_empty();
    let is_list_empty = hashes(stored.list.as_ref()).next().is_none();
    match () {
        () if removes => Decision::removal(write, options.removal),
        () if is_remembered && is_list_empty => Decision::nothing(),
        () => Decision::write(write),
    }
}

/// For a document that can't be used: only deletes the tokens that the document does not have any more.
fn without_revoked(stored: &StoredUser, named: &BTreeSet<String>, now: OffsetDateTime) -> Option<UserWrite> {
    let listed: BTreeSet<String> =
        hashes(stored.list.as_ref()).filter(|hash| named.contains(*hash)).map(str::to_owned).collect();
    let list = match stored.list {
        None => ListChange::StaysAbsent,
        Some(_) => ListChange::Hashes(listed),
    };
    let mut write = UserWrite::new(stored, list, now);
    write.delete_tokens(stored, |hash| !named.contains(hash));
    (!write.tokens_to_delete.is_empty()).then_some(write)
}

/// A user whom MongoDB has.
fn present(stored: &StoredUser, mut user: User, options: &Options) -> Decision<UserWrite> {
    let mut problems = std::mem::take(&mut user.unusable);
    let named: BTreeSet<String> = user.hashes().map(str::to_owned).collect();
    let old: BTreeSet<&str> = hashes(stored.list.as_ref()).collect();
    let is_foreign = |hash: &str| stored.tokens.get(hash).is_some_and(|token| !stored.owns(token));

    // If a token of MongoDB can't be used, what is stored of it stays until the token is revoked.
    let mut target: BTreeSet<String> =
        user.unusable_hashes.iter().filter(|hash| !is_foreign(hash)).cloned().collect();
    let mut tokens_to_put = BTreeMap::new();
    for (hash, token) in user.tokens {
        if is_foreign(&hash) {
            problems.push("a login token that is stored as another user's, or was made by unitctl".into());
            continue;
        }
        let is_listed = old.contains(hash.as_str());
        match decide_token(&token, stored.tokens.get(&hash), is_listed, options) {
            Ok(Verdict::Expired) if is_listed => {
                target.insert(hash);
            }
            Ok(Verdict::Expired) => {}
            Ok(Verdict::Stored) => {
                target.insert(hash);
            }
            Ok(Verdict::Put(item)) => {
                target.insert(hash.clone());
                tokens_to_put.insert(hash, item);
            }
            Err(reason) => {
                problems.push(format!("a login token: {reason}"));
                target.insert(hash);
            }
        }
    }

    let is_user_stored = stored.user.as_ref().is_some_and(|old| equal(old, &user.item));
    let is_list_stored = stored.list.as_ref().is_some_and(|list| !list.contains_key("deletedAt"))
        && old.iter().copied().eq(target.iter().map(String::as_str));
    let mut write = UserWrite::new(stored, ListChange::Hashes(target), options.now);
    write.delete_tokens(stored, |hash| !named.contains(hash));
    write.tokens_to_put = tokens_to_put;
    if !is_user_stored {
        write.user = UserChange::Put(user.item);
    }
    let is_stored = is_user_stored
        && is_list_stored
        && write.tokens_to_delete.is_empty()
        && write.tokens_to_put.is_empty();
    Decision { write: (!is_stored).then_some(write), problems, ..Decision::nothing() }
}

/// What to do about a token that MongoDB has.
enum Verdict {
    /// It is stored as it should be.
    Stored,
    /// It has expired, and it is not stored, or the stored item has expired, too.
    Expired,
    /// This item has to be stored.
    Put(Item),
}

/// Decides about a token that MongoDB has. `stored` is its item in DynamoDB. `is_listed` is true if the user's list has
/// it.
///
/// # Errors
/// The token can't be used. The error says why.
fn decide_token(
    token: &LoginToken,
    stored: Option<&Item>,
    is_listed: bool,
    options: &Options,
) -> Result<Verdict, String> {
    let item = match token.lacks_when {
        // It was stored before, has expired since, and was deleted by the table's time to live. Its lifetime must not
        // begin again.
        true if stored.is_none() && is_listed => return Ok(Verdict::Expired),
        true => token.item_since_first_import(stored, options.lifetime, options.now)?,
        false => token.item.clone(),
    };
    let is_stored = stored.is_some_and(|stored| equal(stored, &item));
    let is_stored_as_valid = stored.is_some_and(|stored| !is_expired(stored, options.now));
    Ok(match is_expired(&item, options.now) {
        true if !is_stored_as_valid => Verdict::Expired,
        _ if is_stored => Verdict::Stored,
        _ => Verdict::Put(item),
    })
}

/// Whether a token's `expiresAt` is not after this moment.
fn is_expired(token: &Item, now: OffsetDateTime) -> bool {
    let end = token.get("expiresAt").and_then(|value| value.as_n().ok()?.parse::<f64>().ok());
    end.is_some_and(|end| end <= now.unix_timestamp_nanos() as f64 / 1e9)
}
