//! Every sample event in `events/` gets its expected answer in `tests/expected/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{updated_at, with_sample_app};

/// A folder of the repository.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Reads a JSON file.
pub fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the files in a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).expect("the folder is there");
    let names = files.map(|file| file.expect("it is readable").file_name().into_string().expect("UTF-8"));
    names.collect()
}

#[tokio::test]
async fn each_sample_event_gets_its_expected_answer() {
    let (events, expected) = (folder("events"), folder("tests/expected"));
    let answers = names(&expected);
    assert!(answers.len() > 20, "too few expected answers");
    let mut samples = names(&events);
    assert!(samples.remove("env.json"), "the variables of `sam local` are there");
    assert_eq!(samples, answers);
    for name in answers {
        with_sample_app(async |app| {
            let response = app.send(&read(&events.join(&name))).await;
            let mut expected = read(&expected.join(&name));
            if response.status_code == 200 {
                let body = expected["body"].as_str().expect("a body is text");
                expected["body"] = body.replace("<now>", &updated_at(&response)).into();
            }
            assert_eq!(serde_json::to_value(&response).expect("it is JSON"), expected, "{name}");
        })
        .await;
    }
}
