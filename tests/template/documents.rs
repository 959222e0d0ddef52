//! The operators' documents name what the template has, and have its numbers.

use std::collections::{BTreeMap, BTreeSet};

use yaml_serde::Value;

use crate::alarm::Alarm;
use crate::template::{STACK, default_of, function, name, read, resources, sources, template, text};

/// The rows of the table with this header, without marks.
fn table(document: &str, header: &str) -> Vec<Vec<String>> {
    let document = read(document);
    let table = document.split(&format!("{header}\n")).nth(1).unwrap_or_else(|| panic!("no table {header}"));
    let rows = table.lines().skip(1).map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").map(|cell| cell.replace('`', "")).collect());
    rows.collect()
}

/// The names in a table's first column; a cell may have several.
fn names(document: &str, header: &str) -> BTreeSet<String> {
    let rows = table(document, header);
    rows.iter().flat_map(|row| row[0].split(", ")).map(str::to_owned).collect()
}

#[test]
fn the_parameters_are_listed_with_their_defaults() {
    let listed = table("docs/deploying.md", "| parameter | default | |");
    let listed: BTreeMap<String, String> =
        listed.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let parameters = template()["Parameters"].as_mapping().expect("there are parameters").clone();
    let defaults = parameters.iter().map(|(parameter, _)| {
        let parameter = text(parameter);
        let default = match default_of(&parameter) {
            Value::String(text) if text.is_empty() => "empty".to_owned(),
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            other => panic!("{parameter} has the default {other:?}"),
        };
        (parameter, default)
    });
    assert_eq!(listed, defaults.collect());
}

/// Every parameter is in a group, so that CloudFormation's console shows it where it belongs.
#[test]
fn each_parameter_is_in_one_group() {
    let template = template();
    let groups = &template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"];
    let groups = groups.as_sequence().expect("there are groups").iter();
    let grouped: Vec<String> = groups
        .flat_map(|group| group["Parameters"].as_sequence().expect("a list").iter().map(text))
        .collect();
    let parameters = template["Parameters"].as_mapping().expect("there are parameters").iter();
    let parameters: BTreeSet<String> = parameters.map(|(parameter, _)| text(parameter)).collect();
    assert_eq!(grouped.iter().cloned().collect::<BTreeSet<_>>(), parameters);
    assert_eq!(grouped.len(), parameters.len());
}

#[test]
fn the_longest_stack_name_is_the_one_that_the_document_says() {
    // How long the names of these may be, by each service's API reference.
    let limits = [
        ("AWS::CloudWatch::Alarm", "AlarmName", 255),
        ("AWS::CloudWatch::Dashboard", "DashboardName", 255),
        ("AWS::DynamoDB::Table", "TableName", 255),
        ("AWS::Logs::LogGroup", "LogGroupName", 512),
        ("AWS::Logs::QueryDefinition", "Name", 255),
        ("AWS::Serverless::Function", "FunctionName", 64),
        ("AWS::Serverless::HttpApi", "Name", 128),
    ];
    let names = limits.iter().flat_map(|(kind, property, limit)| {
        let resources = resources(kind);
        assert!(!resources.is_empty(), "{kind}");
        resources
            .into_iter()
            .map(move |(_, properties)| limit - (name(&properties[*property]).len() - STACK.len()))
    });
    let longest = names.min().expect("there are names");
    let document = read("docs/deploying.md");
    assert!(document.contains(&format!("A stack's name has at most {longest} letters")), "{longest}");
}

#[test]
fn every_alarm_has_its_numbers_and_advice() {
    let rows = table("docs/operating.md", "| alarm | it is raised by | what to do |");
    let rows: BTreeMap<String, String> =
        rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let alarms = Alarm::all();
    assert!(rows.keys().eq(alarms.iter().map(|alarm| &alarm.name).collect::<BTreeSet<_>>()), "{rows:?}");
    for alarm in alarms {
        let description = alarm.description.to_lowercase();
        let phrases = alarm.phrases();
        for phrase in &phrases {
            assert!(rows[&alarm.name].contains(phrase), "{}: no '{phrase}' in its row", alarm.name);
        }
        // A description may have no numbers at all, because the document has them.
        let said = phrases.iter().filter(|phrase| description.contains(*phrase)).count();
        assert!(said == 0 || said == phrases.len(), "{}: {phrases:?} and '{description}'", alarm.name);
        if alarm.name == "latency" {
            let row = table("docs/deploying.md", "| parameter | default | |");
            let row = row.into_iter().find(|row| row[0] == "LatencyAlarmMs").expect("it is listed");
            for said in [row[2].clone(), text(&template()["Parameters"]["LatencyAlarmMs"]["Description"])] {
                assert!(said.contains(&phrases[1]), "no '{}' in '{said}'", phrases[1]);
            }
        }
    }
}

#[test]
fn every_metric_is_explained() {
    let sources = sources();
    let written = sources.split("{ \"Name\": \"").skip(1).filter_map(|rest| rest.split('"').next());
    let written: BTreeSet<String> = written.map(str::to_owned).collect();
    assert_eq!(names("docs/operating.md", "| metric | |"), written);
}

#[test]
fn every_environment_variable_is_explained() {
    let explained = names("docs/operating.md", "| environment variable | |");
    let function = function();
    let given = function["Environment"]["Variables"].as_mapping().expect("there are some").iter();
    for variable in given.map(|(variable, _)| text(variable)) {
        assert!(explained.contains(&variable), "{variable}");
    }
    let sources = sources();
    for variable in explained.iter().filter(|variable| !variable.starts_with("AWS_")) {
        assert!(sources.contains(&format!("\"{variable}\"")), "the function does not read {variable}");
    }
}

#[test]
fn saved_queries_are_named_where_they_are_needed() {
    let document = read("docs/operating.md");
    for (_, query) in resources("AWS::Logs::QueryDefinition") {
        let name = name(&query["Name"]);
        let short = name.strip_prefix("livechat-units/").expect("a query is in the stack's folder");
        assert!(document.contains(&format!("`{short}`")), "{short}");
    }
}
