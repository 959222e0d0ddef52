//! The part of a full pass that finds tokens that are in no user's list.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use livechat_units::id::UserId;
use livechat_units::item::Item;
use time::OffsetDateTime;

use super::Pass;
use crate::import::write::partition;
use crate::origin::SOURCE;
use crate::requests::{ScanPage, scan_page};
use crate::sync::dynamodb::users::{self, Found, Options, fingerprint};
use crate::sync::model::{Removal, Side, Subject};

impl Pass<'_> {
    /// Finds tokens that came from Rocket.Chat and are in no user's list. Tables that were filled before there were
    /// such lists have such tokens. The lists that were read with the users are not read again.
    pub(super) async fn tokens(&mut self) -> Result<()> {
        let sides = self.sides;
        let mut known = std::mem::take(&mut self.listed);
        known.sort_unstable();
        let mut start = None;
        loop {
            let scan = sides.database.client.scan().set_exclusive_start_key(start);
            let ScanPage { items, last_key } = scan_page(scan, &sides.database.tables.tokens).await?;
            let mut by_user: BTreeMap<UserId, Vec<Item>> = BTreeMap::new();
            for item in items.into_iter().filter(|item| !item.contains_key(SOURCE)) {
                let user = item.get("userId").and_then(|user| user.as_s().ok()).and_then(UserId::parse);
                let is_known = known.binary_search(&fingerprint(partition(&item))).is_ok();
                if let Some(user) = user.filter(|_| !is_known) {
                    by_user.entry(user).or_default().push(item);
                }
            }
            let ids: Vec<UserId> = by_user.keys().cloned().collect();
            let lists = users::read_lists(&sides.database, &ids).await?;
            for (id, tokens) in by_user {
                let list = lists.get(&id);
                let is_listed = |token: &Item| list.is_some_and(|list| list.contains(partition(token)));
                let unlisted: Vec<Item> = tokens.into_iter().filter(|token| !is_listed(token)).collect();
                if !unlisted.is_empty() {
                    self.unlisted(&id, unlisted).await?;
                }
            }
            start = last_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    async fn unlisted(&mut self, id: &UserId, tokens: Vec<Item>) -> Result<()> {
        let sides = self.sides;
        let subject = Subject::User(id.clone());
        let mut stored = users::read(&sides.database, std::slice::from_ref(id)).await?;
        let Some(stored) = stored.get_mut(id) else { bail!("the user was not read") };
        // If a token is in the list by now, the newer read has it already.
        let unlisted: Vec<Item> =
            tokens.into_iter().filter(|token| !stored.lists(partition(token))).collect();
        stored.add_tokens(unlisted);
        let lifetime = sides.lifetime();
        let document = sides.mongodb.user(id).await?;
        // This pass has found these tokens in DynamoDB only, unless it finds too much there only.
        let removal = if self.removal == Removal::HeldBack { Removal::HeldBack } else { Removal::Missing };
        let found = Found::parse(document, removal, lifetime);
        users::read_named(&sides.database, &mut [(&mut *stored, &found)]).await?;
        let options = Options { lifetime, now: OffsetDateTime::now_utc(), removal };
        let decision = users::decide(stored, found, &options);
        sides.reporter.held_back(&subject, decision.is_held_back);
        let Some(write) = decision.write else { return Ok(()) };
        for orphan in write.orphans() {
            sides.reporter.warn(format!("{orphan} is removed: neither MongoDB nor the user's list has it"));
        }
        if !sides.mode.is_dry_run {
            sides.check_lease()?;
            // If the write is refused because something has changed meanwhile, the event of that change leads to a
            // look. The next pass finds what is left.
            users::write(&sides.database, &write).await?;
        }
        sides.reporter.change(&subject, Side::DynamoDb, &write);
        Ok(())
    }
}
