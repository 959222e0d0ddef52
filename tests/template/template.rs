//! The template as YAML. Where the tests need a value, its intrinsic functions are resolved.

use std::fs;
use std::path::{Path, PathBuf};

use unitctl::template::TEMPLATE;
use yaml_serde::Value;

/// The stack's name in all tests.
pub const STACK: &str = "livechat-units";

pub fn template() -> Value {
    yaml_serde::from_str(TEMPLATE).expect("the template is YAML")
}

/// The resources of one type, with their logical ids.
pub fn resources(kind: &str) -> Vec<(String, Value)> {
    let template = template();
    let resources = template["Resources"].as_mapping().expect("there are resources");
    let of_kind = resources.iter().filter(|(_, resource)| resource["Type"].as_str() == Some(kind));
    of_kind.map(|(id, resource)| (text(id), resource["Properties"].clone())).collect()
}

/// The function's properties.
pub fn function() -> Value {
    template()["Resources"]["Function"]["Properties"].clone()
}

/// The default of a parameter.
pub fn default_of(parameter: &str) -> Value {
    let default = template()["Parameters"][parameter]["Default"].clone();
    assert!(!default.is_null(), "{parameter} has no default");
    default
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value:?} is not text")).to_owned()
}

/// A number, or the default of the parameter that the template refers to.
pub fn number(value: &Value) -> f64 {
    match value {
        Value::Tagged(reference) if reference.tag == "Ref" => number(&default_of(&text(&reference.value))),
        other => other.as_f64().unwrap_or_else(|| panic!("{other:?} is not a number")),
    }
}

/// A name that may contain the stack's.
pub fn name(value: &Value) -> String {
    match value {
        Value::Tagged(sub) if sub.tag == "Sub" => text(&sub.value).replace("${AWS::StackName}", STACK),
        other => text(other),
    }
}

/// A single value or a list of values, as IAM allows both.
pub fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Sequence(values) => values.iter().collect(),
        single => vec![single],
    }
}

/// A file or folder of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn read(path: &str) -> String {
    let path = repository(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The source text of the function's crate, except what only fuzzing compiles.
pub fn sources() -> String {
    let mut sources = String::new();
    let mut folders = vec![repository("src")];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).expect("the sources are there") {
            let path = file.expect("readable").path();
            let is_fuzzing = path.file_stem().is_some_and(|stem| stem == "fuzz");
            if path.is_dir() && !is_fuzzing {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_fuzzing {
                sources.push_str(&fs::read_to_string(path).expect("a source is text"));
            }
        }
    }
    sources
}
