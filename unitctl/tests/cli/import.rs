//! `unitctl import`: what becomes of an export. Here: the sample, and a dry run of it.

mod broken;
mod duplicates;
mod formats;
mod incomplete;
mod interrupted;
mod kept;
mod lease;
mod old_words;
mod output;
mod refused;
mod support;
mod tokens;
mod too_large;
mod values;

use std::collections::BTreeMap;
use std::fs;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::support::*;
use crate::world::{Run, World, body, run, world};

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_is_imported_and_repaired() {
    let world = world().await;
    let run = world.import(&sample(), &[]);
    assert_eq!(
        run.stdout,
        "\
repaired: department iT3gSalesItaly001: ancestors are now aW4sEuropeUnit001
repaired: department oL6dLegacyChat001: is in no unit now: its parent rEm0vedUnit000001 does not exist
repaired: department sP7cSpecialists01: dropped ancestors: it is in no unit
repaired: unit aW4sEuropeUnit001: monitor pV7dGs2EwJ4uRm9Xo is now called jonas.berg
repaired: unit aW4sEuropeUnit001: dropped a duplicate row of monitor hN3qTzW8rYbL5xKcA
repaired: unit aW4sEuropeUnit001: numMonitors is 3 and was 4
repaired: unit aW4sEuropeUnit001: numDepartments is 4 and was 3
repaired: unit bL9iBillingUnit02: left out monitor kC5yLf8QnB3tZv6Hs: the user does not hold the role livechat-monitor
repaired: unit bL9iBillingUnit02: numDepartments is 1 and was 2
repaired: unit rEm0vedUnit000001: there is no such unit; left out its 1 monitors
                written  unchanged left alone
users                10          0          0
tokens               10          0          0
permissions           5          0          0
departments         108          0          0
units                 4          0          0
0 units kept, 10 repairs, 0 broken lines
"
    );
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));

    let items = world.items().await;
    assert_eq!(
        items[&format!("UNIT#{EUROPE} UNIT")],
        json!({
            "pk": "UNIT#aW4sEuropeUnit001", "sk": "UNIT", "name": "Sales Europe", "visibility": "private",
            "type": "u", "numMonitors": 3, "numDepartments": 4, "rev": 1,
            "monitors": {
                "hN3qTzW8rYbL5xKcA": "maria.lopez", "pV7dGs2EwJ4uRm9Xo": "jonas.berg", "xR2mWp9JcD7gTq4Ye": "li.wei",
            },
            "departmentIds": { "set": [
                "dE1gSalesGermany1", "fR2gSalesFrance01", "iT3gSalesItaly001", "rF5dRefunds000001",
            ] },
            "_updatedAt": "2021-11-30T16:21:09.115Z",
        })
    );
    assert_eq!(
        items[&format!("UNIT#{EUROPE} MONITOR#pV7dGs2EwJ4uRm9Xo")],
        json!({
            "pk": "UNIT#aW4sEuropeUnit001", "sk": "MONITOR#pV7dGs2EwJ4uRm9Xo", "unitId": EUROPE,
            "monitorId": "pV7dGs2EwJ4uRm9Xo", "username": "jonas.berg", "_updatedAt": "2021-11-30T16:21:09.118Z",
        })
    );
    assert_eq!(
        items["DEPARTMENT#dE1gSalesGermany1 DEPARTMENT"],
        json!({
            "pk": "DEPARTMENT#dE1gSalesGermany1", "sk": "DEPARTMENT", "name": "Sales Germany", "enabled": true,
            "description": "", "showOnRegistration": true, "showOnOfflineForm": false,
            "requestTagBeforeClosingChat": false, "email": "sales-germany@example.com", "chatClosingTags": [],
            "abandonedRoomsCloseCustomMessage": "", "waitingQueueMessage": "", "departmentsAllowedToForward": [],
            "numAgents": 3, "businessHourId": "wH3nOfficeHours01", "maxNumberSimultaneousChat": 5,
            "parentId": EUROPE, "ancestors": [EUROPE], "_updatedAt": "2021-11-30T16:21:09.120Z", "rev": 1,
        })
    );
    let specialists = &items["DEPARTMENT#sP7cSpecialists01 DEPARTMENT"];
    assert_eq!((specialists.get("parentId"), specialists.get("ancestors")), (None, None));
    assert_eq!(
        items["USER#hN3qTzW8rYbL5xKcA USER"],
        json!({
            "pk": "USER#hN3qTzW8rYbL5xKcA", "sk": "USER", "username": "maria.lopez", "active": true,
            "roles": { "set": ["livechat-agent", "livechat-monitor", "user"] },
        })
    );
    assert_eq!(
        items["PERMISSION#retired-permission PERMISSION"],
        json!({ "pk": "PERMISSION#retired-permission", "sk": "PERMISSION", "rev": 1 })
    );
    // One user has a token, and the other has none.
    let hash = livechat_units::hashed_token("loginOfTesterio");
    assert_eq!(
        items["USER#GT67Tv6x5p5y5xZWN TOKENS"],
        json!({ "pk": "USER#GT67Tv6x5p5y5xZWN", "sk": "TOKENS", "hashes": { "set": [hash] }, "rev": 1 })
    );
    assert_eq!(items["USER#rocket.cat TOKENS"], json!({ "pk": "USER#rocket.cat", "sk": "TOKENS", "rev": 1 }));
    // `when` and 90 days.
    assert_eq!(
        items[&hash],
        json!({
            "hashedToken": hash, "userId": "GT67Tv6x5p5y5xZWN", "createdAt": "2021-11-29T07:58:12.031Z",
            "expiresAt": 1_638_172_692 + 90 * 86_400,
        })
    );
    let hash = livechat_units::hashed_token(TOKEN);
    assert_eq!(
        items[&hash],
        json!({
            "hashedToken": hash, "userId": ADMIN, "createdAt": "2021-11-02T08:15:00.000Z",
            "type": "personalAccessToken", "name": "sample",
        })
    );

    // Again: nothing changes.
    let run = world.import(&sample(), &[]);
    assert!(
        run.stdout.ends_with(
            "\
                written  unchanged left alone
users                 0         10          0
tokens                0         10          0
permissions           0          5          0
departments           0        108          0
units                 0          4          0
0 units kept, 10 repairs, 0 broken lines
"
        ),
        "{run:?}"
    );
    assert!(world.items().await == items, "the second import changed something");
    // And the invariants hold, as `check` sees them.
    assert_eq!(world.run(&["check"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reports_and_writes_nothing() {
    let world = world().await;
    let departments = [unit("U", 1, 1), department("d", Some("U"))];
    let folder =
        export(&[user("m", &["livechat-monitor"])], &[permission()], &departments, &[monitor("U", "m")]);
    let run = world.import(folder.path(), &["--dry-run"]);
    assert_eq!(
        run.stdout,
        "\
would write: {\"pk\":\"PERMISSION#manage-livechat-units\",\"rev\":1,\"roles\":[\"admin\"],\"sk\":\"PERMISSION\"}
would write: {\"active\":true,\"pk\":\"USER#m\",\"roles\":[\"livechat-monitor\"],\"sk\":\"USER\",\"username\":\"name.of.m\"}
would write: {\"pk\":\"USER#m\",\"rev\":1,\"sk\":\"TOKENS\"}
note: no usable line of users.json has services.resume, so no stored login token is deleted; if users have login tokens, export the field, too
would write: {\"_updatedAt\":\"2021-12-06T14:40:59.478Z\",\"ancestors\":[\"U\"],\"enabled\":true,\"name\":\"Department d\",\"parentId\":\"U\",\"pk\":\"DEPARTMENT#d\",\"rev\":1,\"sk\":\"DEPARTMENT\"}
would write: {\"_updatedAt\":\"2021-12-06T14:40:59.478Z\",\"departmentIds\":[\"d\"],\"monitors\":{\"m\":\"name.of.m\"},\"name\":\"Unit U\",\"numDepartments\":1,\"numMonitors\":1,\"pk\":\"UNIT#U\",\"rev\":1,\"sk\":\"UNIT\",\"type\":\"u\",\"visibility\":\"public\"}
               to write  unchanged left alone
users                 1          0          0
tokens                0          0          0
permissions           1          0          0
departments           1          0          0
units                 1          0          0
0 units kept, 0 repairs, 0 broken lines
"
    );
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(world.items().await.is_empty());

    let run = world.import(folder.path(), &["--dry-run", "--output", "json"]);
    let events: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    assert_eq!(events.len(), 7, "{run:?}");
    assert_eq!(events[0]["event"], "write");
    assert_eq!(events[0]["item"]["pk"], "PERMISSION#manage-livechat-units");
    let (one, none) = (
        json!({ "written": 1, "unchanged": 0, "changedMeanwhile": 0 }),
        json!({ "written": 0, "unchanged": 0, "changedMeanwhile": 0 }),
    );
    assert_eq!(
        events[6],
        json!({
            "event": "summary", "dryRun": true, "users": one, "tokens": none, "permissions": one,
            "departments": one, "units": one, "tokensDeleted": 0, "kept": 0, "repairs": 0, "broken": 0,
            "superseded": 0, "changedFields": 0,
        })
    );
    assert!(world.items().await.is_empty());
    assert_eq!(world.import(folder.path(), &[]).code, 0);
    let run = world.import(folder.path(), &["--dry-run"]);
    assert_eq!(lines(&run, &["would"]), [""; 0]);
}
