//! The facts that Rocket.Chat and the function may both change, as plain data.

use std::collections::BTreeSet;
use std::fmt;

use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::request::Visibility;
use serde::Serialize;

/// Something that the sync compares on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A user, with the user's tokens.
    User(UserId),
    /// A permission, by its `_id`.
    Permission(String),
    /// A department.
    Department(DepartmentId),
    /// A unit, with its monitors and its departments' places.
    Unit(UnitId),
    /// The rooms of a department. Only MongoDB has them.
    Rooms(DepartmentId),
}

/// One of the two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Side {
    /// Rocket.Chat's.
    MongoDb,
    /// The function's.
    DynamoDb,
}

/// Whether a subject that only DynamoDB has may be removed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// No: no event says that it was deleted in MongoDB, and no full pass has found it missing there.
    No,
    /// Yes: an event says that it was deleted in MongoDB.
    Deleted,
    /// Yes: a full pass found it in DynamoDB only.
    Missing,
    /// No, because a full pass found too much missing. Also, no monitor may be taken out of a unit because MongoDB has
    /// no row.
    HeldBack,
}

/// What an event says about its subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They were created or changed.
    Written,
    /// They were deleted in MongoDB.
    Deleted,
}

/// The facts of a unit that both sides may change, without the places of its departments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFacts {
    /// The name.
    pub name: String,
    /// Who may see the unit.
    pub visibility: Visibility,
    /// The users who monitor the unit.
    pub monitors: BTreeSet<UserId>,
}

/// The unit that a department is in, or none.
pub type Place = Option<UnitId>;

/// A unit as one side has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitView {
    /// Its facts.
    pub facts: UnitFacts,
    /// The time of its last change: RFC 3339 in UTC with three decimals, so that texts compare as times do. It is not
    /// one of the facts.
    pub updated_at: String,
}

/// A department's place as one side has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceView {
    /// The place.
    pub place: Place,
    /// The time of the department's last change, in the form of [`UnitView::updated_at`].
    pub updated_at: String,
}

impl Side {
    /// The other side.
    pub fn other(self) -> Self {
        match self {
            Self::MongoDb => Self::DynamoDb,
            Self::DynamoDb => Self::MongoDb,
        }
    }
}

impl Removal {
    /// True if the subject may be removed.
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Deleted | Self::Missing)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MongoDb => "MongoDB",
            Self::DynamoDb => "DynamoDB",
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user {id}"),
            Self::Permission(id) => write!(f, "permission {id}"),
            Self::Department(id) => write!(f, "department {id}"),
            Self::Unit(id) => write!(f, "unit {id}"),
            Self::Rooms(id) => write!(f, "rooms of department {id}"),
        }
    }
}
