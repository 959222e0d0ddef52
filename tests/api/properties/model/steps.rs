//! The steps of a sequence: requests, and changes of the stored items by other programs.

use std::fmt;

use serde_json::{Value, json};

use crate::support::event;

/// An id. Its debug format is the id itself, so that failing cases are easy to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id(pub &'static str);

/// The sender of a request: a user, with their own token or with another user's token.
#[derive(Clone, Copy)]
pub struct Caller {
    pub user: Id,
    pub token: Id,
}

/// The unit's new name and visibility.
#[derive(Clone, Copy, Debug)]
pub enum Name {
    N0,
    N1,
}

/// A body that rows 7 and 8 of the contract refuse.
#[derive(Clone, Copy, Debug)]
pub enum Broken {
    NotJson,
    NoUnitData,
    NoMonitors,
    DepartmentsWithoutIds,
}

/// The body of a request.
#[derive(Clone)]
pub enum SentBody {
    Members { name: Name, monitors: Vec<Id>, departments: Vec<Id> },
    Broken(Broken),
}

#[derive(Clone, Copy, Debug)]
pub enum Expiry {
    AnHourAgo,
    InAnHour,
}

#[derive(Clone, Debug)]
pub enum Step {
    Update {
        by: Caller,
        unit: Id,
        name: Name,
        monitors: Vec<Id>,
        departments: Vec<Id>,
    },
    SendBroken {
        by: Caller,
        unit: Id,
        body: Broken,
    },
    /// The requests after this go to another execution environment.
    NewEnvironment,

    // The other steps are changes by other programs. Some break the invariants on purpose.
    /// Deletes the unit's item. Its monitors' items and its departments stay.
    DeleteUnit(Id),
    /// Stores a new item of the unit, without members and version.
    PutUnit(Id),
    SetUnitAncestors {
        unit: Id,
        ancestors: Vec<&'static str>,
    },
    List {
        unit: Id,
        department: Id,
    },
    Unlist {
        unit: Id,
        department: Id,
    },
    DeleteMonitorItem {
        unit: Id,
        monitor: Id,
    },
    DeleteDepartment(Id),
    /// Changes the department's item, or creates it, and does not change any unit.
    SetDepartmentParent {
        department: Id,
        parent: Option<Id>,
    },
    DeleteUser(Id),
    PutUser {
        user: Id,
        roles: Vec<Id>,
        active: Option<bool>,
    },
    SetActive {
        user: Id,
        active: bool,
    },
    Rename {
        user: Id,
        username: &'static str,
    },
    RemoveUsername(Id),
    DeleteToken(Id),
    PutToken {
        of: Id,
        user: Id,
        expires: Option<Expiry>,
    },
    DeletePermission,
    PutPermission {
        roles: Vec<Id>,
    },
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.token == self.user {
            write!(f, "{:?}", self.user)
        } else {
            write!(f, "{:?} with the token of {:?}", self.user, self.token)
        }
    }
}

impl Id {
    /// The token of the user with this id.
    pub fn as_token(self) -> String {
        format!("0123456789-token-of-{}", self.0)
    }
}

impl Name {
    pub fn text(self) -> &'static str {
        match self {
            Self::N0 => "Support",
            Self::N1 => "\"Größe\" \\ 2",
        }
    }

    pub fn visibility(self) -> &'static str {
        match self {
            Self::N0 => "public",
            Self::N1 => "private",
        }
    }
}

impl Broken {
    fn body(self) -> &'static str {
        match self {
            Self::NotJson => "{",
            Self::NoUnitData => r#"{"unitMonitors":[],"unitDepartments":[]}"#,
            Self::NoMonitors => r#"{"unitData":{"name":"n","visibility":"public"},"unitDepartments":[]}"#,
            Self::DepartmentsWithoutIds => {
                r#"{"unitData":{"name":"n","visibility":"public"},"unitMonitors":[],"unitDepartments":[{}]}"#
            }
        }
    }

    pub fn answer(self) -> &'static str {
        match self {
            Self::NotJson => {
                r#"{"success":false,"error":"Invalid JSON: EOF while parsing an object at line 1 column 1 [error-invalid-json]","errorType":"error-invalid-json"}"#
            }
            Self::NoUnitData => r#"{"success":false,"error":"Match error: Expected object, got undefined"}"#,
            Self::NoMonitors => r#"{"success":false,"error":"Match error: Expected array, got undefined"}"#,
            Self::DepartmentsWithoutIds => {
                r#"{"success":false,"error":"Match error: Missing key 'departmentId' in field [0]"}"#
            }
        }
    }
}

impl SentBody {
    pub fn body(&self) -> String {
        let (name, monitors, departments) = match self {
            Self::Broken(broken) => return broken.body().into(),
            Self::Members { name, monitors, departments } => (name, monitors, departments),
        };
        let monitors = monitors.iter().map(|id| json!({ "monitorId": id.0, "username": "as.sent" }));
        let departments = departments.iter().map(|id| json!({ "departmentId": id.0 }));
        json!({
            "unitData": { "name": name.text(), "visibility": name.visibility() },
            "unitMonitors": monitors.collect::<Value>(),
            "unitDepartments": departments.collect::<Value>(),
        })
        .to_string()
    }
}

impl Step {
    /// The caller, the unit and the body, if this step is a request.
    pub fn request(&self) -> Option<(Caller, Id, SentBody)> {
        match self {
            Self::Update { by, unit, name, monitors, departments } => {
                let (monitors, departments) = (monitors.clone(), departments.clone());
                Some((*by, *unit, SentBody::Members { name: *name, monitors, departments }))
            }
            Self::SendBroken { by, unit, body } => Some((*by, *unit, SentBody::Broken(*body))),
            _ => None,
        }
    }

    /// The event, if this step is a request.
    pub fn event(&self) -> Option<Value> {
        let (caller, unit, sent) = self.request()?;
        let mut event = event(unit.0, &sent.body());
        event["headers"]["x-auth-token"] = caller.token.as_token().into();
        event["headers"]["x-user-id"] = caller.user.0.into();
        Some(event)
    }
}
