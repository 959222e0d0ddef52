//! Tables that are changed into what the model has, by as few writes as that takes.

use std::cell::RefCell;

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, PutRequest, WriteRequest};
use livechat_units::Response;
use serde_json::Value;
use unitctl::sample;

use super::reference::{Answer, Stored};
use super::steps::Step;
use crate::world::{Items, World};

pub struct ModelTables {
    pub world: World,
    /// What they hold, as last written or seen.
    held: RefCell<Stored>,
}

impl ModelTables {
    pub async fn new() -> Self {
        // One pool of connections, however many execution environments there will be.
        let http = aws_smithy_http_client::Builder::new().build_http();
        let world = World::new(|sdk| sdk.into_builder().http_client(http).build()).await;
        Self { world, held: RefCell::default() }
    }

    pub async fn hold(&self, model: &Stored) {
        let held = self.held.replace(model.clone());
        let tables = &self.world.tables;
        for (table, names, old, new) in [
            (&tables.livechat, &["pk", "sk"][..], &held.livechat, &model.livechat),
            (&tables.tokens, &["hashedToken"], &held.tokens, &model.tokens),
        ] {
            let puts = new.iter().filter(|(key, item)| old.get(key) != Some(item)).map(|(_, item)| put(item));
            let gone = old.iter().filter(|(key, _)| !new.contains_key(key));
            let writes: Vec<WriteRequest> = puts.chain(gone.map(|(_, item)| delete(item, names))).collect();
            for batch in writes.chunks(25) {
                let request = self.world.client.batch_write_item().request_items(table, batch.to_vec());
                let output = request.send().await.expect("the items are written");
                assert!(output.unprocessed_items.is_none_or(|left| left.is_empty()), "some are left");
            }
        }
    }

    pub async fn items(&self) -> Items {
        let items = self.world.items().await;
        self.held.borrow_mut().livechat = items.clone();
        items
    }

    pub async fn tokens(&self) -> Items {
        let tokens = self.world.tokens().await;
        self.held.borrow_mut().tokens = tokens.clone();
        tokens
    }
}

fn put(item: &Value) -> WriteRequest {
    let AttributeValue::M(item) = sample::attribute(item) else { panic!("no item: {item}") };
    let put = PutRequest::builder().set_item(Some(item)).build().expect("it has an item");
    WriteRequest::builder().put_request(put).build()
}

fn delete(item: &Value, key: &[&str]) -> WriteRequest {
    let delete = key
        .iter()
        .fold(DeleteRequest::builder(), |delete, name| delete.key(*name, sample::attribute(&item[*name])));
    WriteRequest::builder().delete_request(delete.build().expect("it has a key")).build()
}

impl Stored {
    /// What the model answers to this request, at the time that the function's answer tells.
    pub fn follow(&mut self, request: &Step, response: &Response) -> Answer {
        let (caller, unit, sent) = request.request().expect("it is a request");
        let body: Value = serde_json::from_str(&response.body).expect("a body is JSON");
        self.answer(caller, unit.0, &sent, body["_updatedAt"].as_str().unwrap_or("no time"))
    }
}

/// The items that are not as the model has them, for people.
pub fn difference(stored: &Items, model: &Items) -> Option<String> {
    let keys = stored.keys().chain(model.keys().filter(|key| !stored.contains_key(*key)));
    let differ = keys.filter(|key| stored.get(*key) != model.get(*key)).map(|key| {
        let show = |item: Option<&Value>| item.map_or("nothing".into(), Value::to_string);
        format!("\n  {}\n  and the model says {}", show(stored.get(key)), show(model.get(key)))
    });
    let differ: String = differ.collect();
    (!differ.is_empty()).then(|| format!("there is stored{differ}"))
}
