//! The users that a scan finds in DynamoDB.

use livechat_units::id::UserId;
use livechat_units::item::Item;

use crate::import::write::partition;
use crate::origin::SOURCE;
use crate::sync::dynamodb::users::{Digest, fingerprint, hashes};
use crate::sync::guard::Count;

/// The users of DynamoDB, with a short form of what is stored of each. MongoDB's users are many, so
/// they are read only once, when they are compared. This says in the end which users MongoDB does not have.
#[derive(Debug, Default)]
pub struct StoredUsers {
    /// Sorted by id.
    users: Vec<StoredUser>,
    /// True if MongoDB has a user.
    is_one_in_mongodb: bool,
    /// The fingerprints of the hashes in the users' lists, sorted.
    listed: Vec<u64>,
    has_unlisted_tokens: bool,
}

#[derive(Debug)]
struct StoredUser {
    id: Box<str>,
    digest: Digest,
    /// True if the user came from Rocket.Chat.
    has_list: bool,
    /// True if only an item with the time of the deletion is left.
    is_deleted: bool,
    is_in_mongodb: bool,
}

/// An item of a user.
#[derive(Clone, Copy, Debug)]
pub enum UserItem {
    /// The item with the name and the roles.
    User,
    /// The item `TOKENS`.
    List,
}

/// What a scan of the livechat table has found so far.
#[derive(Debug, Default)]
pub struct Collected {
    users: Vec<StoredUser>,
    listed: Vec<u64>,
}

impl Collected {
    /// Adds an item.
    pub fn add(&mut self, id: &UserId, kind: UserItem, item: &Item) {
        let mut digest = Digest::default();
        match kind {
            UserItem::User => digest.add_item(item),
            UserItem::List => {
                digest.add_list(item);
                self.listed.extend(hashes(Some(item)).map(fingerprint));
            }
        }
        let has_list = matches!(kind, UserItem::List);
        let is_deleted = has_list && item.contains_key("deletedAt");
        let user = StoredUser { id: id.as_str().into(), digest, has_list, is_deleted, is_in_mongodb: false };
        // Items with the same partition key come one after the other.
        match self.users.last_mut() {
            Some(last) if last.id == user.id => last.add(&user),
            _ => self.users.push(user),
        }
    }

    /// All users.
    pub fn finish(self) -> StoredUsers {
        let Self { mut users, mut listed } = self;
        users.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        users.shrink_to_fit();
        listed.sort_unstable();
        StoredUsers { users, listed, ..StoredUsers::default() }
    }
}

impl StoredUser {
    fn add(&mut self, other: &Self) {
        self.digest.add_digest(other.digest);
        self.has_list |= other.has_list;
        self.is_deleted |= other.is_deleted;
    }
}

impl StoredUsers {
    /// Adds a token, unless `unitctl` has created it.
    pub fn add_token(&mut self, token: &Item) {
        if token.contains_key(SOURCE) {
            return;
        }
        let owner = token.get("userId").and_then(|id| id.as_s().ok());
        if let Some(place) = owner.and_then(|owner| self.place(owner)) {
            self.users[place].digest.add_item(token);
        }
        self.has_unlisted_tokens |= self.listed.binary_search(&fingerprint(partition(token))).is_err();
    }

    /// MongoDB has this user.
    pub fn mark(&mut self, id: &str) {
        self.is_one_in_mongodb = true;
        if let Some(place) = self.place(id) {
            self.users[place].is_in_mongodb = true;
        }
    }

    /// Whether DynamoDB has neither the user nor their list of hashes.
    pub fn lacks(&self, id: &str) -> bool {
        self.place(id).is_none()
    }

    /// Whether DynamoDB has exactly this of a user.
    pub fn has(&self, id: &str, digest: Digest) -> bool {
        self.place(id).is_some_and(|place| self.users[place].digest == digest)
    }

    /// The fingerprints of the hashes in the users' lists.
    pub fn take_listed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.listed)
    }

    /// Whether there are tokens that came from Rocket.Chat and are in no list.
    pub fn has_unlisted_tokens(&self) -> bool {
        self.has_unlisted_tokens
    }

    /// The users who came from Rocket.Chat and are not in MongoDB, and the numbers for the guard. All that MongoDB has must be
    /// marked.
    pub fn missing(&self) -> (Vec<UserId>, Count) {
        let rocket_chats = || self.users.iter().filter(|user| user.has_list);
        let missing = || rocket_chats().filter(|user| !user.is_in_mongodb);
        let in_dynamodb = rocket_chats().filter(|user| !user.is_deleted).count();
        let count = Count {
            kind: "users",
            in_dynamodb,
            missing: missing().filter(|user| !user.is_deleted).count(),
            is_empty_in_mongodb: in_dynamodb > 0 && !self.is_one_in_mongodb,
            is_lenient: false,
        };
        (missing().filter_map(|user| UserId::parse(&*user.id)).collect(), count)
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.users.binary_search_by(|user| (*user.id).cmp(id)).ok()
    }
}
