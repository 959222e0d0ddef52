//! If an export is empty, cut off or partly unusable, nothing is removed because the export lacks it.

use super::*;

/// Tables with an import of the base, and its items.
async fn imported() -> (World, BTreeMap<String, Value>) {
    let world = world().await;
    let run = world.import(folder(&base()).path(), &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    let items = world.items().await;
    (world, items)
}

/// Both a dry run and an import of this folder must be refused and write nothing. Returns what the import prints.
async fn refused(world: &World, folder: &TempDir) -> String {
    let before = world.items().await;
    let dry = world.import(folder.path(), &["--dry-run"]);
    let run = world.import(folder.path(), &[]);
    assert_eq!(dry, run);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
    assert!(run.stderr.starts_with("error: nothing was written.\n"), "{run:?}");
    assert!(world.items().await == before, "something was written");
    run.stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_stops_the_import() {
    let (world, _) = imported().await;
    for file in FILES {
        for text in ["", "\n \r\n", "\u{feff}", "[]", "[\n]\n"] {
            let folder = folder(&base());
            write(&folder, file, text);
            let error = refused(&world, &folder).await;
            let message = format!("{file} is empty: it has {} bytes and 0 documents.", text.len());
            assert!(error.contains(&message), "{error}");
            let name = file.trim_end_matches(".json");
            assert!(error.contains(&format!(
                "Export the collection again: mongoexport --uri URI --collection {name} "
            )));
            let option = match file {
                "rocketchat_livechat_department.json" => " give --no-departments.",
                "rocketchat_livechat_unit_monitors.json" => " give --no-monitors.",
                _ => "documents. Export",
            };
            assert!(error.contains(option), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_without_monitors_or_departments_can_say_so() {
    let (world, before) = imported().await;
    let [users, permissions, departments, _] = base();
    let no_monitors = export(&users, &permissions, &departments, &[]);
    let run = world.import(no_monitors.path(), &["--no-monitors"]);
    assert_eq!(run.code, 0, "{run:?}");
    let items = world.items().await;
    assert_eq!(starting("UNIT#desk MONITOR", &items), [""; 0]);
    assert_eq!(items["UNIT#desk UNIT"]["numMonitors"], 0);
    assert_eq!(world.run(&["check"]).code, 0);

    // An import deletes no units and departments.
    let nothing = export(&users, &permissions, &[], &[]);
    assert_eq!(world.import(nothing.path(), &["--no-monitors"]).code, 1);
    assert_eq!(world.import(nothing.path(), &["--no-monitors", "--no-departments"]).code, 0);
    assert!(world.items().await == items);
    assert_eq!(starting("DEPARTMENT", &items), starting("DEPARTMENT", &before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_off_stops_the_import() {
    let (world, _) = imported().await;
    for (documents, file) in base().into_iter().zip(FILES) {
        let lines: String = documents.iter().map(|document| format!("{document}\n")).collect();
        let array = serde_json::to_string(&documents).expect("JSON");
        let pretty: String = documents
            .iter()
            .map(|document| format!("{}\n", serde_json::to_string_pretty(document).expect("JSON")))
            .collect();
        let whole = documents.len() - 1;
        for text in [
            lines[..lines.len() - 3].to_owned(),
            // A line break at the end does not make it whole.
            format!("{}\n", &lines[..lines.len() - 3]),
            pretty[..pretty.len() - 4].to_owned(),
            array[..array.len() - 4].to_owned(),
        ] {
            let folder = folder(&base());
            write(&folder, file, &text);
            let error = refused(&world, &folder).await;
            let message =
                format!("{file} is cut off: it ends at byte {}, in the middle of the document", text.len());
            assert!(error.contains(&message), "{error}");
            assert!(
                error.contains(&format!(" after {whole} whole documents. Export the collection again: ")),
                "{error}"
            );
        }
        // All elements are there, but the end of the array is not.
        let folder = folder(&base());
        write(&folder, file, &array[..array.len() - 1]);
        let error = refused(&world, &folder).await;
        assert!(error.contains(&format!(" after {} whole documents. ", documents.len())), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_that_is_wrong_is_named() {
    let (world, _) = imported().await;
    let folder = folder(&base());
    write(&folder, FILES[0], "");
    write(&folder, FILES[2], "{\"_id\":");
    let error = refused(&world, &folder).await;
    assert!(error.contains("users.json is empty"), "{error}");
    assert!(error.contains("rocketchat_livechat_department.json is cut off"), "{error}");
}

/// Imports the base again, with this text for these lines of a file. Only the lines are reported, and nothing is taken away.
async fn with_broken_lines(file: usize, broken: &[(usize, &str)]) -> (World, BTreeMap<String, Value>) {
    let (world, before) = imported().await;
    let folder = folder(&base());
    let mut lines: Vec<String> = base()[file].iter().map(Value::to_string).collect();
    for (line, text) in broken {
        lines[*line] = (*text).to_owned();
    }
    write(&folder, FILES[file], lines.join("\n"));
    let dry = world.import(folder.path(), &["--dry-run"]);
    let run = world.import(folder.path(), &[]);
    assert_eq!((dry.code, run.code), (3, 3), "{run:?}");
    for (line, _) in broken {
        let start = format!("broken: {}, line {}: ", FILES[file], line + 1);
        assert_eq!((lines_of(&dry, &start), lines_of(&run, &start)), (1, 1), "{run:?}");
    }
    assert_eq!(world.run(&["check"]).code, 0);
    (world, before)
}

fn lines_of(run: &Run, start: &str) -> usize {
    run.stdout.lines().filter(|line| line.starts_with(start)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_line_takes_nothing_away() {
    for (file, line, text) in [
        // A monitor's user.
        (0, 1, r#"{"_id":"ann","username":"#),
        (0, 1, r#"{"_id":"ann","roles":"livechat-monitor"}"#),
        (0, 1, r#"{"username":"ann"}"#),
        (1, 0, r#"{"_id":"manage-livechat-units","roles":5}"#),
        // A unit, and a department.
        (2, 0, r#"{"_id":"desk","type":"u"}"#),
        (2, 0, "x"),
        (2, 2, r#"{"_id":"mail","name":5}"#),
        // A monitor's row.
        (3, 0, r#"{"_id":"desk ann","unitId":"desk"}"#),
        (3, 0, "null"),
    ] {
        let (world, before) = with_broken_lines(file, &[(line, text)]).await;
        assert!(world.items().await == before, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_unusable_lines_take_nothing_away() {
    let broken = [(1, r#"{"_id":"ann","roles":5}"#), (2, r#"{"_id":"bob","roles":5}"#)];
    let (world, before) = with_broken_lines(0, &broken).await;
    assert!(world.items().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_whose_own_line_can_be_used_may_lose_the_role() {
    let (world, _) = imported().await;
    // The line of `clerk` and the row of `ann` are broken. The line of `ann` says that she is no monitor.
    let [mut users, permissions, departments, monitors] = base();
    users[1] = user("ann", &["user"]);
    let folder = export(&users, &permissions, &departments, &monitors[1..]);
    let mut lines: Vec<String> = users.iter().map(Value::to_string).collect();
    lines[3] = "{}".into();
    write(&folder, FILES[0], lines.join("\n"));
    write(&folder, FILES[3], format!("{{}}\n{}\n", monitors[1]));
    let run = world.import(folder.path(), &[]);
    assert_eq!(run.code, 3, "{run:?}");
    let items = world.items().await;
    assert_eq!(items["UNIT#desk UNIT"]["monitors"], json!({ "bob": "name.of.bob" }));
    // The user whose line is broken stays as they are stored, with the token.
    assert!(items.contains_key(&livechat_units::hashed_token("clerk")));
    assert!(items.contains_key("USER#clerk USER"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_of_a_monitor_counts_although_the_row_is_broken() {
    let (world, _) = imported().await;
    let [mut users, ..] = base();
    users[1]["username"] = "ann.new".into();
    let folder = folder(&base());
    write(&folder, FILES[0], users.iter().map(|user| format!("{user}\n")).collect::<String>());
    write(&folder, FILES[3], format!("{{}}\n{}\n", base()[3][1]));
    let run = world.import(folder.path(), &[]);
    assert_eq!(run.code, 3, "{run:?}");
    let message = "repaired: unit desk: monitor ann stays: rocketchat_livechat_unit_monitors.json has lines that can't be used";
    assert_eq!(lines_of(&run, message), 1, "{run:?}");
    let items = world.items().await;
    assert_eq!(items["UNIT#desk UNIT"]["monitors"], json!({ "ann": "ann.new", "bob": "name.of.bob" }));
    assert_eq!(items["UNIT#desk MONITOR#ann"]["username"], "ann.new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_department_stays_when_the_line_of_its_new_unit_is_broken() {
    let (world, before) = imported().await;
    let [_, _, mut departments, _] = base();
    // `orders` moves to a unit whose line is broken.
    departments[4]["parentId"] = "new".into();
    departments[4]["ancestors"] = json!(["new"]);
    let folder = folder(&base());
    let text: String = departments.iter().map(|document| format!("{document}\n")).collect();
    write(&folder, FILES[2], format!("{{\"_id\":\"new\",\"type\":\"u\"}}\n{text}"));
    let run = world.import(folder.path(), &[]);
    assert_eq!(run.code, 3, "{run:?}");
    let message = "repaired: department orders: stays in unit shop: no line of unit new can be used";
    assert_eq!(lines_of(&run, message), 1, "{run:?}");
    assert!(world.items().await == before);
}
