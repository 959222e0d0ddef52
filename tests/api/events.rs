//! Every sample event gets its expected answer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{documented_world, updated_at};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).expect("the folder is there");
    let names = files.map(|file| file.expect("it is readable").file_name().into_string().expect("UTF-8"));
    names.collect()
}

#[tokio::test]
async fn each_event_is_answered_as_expected() {
    let (events, expected) = (folder("events"), folder("tests/expected"));
    let answers = names(&expected);
    assert!(answers.len() > 20, "the expected answers are gone");
    let mut samples = names(&events);
    assert!(samples.remove("env.json"), "the variables of `sam local` are gone");
    assert_eq!(samples, answers);
    for name in answers {
        documented_world(async |world| {
            let response = world.send(&read(&events.join(&name))).await;
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
