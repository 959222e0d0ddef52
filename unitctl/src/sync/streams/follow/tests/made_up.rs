//! A stream that is made up, behind DynamoDB's HTTP protocol.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Result;
use aws_sdk_dynamodbstreams::Client;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::super::{Follower, Opened, Position};
use crate::engine;

/// The shards of a page of DescribeStream.
const PAGE: usize = 2;

/// A table `t` with a stream.
pub struct MadeUp {
    url: String,
    stream: Arc<Mutex<Stream>>,
}

/// What the stream is like at the moment.
#[derive(Default)]
pub struct Stream {
    /// The stream's name. `None` when it is switched off.
    pub stream: Option<String>,
    shards: BTreeMap<String, Shard>,
    /// Operations that fail next, each once, with the code.
    failures: Vec<(String, String)>,
    written: usize,
    /// When the records of each shard were asked for.
    reads: Vec<(String, Instant)>,
    early: Vec<String>,
}

#[derive(Default)]
struct Shard {
    parent: Option<String>,
    /// The sequence numbers and the partition keys.
    records: Vec<(String, String)>,
    is_closed: bool,
    /// Whether somebody has read it to its end after it was closed.
    is_finished: bool,
}

impl MadeUp {
    pub async fn start() -> Self {
        let stream = Arc::new(Mutex::new(Stream::default()));
        stream.lock().expect("no panic").begin_another_stream();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let app = Router::new().fallback(answer).with_state(stream.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, stream }
    }

    pub fn state(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().expect("no panic")
    }

    /// Waits until all failures have been answered.
    pub async fn wait_for_failures(&self) {
        while !self.state().failures.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn open(&self, start: Option<&Position>) -> Result<Opened> {
        let sdk = engine::sdk_config(&self.url);
        // The SDK itself tries again after some errors, which are to be seen here.
        let retries = aws_sdk_dynamodbstreams::config::retry::RetryConfig::disabled();
        let config = aws_sdk_dynamodbstreams::config::Builder::from(&sdk).retry_config(retries).build();
        let tables = aws_sdk_dynamodb::Client::new(&sdk);
        Follower::open(Client::from_conf(config), tables, "t".into(), start).await
    }
}

impl Stream {
    pub fn begin_another_stream(&mut self) {
        self.written += 1;
        self.stream =
            Some(format!("arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/{}", self.written));
        self.shards.clear();
    }

    pub fn add(&mut self, id: &str, parent: Option<&str>) {
        self.shards.insert(id.into(), Shard { parent: parent.map(str::to_owned), ..Shard::default() });
    }

    pub fn write(&mut self, shard: &str, pk: &str) {
        self.written += 1;
        let number = format!("{:021}", self.written);
        self.shard(shard).records.push((number, pk.into()));
    }

    pub fn close(&mut self, shard: &str) {
        self.shard(shard).is_closed = true;
    }

    /// Closes a shard that the follower need not read any more.
    pub fn close_long_ago(&mut self, shard: &str) {
        let shard = self.shard(shard);
        (shard.is_closed, shard.is_finished) = (true, true);
    }

    /// Removes the records that the shard has.
    pub fn trim(&mut self, shard: &str) {
        self.shard(shard).records.clear();
    }

    /// The next request for this operation fails.
    pub fn fail(&mut self, operation: &str, code: &str) {
        self.failures.push((operation.into(), code.into()));
    }

    /// The shards that were read before their parents were at their ends.
    pub fn read_before_their_parents(&self) -> Vec<String> {
        self.early.clone()
    }

    /// The shortest time between two requests for the records of one shard.
    pub fn shortest_pause(&self) -> Duration {
        let of_shard = |id: &String| {
            let times: Vec<Instant> =
                self.reads.iter().filter(|(shard, _)| shard == id).map(|(_, time)| *time).collect();
            times.windows(2).map(|pair| pair[1] - pair[0]).min()
        };
        self.shards.keys().filter_map(of_shard).min().expect("records were read")
    }

    fn shard(&mut self, id: &str) -> &mut Shard {
        self.shards.get_mut(id).expect("there is such a shard")
    }

