//! Reads documents by their ids, all documents of a kind, and the settings.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use mongodb::Cursor;
use mongodb::bson::{Bson, Document as BsonDocument, doc};
use time::Duration;

use super::client::MongoDb;
use super::collections::{Kind, SETTINGS};
use super::failure::{Failure, Step, within};
use super::ids::{extended_json, id_text, with_id, with_ids};
use crate::import::document::Document;
use crate::import::extended_json::text;
use crate::import::records::UnitOrDepartment;
use crate::sync::model::Place;

/// How many ids one query looks up.
const MAX_IDS_A_QUERY: usize = 200;

/// The lifetime of logins where the setting is absent or not positive, in days, as in Rocket.Chat's
/// `getLoginExpiration`.
const DEFAULT_EXPIRATION_DAYS: f64 = 90.0;

/// The longest lifetime of logins, in days. A longer one counts as this.
const MAX_EXPIRATION_DAYS: f64 = 36_500.0;

/// Which workspace and which database it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The setting `uniqueID`, which Rocket.Chat makes for each workspace.
    pub unique_id: Option<String>,
    /// The name of the replica set.
    pub replica_set: String,
    /// The name of the database.
    pub database: String,
}

impl MongoDb {
    /// Which workspace the database holds.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn workspace(&self) -> Result<Identity, Failure> {
        let unique_id = match self.setting("uniqueID").await? {
            Some(Bson::String(id)) if !id.is_empty() => Some(id),
            _ => None,
        };
        let replica_set = self.replica_set().await?;
        Ok(Identity { unique_id, replica_set, database: self.database.name().to_owned() })
    }

    /// How long a login is valid: the setting `Accounts_LoginExpiration`.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn login_expiration(&self) -> Result<Duration, Failure> {
        let days = match self.setting("Accounts_LoginExpiration").await? {
            Some(Bson::Int32(days)) => f64::from(days),
            Some(Bson::Int64(days)) => days as f64,
            Some(Bson::Double(days)) => days,
            _ => DEFAULT_EXPIRATION_DAYS,
        };
        let days = if days > 0.0 { days.min(MAX_EXPIRATION_DAYS) } else { DEFAULT_EXPIRATION_DAYS };
        Ok(Duration::seconds((days * 86_400.0) as i64))
    }

    async fn setting(&self, id: &str) -> Result<Option<Bson>, Failure> {
        let step = Step { action: "find", collection: SETTINGS };
        let settings = self.collection(SETTINGS);
        let find = settings.find_one(doc! { "_id": id }).projection(doc! { "value": 1 });
        Ok(within(step, find).await?.and_then(|mut setting| setting.remove("value")))
    }

    /// A user with their login tokens.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn user(&self, id: &UserId) -> Result<Option<Document>, Failure> {
        self.document(Kind::Users, id.as_str()).await
    }

    /// Those of these users that exist, with their login tokens.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn users(&self, ids: &[UserId]) -> Result<HashMap<UserId, Document>, Failure> {
        let ids: Vec<&str> = ids.iter().map(UserId::as_str).collect();
        let found = self.several(Kind::Users, &ids).await?;
        Ok(found.into_iter().filter_map(|(id, document)| Some((UserId::parse(id)?, document))).collect())
    }

    /// Those of these departments that exist.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn departments(
        &self,
        ids: &[DepartmentId],
    ) -> Result<HashMap<DepartmentId, Document>, Failure> {
        let ids: Vec<&str> = ids.iter().map(DepartmentId::as_str).collect();
        let found = self.several(Kind::Departments, &ids).await?;
        Ok(found
            .into_iter()
            .filter_map(|(id, document)| Some((DepartmentId::parse(id)?, document)))
            .collect())
    }

    async fn several(&self, kind: Kind, ids: &[&str]) -> Result<Vec<(String, Document)>, Failure> {
        let mut documents = Vec::new();
        for ids in ids.chunks(MAX_IDS_A_QUERY) {
            let mut filter = kind.condition();
            filter.extend(with_ids(ids.iter().copied()));
            let collection = self.collection(kind.collection());
            let mut find = collection.find(filter);
            if let Some(projection) = kind.projection() {
                find = find.projection(projection);
            }
            let found: Vec<BsonDocument> =
                within(finding(kind), async { find.await?.try_collect().await }).await?;
            let with_id = |document: BsonDocument| Some((id_text(document.get("_id")?)?, document));
            documents
                .extend(found.into_iter().filter_map(with_id).map(|(id, found)| (id, extended_json(found))));
        }
        Ok(documents)
    }

    /// A permission.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn permission(&self, id: &str) -> Result<Option<Document>, Failure> {
        self.document(Kind::Permissions, id).await
    }

    /// A department. `None` if the document with this id is a unit.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn department(&self, id: &DepartmentId) -> Result<Option<Document>, Failure> {
        self.document(Kind::Departments, id.as_str()).await
    }

    /// The unit that a department is in. `None` also if there is no such department, or if it can't be used.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn place_of(&self, id: &DepartmentId) -> Result<Place, Failure> {
        let document = self.department(id).await?;
        Ok(match document.map(UnitOrDepartment::parse) {
            Some(Ok(UnitOrDepartment::Department(found))) => found.place.parent_id.and_then(UnitId::parse),
            _ => None,
        })
    }

    async fn document(&self, kind: Kind, id: &str) -> Result<Option<Document>, Failure> {
        let mut filter = kind.condition();
        filter.extend(with_id(id));
        let collection = self.collection(kind.collection());
        let mut find = collection.find_one(filter);
        if let Some(projection) = kind.projection() {
            find = find.projection(projection);
        }
        Ok(within(finding(kind), find).await?.map(extended_json))
    }

    /// Which of these ids exist.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn existing(&self, kind: Kind, ids: &[String]) -> Result<HashSet<String>, Failure> {
        let mut existing = HashSet::new();
        for ids in ids.chunks(MAX_IDS_A_QUERY) {
            let mut filter = kind.condition();
            filter.extend(with_ids(ids.iter().map(String::as_str)));
            let collection = self.collection(kind.collection());
            let found: Vec<BsonDocument> = within(finding(kind), async {
                collection.find(filter).projection(doc! { "_id": 1 }).await?.try_collect().await
            })
            .await?;
            existing.extend(found.iter().filter_map(|document| id_text(document.get("_id")?)));
        }
        Ok(existing)
    }

    /// How many documents of a kind there are.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn count(&self, kind: Kind) -> Result<u64, Failure> {
        within(finding(kind), self.collection(kind.collection()).count_documents(kind.condition())).await
    }

    /// All documents of a kind in the order of their `_id`.
    pub fn documents(&self, kind: Kind) -> Batches {
        // A user may have fifty login tokens.
        let size = if kind == Kind::Users { 250 } else { 1_000 };
        self.batches(kind, kind.projection(), size)
    }

    /// The ids of all documents of a kind.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn ids(&self, kind: Kind) -> Result<Ids, Failure> {
        let mut batches = self.batches(kind, Some(doc! { "_id": 1 }), 5_000);
        let mut in_order: Vec<Box<str>> = Vec::new();
        while let Some(batch) = batches.next().await? {
            in_order.extend(batch.iter().filter_map(|document| Some(text(document.get("_id")?)?.into())));
        }
        Ok(Ids::new(in_order))
    }

    fn batches(&self, kind: Kind, projection: Option<BsonDocument>, size: usize) -> Batches {
        Batches { mongo: self.clone(), kind, projection, size, last: None, cursor: None, is_complete: false }
    }
}

