//! The change streams that are watched, what the server filters of them, and what an event says.

use livechat_units::id::{DepartmentId, UnitId, UserId};
use mongodb::bson::{Bson, Document as BsonDocument, doc};
use mongodb::change_stream::event::ResumeToken;
use serde::Deserialize;

use super::collections::{DEPARTMENTS, PERMISSIONS, SETTINGS, UNIT_MONITORS, USERS};
use super::ids::id_text;
use super::known::Known;
use crate::sync::model::Subject;

/// The fields of users that matter, as a pattern for the paths of changed fields. It matches each field itself,
/// everything inside it, and everything that contains it.
const USER_FIELDS: &str =
    r"^(username|active|roles(\..*)?|services|services\.resume|services\.resume\.loginTokens(\..*)?)$";

/// A collection that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Watched {
    /// `users`
    Users,
    /// `rocketchat_permissions`
    Permissions,
    /// `rocketchat_settings`
    Settings,
    /// `rocketchat_livechat_department`, with the units
    Departments,
    /// `rocketchat_livechat_unit_monitors`
    UnitMonitors,
}

/// An event of a change stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The stream.
    pub stream: Watched,
    /// What it reports.
    pub event: WatchEvent,
}

/// What a change stream reports. A token is the position after the event, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The stream is open: every change from now on comes as an event.
    Opened,
    /// These subjects have, or may have, changed. There are none if only the position moves, and several if it is not
    /// known which one has changed.
    Look {
        /// What to look at.
        subjects: Vec<Subject>,
        /// Whether a document was deleted.
        is_deletion: bool,
        /// The position.
        token: String,
    },
    /// A row of a monitor was deleted, and it is not known of which unit.
    LookAtAllUnits {
        /// The position.
        token: String,
    },
    /// A setting that the sync uses has changed.
    SettingsChanged {
        /// The position.
        token: String,
    },
    /// Events may be missing. The stream is open again already, so a full pass that begins now finds everything.
    Lost {
        /// Why, as one sentence.
        reason: String,
    },
    /// Nothing happened for some seconds.
    Idle {
        /// The position.
        token: String,
    },
    /// The stream is closed and will be opened again as soon as that is possible.
    Interrupted {
        /// Why, as one sentence.
        reason: String,
    },
}

/// An event, with only the fields that the stream's [`Watched::pipeline`] leaves in it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The position after the event.
    #[serde(rename = "_id")]
    pub token: ResumeToken,
    /// What happened.
    pub operation_type: String,
    #[serde(default)]
    document_key: BsonDocument,
    /// Whether an inserted or replaced document is a unit.
    #[serde(default)]
    is_unit: bool,
    /// The unit that a monitor's row has now, if the event says so.
    unit_id: Option<Bson>,
    /// The session of the transaction that made the change.
    lsid: Option<BsonDocument>,
}

/// What follows from an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// These are to be looked at.
    Look(Vec<Subject>),
    /// The unit of a deleted row is not known.
    AllUnits,
    /// A setting changed.
    Settings,
    /// Whether the document is a unit has to be looked up.
    KindOf(String),
    /// The unit of a row has to be looked up.
    UnitOf(String),
    /// The collection is gone, or is another one now.
    Gone,
    /// The stream ends here.
    Ended,
}

impl Watched {
    /// All streams.
    pub const ALL: [Self; 5] =
        [Self::Users, Self::Permissions, Self::Settings, Self::Departments, Self::UnitMonitors];