    /// The answer, or the code of an error.
    fn answer(&mut self, operation: &str, request: &Value) -> Result<Value, String> {
        let failure = self.failures.iter().position(|(failing, _)| failing == operation);
        if operation == "GetRecords" {
            let (shard, _) =
                request["ShardIterator"].as_str().and_then(|text| text.split_once('|')).expect("ours");
            self.reads.push((shard.into(), Instant::now()));
        }
        if let Some(place) = failure {
            return Err(self.failures.remove(place).1);
        }
        match operation {
            "DescribeTable" => Ok(json!({ "Table": {
                "TableName": "t",
                "LatestStreamArn": self.stream.as_deref().unwrap_or("the last one"),
                "StreamSpecification": self.stream.as_ref().map(|_| json!({ "StreamEnabled": true })),
            } })),
            "DescribeStream" => Ok(self.describe(request["ExclusiveStartShardId"].as_str())),
            "GetShardIterator" => self.iterator(request),
            "GetRecords" => self.records(request),
            other => panic!("{other}"),
        }
    }

    fn describe(&self, after: Option<&str>) -> Value {
        let after = |id: &&String| after.is_none_or(|after| id.as_str() > after);
        let ids: Vec<&String> = self.shards.keys().filter(after).collect();
        let page: Vec<Value> = ids
            .iter()
            .take(PAGE)
            .map(|id| json!({ "ShardId": id, "ParentShardId": self.shards[*id].parent }))
            .collect();
        let last = (ids.len() > PAGE).then(|| ids[PAGE - 1]);
        json!({ "StreamDescription": { "StreamArn": self.stream, "Shards": page, "LastEvaluatedShardId": last } })
    }

    fn iterator(&self, request: &Value) -> Result<Value, String> {
        let id = request["ShardId"].as_str().expect("an id");
        let Some(shard) = self.shards.get(id) else { return Err("ResourceNotFoundException".into()) };
        // The sequence number after which it begins.
        let after = match request["ShardIteratorType"].as_str().expect("a type") {
            "TRIM_HORIZON" => "",
            "LATEST" => shard.records.last().map_or("", |(number, _)| number),
            "AFTER_SEQUENCE_NUMBER" => request["SequenceNumber"].as_str().expect("a number"),
            other => panic!("{other}"),
        };
        Ok(json!({ "ShardIterator": format!("{id}|{after}") }))
    }

    fn records(&mut self, request: &Value) -> Result<Value, String> {
        let (id, after) =
            request["ShardIterator"].as_str().and_then(|text| text.split_once('|')).expect("ours");
        if !self.shards.contains_key(id) {
            return Err("ResourceNotFoundException".into());
        }
        let parent = self.shards[id].parent.as_ref().and_then(|parent| self.shards.get(parent));
        if parent.is_some_and(|parent| !parent.is_finished) {
            self.early.push(id.into());
        }
        let shard = self.shards.get_mut(id).expect("it is there");
        let next = shard.records.iter().find(|(number, _)| number.as_str() > after).cloned();
        // One record at a time, so that a shard takes several requests.
        let records: Vec<Value> = next.iter().map(|(number, pk)| {
            json!({ "dynamodb": { "Keys": { "pk": { "S": pk } }, "SequenceNumber": number } })
        }).collect();
        let after = next.as_ref().map_or(after, |(number, _)| number);
        let is_end = shard.is_closed && shard.records.iter().all(|(number, _)| number.as_str() <= after);
        shard.is_finished |= is_end;
        let iterator = (!is_end).then(|| format!("{id}|{after}"));
        Ok(json!({ "Records": records, "NextShardIterator": iterator }))
    }
}

async fn answer(
    State(stream): State<Arc<Mutex<Stream>>>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let target = headers["x-amz-target"].to_str().expect("ASCII");
    let operation = target.rsplit('.').next().unwrap_or_default();
    let request: Value = serde_json::from_slice(&body).expect("DynamoDB speaks JSON");
    let answer = stream.lock().expect("no panic").answer(operation, &request);
    let content_type = [("content-type", "application/x-amz-json-1.0")];
    match answer {
        Ok(answer) => (StatusCode::OK, content_type, answer.to_string()),
        Err(code) => {
            let error =
                json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "made up" });
            (StatusCode::BAD_REQUEST, content_type, error.to_string())
        }
    }
}
