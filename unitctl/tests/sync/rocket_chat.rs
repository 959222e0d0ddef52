//! Rocket.Chat, as far as its database sees it: each function makes the writes of one action, in Rocket.Chat's order, one
//! after the other and without a transaction. The comments name the functions of Rocket.Chat's sources.

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

    // Users

    /// `insertUserDoc`, then `addUserRoles`.
    pub async fn create_user(&self, id: &str, username: &str, roles: &[&str]) {
        let now = self.now();
        let user = doc! {
            "_id": id,
            "createdAt": now,
            "services": { "password": { "bcrypt": "x" }, "email2fa": { "enabled": true } },
            "username": username,
            "emails": [{ "address": format!("{username}@example.com"), "verified": true }],
            "type": "user",
            "status": "offline",
            "active": true,
            "roles": [],
            "_updatedAt": now,
            "name": username,
        };
        insert(&self.users(), user).await;
        self.wait().await;
        if !roles.is_empty() {
            self.add_roles(id, roles).await;
        }
    }

    /// `Users.addRolesByUserId`
    pub async fn add_roles(&self, id: &str, roles: &[&str]) {
        let roles = doc! { "$addToSet": { "roles": { "$each": roles.to_vec() } } };
        self.update_one(&self.users(), doc! { "_id": id }, roles).await;
    }

    /// `Users.removeRolesByUserId`
    pub async fn remove_roles(&self, id: &str, roles: &[&str]) {
        self.update_one(&self.users(), doc! { "_id": id }, doc! { "$pullAll": { "roles": roles.to_vec() } })
            .await;
    }

    /// `Users.setUsername`
    pub async fn rename_user(&self, id: &str, username: &str) {
        self.update_one(&self.users(), doc! { "_id": id }, doc! { "$set": { "username": username } }).await;
    }

    /// `setUserActiveStatus`: a user who is deactivated is logged out with the second write.
    pub async fn set_active(&self, id: &str, active: bool) {
        self.update_one(&self.users(), doc! { "_id": id }, doc! { "$set": { "active": active } }).await;
        if !active {
            self.log_out_everywhere(id).await;
        }
    }

    /// `deleteUser`: the rows of a monitor, then the copy in the trash, then the user.
    pub async fn delete_user(&self, id: &str) {
        self.delete_rows(doc! { "monitorId": id }).await;
        self.wait().await;
        self.delete_with_trash(&self.users(), "users", id).await;
    }

    /// A login: `_insertHashedLoginToken` of Meteor, `Users.updateLastLoginById`, `ensureLoginTokensLimit`.
    pub async fn log_in(&self, id: &str, hash: &str) {
        self.log_in_at(id, hash, self.now()).await;
    }

    pub async fn log_in_at(&self, id: &str, hash: &str, when: DateTime) {
        let token = doc! { "when": when, "hashedToken": hash };
        self.update_raw(
            &self.users(),
            doc! { "_id": id },
            doc! { "$addToSet": { "services.resume.loginTokens": token } },
        )
        .await;
        let last_login = doc! { "$set": { "lastLogin": self.now() } };
        self.update_one(&self.users(), doc! { "_id": id }, last_login).await;
        self.trim_tokens(id).await;
    }

    /// `ensureLoginTokensLimit`: when a user has fifty logins, those that are older than the fiftieth newest go.
    async fn trim_tokens(&self, id: &str) {
        let user = self.users().find_one(doc! { "_id": id }).await.expect("it is read").expect("it is there");
        let tokens = user
            .get_document("services")
            .and_then(|services| services.get_document("resume"))
            .and_then(|resume| resume.get_array("loginTokens"))
            .cloned()
            .unwrap_or_default();
        let mut times: Vec<DateTime> = tokens
            .iter()
            .filter_map(Bson::as_document)
            .filter(|token| !token.get_str("type").is_ok_and(|kind| kind == "personalAccessToken"))
            .filter_map(|token| token.get_datetime("when").ok().copied())
            .collect();
        times.sort_unstable();
        times.reverse();
        if let Some(oldest) = times.get(MAX_LOGIN_TOKENS - 1) {
            let older = doc! { "when": { "$lt": *oldest } };
            let pull = doc! { "$pull": { "services.resume.loginTokens": older } };
            self.update_one(&self.users(), doc! { "_id": id }, pull).await;
        }
    }

    /// `Users.unsetOneLoginToken`. Meteor's `Accounts.destroyToken` has the same result, but pulls by an `$or`, which
    /// SecantusDB does not know.
    pub async fn log_out(&self, id: &str, hash: &str) {
        let pull = doc! { "$pull": { "services.resume.loginTokens": { "hashedToken": hash } } };
        self.update_raw(&self.users(), doc! { "_id": id }, pull).await;
    }

    /// `Users.removeNonPATLoginTokensExcept`
    pub async fn log_out_others(&self, id: &str, hash: &str) {
        let token = doc! { "when": { "$exists": true }, "hashedToken": { "$ne": hash } };
        let pull = doc! { "$pull": { "services.resume.loginTokens": token } };
        self.update_raw(&self.users(), doc! { "_id": id }, pull).await;
    }

    /// `Users.unsetLoginTokens`
    pub async fn log_out_everywhere(&self, id: &str) {
        let set = doc! { "$set": { "services.resume.loginTokens": [] } };
        self.update_raw(&self.users(), doc! { "_id": id }, set).await;
    }

    /// `Accounts._expireTokens` of Meteor, which runs every ten minutes
    pub async fn expire_tokens(&self, before: DateTime) {
        let old = doc! { "services.resume.loginTokens.when": { "$lt": before } };
        let pull = doc! { "$pull": { "services.resume.loginTokens": { "when": { "$lt": before } } } };
        self.users().update_many(old, pull).await.expect("they are updated");
        self.wait().await;
    }

    /// `Users.addPersonalAccessTokenToUser`
    pub async fn add_personal_token(&self, id: &str, hash: &str, name: &str) {
        let token = doc! {
            "hashedToken": hash,
            "type": "personalAccessToken",
            "createdAt": self.now(),
            "lastTokenPart": "abcdef",
            "name": name,
            "bypassTwoFactor": false,
        };
        let push = doc! { "$push": { "services.resume.loginTokens": token } };
        self.update_one(&self.users(), doc! { "_id": id }, push).await;
    }

    /// `Users.removePersonalAccessTokenOfUser`
    pub async fn remove_personal_token(&self, id: &str, name: &str) {
        let token = doc! { "name": name, "type": "personalAccessToken" };
        let pull = doc! { "$pull": { "services.resume.loginTokens": token } };
        self.update_one(&self.users(), doc! { "_id": id }, pull).await;
    }

    /// What does not matter to the sync: the presence of many users, in bulk writes. SecantusDB is slow with long lists of
    /// ids.
    pub async fn change_presence(&self, ids: &[String], status: &str) {
        for ids in ids.chunks(100) {
            let set = doc! {
                "$set": { "status": status, "statusConnection": status, "_updatedAt": self.now() },
            };
            self.users().update_many(doc! { "_id": { "$in": ids } }, set).await.expect("they are updated");
        }
    }

    // Permissions and settings

    /// `Permissions.createWithRoles`
    pub async fn create_permission(&self, id: &str, roles: &[&str]) {
        let set = doc! { "$set": { "roles": roles.to_vec(), "_updatedAt": self.now() } };
        self.permissions().update_one(doc! { "_id": id }, set).upsert(true).await.expect("it is written");
        self.wait().await;
    }

    /// `Permissions.addRole`
    pub async fn grant(&self, id: &str, role: &str) {
        let filter = doc! { "_id": id, "roles": { "$ne": role } };
        self.update_one(&self.permissions(), filter, doc! { "$addToSet": { "roles": role } }).await;
    }

    /// `Permissions.removeRole`
    pub async fn revoke(&self, id: &str, role: &str) {
        let filter = doc! { "_id": id, "roles": role };
        self.update_one(&self.permissions(), filter, doc! { "$pull": { "roles": role } }).await;
    }

    /// `Settings.updateValueById`
    pub async fn set_login_expiration(&self, days: i32) {
        let filter = doc! {
            "blocked": { "$ne": true }, "value": { "$ne": days }, "_id": "Accounts_LoginExpiration",
        };
        self.update_one(&self.settings(), filter, doc! { "$set": { "value": days } }).await;
    }

    // Departments

    /// `LivechatDepartment.createOrUpdateDepartment` without an id. Returns the new id.
    pub async fn create_department(&self, name: &str) -> String {
        let id = new_id();
        let department = doc! {
            "_id": &id,
            "enabled": true,
            "name": name,
            "showOnRegistration": true,
            "showOnOfflineForm": true,
            "email": "department@example.com",
            "numAgents": 0,
            "_updatedAt": self.now(),
        };
        insert(&self.departments(), department).await;
        self.wait().await;
        id
    }

    /// `LivechatDepartment.createOrUpdateDepartment` with an id
    pub async fn change_department(&self, id: &str, name: &str) {
        let record = doc! { "enabled": true, "name": name, "description": "changed", "numAgents": 1 };
        self.update_one(&self.departments(), doc! { "_id": id }, doc! { "$set": record }).await;
    }

    /// `LivechatDepartment.archiveDepartment`
    pub async fn archive_department(&self, id: &str) {
        let set = doc! { "$set": { "archived": true, "enabled": false } };
        self.update_one(&self.departments(), doc! { "_id": id }, set).await;
    }

    /// `removeDepartment`: the department goes to the trash, then the hook `afterRemoveDepartment` lowers its unit's counter.
    pub async fn delete_department(&self, id: &str) {
        let department = self.department(id).await.expect("it is there");
        self.delete_with_trash(&self.departments(), "livechat_department", id).await;
        let forward = doc! { "$pull": { "departmentsAllowedToForward": id } };
        self.departments()
            .update_many(doc! { "departmentsAllowedToForward": id }, forward)
            .await
            .expect("they are updated");
        if let Ok(unit) = department.get_str("parentId") {
            self.add_to_count(unit, -1).await;
        }
    }

    /// `manageDepartmentUnit`, from version 7 on: the unit on a department's page.
    pub async fn set_department_unit(&self, id: &str, unit: Option<&str>) {
        let department = self.department(id).await.expect("it is there");
        let current = department.get_str("parentId").ok();
        let ancestors = department.get_array("ancestors").cloned().unwrap_or_default();
        if unit.is_some_and(|unit| ancestors.contains(&Bson::from(unit))) {
            return;
        }
        let Some(unit) = unit else {
            if let Some(current) = current {
                self.add_to_count(current, -1).await;
            }
            self.leave_unit(id).await;
            return;
        };
        let Some(found) = self.unit(unit).await else { return };
        if let Some(current) = current {
            self.add_to_count(current, -1).await;
        }
        self.join_unit(id, &ancestors_in(unit, &found)).await;
        self.add_to_count(unit, 1).await;
    }

    // Units

    /// `LivechatUnit.createOrUpdateUnit`. Without an id it creates the unit. Returns the id.
    pub async fn save_unit(
        &self,
        id: Option<&str>,
        name: &str,
        visibility: &str,
        monitors: &[(&str, &str)],
        departments: &[&str],
    ) -> String {
        let mut record = doc! {
            "name": name,
            "visibility": visibility,
            "type": "u",
            "numMonitors": monitors.len() as i32,
            "numDepartments": departments.len() as i32,
        };
        let mut ancestors = Vec::new();
        let id = match id {
            Some(id) => {
                let unit = self.unit(id).await.expect("the unit is there");
                ancestors = ancestors_in(id, &unit);
                self.update_one(&self.departments(), doc! { "_id": id }, doc! { "$set": record }).await;
                id.to_owned()
            }
            None => {
                let id = new_id();
                record.insert("_id", &id);
                record.insert("_updatedAt", self.now());
                insert(&self.departments(), record).await;
                self.wait().await;
                id
            }
        };
        if ancestors.is_empty() {
            ancestors.push(id.clone());
        }

        let rows: Vec<Document> = all(&self.unit_monitors(), doc! { "unitId": &id }).await;
        for saved in rows.iter().filter_map(|row| row.get_str("monitorId").ok()) {
            if !monitors.iter().any(|(monitor, _)| *monitor == saved) {
                self.delete_rows(doc! { "unitId": &id, "monitorId": saved }).await;
                self.wait().await;
            }
        }
        for (monitor, username) in monitors {
            self.save_monitor(&id, monitor, username).await;
        }

        let saved: Vec<Document> = all(&self.departments(), doc! { "parentId": &id }).await;
        for department in saved.iter().filter_map(|department| department.get_str("_id").ok()) {
            if !departments.contains(&department) {
                self.leave_unit(department).await;
            }
        }
        for department in departments {
            self.join_unit(department, &ancestors).await;
        }
        self.associate_rooms(departments, &id).await;
        id
    }

    /// `LivechatUnitMonitors.saveMonitor`
    pub async fn save_monitor(&self, unit: &str, monitor: &str, username: &str) {
        let filter = doc! { "monitorId": monitor, "unitId": unit };
        let update = doc! {
            "$set": {
                "monitorId": monitor, "unitId": unit, "username": username, "_updatedAt": self.now(),
            },
            "$setOnInsert": { "_id": new_id() },
        };
        self.unit_monitors().update_one(filter, update).upsert(true).await.expect("it is written");
        self.wait().await;
    }

    /// `LivechatUnit.removeById`, where the rows go first
    pub async fn delete_unit_rows_first(&self, id: &str) {
        self.delete_what_belongs_to(id).await;
        self.departments().delete_one(doc! { "_id": id }).await.expect("it is deleted");
        self.wait().await;
    }

    /// `LivechatUnit.removeByIdAndUnit`, where the document goes first
    pub async fn delete_unit_document_first(&self, id: &str) {
        self.departments().delete_one(doc! { "_id": id, "type": "u" }).await.expect("it is deleted");
        self.wait().await;
        self.delete_what_belongs_to(id).await;
    }

    async fn delete_what_belongs_to(&self, id: &str) {
        self.delete_rows(doc! { "unitId": id }).await;
        self.wait().await;
        let update = doc! {
            "$unset": { "parentId": 1 }, "$pull": { "ancestors": id }, "$set": { "_updatedAt": self.now() },
        };
        self.departments().update_many(doc! { "parentId": id }, update).await.expect("they are updated");
        self.wait().await;
        let update = doc! { "$unset": { "departmentAncestors": 1 }, "$set": { "_updatedAt": self.now() } };
        self.rooms().update_many(doc! { "departmentAncestors": id }, update).await.expect("they are updated");
        self.wait().await;
    }

    /// `LivechatEnterprise.removeMonitor`: the role, then the rows of all units. The counters stay as they are.
    pub async fn remove_monitor(&self, user: &str) {
        self.remove_roles(user, &["livechat-monitor"]).await;
        self.delete_rows(doc! { "monitorId": user }).await;
        self.wait().await;
    }

    /// A `deleteMany` of monitors' rows. They are deleted one by one, because SecantusDB's `deleteMany` never ends, and holds
    /// up the whole collection, if a transaction has changed one of the documents at the same time.
    async fn delete_rows(&self, filter: Document) {
        for row in all(&self.unit_monitors(), filter).await {
            let id = row.get("_id").expect("a document has an id").clone();
            self.unit_monitors().delete_one(doc! { "_id": id }).await.expect("it is deleted");
        }
    }

    /// `LivechatUnit.incrementDepartmentsCount` and `decrementDepartmentsCount`
    async fn add_to_count(&self, unit: &str, difference: i32) {
        let add = doc! { "$inc": { "numDepartments": difference } };
        self.update_one(&self.departments(), doc! { "_id": unit }, add).await;
    }

    /// `LivechatDepartment.addDepartmentToUnit`
    async fn join_unit(&self, department: &str, ancestors: &[String]) {
        let set = doc! { "$set": { "parentId": &ancestors[0], "ancestors": ancestors } };
        self.update_one(&self.departments(), doc! { "_id": department }, set).await;
    }

    /// `LivechatDepartment.removeDepartmentFromUnit`
    async fn leave_unit(&self, department: &str) {
        let update = match self.leaving {
            Leaving::Unset => doc! { "$unset": { "parentId": 1, "ancestors": 1 } },
            Leaving::Null => doc! { "$set": { "parentId": null, "ancestors": null } },
        };
        self.update_one(&self.departments(), doc! { "_id": department }, update).await;
    }

    // Rooms

    /// A new conversation with a department, with the `departmentAncestors` that the hook `beforeNewRoom` gives it.
    pub async fn create_room(&self, department: &str, open: bool) -> String {
        let id = new_id();
        let mut room = doc! {
            "_id": &id, "t": "l", "departmentId": department, "open": open, "msgs": 0, "_updatedAt": self.now(),
        };
        let department = self.department(department).await.expect("it is there");
        if let Ok(ancestors) = department.get_array("ancestors") {
            room.insert("departmentAncestors", ancestors.clone());
        }
        insert(&self.rooms(), room).await;
        id
    }

    /// A message: `Rooms.incMsgCountAndSetLastMessageById`
    pub async fn send_message(&self, room: &str) {
        let now = self.now();
        let update = doc! { "$set": { "lm": now, "lastMessage": { "ts": now, "msg": "hello" } }, "$inc": { "msgs": 1 } };
        self.update_one(&self.rooms(), doc! { "_id": room }, update).await;
    }

    /// `LivechatRooms.associateRoomsWithDepartmentToUnit`
    async fn associate_rooms(&self, departments: &[&str], unit: &str) {
        let now = self.now();
        let joining =
            doc! { "departmentId": { "$in": departments.to_vec() }, "departmentAncestors": { "$ne": unit } };
        let set = doc! { "$set": { "departmentAncestors": [unit], "_updatedAt": now } };
        self.rooms().update_many(joining, set).await.expect("they are updated");
        self.wait().await;
        let leaving = doc! { "departmentAncestors": unit, "departmentId": { "$nin": departments.to_vec() } };
        let unset = doc! { "$unset": { "departmentAncestors": 1 }, "$set": { "_updatedAt": now } };
        self.rooms().update_many(leaving, unset).await.expect("they are updated");
        self.wait().await;
    }

    // Reading

    pub async fn unit(&self, id: &str) -> Option<Document> {
        self.departments().find_one(doc! { "_id": id, "type": "u" }).await.expect("it is read")
    }

    pub async fn department(&self, id: &str) -> Option<Document> {
        self.departments().find_one(doc! { "_id": id }).await.expect("it is read")
    }

    /// The rows of a unit: the users and their usernames, sorted.
    pub async fn monitors(&self, unit: &str) -> Vec<(String, String)> {
        let rows = all(&self.unit_monitors(), doc! { "unitId": unit }).await;
        let text = |row: &Document, name| row.get_str(name).expect("a string").to_owned();
        let mut monitors: Vec<_> =
            rows.iter().map(|row| (text(row, "monitorId"), text(row, "username"))).collect();
        monitors.sort_unstable();
        monitors
    }

    /// Whether Rocket.Chat lets a monitor see a room: a row of a unit that is among the room's `departmentAncestors`.
    pub async fn may_see(&self, monitor: &str, room: &str) -> bool {
        let room =
            self.rooms().find_one(doc! { "_id": room }).await.expect("it is read").expect("it is there");
        let Ok(ancestors) = room.get_array("departmentAncestors") else { return false };
        let filter = doc! { "monitorId": monitor, "unitId": { "$in": ancestors.clone() } };
        self.unit_monitors().count_documents(filter).await.expect("they are counted") > 0
    }

    // The writes of BaseRaw

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

fn ancestors_in(unit: &str, document: &Document) -> Vec<String> {
    let above = document.get_array("ancestors").cloned().unwrap_or_default();
    let above = above.iter().filter_map(Bson::as_str).map(str::to_owned);
    std::iter::once(unit.to_owned()).chain(above).collect()
}

async fn insert(collection: &Collection<Document>, document: Document) {
    collection.insert_one(document).await.expect("it is inserted");
}

async fn all(collection: &Collection<Document>, filter: Document) -> Vec<Document> {
    collection.find(filter).await.expect("they are found").try_collect().await.expect("they are read")
}
