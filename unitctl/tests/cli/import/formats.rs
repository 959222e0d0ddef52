//! Formats of files. The import reads some. For the others it prints the command that exports a file that it reads.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn pretty(documents: &[Value], indent: &str) -> String {
    let document = |document: &Value| {
        let text = serde_json::to_string_pretty(document).expect("JSON");
        let lines = text.lines().map(|line| {
            let inner = line.trim_start();
            format!("{}{inner}\n", indent.repeat((line.len() - inner.len()) / 2))
        });
        lines.collect::<String>()
    };
    documents.iter().map(document).collect()
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_gives_the_same_items() {
    let plain = world().await;
    assert_eq!(plain.import(folder(&base()).path(), &["--strict"]).code, 0);
    let expected = plain.items().await;

    type Form = fn(&[Value]) -> Vec<u8>;
    let lines =
        |documents: &[Value]| documents.iter().map(|document| format!("{document}\n")).collect::<String>();
    let forms: [(&str, Form); 10] = [
        ("files put together without a line break", |documents| {
            documents.iter().map(Value::to_string).collect::<String>().into_bytes()
        }),
        ("pretty files put together without a line break", |documents| {
            pretty(documents, "\t").replace("}\n{", "}{").into_bytes()
        }),
        ("pretty", |documents| pretty(documents, "\t").into_bytes()),
        ("pretty by spaces, CRLF", |documents| pretty(documents, "  ").replace('\n', "\r\n").into_bytes()),
        ("an array, without a line break", |documents| serde_json::to_vec(documents).expect("JSON")),
        ("UTF-16 by PowerShell", |documents| {
            let text = documents.iter().map(|document| format!("{document}\r\n")).collect::<String>();
            utf16(&format!("\u{feff}{text}"), u16::to_le_bytes)
        }),
        ("UTF-16, big endian, without a mark, pretty", |documents| {
            utf16(&pretty(documents, "\t"), u16::to_be_bytes)
        }),
        ("gzip", |documents| gzip(pretty(documents, "\t").as_bytes())),
        ("gzip of UTF-16", |documents| {
            gzip(&utf16(&serde_json::to_string(documents).expect("JSON"), u16::to_le_bytes))
        }),
        ("two arrays put together", |documents| {
            let (one, two) = documents.split_at(documents.len() / 2);
            [one, two].map(|part| serde_json::to_string(part).expect("JSON")).join("\n").into_bytes()
        }),
    ];
    for (name, form) in forms {
        let folder = folder(&base());
        for (file, documents) in FILES.into_iter().zip(base()) {
            write(&folder, file, form(&documents));
        }
        let world = world().await;
        let run = world.import(folder.path(), &["--strict"]);
        assert_eq!(run.code, 0, "{name}: {run:?}");
        assert!(world.items().await == expected, "{name}");
    }
    // One of the files at a time, because different people may have made the files.
    for file in FILES {
        let folder = folder(&base());
        let index = FILES.iter().position(|other| *other == file).expect("it is one of them");
        write(&folder, file, gzip(lines(&base()[index]).as_bytes()));
        let world = world().await;
        assert_eq!(world.import(folder.path(), &["--strict"]).code, 0, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_forms_are_named_in_one_message_each() {
    let world = world().await;
    let bson = b"\x16\0\0\0\x02_id\0\x02\0\0\0a\0\0".to_vec();
    // A compressed file with another byte in this place.
    let damaged = |place: usize| {
        let text =
            (0..500).map(|number| format!("{{\"_id\":\"{}\"}}\n", number * 7919 % 997)).collect::<String>();
        let short = gzip(b"{\"_id\":\"a\"}\n");
        let mut bytes = if place < short.len() { short } else { gzip(text.as_bytes()) };
        bytes[place] ^= 0xFF;
        bytes
    };
    let rows = "\"a\",\"[\"\"admin\"\"]\"\n".repeat(5_000);
    let shell = r#"{"_id":"a","_updatedAt":ISODate("2022-10-11T12:13:14.151Z")}"#;
    for (bytes, problem) in [
        (bson.clone(), "is BSON, as mongodump writes it, and not JSON."),
        (gzip(&bson), "is BSON, as mongodump writes it, and not JSON."),
        (b"PK\x03\x04\0\0\0\0".to_vec(), "is a binary file, and not JSON."),
        (
            format!("_id,roles\n{rows}").into_bytes(),
            "is CSV or other text, and not JSON: none of its 5001 lines can be read.",
        ),
        (
            format!("_id\troles\n{}", rows.replace(',', "\t")).into_bytes(),
            "is CSV or other text, and not JSON: none",
        ),
        (
            format!("{shell}\n").repeat(5_000).into_bytes(),
            "is in the syntax of the mongo shell, and not JSON: line 1 has ISODate(...).",
        ),
        // Some of the documents are JSON, too.
        (
            b"{\"_id\":\"b\"}\n{\"_id\":ObjectId(\"5fd7a0b6c2d3e4f5a6b7c8d9\")}\n".to_vec(),
            "is in the syntax of the mongo shell, and not JSON: line 2 has ObjectId(...).",
        ),
        (
            b"[\n  {\n    _id: 'a',\n    roles: [ 'admin' ]\n  }\n]\n".to_vec(),
            "is in the syntax of the mongo shell, and not JSON: line 2 has the name _id without quotes.",
        ),
        (
            b"{\n\t\"_id\" : \"a\",\n\t\"n\" : NumberInt(1)\n}\n".to_vec(),
            "is in the syntax of the mongo shell, and not JSON: line 1 has NumberInt(...).",
        ),
        // A quote in single quotes hides the end of the array.
        (
            b"[\n  {\n    _id: 'a',\n    note: 'Screen 15\" wide'\n  },\n  { _id: 'b' }\n]\n".to_vec(),
            "is in the syntax of the mongo shell, and not JSON: line 2 has the name _id without quotes.",
        ),
        (
            b"{\"_id\":\"a\",\"n\":UUID(\"00000000-0000-0000-0000-000000000000\")}\n".to_vec(),
            "is in the syntax of the mongo shell, and not JSON: line 1 has UUID(...).",
        ),
        (damaged(40), "is damaged: "),
        // Within the checksum at the end.
        (damaged(gzip(b"{\"_id\":\"a\"}\n").len() - 6), "is damaged: "),
        (b"x\ny\n".to_vec(), "is CSV or other text, and not JSON: none of its 2 lines can be read."),
        (gzip(b"{\"_id\":\"a\"}\n")[..25].to_vec(), "is cut off: it ends at byte 25, in the middle of"),
    ] {
        for file in FILES {
            let folder = folder(&base());
            write(&folder, file, &bytes);
            let runs = [&["--dry-run"][..], &[]].map(|options| world.import(folder.path(), options));
            for run in runs {
                assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{problem}: {run:?}");
                let name = file.trim_end_matches(".json");
                let path = folder.path().join(file);
                let start = format!("error: nothing was written.\n{file} {problem}");
                assert!(run.stderr.starts_with(&start), "{run:?}");
                let help = format!(
                    " Export the collection again: mongoexport --uri URI --collection {name} --out {}",
                    path.display()
                );
                assert!(run.stderr.contains(&help), "{run:?}");
                assert_eq!(run.stderr.lines().count(), 2);
            }
        }
    }
    assert!(world.items().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_reported_with_the_form_that_is_there() {
    let world = world().await;
    let folder = folder(&base());
    for file in FILES {
        fs::remove_file(folder.path().join(file)).expect("it was there");
    }
    write(&folder, "users.bson", b"\x16\0\0\0\x02_id\0\x02\0\0\0a\0\0");
    write(&folder, "rocketchat_permissions.csv", "_id,roles\n");
    write(&folder, "rocketchat_livechat_department.json.gz", gzip(b"{\"_id\":\"a\"}\n"));
    let folder_name = folder.path().display();
    let command = |name: &str, fields: &str| {
        let path = folder.path().join(name);
        format!(
            "Export the collection again: mongoexport --uri URI --collection {name} --out {}.json{fields}",
            path.display()
        )
    };
    let monitors = format!(
        "rocketchat_livechat_unit_monitors.json is missing in {folder_name}. {}",
        command("rocketchat_livechat_unit_monitors", "")
    );
    let departments = format!(
        "rocketchat_livechat_department.json is missing in {folder_name}, and rocketchat_livechat_department.json.gz \
         is compressed by gzip, which is read under the name without .gz. {}",
        command("rocketchat_livechat_department", "")
    );
    let permissions = format!(
        "rocketchat_permissions.json is missing in {folder_name}, and rocketchat_permissions.csv is CSV, which is not \
         read. {}",
        command("rocketchat_permissions", "")
    );
    let users = format!(
        "users.json is missing in {folder_name}, and users.bson is BSON, as mongodump writes it, which is not read. {}",
        command("users", " --fields username,active,roles,services.resume.loginTokens")
    );
    let run = world.import(folder.path(), &[]);
    let stderr = format!("error: nothing was written.\n{monitors}\n{departments}\n{permissions}\n{users}\n");
    assert_eq!((run.code, run.stdout.as_str(), run.stderr), (1, "", stderr));

    // What can't be read is reported with the others.
    fs::create_dir(folder.path().join("users.json")).expect("it is created");
    let run = world.import(folder.path(), &[]);
    assert_eq!(run.stderr.lines().count(), 5, "{run:?}");
    assert!(run.stderr.contains("rocketchat_permissions.csv is CSV"), "{run:?}");
    assert!(run.stderr.ends_with("Is a directory (os error 21)\n"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_and_canonical_json_are_the_same() {
    let relaxed = world().await;
    assert_eq!(relaxed.import(&sample(), &[]).code, 0);
    let expected = relaxed.items().await;

    let folder = TempDir::new().expect("a folder");
    for file in FILES {
        let text = fs::read_to_string(sample().join(file)).expect("the sample is there");
        let documents: Vec<Value> =
            text.lines().map(|line| canonical(serde_json::from_str(line).expect("JSON"))).collect();
        // As `mongoexport --jsonArray --pretty` has it.
        let text = serde_json::to_string_pretty(&documents).expect("JSON");
        write(&folder, file, format!("{text}\n"));
    }
    let world = world().await;
    let run = world.import(folder.path(), &["--strict"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(world.items().await == expected);
}

/// `mongoexport --jsonFormat=canonical`.
fn canonical(value: Value) -> Value {
    match value {
        Value::Number(number) => json!({ "$numberInt": number.to_string() }),
        Value::Array(values) => values.into_iter().map(canonical).collect(),
        Value::Object(fields) => match fields.get("$date").and_then(Value::as_str) {
            Some(date) => {
                let format = &time::format_description::well_known::Rfc3339;
                let date = time::OffsetDateTime::parse(date, format).expect("a date");
                json!({ "$date": { "$numberLong": (date.unix_timestamp_nanos() / 1_000_000).to_string() } })
            }
            None => fields.into_iter().map(|(name, value)| (name, canonical(value))).collect(),
        },
        other => other,
    }
}
