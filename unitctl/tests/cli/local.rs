//! `unitctl local`: what `.ci/smoke` does not test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A process that is stopped when the test ends, even if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

/// Sends a request. Returns the head and the body of the reply.
fn send(address: &str, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("it answers");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head ends");
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_server_of_the_endpoint_serves_its_description() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unitctl"));
    command.args(["local", "--port", "0", "--dynamodb-port", "0"]).stdout(Stdio::piped());
    let mut local = Running(command.spawn().expect("it starts"));
    // The pipe stays open after the printed text, because the process goes on to log.
    let printed = BufReader::new(local.0.stdout.as_mut().expect("it is piped"));
    let printed = printed.lines().map(|line| line.expect("it prints UTF-8"));
    let mut url = None;
    for line in printed {
        if let Some((start, _)) = line.split_once("/openapi.yaml describes the endpoint") {
            url = Some(start.to_owned());
        }
        if line.ends_with("Ctrl-C stops both.") {
            break;
        }
    }
    let url = url.expect("it prints the URL of the description");
    let address = url.strip_prefix("http://").expect("a URL");

    let (head, body) = send(address, "GET", "/openapi.yaml");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-type: application/yaml"),
        "{head}"
    );
    assert_eq!(body, include_str!("../../../docs/openapi.yaml"));
    // The function answers everything else.
    let (head, body) = send(address, "GET", "/openapi.yml");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert_eq!(body, r#"{"status":"error","message":"API endpoint does not exist"}"#);
}
