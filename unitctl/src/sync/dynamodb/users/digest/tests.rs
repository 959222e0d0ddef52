//! A full pass does not look at a user whose digests agree. So this must be right.

use std::collections::BTreeSet;

use livechat_units::id::UserId;
use livechat_units::item::Key;
use proptest::prelude::*;
use serde_json::json;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::*;
use crate::import::document::Document;
use crate::import::records::insert_set;
use crate::origin::{REV, SOURCE, UNITCTL, tokens_key};
use crate::sync::dynamodb::users::change::UserChange;
use crate::sync::dynamodb::users::{Found, Options, StoredUser, decide};
use crate::sync::model::Removal;

const NOW: OffsetDateTime = datetime!(2026-11-26 12:00 UTC);
const LIFETIME: Duration = Duration::days(90);

/// A user of MongoDB. The numbers are few, so that two users are often the same.
#[derive(Clone, Debug)]
struct MongoUser {
    username: Option<u8>,
    roles: BTreeSet<u8>,
    active: Option<bool>,
    tokens: BTreeSet<(u8, Kind)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Login { days: u8 },
    WithoutWhen,
    Personal,
    Broken,
}

impl MongoUser {
    fn document(&self) -> Document {
        let tokens = self.tokens.iter().map(|(letter, kind)| {
            let hash = hash(*letter);
            let made = |days: u8| (NOW - Duration::days(days.into())).unix_timestamp() * 1000;
            match kind {
                Kind::Login { days } => {
                    json!({ "hashedToken": hash, "when": { "$date": { "$numberLong": made(*days).to_string() } } })
                }
                Kind::WithoutWhen => json!({ "hashedToken": hash }),
                Kind::Personal => json!({ "hashedToken": hash, "type": "personalAccessToken", "name": "bot" }),
                Kind::Broken => json!({ "hashedToken": hash, "when": "yesterday" }),
            }
        });
        let tokens: Vec<_> = tokens.collect();
        let roles: Vec<_> = self.roles.iter().map(|role| format!("role{role}")).collect();
        let mut document = json!({
            "_id": "u",
            "username": self.username.map(|name| format!("name{name}")),
            "roles": roles,
            "services": { "resume": { "loginTokens": tokens } },
        });
        if let Some(active) = self.active {
            document["active"] = json!(active);
        }
        document.as_object().expect("an object").clone()
    }

    fn found(&self) -> Found {
        Found::parse(Some(self.document()), Removal::No, LIFETIME)
    }
}

fn hash(letter: u8) -> String {
    format!("{}=", char::from(b'a' + letter).to_string().repeat(42) + "A")
}

fn mongo_user() -> impl Strategy<Value = MongoUser> {
    let kind = prop_oneof![
        6 => prop::sample::select(vec![1, 89, 91]).prop_map(|days| Kind::Login { days }),
        1 => Just(Kind::WithoutWhen),
        2 => Just(Kind::Personal),
        1 => Just(Kind::Broken),
    ];
    let tokens = prop::collection::btree_map(0..3_u8, kind, 0..3);
    let roles = prop::collection::btree_set(0..2_u8, 0..3);
    (prop::option::of(0..2_u8), roles, prop::option::of(any::<bool>()), tokens).prop_map(
        |(username, roles, active, tokens)| MongoUser {
            username,
            roles,
            active,
            tokens: tokens.into_iter().collect(),
        },
    )
}

/// A change of what is stored that no write of the sync makes.
#[derive(Clone, Copy, Debug)]
enum Odd {
    Nothing,
    NoUser,
    NoList,
    Deleted,
    AnotherAttribute,
    TokenOfAnotherUser,
    TokenOfUnitctl,
    TokenIsGone,
    TokenIsNotListed,
}

const ODD: [Odd; 8] = [
    Odd::NoUser,
    Odd::NoList,
    Odd::Deleted,
    Odd::AnotherAttribute,
    Odd::TokenOfAnotherUser,
    Odd::TokenOfUnitctl,
    Odd::TokenIsGone,
    Odd::TokenIsNotListed,
];

fn odd() -> impl Strategy<Value = Odd> {
    prop_oneof![Just(Odd::Nothing), prop::sample::select(ODD.to_vec())]
}