/// The ids of all documents of a kind.
#[derive(Debug, Default)]
pub struct Ids {
    /// The ids in the order in which [`MongoDb::documents`] returns their documents.
    in_order: Vec<Box<str>>,
    /// Their places in `in_order`, sorted by id. An index of four bytes takes a tenth of the memory of a set.
    sorted: Vec<u32>,
}

impl Ids {
    fn new(in_order: Vec<Box<str>>) -> Self {
        let mut sorted: Vec<u32> = (0..).take(in_order.len()).collect();
        sorted.sort_unstable_by_key(|place| &in_order[*place as usize]);
        Self { in_order, sorted }
    }

    /// Whether there was a document with this id.
    pub fn contains(&self, id: &str) -> bool {
        self.sorted.binary_search_by_key(&id, |place| &self.in_order[*place as usize]).is_ok()
    }

    /// Whether there was no document.
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    /// The ids in the order in which [`MongoDb::documents`] returns their documents.
    pub fn in_order(self) -> std::vec::IntoIter<Box<str>> {
        self.in_order.into_iter()
    }
}

/// The documents of a kind, some hundreds at a time.
#[derive(Debug)]
pub struct Batches {
    mongo: MongoDb,
    kind: Kind,
    /// The fields that are read. `None` means all of them.
    projection: Option<BsonDocument>,
    /// The number of documents in a batch.
    size: usize,
    /// The last `_id` that was read and is a string or an object id.
    last: Option<Bson>,
    /// The cursor that is being read. After an error there is none, and the next call goes on from where the last batch
    /// ended.
    cursor: Option<Cursor<BsonDocument>>,
    /// True after the last document.
    is_complete: bool,
}

