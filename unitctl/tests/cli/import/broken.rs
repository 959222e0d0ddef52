//! What can not be imported, and what keeps an import from starting.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn broken_lines_are_reported_and_the_rest_is_imported() {
    let folder = export(&[], &[], &[], &[]);
    let hash = livechat_units::hashed_token("a token");
    // Every document has an `_id` of its own.
    let ids = std::cell::Cell::new(0);
    let token = |token: Value| {
        ids.set(ids.get() + 1);
        let id = format!("t{}", ids.get());
        json!({ "_id": id, "services": { "resume": { "loginTokens": [token] } } }).to_string()
    };
    let bad = |start: &str| {
        ids.set(ids.get() + 1);
        format!(r#"{{"_id":"a{}",{start}}}"#, ids.get())
    };
    let long_id = "x".repeat(513);
    let large = "x".repeat(410_000);
    let users = [
        (r#"{"_id":"good","username":"good"}"#.to_owned(), None),
        (r#"{"_id":"cut","#.into(), Some("not JSON: EOF while parsing a value in column 13")),
        ("[1]x".into(), Some("not JSON: trailing characters in column 4")),
        ("5".into(), Some("not a document, which would be in braces")),
        (r#"{"username":"x"}"#.into(), Some("no _id")),
        (r#"{"_id":""}"#.into(), Some("_id is empty or over 512 bytes")),
        (format!(r#"{{"_id":"{long_id}"}}"#), Some("_id is empty or over 512 bytes")),
        (r#"{"_id":{"$oid":"5fd7a0b6c2d3e4f5a6b7c8d9"}}"#.into(), None),
        (r#"{"_id":5}"#.into(), Some("_id is a number and not a string")),
        (bad(r#""username":{}"#), Some("username is an object and not a string")),
        (bad(r#""roles":"admin""#), Some("roles is a string and not an array of strings")),
        (bad(r#""roles":[1]"#), Some("roles is an array and not an array of strings")),
        (bad(r#""active":"yes""#), Some("active is a string and not true or false")),
        (
            token(json!({ "when": { "$date": "2021-12-06T14:40:59.478Z" } })),
            Some("login token 0: no hashedToken"),
        ),
        (
            token(json!({ "hashedToken": "secret" })),
            Some("login token 0: hashedToken is no SHA-256 in base64"),
        ),
        (
            token(json!({ "hashedToken": format!("{}=", "?".repeat(43)) })),
            Some("login token 0: hashedToken is no SHA-256 in base64"),
        ),
        (
            token(json!({ "hashedToken": hash, "type": 5 })),
            Some("login token 0: type is a number and not a string"),
        ),
        (token("x".into()), Some("login token 0: it is a string and not an object")),
        (bad(r#""services":5"#), Some("services is a number and not an object")),
        (
            bad(r#""services":{"resume":{"loginTokens":{"hashedToken":"secret"}}}"#),
            Some("services.resume.loginTokens is an object and not an array"),
        ),
        (
            token(json!({ "hashedToken": hash, "when": "2021" })),
            Some(r#"login token 0: when: "2021" is no date, which would be {"$date": ...}"#),
        ),
        (
            format!(r#"{{"_id":"large","username":"{large}"}}"#),
            Some("410026 bytes, and an item holds 409600"),
        ),
    ];
    let departments = [
        (unit("U", 0, 1).to_string(), None),
        (department("d", Some("U")).to_string(), None),
        (r#"{"_id":"e"}"#.into(), Some("no name")),
        (r#"{"_id":"u","type":"u"}"#.into(), Some("no name")),
        (bad(r#""name":"e","parentId":5"#), Some("parentId is a number and not a string")),
        (
            bad(r#""name":"e","_updatedAt":"x""#),
            Some(r#"_updatedAt: "x" is no date, which would be {"$date": ...}"#),
        ),
    ];
    let permissions = [
        (permission().to_string(), None),
        (r#"{"_id":"","roles":[]}"#.into(), Some("_id is empty or over 512 bytes")),
        (r#"{"_id":"p","roles":{}}"#.into(), Some("roles is an object and not an array of strings")),
    ];
    let monitors = [
        (r#"{"unitId":"U"}"#.to_owned(), Some("no monitorId")),
        (r#"{"monitorId":"good"}"#.into(), Some("no unitId")),
        (r#"{"monitorId":"good","unitId":""}"#.into(), Some("unitId is empty or over 512 bytes")),
    ];
    let mut expected = Vec::new();
    for (file, lines) in FILES.into_iter().zip([&users[..], &permissions, &departments, &monitors]) {
        let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
        write(&folder, file, &text);
        expected.extend(lines.iter().enumerate().filter_map(|(number, (_, reason))| {
            reason.map(|reason| format!("broken: {file}, line {}: {reason}", number + 1))
        }));
    }
    expected.sort();

    let world = world().await;
    for options in [&["--dry-run"][..], &[]] {
        // JSON has all lines.
        let run = world.import(folder.path(), &[&["--output", "json"], options].concat());
        let events = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let broken = events.filter(|event| event["event"] == "broken").map(|event| {
            let text = |name: &str| event[name].as_str().expect("a text").to_owned();
            format!("broken: {}, line {}: {}", text("file"), event["line"], text("reason"))
        });
        let mut broken: Vec<String> = broken.collect();
        broken.sort();
        assert_eq!(broken, expected);
        assert!(
            run.stdout.ends_with(&format!(
                "\"broken\":{},\"superseded\":0,\"changedFields\":0}}\n",
                expected.len()
            ))
        );
        assert_eq!((run.code, run.stderr.as_str()), (3, ""));
        assert!(!run.stdout.contains("secret"), "a token may stand where its hash belongs");
    }
    // Text lists the first ten of a file, and counts the others.
    let text = world.import(folder.path(), &["--dry-run"]);
    let users = expected.iter().filter(|line| line.contains("users.json")).count();
    assert_eq!(lines(&text, &["broken: users.json"]).len(), 10);
    let more = format!(
        "{} more lines of users.json could not be used; --output json lists all of them\n",
        users - 10
    );
    assert!(text.stdout.contains(&more), "{text:?}");
    let items = world.items().await;
    assert_eq!(starting("DEPARTMENT", &items), ["DEPARTMENT#d DEPARTMENT"]);
    assert_eq!(starting("PERMISSION", &items), ["PERMISSION#manage-livechat-units PERMISSION"]);
    assert_eq!(starting("UNIT", &items), ["UNIT#U UNIT"]);
    let users: Vec<String> = starting("USER", &items)
        .into_iter()
        .filter(|key| key.ends_with("USER") && !key.contains("#t"))
        .collect();
    assert_eq!(users, ["USER#5fd7a0b6c2d3e4f5a6b7c8d9 USER", "USER#good USER"]);
    // A user with a broken token is imported without it.
    assert_eq!(items["USER#t5 TOKENS"], json!({ "pk": "USER#t5", "sk": "TOKENS", "rev": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_stops_at_the_first_broken_line() {
    let world = world().await;
    let folder = export(&[admin()], &[permission()], &[unit("U", 0, 0)], &[]);
    write(&folder, FILES[2], "{\"_id\":\"u\"}\n{}\n");
    let run = world.import(folder.path(), &["--strict", "--no-monitors"]);
    let error = "error: rocketchat_livechat_department.json, line 1: no name\n";
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (1, "", error));
    // Units and departments are looked at before anything is written.
    assert!(world.items().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_an_import_from_starting_is_reported() {
    let world = world().await;
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_unitctl"));
    command.args(["import", "."]).env_remove("TOKENS_TABLE").env_remove("LIVECHAT_TABLE");
    command.env("AWS_REGION", "eu-west-1");
    let result = crate::world::run(command);
    assert_eq!(
        (result.code, result.stderr.as_str()),
        (
            1,
            "error: no table is given: use --stack or --tokens-table, or set TOKENS_TABLE in the environment\n"
        )
    );

    let run = world.import(&sample(), &["--livechat-table", "no-such-table"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert_eq!(run.stderr, "error: there is no table no-such-table in this region and account\n");
}
