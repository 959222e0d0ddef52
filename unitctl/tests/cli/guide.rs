//! The commands of `docs/unitctl.md`, run as they are written, in one shell.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::documents::{blocks, shell};
use crate::help::COMMANDS;
use crate::world::{run, world};

const PAGE: &str = include_str!("../../../docs/unitctl.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_work_and_print_what_the_page_says() {
    let world = world().await;
    let folder = TempDir::new().expect("a folder");
    let dump = folder.path().join("dump");
    fs::create_dir(&dump).expect("it is made");
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sample")).expect("it is there") {
        let file = file.expect("it is read");
        fs::copy(file.path(), dump.join(file.file_name())).expect("it is copied");
    }
    let run = run(shell(&blocks(PAGE, "sh").concat(), &world, folder.path(), folder.path()).await);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    for printed in blocks(PAGE, "text") {
        assert!(run.stdout.contains(printed), "{printed}\n{}", run.stdout);
    }
    assert!(run.stdout.ends_with("\n0\n"), "no violations: {}", run.stdout);
    let update = fs::read_to_string(folder.path().join("update.json")).expect("it is written");
    let body = "{\"unitData\":{\"name\":\"Sales Europe\",\"visibility\":\"public\"},\"unitMonitors\":[],\
                \"unitDepartments\":[]}\n";
    assert_eq!(update, body);
}

#[test]
fn every_command_has_an_example() {
    let examples = PAGE.split("```").skip(1).step_by(2).collect::<String>();
    for command in COMMANDS.iter().filter(|command| !command.is_empty() && **command != ["help"]) {
        let command = format!("unitctl {} ", command.join(" "));
        assert!(examples.replace('\n', " ").contains(&command), "{command}");
    }
}
