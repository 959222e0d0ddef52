//! The two commands that the README begins with build the same crates: `cargo run -p unitctl` first, and then
//! `cargo test --workspace`, which builds a crate again if it needs other features of it. The feature `sync` adds crates and
//! builds none of these again.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The crates that a selection of packages builds, each with the sets of features that it is built with.
fn crates(selection: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--offline", "--prefix", "none", "--format", "{p}|{f}"]);
    tree.args(selection).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = tree.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut crates: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).expect("UTF-8").lines().filter(|line| !line.is_empty()) {
        // Cargo adds this mark to a crate that it has listed before.
        let line = line.strip_suffix(" (*)").unwrap_or(line);
        let (name, features) = line.split_once('|').expect("a crate and its features");
        crates.entry(name.to_owned()).or_default().insert(features.to_owned());
    }
    crates
}

#[test]
fn the_second_command_builds_no_crate_again() {
    let first = crates(&["--package", "unitctl", "--edges", "no-dev"]);
    let second = crates(&["--workspace", "--edges", "normal,build,dev"]);
    assert!(first.len() > 100, "these are all dependencies: {}", first.len());
    for (name, features) in first {
        let again = &second[&name];
        assert!(
            features.is_subset(again),
            "{name} is built with the features {features:?}, and again with {again:?}: name all of them in \
             unitctl/Cargo.toml"
        );
    }
}

#[test]
fn the_feature_sync_builds_no_crate_again() {
    let first = crates(&["--package", "unitctl", "--edges", "no-dev"]);
    let tests = crates(&["--workspace", "--edges", "normal,build,dev"]);
    let sync = crates(&["--package", "unitctl", "--features", "sync", "--edges", "normal,build,dev"]);
    // `once_cell` is a small crate, and procedural macros need fewer of its features than the programs do.
    let is_exception = |name: &str| name.starts_with("unitctl ") || name.starts_with("once_cell ");
    for name in first.keys().filter(|name| !is_exception(name)) {
        let (sync, tests) = (&sync[name], &tests[name]);
        assert!(
            sync.is_subset(tests),
            "{name} is built with {tests:?}, and again with {sync:?} for the feature sync"
        );
    }
}

#[cfg(not(feature = "sync"))]
#[test]
fn without_the_feature_the_command_sync_says_how_to_get_it() {
    let mut sync = assert_cmd::Command::new(env!("CARGO_BIN_EXE_unitctl"));
    let output = sync.args(["sync", "--once", "--mongodb-uri", "mongodb://a/b"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("cargo install --locked --path unitctl --features sync"), "{printed}");
}
