//! Rocket.Chat, as far as its database sees it: each function makes the writes of one action, in Rocket.Chat's order, one
//! after the other and without a transaction. The comments name the functions of Rocket.Chat's sources.

mod departments;
mod rooms;
mod users;

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::{Collection, Database};

/// The environment variable MAX_RESUME_LOGIN_TOKENS of Rocket.Chat, by default.
pub const MAX_LOGIN_TOKENS: usize = 50;

/// How a version of Rocket.Chat takes a department out of its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// `$unset`, as now.
    Unset,
    /// `parentId: null` and `ancestors: null`, as in old versions.
    Null,
}

#[derive(Clone, Debug)]
pub struct RocketChat {
    pub db: Database,
    pub leaving: Leaving,
    /// How long it waits after each write.
    pub pause: Duration,
    /// How far its clock is ahead, in ms.
    pub clock: i64,
}

impl RocketChat {
    pub fn new(db: Database) -> Self {
        Self { db, leaving: Leaving::Unset, pause: Duration::ZERO, clock: 0 }
    }

    fn now(&self) -> DateTime {
        DateTime::from_millis(DateTime::now().timestamp_millis() + self.clock)
    }

    pub fn name(&self) -> &str {
        self.db.name()
    }

    /// Copies all that the sync reads to another database, as a restored backup.
    pub async fn copy_to(&self, name: &str) {
        let copy = self.db.client().database(name);
        for collection in
            [self.users(), self.permissions(), self.settings(), self.departments(), self.unit_monitors()]
        {
            let documents = all(&collection, doc! {}).await;
            copy.collection(collection.name()).insert_many(documents).await.expect("they are inserted");
        }
    }

    pub async fn drop_copy(&self, name: &str) {
        self.db.client().database(name).drop().await.expect("it is dropped");
    }

    pub fn users(&self) -> Collection<Document> {
        self.db.collection("users")
    }

    pub fn permissions(&self) -> Collection<Document> {
        self.db.collection("rocketchat_permissions")
    }

    pub fn settings(&self) -> Collection<Document> {
        self.db.collection("rocketchat_settings")
    }

    pub fn departments(&self) -> Collection<Document> {
        self.db.collection("rocketchat_livechat_department")
    }

    pub fn unit_monitors(&self) -> Collection<Document> {
        self.db.collection("rocketchat_livechat_unit_monitors")
    }

    pub fn rooms(&self) -> Collection<Document> {
        self.db.collection("rocketchat_room")
    }

    fn trash(&self) -> Collection<Document> {
        self.db.collection("rocketchat__trash")
    }

    /// What a new workspace has: its id, and the lifetime of logins.
    pub async fn set_up(&self, unique_id: &str) {
        for (id, value) in
            [("uniqueID", Bson::from(unique_id)), ("Accounts_LoginExpiration", Bson::Int32(90))]
        {
            insert(&self.settings(), doc! { "_id": id, "value": value, "_updatedAt": self.now() }).await;
        }
    }

    /// `BaseRaw.updateOne`, which sets `_updatedAt`
    async fn update_one(&self, collection: &Collection<Document>, filter: Document, mut update: Document) {
        let mut set = update.get_document("$set").cloned().unwrap_or_default();
        set.insert("_updatedAt", self.now());
        update.insert("$set", set);
        self.update_raw(collection, filter, update).await;
    }

    /// An update of Meteor's own, or of the raw collection, without `_updatedAt`
    async fn update_raw(&self, collection: &Collection<Document>, filter: Document, update: Document) {
        collection.update_one(filter, update).await.expect("it is updated");
        self.wait().await;
    }

    /// `BaseRaw.deleteOne` of a model that has a trash
    async fn delete_with_trash(&self, collection: &Collection<Document>, name: &str, id: &str) {
        let Some(mut record) = collection.find_one(doc! { "_id": id }).await.expect("it is read") else {
            return;
        };
        record.remove("_id");
        record.insert("_deletedAt", self.now());
        record.insert("__collection__", name);
        self.trash()
            .update_one(doc! { "_id": id }, doc! { "$set": record })
            .upsert(true)
            .await
            .expect("it is written");
        self.wait().await;
        collection.delete_one(doc! { "_id": id }).await.expect("it is deleted");
        self.wait().await;
    }

    async fn wait(&self) {
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
    }
}

/// A new `_id`, as `BaseRaw.insertOne` makes it.
pub fn new_id() -> String {
    ObjectId::new().to_hex()
}

async fn insert(collection: &Collection<Document>, document: Document) {
    collection.insert_one(document).await.expect("it is inserted");
}

async fn all(collection: &Collection<Document>, filter: Document) -> Vec<Document> {
    collection.find(filter).await.expect("they are found").try_collect().await.expect("they are read")
}
