//! The words that old versions of mongoexport write for values that JSON does not have.

use super::*;

/// The text of a value as versions of mongoexport before extended JSON v2 write it, and the value in version 2.
const OLD_WORDS: [(&str, &str); 5] = [
    ("NaN", r#"{"$numberDouble":"NaN"}"#),
    ("Infinity", r#"{"$numberDouble":"Infinity"}"#),
    ("+Infinity", r#"{"$numberDouble":"Infinity"}"#),
    ("-Infinity", r#"{"$numberDouble":"-Infinity"}"#),
    ("undefined", r#"{"$undefined":true}"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn words_of_old_versions_in_fields_that_are_not_read_are_values() {
    // In the first document of each file, on one line, and over several lines.
    let with_field = |value: &str| {
        let folder = folder(&base());
        for (file, documents) in FILES.into_iter().zip(base()) {
            let lines = documents.iter().enumerate().map(|(number, document)| {
                let document = document.to_string();
                let start = document.strip_suffix('}').expect("an object");
                match number {
                    0 => format!("{start},\"odd\":[{value}, {{\"a\": {value} }}]}}\n"),
                    1 => format!("{{\n\t\"odd\" : {value},\n\t{}\n}}\n", &start[1..]),
                    _ => format!("{document}\n"),
                }
            });
            write(&folder, file, lines.collect::<String>());
        }
        folder
    };
    for (word, value) in OLD_WORDS {
        let (world, expected) = (world().await, world().await);
        let run = import_twice(&world, &with_field(word), 0).await;
        let same = import_twice(&expected, &with_field(value), 0).await;
        assert_eq!(run.stdout, same.stdout, "{word}");
        assert!(world.items().await == expected.items().await, "{word}");
        let changed = if word == "undefined" { 0 } else { 3 };
        assert_eq!(lines(&run, &["changed"]).len(), changed, "{run:?}");
        assert_eq!(starting("USER#", &world.items().await).len(), 8, "{word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_old_versions_in_fields_that_are_read_are_what_version_2_has_there() {
    // In a field of each collection that is read: the line is broken.
    let with_field = |value: &str| {
        let folder = folder(&base());
        for (file, line) in FILES.into_iter().zip([
            format!(r#"{{"_id":"x","username":{value}}}"#),
            format!(r#"{{"_id":"x","roles":{value}}}"#),
            format!(r#"{{"_id":"x","type":"u","name":{value}}}"#),
            format!(r#"{{"_id":"x","unitId":"desk","monitorId":{value}}}"#),
        ]) {
            let index = FILES.iter().position(|other| *other == file).expect("it is one of them");
            let lines: String = base()[index].iter().map(|document| format!("{document}\n")).collect();
            write(&folder, file, format!("{lines}{line}\n"));
        }
        folder
    };
    for (word, value) in OLD_WORDS {
        let (world, expected) = (world().await, world().await);
        let run = import_twice(&world, &with_field(word), 3).await;
        let same = import_twice(&expected, &with_field(value), 3).await;
        assert_eq!(run.stdout, same.stdout, "{word}");
        assert!(world.items().await == expected.items().await, "{word}");
        let broken = lines(&run, &["broken"]);
        if word == "undefined" {
            let reasons = ["line 6: no name", "line 3: no monitorId"];
            assert!(broken.len() == 2 && broken.iter().zip(reasons).all(|(line, end)| line.ends_with(end)));
        } else {
            assert_eq!(
                broken,
                [
                    "broken: rocketchat_livechat_department.json, line 6: name is an object and not a string",
                    "broken: rocketchat_livechat_unit_monitors.json, line 3: monitorId is an object and not a string",
                    "broken: rocketchat_permissions.json, line 2: roles is an object and not an array of strings",
                    "broken: users.json, line 5: username is an object and not a string",
                ]
            );
        }
    }
}
