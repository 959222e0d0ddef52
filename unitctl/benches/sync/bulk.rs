//! Rocket.Chat's writes of many changes in few commands: one command has the same write of each. So the server spends its
//! time on the changes and not on requests. The writes of one change are those of `rocket_chat`, in the same order.

use anyhow::{Result, ensure};
use mongodb::Database;
use mongodb::bson::{DateTime, Document, doc};

use crate::rocket_chat::new_id;

/// The writes of a login of a user.
pub fn log_in(user: &str, hash: &str) -> [Document; 2] {
    let now = DateTime::now();
    let token = doc! { "when": now, "hashedToken": hash };
    [
        doc! { "q": { "_id": user }, "u": { "$addToSet": { "services.resume.loginTokens": token } } },
        doc! { "q": { "_id": user }, "u": { "$set": { "lastLogin": now, "_updatedAt": now } } },
    ]
}

/// The write of a logout of a user.
pub fn log_out(user: &str, hash: &str) -> Document {
    let token = doc! { "hashedToken": hash };
    doc! { "q": { "_id": user }, "u": { "$pull": { "services.resume.loginTokens": token } } }
}

/// The write that gives a user a role.
pub fn add_role(user: &str, role: &str) -> Document {
    let update =
        doc! { "$addToSet": { "roles": { "$each": [role] } }, "$set": { "_updatedAt": DateTime::now() } };
    doc! { "q": { "_id": user }, "u": update }
}

/// Makes these writes.
pub async fn update(db: &Database, collection: &str, updates: Vec<Document>) -> Result<()> {
    write(db, doc! { "update": collection, "updates": updates }).await
}

async fn write(db: &Database, command: Document) -> Result<()> {
    let reply = db.run_command(command).await?;
    ensure!(!reply.contains_key("writeErrors"), "a write failed: {reply}");
    Ok(())
}

/// A save of a unit.
pub struct Save {
    pub unit: String,
    pub name: String,
    /// Ids and usernames.
    pub monitors: Vec<(String, String)>,
    /// A monitor who leaves.
    pub former_monitor: Option<String>,
    pub departments: Vec<String>,
    /// A department that leaves.
    pub former_department: Option<String>,
}

/// Saves units: `LivechatUnit.createOrUpdateUnit`.
pub async fn save_units(db: &Database, saves: &[Save]) -> Result<()> {
    let now = DateTime::now();
    let units = saves.iter().map(|save| {
        let set = doc! {
            "name": &save.name, "visibility": "public", "type": "u",
            "numMonitors": save.monitors.len() as i32, "numDepartments": save.departments.len() as i32,
            "_updatedAt": now,
        };
        doc! { "q": { "_id": &save.unit }, "u": { "$set": set } }
    });
    update(db, "rocketchat_livechat_department", units.collect()).await?;

    let leaving = saves.iter().filter_map(|save| {
        let monitor = save.former_monitor.as_ref()?;
        Some(doc! { "q": { "unitId": &save.unit, "monitorId": monitor }, "limit": 1 })
    });
    let leaving: Vec<Document> = leaving.collect();
    if !leaving.is_empty() {
        write(db, doc! { "delete": "rocketchat_livechat_unit_monitors", "deletes": leaving }).await?;
    }
    let rows = saves.iter().flat_map(|save| {
        save.monitors.iter().map(|(monitor, username)| {
            let row = doc! { "monitorId": monitor, "unitId": &save.unit };
            let mut set = row.clone();
            set.extend(doc! { "username": username, "_updatedAt": now });
            doc! { "q": row, "u": { "$set": set, "$setOnInsert": { "_id": new_id() } }, "upsert": true }
        })
    });
    update(db, "rocketchat_livechat_unit_monitors", rows.collect()).await?;

    let departments = saves.iter().flat_map(|save| {
        let leaving = save.former_department.iter().map(|department| {
            let left = doc! { "$unset": { "parentId": 1, "ancestors": 1 }, "$set": { "_updatedAt": now } };
            doc! { "q": { "_id": department }, "u": left }
        });
        let joining = save.departments.iter().map(|department| {
            let set = doc! { "parentId": &save.unit, "ancestors": [&save.unit], "_updatedAt": now };
            doc! { "q": { "_id": department }, "u": { "$set": set } }
        });
        leaving.chain(joining).collect::<Vec<_>>()
    });
    update(db, "rocketchat_livechat_department", departments.collect()).await?;

    let rooms = saves.iter().flat_map(|Save { unit, departments, .. }| {
        let joining = doc! { "departmentId": { "$in": departments }, "departmentAncestors": { "$ne": unit } };
        let leaving = doc! { "departmentAncestors": unit, "departmentId": { "$nin": departments } };
        let set = doc! { "$set": { "departmentAncestors": [unit], "_updatedAt": now } };
        let unset = doc! { "$unset": { "departmentAncestors": 1 }, "$set": { "_updatedAt": now } };
        [doc! { "q": joining, "u": set, "multi": true }, doc! { "q": leaving, "u": unset, "multi": true }]
    });
    update(db, "rocketchat_room", rooms.collect()).await
}
