//! The collections of Rocket.Chat that the sync uses, and what it reads of each.

use mongodb::bson::{self, doc};

/// Users with their login tokens.
pub const USERS: &str = "users";
/// Permissions and the roles that hold them.
pub const PERMISSIONS: &str = "rocketchat_permissions";
/// The workspace's settings.
pub const SETTINGS: &str = "rocketchat_settings";
/// The departments and the units. Units have the `type` "u".
pub const DEPARTMENTS: &str = "rocketchat_livechat_department";
/// The rows that say which user monitors which unit.
pub const UNIT_MONITORS: &str = "rocketchat_livechat_unit_monitors";
/// The rooms, which are the conversations.
pub const ROOMS: &str = "rocketchat_room";

/// The kinds of documents that the sync reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Users with their login tokens.
    Users,
    /// Permissions.
    Permissions,
    /// Departments, without the units of the same collection.
    Departments,
    /// Units.
    Units,
    /// The rows that say which user monitors which unit.
    UnitMonitors,
}

impl Kind {
    /// The name of the collection.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Users => USERS,
            Self::Permissions => PERMISSIONS,
            Self::Departments | Self::Units => DEPARTMENTS,
            Self::UnitMonitors => UNIT_MONITORS,
        }
    }

    /// The condition that the documents of this kind fulfil in their collection.
    pub fn condition(self) -> bson::Document {
        match self {
            Self::Departments => doc! { "type": { "$ne": "u" } },
            Self::Units => doc! { "type": "u" },
            Self::Users | Self::Permissions | Self::UnitMonitors => doc! {},
        }
    }

    /// The fields that are read. `None` means all of them.
    pub fn projection(self) -> Option<bson::Document> {
        match self {
            Self::Users => {
                Some(doc! { "username": 1, "roles": 1, "active": 1, "services.resume.loginTokens": 1 })
            }
            Self::Permissions => Some(doc! { "roles": 1 }),
            Self::UnitMonitors => Some(doc! { "unitId": 1, "monitorId": 1, "username": 1, "_updatedAt": 1 }),
            Self::Departments | Self::Units => None,
        }
    }
}
