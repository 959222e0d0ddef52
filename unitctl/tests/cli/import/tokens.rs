//! Login tokens: when they expire, the list of their hashes, and the deletion of revoked ones.

use time::OffsetDateTime;

use super::*;

fn hash(token: &str) -> String {
    livechat_units::hashed_token(token)
}

fn with_tokens(id: &str, tokens: &[Value]) -> Value {
    let mut user = user(id, &["admin"]);
    user["services"] = json!({ "resume": { "loginTokens": tokens } });
    user
}

/// An export with the base's other files.
fn with_users(users: &[Value]) -> TempDir {
    let [_, permissions, departments, _] = base();
    export(users, &permissions, &departments, &[])
}

fn import(world: &World, folder: &TempDir, options: &[&str]) -> Run {
    world.import(folder.path(), &[&["--no-monitors"], options].concat())
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

async fn call(world: &World, user: &str, token: &str) -> u16 {
    world.update("desk", user, token, &body(&[], &["mail"])).await.status_code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_token_without_when_expires_after_the_import_that_brings_it_first() {
    let personal =
        json!({ "hashedToken": hash("robot"), "type": "personalAccessToken", "when": null, "name": null });
    let undefined = json!({ "hashedToken": hash("other"), "when": { "$undefined": true }, "createdAt": { "$date": "2001-01-01T00:00:00Z" } });
    let tokens = [
        login("new", "2098-01-02T03:04:05.006Z"),
        json!({ "hashedToken": hash("old") }),
        personal,
        undefined,
    ];
    let folder = with_users(&[with_tokens("chief", &tokens)]);
    let world = world().await;
    let note = "note: 2 login tokens have no date in `when`; such a token expires 30 days after the import that brings it first";
    let before = now();
    for options in [&["--dry-run", "--token-lifetime", "30"][..], &["--token-lifetime", "30"]] {
        let run = import(&world, &folder, options);
        assert_eq!((run.code, lines(&run, &["note"])), (0, vec![note]), "{run:?}");
    }
    let items = world.items().await;
    for token in ["old", "other"] {
        let item = &items[&hash(token)];
        let expires = item["expiresAt"].as_i64().expect("it expires") - 30 * 86_400;
        assert!((before..=now()).contains(&expires), "{item}");
        let created = item["createdAt"].as_str().expect("it has a time");
        assert!(created > "2026", "the document's own date does not count: {item}");
    }
    assert_eq!(
        items[&hash("robot")],
        json!({
            "hashedToken": hash("robot"), "userId": "chief", "type": "personalAccessToken",
        })
    );
    assert_eq!(items[&hash("new")]["createdAt"], "2098-01-02T03:04:05.006Z");
    for token in ["new", "old", "other", "robot"] {
        assert_eq!(call(&world, "chief", token).await, 200, "{token}");
    }

    // A later import keeps the time of the first one, and uses its own lifetime.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let run = import(&world, &folder, &["--token-lifetime", "30"]);
    assert!(run.stdout.contains("tokens                0          4          0\n"), "{run:?}");
    let run = import(&world, &folder, &[]);
    assert_eq!(run.code, 0, "{run:?}");
    let later = world.items().await;
    assert_eq!(later[&hash("old")]["createdAt"], items[&hash("old")]["createdAt"]);
    let difference = later[&hash("old")]["expiresAt"].as_i64().zip(items[&hash("old")]["expiresAt"].as_i64());
    assert_eq!(difference.map(|(later, earlier)| later - earlier), Some(60 * 86_400));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hashes_of_a_users_tokens_are_listed() {
    let tokens = [login("one", "2098-01-02T03:04:05.006Z"), login("two", "2001-01-02T03:04:05.006Z")];
    let folder = with_users(&[with_tokens("chief", &tokens), user("ann", &[])]);
    let world = world().await;
    assert_eq!(import(&world, &folder, &[]).code, 0);
    let mut hashes = [hash("one"), hash("two")];
    hashes.sort();
    let list = json!({ "pk": "USER#chief", "sk": "TOKENS", "hashes": { "set": hashes }, "rev": 1 });
    assert_eq!(world.item("USER#chief", "TOKENS").await, list);
    assert_eq!(world.item("USER#ann", "TOKENS").await, json!({ "pk": "USER#ann", "sk": "TOKENS", "rev": 1 }));

    // `rev` grows with each write of the user, a token or the list, and only then.
    assert_eq!(import(&world, &folder, &[]).code, 0);
    assert_eq!(world.item("USER#chief", "TOKENS").await, list);
    let mut renamed = with_tokens("chief", &tokens);
    renamed["username"] = "new.name".into();
    assert_eq!(import(&world, &with_users(&[renamed.clone()]), &[]).code, 0);
    assert_eq!(world.item("USER#chief", "TOKENS").await["rev"], 2);
    renamed["services"]["resume"]["loginTokens"][0]["when"] = json!({ "$date": "2097-01-02T03:04:05.006Z" });
    assert_eq!(import(&world, &with_users(&[renamed]), &[]).code, 0);
    assert_eq!(world.item("USER#chief", "TOKENS").await["rev"], 3);
    assert_eq!(world.item("USER#ann", "TOKENS").await["rev"], 1, "a user who is not exported is not written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_deleted() {
    let [one, two] = ["one", "two"].map(|token| login(token, "2098-01-02T03:04:05.006Z"));
    let world = world().await;
    let users = |tokens: &[Value]| {
        with_users(&[
            with_tokens("chief", tokens),
            with_tokens("ann", &[login("ann", "2098-01-02T03:04:05.006Z")]),
        ])
    };
    assert_eq!(import(&world, &users(&[one.clone(), two.clone()]), &[]).code, 0);
    // The operator made a token for the same user.
    let own = world.ok_text(&["token", "create", "--user", "chief"]);
    world.put(json!({ "hashedToken": hash(own.trim()), "userId": "chief", "source": "unitctl" })).await;
    assert_eq!(call(&world, "chief", "one").await, 200);

    let revoked = users(&[two]);
    let before = world.items().await;
    let dry = import(&world, &revoked, &["--dry-run"]);
    assert_eq!(lines(&dry, &["would delete"]).len(), 1, "{dry:?}");
    assert!(dry.stdout.contains("1 token to delete, which Rocket.Chat does not have any more\n"), "{dry:?}");
    assert!(world.items().await == before);
    // It is deleted even if lines of other users or other tokens of this user are broken.
    write(
        &revoked,
        FILES[0],
        format!(
            "{}\n{{\"_id\":\"ann\",\"roles\":5}}\n{{}}\n",
            with_tokens("chief", &[login("two", "2098-01-02T03:04:05.006Z"), json!({ "hashedToken": 5 })])
        ),
    );
    let run = import(&world, &revoked, &[]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.stdout.contains("1 token deleted, which Rocket.Chat does not have any more\n"), "{run:?}");
    assert_eq!(call(&world, "chief", "one").await, 401);
    assert_eq!(call(&world, "chief", "two").await, 200);
    assert_eq!(call(&world, "chief", own.trim()).await, 200, "the operator's own token stays");
    assert_eq!(call(&world, "ann", "ann").await, 200, "a user whose line is broken keeps the token");
    assert_eq!(
        world.item("USER#chief", "TOKENS").await,
        json!({ "pk": "USER#chief", "sk": "TOKENS", "hashes": { "set": [hash("two")] }, "rev": 2 })
    );

    // All of them are deleted: the export has `services.resume`, but not in this user's document.
    let none = with_users(&[user("chief", &["admin"]), with_tokens("ann", &[])]);
    assert_eq!(import(&world, &none, &[]).code, 0);
    assert_eq!(call(&world, "chief", "two").await, 401);
    assert_eq!(call(&world, "ann", "ann").await, 401);
    assert_eq!(call(&world, "chief", own.trim()).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_without_tokens_deletes_none() {
    let token = login("one", "2098-01-02T03:04:05.006Z");
    let world = world().await;
    assert_eq!(import(&world, &with_users(&[with_tokens("chief", &[token])]), &[]).code, 0);
    let before = world.items().await;
    // `--fields username,roles`, or with another field of `services`.
    let mut other_field = user("chief", &["admin"]);
    other_field["services"] = json!({ "password": { "bcrypt": "resume" } });
    for users in [&[user("chief", &["admin"])][..], &[other_field]] {
        let run = import(&world, &with_users(users), &[]);
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(
            lines(&run, &["note"]),
            [
                "note: no usable line of users.json has services.resume, so no stored login token is deleted; if users have login tokens, export the field, too"
            ]
        );
        assert!(world.items().await == before);
    }
    assert_eq!(call(&world, "chief", "one").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_lines_that_do_not_count_do_not_say_that_the_export_has_tokens() {
    let token = login("one", "2098-01-02T03:04:05.006Z");
    let with = with_tokens("chief", std::slice::from_ref(&token));
    let without = user("chief", &["admin"]);
    let world = world().await;
    assert_eq!(import(&world, &with_users(std::slice::from_ref(&with)), &[]).code, 0);
    let before = world.items().await;
    // Neither a line with the same `_id` as a later one nor a line that can't be used counts.
    let mut no_roles = with_tokens("ann", &[login("two", "2098-01-02T03:04:05.006Z")]);
    no_roles["roles"] = 5.into();
    let no_id = json!({ "services": { "resume": { "loginTokens": [] } } });
    for (users, code) in [
        (vec![with, without.clone()], 0),
        (vec![no_roles.clone(), without.clone()], 3),
        (vec![without.clone(), no_id], 3),
    ] {
        let run = import(&world, &with_users(&users), &[]);
        assert_eq!((run.code, lines(&run, &["note"]).len()), (code, 1), "{run:?}");
        assert!(world.items().await == before, "{run:?}");
    }
    // The last of many documents has tokens, and counts.
    let ann = with_tokens("ann", &[login("two", "2098-01-02T03:04:05.006Z")]);
    let run = import(&world, &with_users(&[no_roles, without, ann]), &[]);
    assert_eq!((run.code, lines(&run, &["note"]).len()), (0, 0), "{run:?}");
    assert_eq!(call(&world, "chief", "one").await, 401);
    assert_eq!(call(&world, "ann", "two").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_used_any_more_stays_as_it_is_stored() {
    let world = world().await;
    assert_eq!(
        import(
            &world,
            &with_users(&[with_tokens("chief", &[login("one", "2098-01-02T03:04:05.006Z")])]),
            &[]
        )
        .code,
        0
    );
    let before = world.items().await;
    let broken = json!({ "hashedToken": hash("one"), "when": "yesterday" });
    let run = import(&world, &with_users(&[with_tokens("chief", &[broken])]), &[]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(world.items().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_moved_to_another_user_is_not_deleted() {
    let token = login("one", "2098-01-02T03:04:05.006Z");
    let world = world().await;
    let users =
        |ann: &[Value], bob: &[Value]| with_users(&[with_tokens("ann", ann), with_tokens("bob", bob)]);
    assert_eq!(import(&world, &users(std::slice::from_ref(&token), &[]), &[]).code, 0);
    assert_eq!(import(&world, &users(&[], &[token]), &[]).code, 0);
    assert_eq!(call(&world, "bob", "one").await, 200);
    assert_eq!(world.item("USER#ann", "TOKENS").await.get("hashes"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_many_tokens_is_imported() {
    let tokens: Vec<Value> = (0..130).map(|n| login(&format!("t{n}"), "2098-01-02T03:04:05.006Z")).collect();
    let world = world().await;
    assert_eq!(import(&world, &with_users(&[with_tokens("chief", &tokens)]), &[]).code, 0);
    assert_eq!(call(&world, "chief", "t129").await, 200);
    assert_eq!(import(&world, &with_users(&[with_tokens("chief", &tokens[..3])]), &[]).code, 0);
    let items = world.items().await;
    assert_eq!(items["USER#chief TOKENS"]["hashes"]["set"].as_array().map(Vec::len), Some(3));
    assert_eq!(items.values().filter(|item| item.get("hashedToken").is_some()).count(), 3);
}
