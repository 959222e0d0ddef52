//! The documents: their links lead somewhere, and each row of the contract names tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use yaml_serde::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The number of rows in docs/contract.md.
const ROWS: usize = 14;

/// Folders with files that are not the project's own.
const SKIPPED_FOLDERS: [&str; 3] = ["target", ".git", ".aws-sam"];

/// All files below `folder` with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("the name is UTF-8");
        if path.is_dir() {
            if !SKIPPED_FOLDERS.contains(&name) {
                found.extend(files(&path, extension));
            }
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A Markdown text without its code blocks.
fn without_code_blocks(markdown: &str) -> String {
    let mut is_code = false;
    let mut text = String::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// The targets of a text's inline links, `[text](target)`, images included.
fn links(markdown: &str) -> Vec<String> {
    let text = without_code_blocks(markdown);
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The anchors of a text's headings, as GitHub makes them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in without_code_blocks(markdown).lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        // GitHub numbers the second and later headings of the same text.
        let mut unique = anchor.clone();
        let mut number = 0;
        while !anchors.insert(unique.clone()) {
            number += 1;
            unique = format!("{anchor}-{number}");
        }
    }
    anchors
}

/// What is wrong with a link that stands in the document at `from`.
fn broken(from: &Path, link: &str) -> Option<String> {
    if link.starts_with("https://") || link.starts_with("http://") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { from.to_owned() } else { from.with_file_name("").join(path) };
    if !target.exists() {
        return Some("there is no such file".into());
    }
    if !anchor.is_empty() && !anchors(&read(&target)).contains(anchor) {
        return Some("there is no such heading".into());
    }
    None
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut problems = Vec::new();
    for document in files(Path::new(ROOT), "md") {
        for link in links(&read(&document)) {
            if let Some(problem) = broken(&document, &link) {
                problems.push(format!("{}: {link}: {problem}", document.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Files and folders of the project that a document names in inline code, such as `src/lib.rs`.
fn named_paths(markdown: &str) -> Vec<String> {
    const FOLDERS: [&str; 9] =
        ["src/", "tests/", "testing/", "unitctl/", "benches/", "fuzz/", "events/", "docs/", ".ci/"];
    let text = without_code_blocks(markdown);
    let spans = text.split('`').skip(1).step_by(2);
    let is_path = |span: &&str| {
        FOLDERS.iter().any(|folder| span.starts_with(folder)) && !span.contains([' ', '*', '<', '{'])
    };
    spans.filter(is_path).map(String::from).collect()
}

#[test]
fn named_files_exist() {
    let mut missing = Vec::new();
    for document in files(Path::new(ROOT), "md") {
        let paths = named_paths(&read(&document));
        let absent = paths.iter().filter(|path| !Path::new(ROOT).join(path).exists());
        missing.extend(absent.map(|path| format!("{}: {path}", document.display())));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_broken_link_is_noticed() {
    let readme = Path::new(ROOT).join("README.md");
    let text = "[a](docs/contract.md) `[b]` ![c](docs/none.svg#x)\n```\n[d](none.md)\n```\n";
    assert_eq!(links(text), ["docs/contract.md", "docs/none.svg#x"]);
    assert_eq!(broken(&readme, "docs/contract.md"), None);
    assert_eq!(broken(&readme, "docs/contract.md#match-errors"), None);
    assert_eq!(broken(&readme, "https://example.com/none"), None);
    assert!(broken(&readme, "docs/none.svg#x").is_some());
    assert!(broken(&readme, "docs/contract.md#none").is_some());
    assert!(broken(&readme, "#none").is_some());
    assert_eq!(
        anchors("# What's new: *1 & 2*\n## a_b-c\n```sh\n# comment\n```\n## A_b-C\n"),
        ["whats-new-1--2", "a_b-c", "a_b-c-1"].map(String::from).into()
    );
}

/// The names of the tests of the whole function, which send it events. Only these can prove a row of the contract.
fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files(&Path::new(ROOT).join("tests/api"), "rs") {
        let source = read(&file);
        for rest in source.split("#[test]").skip(1).chain(source.split("#[tokio::test").skip(1)) {
            let name = rest.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            names.extend(name.map(|(name, _)| name.to_owned()));
        }
    }
    names
}

#[test]
fn each_row_of_the_contract_names_tests_of_the_whole_function() {
    let contract = read(&Path::new(ROOT).join("docs/contract.md"));
    let tests = test_names();
    let mut rows = Vec::new();
    for line in contract.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(row) = cells.get(1).and_then(|cell| cell.parse::<usize>().ok()) else { continue };
        let named: Vec<&str> = cells[cells.len() - 2].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "row {row} names no test");
        for name in named {
            assert!(tests.contains(name), "row {row} names no test of tests/api: {name}");
        }
        rows.push(row);
    }
    assert_eq!(rows, (1..=ROWS).collect::<Vec<_>>());
}

/// Each row of the sync's promises names tests, and a file that has each of them.
#[test]
fn the_promises_of_the_sync_name_tests_that_exist() {
    let document = read(&Path::new(ROOT).join("docs/reliability.md"));
    let section = document.split("\n## What the sync promises\n").nth(1).expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise |"));
    let mut compared = 0;
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        let named: Vec<&str> = cells.last().unwrap_or(&"").split('`').skip(1).step_by(2).collect();
        let (files, tests): (Vec<&str>, Vec<&str>) =
            named.into_iter().partition(|name| name.ends_with(".rs"));
        assert!(!tests.is_empty(), "a row names no test: {row}");
        let sources: String = files.iter().map(|file| read(&Path::new(ROOT).join(file))).collect();
        for test in tests {
            assert!(sources.contains(&format!("fn {test}(")), "no such test in {files:?}: {test}");
            compared += 1;
        }
    }
    assert!(compared >= 30, "only {compared} tests are named");
}

/// The status and the fixed texts of each answer in docs/openapi.yaml stand in one row of the contract.
#[test]
fn the_contract_has_the_answers_of_the_openapi_document() {
    // API Gateway gives this answer, not the function.
    const GATEWAY: &str = "Too Many Requests";
    let contract = read(&Path::new(ROOT).join("docs/contract.md"));
    let openapi: Value =
        yaml_serde::from_str(&read(&Path::new(ROOT).join("docs/openapi.yaml"))).expect("it is YAML");
    let schemas = openapi["components"]["schemas"].as_mapping().expect("there are schemas");
    let mut compared = 0;
    for schema in schemas.values() {
        let properties = &schema["properties"];
        let text = properties["error"]["const"].as_str().or_else(|| properties["message"]["const"].as_str());
        let Some(text) = text.filter(|text| *text != GATEWAY) else { continue };
        let quoted = format!("\"{text}\"");
        assert!(contract.lines().any(|line| line.starts_with("| ") && line.contains(&quoted)), "{text}");
        compared += 1;
    }
    assert!(compared >= 10, "only {compared} answers have a fixed text");
}
