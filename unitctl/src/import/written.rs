//! What an import did with the items, for the report.

use livechat_units::item::Item;

use super::document::Broken;

/// What an item is, for the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A user, with the list of their tokens' hashes.
    User,
    /// A login token.
    Token,
    /// A permission.
    Permission,
    /// A department.
    Department,
    /// A unit, with its monitors.
    Unit,
}

/// What the import did with an item.
#[derive(Clone, Debug)]
pub struct Written {
    /// What it is.
    pub kind: Kind,
    /// The planned item, if it is printed: in a dry run, or when another program has changed the stored item.
    pub item: Option<Item>,
    /// What the import did with it.
    pub outcome: Outcome,
}

/// What the import did with some items.
#[derive(Debug, Default)]
pub struct WrittenBatch {
    /// The items.
    pub written: Vec<Written>,
    /// Login tokens that turned out not to be usable, each with the line of its user.
    pub unusable: Vec<Broken>,
}

/// What the import did with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It is stored now. In a dry run: it would be stored.
    Written,
    /// It was stored already and does not change.
    Unchanged,
    /// Another program changed it after the import had read it. The import does not change it.
    ChangedMeanwhile,
    /// It is deleted now. In a dry run: it would be deleted.
    Deleted,
    /// It is written together with another item, and only that one is counted.
    Uncounted,
}