impl Batches {
    /// The next documents. `None` when there are no more. After an error the same call can be made again.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Document>>, Failure> {
        if self.is_complete {
            return Ok(None);
        }
        let mut cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.open().await?,
        };
        let size = self.size;
        let documents = within(finding(self.kind), async {
            let mut documents = Vec::new();
            while documents.len() < size && cursor.advance().await? {
                documents.push(cursor.deserialize_current()?);
            }
            Ok(documents)
        })
        .await?;
        if documents.len() == size {
            self.cursor = Some(cursor);
        } else {
            self.is_complete = true;
        }
        let mut ids = documents.iter().rev().filter_map(|document| document.get("_id"));
        if let Some(last) = ids.find(|id| id_text(id).is_some()) {
            self.last = Some(last.clone());
        }
        for document in &documents {
            self.note(document);
        }
        let documents: Vec<Document> = documents.into_iter().map(extended_json).collect();
        Ok((!documents.is_empty()).then_some(documents))
    }

    /// Remembers what the event of a deletion does not say, and what would be looked up for other events.
    fn note(&self, document: &BsonDocument) {
        let Some(id) = document.get("_id").and_then(id_text) else { return };
        match self.kind {
            Kind::Departments | Kind::Units => self.mongo.known.note_kind(id, self.kind == Kind::Units),
            Kind::UnitMonitors => {
                if let Some(unit) = document.get("unitId").and_then(id_text).and_then(UnitId::parse) {
                    self.mongo.known.note_row_if_unknown(id, unit);
                }
            }
            Kind::Users | Kind::Permissions => {}
        }
    }

    /// Opens a cursor for what is still to be read.
    async fn open(&mut self) -> Result<Cursor<BsonDocument>, Failure> {
        let mut filter = self.kind.condition();
        match &self.last {
            // One query for ids of all types: a server without a suitable plan reads everything for each query.
            None => {}
            // A comparison finds only ids of the same type. Object ids come after strings.
            Some(last @ Bson::String(_)) => {
                let rest = [doc! { "_id": { "$gt": last } }, doc! { "_id": { "$type": "objectId" } }];
                filter.insert("$or", rest.to_vec());
            }
            Some(last) => drop(filter.insert("_id", doc! { "$gt": last })),
        }
        let collection = self.mongo.collection(self.kind.collection());
        let mut find = collection.find(filter).sort(doc! { "_id": 1 }).batch_size(self.size as u32);
        if let Some(projection) = self.projection.clone() {
            find = find.projection(projection);
        }
        within(finding(self.kind), find).await
    }
}

fn finding(kind: Kind) -> Step {
    Step { action: "find", collection: kind.collection() }
}
