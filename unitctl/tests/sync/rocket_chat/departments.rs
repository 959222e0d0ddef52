//! What Rocket.Chat writes of departments and units, with the monitors of units.

use mongodb::bson::{Bson, Document, doc};

use super::{Leaving, RocketChat, all, insert, new_id};

impl RocketChat {
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
    pub(super) async fn delete_rows(&self, filter: Document) {
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
}

fn ancestors_in(unit: &str, document: &Document) -> Vec<String> {
    let above = document.get_array("ancestors").cloned().unwrap_or_default();
    let above = above.iter().filter_map(Bson::as_str).map(str::to_owned);
    std::iter::once(unit.to_owned()).chain(above).collect()
}
