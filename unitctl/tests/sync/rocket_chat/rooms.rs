//! What Rocket.Chat writes of rooms.

use mongodb::bson::doc;

use super::{RocketChat, insert, new_id};

impl RocketChat {
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
    pub(super) async fn associate_rooms(&self, departments: &[&str], unit: &str) {
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

    /// Whether Rocket.Chat lets a monitor see a room: a row of a unit that is among the room's `departmentAncestors`.
    pub async fn may_see(&self, monitor: &str, room: &str) -> bool {
        let room =
            self.rooms().find_one(doc! { "_id": room }).await.expect("it is read").expect("it is there");
        let Ok(ancestors) = room.get_array("departmentAncestors") else { return false };
        let filter = doc! { "monitorId": monitor, "unitId": { "$in": ancestors.clone() } };
        self.unit_monitors().count_documents(filter).await.expect("they are counted") > 0
    }
}