    /// The name of the collection.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Users => USERS,
            Self::Permissions => PERMISSIONS,
            Self::Settings => SETTINGS,
            Self::Departments => DEPARTMENTS,
            Self::UnitMonitors => UNIT_MONITORS,
        }
    }

    /// What the server does with the events: it leaves out those that don't matter, and everything of an event that is
    /// not read here. Without whole documents an event is never too large to be sent.
    pub fn pipeline(self) -> Vec<BsonDocument> {
        let mut project = doc! { "_id": 1, "operationType": 1, "ns": 1, "documentKey": 1, "lsid": 1 };
        match self {
            Self::Departments => {
                project.insert("isUnit", doc! { "$eq": ["$fullDocument.type", "u"] });
            }
            Self::UnitMonitors => {
                let places = ["$fullDocument.unitId", "$updateDescription.updatedFields.unitId"];
                project.insert("unitId", doc! { "$ifNull": places.to_vec() });
            }
            Self::Users | Self::Permissions | Self::Settings => {}
        }
        let matching = match self {
            Self::Users => Some(doc! { "$or": [
                { "operationType": { "$ne": "update" } },
                { "$expr": changed_paths_match(USER_FIELDS) },
            ] }),
            Self::Settings => Some(doc! { "$or": [
                { "documentKey._id": { "$in": ["Accounts_LoginExpiration", "uniqueID"] } },
                { "documentKey": { "$exists": false } },
            ] }),
            Self::Permissions | Self::Departments | Self::UnitMonitors => None,
        };
        matching
            .map(|matching| doc! { "$match": matching })
            .into_iter()
            .chain([doc! { "$project": project }])
            .collect()
    }
}

/// Whether the path of a field that an update changed, removed or shortened matches the pattern.
fn changed_paths_match(pattern: &str) -> BsonDocument {
    let updated = doc! { "$map": {
        "input": { "$objectToArray": { "$ifNull": ["$updateDescription.updatedFields", {}] } },
        "in": "$$this.k",
    } };
    let removed = doc! { "$ifNull": ["$updateDescription.removedFields", []] };
    let shortened = doc! { "$map": {
        "input": { "$ifNull": ["$updateDescription.truncatedArrays", []] },
        "in": "$$this.field",
    } };
    doc! { "$anyElementTrue": { "$map": {
        "input": { "$concatArrays": [updated, removed, shortened] },
        "in": { "$regexMatch": { "input": "$$this", "regex": pattern } },
    } } }
}

impl Event {
    /// Whether a document was deleted.
    pub fn is_deletion(&self) -> bool {
        self.operation_type == "delete"
    }

    /// Whether a transaction of this process made the change. A session is used again for reads, which have no events.
    pub fn is_own(&self, known: &Known) -> bool {
        self.lsid.as_ref().is_some_and(|lsid| known.is_own_session(lsid))
    }

    /// What follows from the event, with what is known from earlier ones.
    pub fn meaning(&self, stream: Watched, known: &Known) -> Meaning {
        let has_whole_document = match self.operation_type.as_str() {
            "insert" | "replace" => true,
            "update" | "delete" => false,
            "drop" | "rename" | "dropDatabase" => return Meaning::Gone,
            "invalidate" => return Meaning::Ended,
            // Others, such as the creation of an index, change no document.
            _ => return Meaning::Look(Vec::new()),
        };
        let Some(id) = self.document_key.get("_id").and_then(id_text) else {
            return Meaning::Look(Vec::new());
        };
        match stream {
            Watched::Users => Meaning::Look(UserId::parse(id).map(Subject::User).into_iter().collect()),
            Watched::Permissions => Meaning::Look(vec![Subject::Permission(id)]),
            Watched::Settings => Meaning::Settings,
            Watched::Departments => {
                if has_whole_document {
                    known.note_kind(id.clone(), self.is_unit);
                }
                match known.is_unit(&id) {
                    Some(is_unit) => Meaning::Look(unit_or_department(id, Some(is_unit))),
                    None if self.is_deletion() => Meaning::Look(unit_or_department(id, None)),
                    None => Meaning::KindOf(id),
                }
            }
            Watched::UnitMonitors => self.meaning_of_row(id, known),
        }
    }

    fn meaning_of_row(&self, row: String, known: &Known) -> Meaning {
        if self.is_deletion() {
            return known
                .forget_row(&row)
                .map_or(Meaning::AllUnits, |unit| Meaning::Look(vec![Subject::Unit(unit)]));
        }
        let current = self.unit_id.as_ref().and_then(id_text).and_then(UnitId::parse);
        match (current, known.unit_of_row(&row)) {
            (Some(current), _) => Meaning::Look(row_in_unit(row, current, known)),
            (None, Some(unit)) => Meaning::Look(vec![Subject::Unit(unit)]),
            (None, None) => Meaning::UnitOf(row),
        }
    }
}

