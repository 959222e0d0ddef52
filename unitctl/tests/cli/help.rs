//! The command line: help, completions, and the options that name the tables.

use std::io::Write;

use crate::stack::cloudformation;
use crate::world::{Run, endpoint, run, world};
use assert_cmd::Command;

/// Every command, as the arguments that select it.
pub const COMMANDS: &[&[&str]] = &[
    &[],
    &["local"],
    &["import"],
    #[cfg(feature = "sync")]
    &["sync"],
    &["check"],
    &["token", "create"],
    &["token", "list"],
    &["token", "revoke"],
    &["user", "put"],
    &["user", "show"],
    &["grant"],
    &["revoke"],
    &["unit", "create"],
    &["unit", "show"],
    &["department", "create"],
    &["completions"],
    &["help"],
];

/// The binary, with an environment that does not depend on this machine.
fn unitctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unitctl"));
    command.args(arguments);
    for name in ["AWS_PROFILE", "TOKENS_TABLE", "LIVECHAT_TABLE", "AWS_ENDPOINT_URL"] {
        command.env_remove(name);
    }
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "eu-west-1");
    command
}

fn help(command: &[&str]) -> String {
    let arguments = if command == ["help"] { command.to_vec() } else { [command, &["--help"]].concat() };
    let run = run(unitctl(&arguments));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{command:?}");
    run.stdout
}

/// The `unitctl` commands in the examples of a help text, without pipes and redirections.
fn examples(help: &str) -> Vec<String> {
    let (_, examples) = help.split_once("\nExample").expect("there are examples");
    let examples = examples.replace("\\\n", "");
    let lines = examples.lines().map(|line| line.trim().trim_start_matches("TOKEN=$(").trim_end_matches(')'));
    let commands = lines.filter(|line| line.starts_with("unitctl "));
    let bare = |line: &str| line.split([';', '|', '<', '>']).next().unwrap_or_default().trim().to_owned();
    commands.map(bare).collect()
}

#[test]
fn every_command_has_help_with_examples_that_parse() {
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_unitctl")).parent().expect("it is in a folder");
    for command in COMMANDS {
        let examples = examples(&help(command));
        assert!(!examples.is_empty(), "{command:?}");
        for example in examples {
            // `--help` at the end makes clap parse the example without running it.
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{example} --help")]);
            let path = std::env::var("PATH").expect("there is a PATH");
            shell.env("PATH", format!("{}:{path}", folder.display()));
            let run = run(shell);
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{example}");
        }
    }
}

#[test]
fn the_help_of_every_command_is_tested() {
    let documented = |group: &[&str]| -> Vec<String> {
        let help = run(unitctl(&[group, &["--help"]].concat())).stdout;
        let (_, commands) = help.split_once("Commands:\n").expect("a list of commands");
        let lines = commands.lines().take_while(|line| !line.is_empty());
        lines.filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
    };
    let tested = |path: &[&str]| COMMANDS.contains(&path);
    for name in documented(&[]) {
        let is_group = COMMANDS.iter().any(|command| command.len() == 2 && command[0] == name);
        if is_group {
            for subcommand in documented(&[&name]).iter().filter(|name| *name != "help") {
                assert!(tested(&[&name, subcommand]), "{name} {subcommand}");
            }
        } else {
            assert!(tested(&[&name]), "{name}");
        }
    }
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = run(unitctl(&["completions", shell]));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        assert!(["token", "import", "stack"].iter().all(|word| run.stdout.contains(word)), "{shell}");
    }
    let mut script = tempfile::NamedTempFile::new().expect("a file");
    let completions = run(unitctl(&["completions", "bash"])).stdout;
    script.write_all(completions.as_bytes()).expect("it is written");
    let mut bash = Command::new("bash");
    let path = script.path().display();
    bash.args([
        "--norc",
        "-c",
        &format!("source {path}; COMP_WORDS=(unitctl token re); COMP_CWORD=2; _unitctl unitctl re token; echo ${{COMPREPLY[@]}}"),
    ]);
    assert_eq!(run(bash), Run { code: 0, stdout: "revoke\n".into(), stderr: String::new() });
}

#[tokio::test(flavor = "multi_thread")]
async fn options_or_the_environment_name_the_tables() {
    let world = world().await;
    world.ok(&["user", "put", "x", "--username", "x"]);
    let tables = &world.database.tables;
    let show = ["user", "show", "x", "--endpoint", endpoint()];
    let mut from_environment = unitctl(&show);
    from_environment.env("TOKENS_TABLE", &tables.tokens).env("LIVECHAT_TABLE", &tables.livechat);
    assert_eq!(run(from_environment).code, 0);
    let mut mixed = unitctl(&[&show[..], &["--livechat-table", &tables.livechat]].concat());
    mixed.env("TOKENS_TABLE", &tables.tokens).env("LIVECHAT_TABLE", "another");
    assert_eq!(run(mixed).code, 0);

    for (options, missing) in [
        (&["--livechat-table", "x"][..], "--tokens-table, or set TOKENS_TABLE"),
        (&["--tokens-table", "x"], "--livechat-table, or set LIVECHAT_TABLE"),
    ] {
        let message = format!("error: no table is given: use --stack or {missing} in the environment\n");
        let expected = Run { code: 1, stdout: String::new(), stderr: message };
        assert_eq!(run(unitctl(&[&show[..], options].concat())), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outputs_of_a_stack_name_the_tables() {
    let world = world().await;
    world.ok(&["user", "put", "x", "--username", "x"]);
    let tables = &world.database.tables;
    let stack = async |name: &str, outputs: &[(&str, &str)]| {
        let mut command = unitctl(&["user", "show", "x", "--stack", name]);
        command.env("AWS_ENDPOINT_URL_CLOUDFORMATION", cloudformation(outputs).await);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", endpoint());
        run(command)
    };
    let outputs =
        [("Url", "x"), ("TokensTableName", &tables.tokens), ("LivechatTableName", &tables.livechat)];
    let found = stack("livechat-units", &outputs).await;
    assert_eq!((found.code, found.stderr.as_str()), (0, ""));

    let busy = stack("busy", &outputs).await;
    assert_eq!((busy.code, busy.stderr.as_str()), (0, ""), "a temporary failure is retried");

    let other = stack("livechat-units", &[("Url", "x")]).await;
    let message =
        "error: the stack livechat-units has no output TokensTableName: is it a stack of livechat-units?\n";
    assert_eq!((other.code, other.stderr.as_str()), (1, message));

    let missing = stack("other", &outputs).await;
    assert_eq!(missing.code, 1);
    let message = "error: looking for the stack other: ValidationError: Stack with id other does not exist\n";
    assert_eq!(missing.stderr, message);
}

#[test]
fn an_endpoint_without_a_server_is_an_error_with_its_cause() {
    let tables = ["--tokens-table", "t", "--livechat-table", "l", "--endpoint", "http://127.0.0.1:1"];
    let run = run(unitctl(&[&["user", "show", "x"][..], &tables].concat()));
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with("error: table l: dispatch failure: "), "{run:?}");
    assert!(run.stderr.contains("Connection refused"), "{run:?}");
}
