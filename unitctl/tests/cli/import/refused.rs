//! Requests that DynamoDB refuses for a while, or for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::{Router, serve};
use testing::dynamodb::{Reply, send};
use tokio::net::TcpListener;

use super::*;
use crate::world::endpoint;

/// What a proxy refuses.
struct Refusal {
    operation: &'static str,
    code: &'static str,
    /// How many requests in a row.
    count: usize,
    refused: AtomicUsize,
}

/// A proxy before the engine that refuses the first requests of an operation. Returns its URL.
async fn refusing(refusal: Arc<Refusal>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let app = Router::new().fallback(forward).with_state(refusal);
    tokio::spawn(async move { serve(listener, app).await.expect("it serves") });
    url
}

async fn forward(State(refusal): State<Arc<Refusal>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let operation = headers["x-amz-target"].to_str().expect("ASCII").rsplit('.').next().unwrap_or_default();
    let content_type = [("content-type", "application/x-amz-json-1.0")];
    let is_refused =
        operation == refusal.operation && refusal.refused.fetch_add(1, Ordering::Relaxed) < refusal.count;
    if is_refused {
        let error = json!({
            "__type": format!("com.amazonaws.dynamodb.v20120810#{}", refusal.code),
            "message": "refused by the test",
        });
        return (StatusCode::BAD_REQUEST, content_type, error.to_string());
    }
    let behind = endpoint().strip_prefix("http://").expect("plain HTTP");
    let body = std::str::from_utf8(&body).expect("DynamoDB speaks JSON");
    let Reply { status, body } = send(behind, &headers, body).await;
    (status, content_type, body.to_string())
}

/// Imports the base, then a second export through a proxy that refuses requests: two departments have another name, a
/// user another role, and a user's token is revoked. Returns the second run and whether all of it is stored.
async fn second_import(operation: &'static str, code: &'static str, count: usize) -> (Run, bool) {
    let (refused, expected) = (world().await, world().await);
    let [mut users, permissions, mut departments, monitors] = base();
    for world in [&refused, &expected] {
        assert_eq!(world.import(folder(&base()).path(), &[]).code, 0);
    }
    departments[2]["name"] = "Another name".into();
    departments[4]["name"] = "Another name".into();
    departments[0]["name"] = "Another unit".into();
    users[2]["roles"] = json!(["livechat-monitor"]);
    users[3]["services"] = json!({ "resume": {} });
    let second = folder(&[users, permissions, departments, monitors]);
    assert_eq!(expected.import(second.path(), &[]).code, 0);

    let run = import_through(&refused, &second, operation, code, count).await;
    (run, refused.items().await == expected.items().await)
}

/// Imports through a proxy that refuses the first requests of an operation.
async fn import_through(
    world: &World,
    folder: &TempDir,
    operation: &'static str,
    code: &'static str,
    count: usize,
) -> Run {
    let refusal = Arc::new(Refusal { operation, code, count, refused: AtomicUsize::new(0) });
    let url = refusing(refusal.clone()).await;
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_unitctl"));
    command.args(["--endpoint", &url, "--tokens-table", &world.database.tables.tokens]);
    command.args(["--livechat-table", &world.database.tables.livechat, "import"]).arg(folder.path());
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_PROFILE");
    let run = tokio::task::block_in_place(|| run(command));
    let sent = refusal.refused.load(Ordering::Relaxed);
    assert!(sent > 0, "no {operation} was sent");
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_tried_again() {
    for operation in
        ["PutItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem", "BatchGetItem", "Query"]
    {
        let (run, is_stored) = second_import(operation, "TransactionConflictException", 7).await;
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{operation}: {run:?}");
        assert!(is_stored, "{operation}: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_tried_again_for_longer_than_the_sdk_does() {
    for code in ["ThrottlingException", "ProvisionedThroughputExceededException"] {
        let imports = ["PutItem", "BatchWriteItem", "TransactWriteItems"]
            .map(|operation| second_import(operation, code, 13));
        for (run, is_stored) in futures_util::future::join_all(imports).await {
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{code}: {run:?}");
            assert!(is_stored, "{code}: {run:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_good_ends_the_import() {
    for operation in
        ["PutItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem", "BatchGetItem", "Query"]
    {
        let (run, is_stored) = second_import(operation, "AccessDeniedException", 1).await;
        assert_eq!(run.code, 1, "{operation}: {run:?}");
        assert!(run.stderr.contains("AccessDeniedException: refused by the test"), "{run:?}");
        assert!(!is_stored, "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_of_a_kept_unit_is_tried_again_too() {
    for (code, count, is_marked) in [
        ("ThrottlingException", 13, true),
        ("ProvisionedThroughputExceededException", 13, true),
        ("TransactionConflictException", 7, true),
        ("AccessDeniedException", 1, false),
    ] {
        let world = world().await;
        assert_eq!(world.import(folder(&base()).path(), &[]).code, 0);
        // A unit that an older version imported, and that was updated since.
        let mut unit = world.item("UNIT#shop", "UNIT").await;
        unit.as_object_mut().expect("an item").remove("rev");
        unit["version"] = 3.into();
        world.put(unit).await;
        let run = import_through(&world, &folder(&base()), "UpdateItem", code, count).await;
        assert_eq!(lines(&run, &["kept"]).len(), 1, "{code}: {run:?}");
        let unit = world.item("UNIT#shop", "UNIT").await;
        assert_eq!((unit.get("rev").is_some(), &unit["version"]), (is_marked, &json!(3)), "{code}");
        if is_marked {
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{code}: {run:?}");
        } else {
            assert_eq!(run.code, 1, "{run:?}");
            assert!(run.stderr.contains("AccessDeniedException: refused by the test"), "{run:?}");
        }
    }
}