/// What DynamoDB has after the first look at a user, and then an odd change.
fn stored(user: &MongoUser, odd: Odd) -> StoredUser {
    let id = UserId::parse("u").expect("an id");
    let mut stored = StoredUser::new(id.clone());
    if let Some(write) = decide(&stored, user.found(), &options()).write {
        if let UserChange::Put(item) = &write.user {
            stored.user = Some(item.clone());
        }
        let mut list = tokens_key(&id);
        list.insert(REV.into(), AttributeValue::N("7".into()));
        insert_set(&mut list, "hashes", write.listed().map(str::to_owned).collect());
        stored.list = Some(list);
        stored.add_tokens(write.tokens_to_put.values().cloned());
    }
    let first = stored.tokens.keys().min().cloned();
    let text = |text: &str| AttributeValue::S(text.into());
    match (odd, first) {
        (Odd::NoUser, _) => stored.user = None,
        (Odd::NoList, _) => stored.list = None,
        (Odd::Deleted, _) => {
            stored.list.iter_mut().for_each(|list| {
                list.insert("deletedAt".into(), AttributeValue::N("1".into()));
            });
        }
        (Odd::AnotherAttribute, _) => stored.user.iter_mut().for_each(|user| {
            user.insert("bio".into(), AttributeValue::L(Vec::new()));
        }),
        (Odd::TokenOfAnotherUser, Some(hash)) => {
            stored.tokens.get_mut(&hash).expect("it is there").insert("userId".into(), text("v"));
        }
        (Odd::TokenOfUnitctl, Some(hash)) => {
            stored.tokens.get_mut(&hash).expect("it is there").insert(SOURCE.into(), text(UNITCTL));
        }
        (Odd::TokenIsGone, Some(hash)) => drop(stored.tokens.remove(&hash)),
        (Odd::TokenIsNotListed, Some(hash)) => stored.list.iter_mut().for_each(|list| {
            let left = hashes(Some(list)).filter(|listed| **listed != hash).map(str::to_owned).collect();
            list.remove("hashes");
            insert_set(list, "hashes", left);
        }),
        _ => {}
    }
    stored
}

fn options() -> Options {
    Options { lifetime: LIFETIME, now: NOW, removal: Removal::No }
}

/// The digest as a scan of both tables makes it.
fn scanned(stored: &StoredUser) -> Digest {
    let mut digest = Digest::default();
    stored.list.iter().for_each(|list| digest.add_list(list));
    stored.user.iter().for_each(|user| digest.add_item(user));
    stored.tokens.values().filter(|token| stored.owns(token)).for_each(|token| digest.add_item(token));
    digest
}

fn of_document(found: &Found) -> Option<Digest> {
    if let Found::User(user) = found { Digest::of_document(user) } else { None }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_written_of_a_user_whose_digests_agree(user in mongo_user(), other in mongo_user(), odd in odd()) {
        for user in [&user, &other] {
            let (stored, found) = (stored(&other, odd), user.found());
            if of_document(&found) == Some(scanned(&stored)) {
                let decision = decide(&stored, found, &options());
                prop_assert!(decision.write.is_none() && decision.problems.is_empty(), "{decision:?}");
            }
        }
    }

    #[test]
    fn the_digests_of_a_user_agree_after_a_look(mut user in mongo_user()) {
        // Of other tokens, the document does not say everything.
        user.tokens.retain(|(_, kind)| matches!(kind, Kind::Login { days: 1 | 89 } | Kind::Personal));
        prop_assert_eq!(of_document(&user.found()), Some(scanned(&stored(&user, Odd::Nothing))));
    }
}

#[test]
fn every_odd_change_is_seen() {
    let tokens = BTreeSet::from([(0, Kind::Login { days: 1 }), (1, Kind::Personal)]);
    let user = MongoUser { username: Some(1), roles: BTreeSet::from([0, 1]), active: Some(true), tokens };
    let expected = of_document(&user.found()).expect("the document says all");
    assert_eq!(scanned(&stored(&user, Odd::Nothing)), expected);
    for odd in ODD {
        assert_ne!(scanned(&stored(&user, odd)), expected, "{odd:?}");
    }
}

#[test]
fn values_of_different_types_and_names_have_different_digests() {
    let item = |name: &str, value| Item::from([(name.to_owned(), value)]);
    let set = |texts: &[&str]| AttributeValue::Ss(texts.iter().map(|text| (*text).to_owned()).collect());
    let items = [
        item("a", AttributeValue::S("1".into())),
        item("a", AttributeValue::N("1".into())),
        item("a", AttributeValue::Bool(true)),
        item("a", AttributeValue::Bool(false)),
        item("a", set(&["1"])),
        item("a", set(&["1", "2"])),
        item("b", AttributeValue::S("1".into())),
        Key::User(UserId::parse("u").expect("an id")).attributes(),
    ];
    let digests: BTreeSet<u64> = items
        .iter()
        .map(|item| {
            let mut digest = Digest::default();
            digest.add_item(item);
            digest.0
        })
        .collect();
    assert_eq!(digests.len(), items.len());
    let of = |texts: &[&str]| {
        let mut digest = Digest::default();
        digest.add_item(&item("a", set(texts)));
        digest
    };
    assert_eq!(of(&["1", "2"]), of(&["2", "1"]));
}