/// What to look at after a change of this document. Both, if it is not known which one it is.
pub fn unit_or_department(id: String, is_unit: Option<bool>) -> Vec<Subject> {
    let unit = UnitId::parse(id.clone()).map(Subject::Unit).filter(|_| is_unit != Some(false));
    let department = DepartmentId::parse(id).map(Subject::Department).filter(|_| is_unit != Some(true));
    unit.into_iter().chain(department).collect()
}

/// What to look at after a change of a row that is in this unit now, and may have been in another one.
pub fn row_in_unit(row: String, unit: UnitId, known: &Known) -> Vec<Subject> {
    let before = known.note_row(row, unit.clone()).filter(|before| *before != unit);
    std::iter::once(unit).chain(before).map(Subject::Unit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(fields: BsonDocument) -> Event {
        let mut document = doc! { "_id": { "_data": "00" } };
        document.extend(fields);
        mongodb::bson::deserialize_from_document(document).expect("it is an event")
    }

    fn unit(id: &str) -> Subject {
        Subject::Unit(UnitId::parse(id).expect("an id"))
    }

    fn department(id: &str) -> Subject {
        Subject::Department(DepartmentId::parse(id).expect("an id"))
    }

    #[test]
    fn a_document_is_a_unit_or_a_department_as_when_it_was_inserted() {
        let known = Known::default();
        let update =
            event(doc! { "operationType": "update", "documentKey": { "_id": "a" }, "isUnit": false });
        let deletion =
            event(doc! { "operationType": "delete", "documentKey": { "_id": "a" }, "isUnit": false });
        assert_eq!(update.meaning(Watched::Departments, &known), Meaning::KindOf("a".into()));
        assert_eq!(
            deletion.meaning(Watched::Departments, &known),
            Meaning::Look(vec![unit("a"), department("a")])
        );
        let insert = event(doc! { "operationType": "insert", "documentKey": { "_id": "a" }, "isUnit": true });
        for event in [insert, update, deletion] {
            assert_eq!(event.meaning(Watched::Departments, &known), Meaning::Look(vec![unit("a")]));
        }
    }

    #[test]
    fn a_row_is_of_the_unit_that_was_seen_last() {
        let known = Known::default();
        let row = |operation: &str, unit: Option<&str>| {
            event(doc! { "operationType": operation, "documentKey": { "_id": "r" }, "unitId": unit })
        };
        assert_eq!(row("update", None).meaning(Watched::UnitMonitors, &known), Meaning::UnitOf("r".into()));
        assert_eq!(row("delete", None).meaning(Watched::UnitMonitors, &known), Meaning::AllUnits);
        for (event, subjects) in [
            (row("insert", Some("u")), vec![unit("u")]),
            (row("update", None), vec![unit("u")]),
            (row("update", Some("v")), vec![unit("v"), unit("u")]),
            (row("delete", None), vec![unit("v")]),
        ] {
            assert_eq!(event.meaning(Watched::UnitMonitors, &known), Meaning::Look(subjects));
        }
        assert_eq!(row("delete", None).meaning(Watched::UnitMonitors, &known), Meaning::AllUnits);
    }

    #[test]
    fn a_collection_that_is_dropped_or_renamed_is_gone() {
        let known = Known::default();
        for operation in ["drop", "rename", "dropDatabase"] {
            let event = event(doc! { "operationType": operation });
            assert_eq!(event.meaning(Watched::Users, &known), Meaning::Gone);
        }
        let invalidate = event(doc! { "operationType": "invalidate" });
        assert_eq!(invalidate.meaning(Watched::Users, &known), Meaning::Ended);
        let other = event(doc! { "operationType": "createIndexes" });
        assert_eq!(other.meaning(Watched::Users, &known), Meaning::Look(vec![]));
    }
}
