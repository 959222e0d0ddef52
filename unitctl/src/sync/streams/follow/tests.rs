//! Follows a real stream, and one that is made up, whose shards close and whose errors can be chosen: no engine on this
//! machine has either.

mod made_up;

use std::collections::BTreeSet;

use livechat_units::id::{DepartmentId, UnitId, UserId};
use serde_json::json;

use self::made_up::MadeUp;
use super::*;
use crate::sync::dynamodb::testing::{database, put};
use crate::sync::model::Subject;
use crate::sync::streams::NoStream;
use crate::{database::Database, engine};

/// What a follower says, in order.
struct Listener {
    events: mpsc::Receiver<StreamEvent>,
    task: tokio::task::JoinHandle<()>,
}

impl Listener {
    fn start(follower: Follower) -> Self {
        let (sender, events) = mpsc::channel(100);
        Self { events, task: tokio::spawn(follower.run(sender)) }
    }

    async fn next(&mut self) -> StreamEvent {
        let next = tokio::time::timeout(Duration::from_secs(90), self.events.recv()).await;
        next.expect("something is said in time").expect("the follower never ends")
    }

    /// The next event that is not [`StreamEvent::Idle`].
    async fn next_news(&mut self) -> StreamEvent {
        loop {
            match self.next().await {
                StreamEvent::Idle { .. } => {}
                other => return other,
            }
        }
    }

    /// Waits until all of these have been said. Returns the position then.
    async fn look_at(&mut self, expected: &[Subject]) -> Position {
        let mut left: BTreeSet<Subject> = expected.iter().cloned().collect();
        loop {
            match self.next_news().await {
                StreamEvent::Look { subjects, position, .. } => {
                    for subject in subjects {
                        assert!(expected.contains(&subject), "{subject}");
                        left.remove(&subject);
                    }
                    if left.is_empty() {
                        return position;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn unit(id: &str) -> Subject {
    Subject::Unit(UnitId::parse(id).expect("an id"))
}

async fn open(database: &Database, start: Option<&Position>) -> Result<Opened> {
    let streams = Client::new(&engine::sdk_config(testing::dynamodb::endpoint()));
    Follower::open(streams, database.client.clone(), database.tables.livechat.clone(), start).await
}

#[tokio::test]
async fn every_kind_of_item_is_said_and_another_process_goes_on_where_this_one_ended() {
    let database = database().await;
    put(&database, json!({ "pk": "UNIT#before", "sk": "UNIT" })).await;
    let Opened { follower, was_lost } = open(&database, None).await.expect("it has a stream");
    assert!(!was_lost);
    // What is written before the follower runs, but after it was opened, is not missed.
    put(&database, json!({ "pk": "UNIT#a", "sk": "MONITOR#m" })).await;
    let mut listener = Listener::start(follower);
    for (pk, sk) in [("USER#u", "TOKENS"), ("DEPARTMENT#d", "DEPARTMENT"), ("PERMISSION#p", "PERMISSION")] {
        put(&database, json!({ "pk": pk, "sk": sk })).await;
    }
    let user = Subject::User(UserId::parse("u").expect("an id"));
    let department = Subject::Department(DepartmentId::parse("d").expect("an id"));
    let all = [unit("a"), user, department, Subject::Permission("p".into())];
    let position = listener.look_at(&all).await;

    // The sync's own items are no event, so storing a position does not change it.
    put(&database, json!({ "pk": "SYNC#STATE", "sk": "POSITIONS" })).await;
    for _ in 0..2 {
        assert_eq!(listener.next().await, StreamEvent::Idle { position: position.clone() });
    }
    drop(listener);
    put(&database, json!({ "pk": "UNIT#b", "sk": "UNIT" })).await;
    let position = Position::parse(&position.to_text()).expect("a position");
    let Opened { follower, was_lost } = open(&database, Some(&position)).await.expect("it has a stream");
    assert!(!was_lost);
    Listener::start(follower).look_at(&[unit("b")]).await;

    // A stream of another name has none of the records that follow this position.
    let other = self::database().await;
    let Opened { was_lost, .. } = open(&other, Some(&position)).await.expect("it has a stream");
    assert!(was_lost);
}

#[tokio::test]
async fn a_table_without_a_stream_is_said_in_one_sentence() {
    let made_up = MadeUp::start().await;
    made_up.state().stream = None;
    let error = made_up.open(None).await.expect_err("it has no stream");
    assert!(error.is::<NoStream>());
    assert_eq!(
        error.to_string(),
        "the table t has no stream: switch it on by deploying the template again, or with `aws dynamodb update-table \
         --table-name t --stream-specification StreamEnabled=true,StreamViewType=KEYS_ONLY`"
    );
}

#[tokio::test]
async fn children_follow_their_parents_over_many_pages_of_shards() {
    let made_up = MadeUp::start().await;
    // Two shards a page.
    for (id, parent) in [("a", None), ("b", Some("a")), ("c", None), ("d", Some("b")), ("e", None)] {
        made_up.state().add(id, parent);
    }
    for closed in ["a", "b"] {
        made_up.state().close_long_ago(closed);
    }
    made_up.state().write("a", "UNIT#old");
    let Opened { follower, .. } = made_up.open(None).await.expect("it has a stream");
    let mut listener = Listener::start(follower);
    made_up.state().write("d", "UNIT#1");
    made_up.state().write("e", "UNIT#2");
    listener.look_at(&[unit("1"), unit("2")]).await;

    // `d` closes while records are unread. Its children have records already, and are listed later.
    {
        let mut state = made_up.state();
        state.write("d", "UNIT#3");
        state.close("d");
    }
    listener.look_at(&[unit("3")]).await;
    {
        let mut state = made_up.state();
        state.add("f", Some("d"));
        state.add("g", Some("d"));
        state.write("f", "UNIT#4");
        state.write("g", "UNIT#5");
    }
    listener.look_at(&[unit("4"), unit("5")]).await;
    assert_eq!(made_up.state().read_before_their_parents(), Vec::<String>::new());
}

#[tokio::test]
async fn a_process_that_starts_again_reads_what_shards_had_that_closed_meanwhile() {
    let made_up = MadeUp::start().await;
    made_up.state().add("a", None);
    let Opened { follower, .. } = made_up.open(None).await.expect("it has a stream");
    let mut listener = Listener::start(follower);
    made_up.state().write("a", "UNIT#1");
    let position = listener.look_at(&[unit("1")]).await;
    drop(listener);
    {
        let mut state = made_up.state();
        state.write("a", "UNIT#2");
        for (child, parent) in [("b", "a"), ("c", "b")] {
            state.add(child, Some(parent));
            state.close(parent);
            state.write(child, &format!("UNIT#{child}"));
        }
    }
    let Opened { follower, was_lost } = made_up.open(Some(&position)).await.expect("it has a stream");
    assert!(!was_lost);
    Listener::start(follower).look_at(&[unit("2"), unit("b"), unit("c")]).await;
}

#[tokio::test]
async fn errors_that_pass_lose_nothing() {
    // DynamoDB allows five reads of a shard in a second. If this machine stands still while a request is on its way, the next one
    // seems to follow early.
    let mut pauses = Vec::new();
    while pauses.last().is_none_or(|pause| *pause < Duration::from_millis(190)) {
        assert!(pauses.len() < 6, "{pauses:?}");
        pauses.push(shortest_pause_among_errors().await);
    }
}

/// Makes requests fail in every way that passes. Returns the shortest time between two reads of the shard.
async fn shortest_pause_among_errors() -> Duration {
    let made_up = MadeUp::start().await;
    made_up.state().add("a", None);
    let Opened { follower, .. } = made_up.open(None).await.expect("it has a stream");
    let mut listener = Listener::start(follower);
    // Before a first record was read.
    made_up.state().fail("GetRecords", "ExpiredIteratorException");
    made_up.wait_for_failures().await;
    let mut number = 0;
    let mut next = async |failures: &[(&str, &str)]| {
        number += 1;
        for (operation, code) in failures {
            made_up.state().fail(operation, code);
        }
        made_up.state().write("a", &format!("UNIT#{number}"));
        listener.look_at(&[unit(&number.to_string())]).await;
    };
    next(&[]).await;
    next(&[("GetRecords", "ExpiredIteratorException")]).await;
    // What DynamoDB Local answers to a good iterator.
    next(&[("GetRecords", "ValidationException")]).await;
    next(&[("GetRecords", "TrimmedDataAccessException")]).await;
    next(&[("GetRecords", "LimitExceededException")]).await;
    next(&[("GetRecords", "ProvisionedThroughputExceededException")]).await;
    next(&[("GetRecords", "ExpiredIteratorException"), ("GetShardIterator", "LimitExceededException")]).await;
    made_up.state().shortest_pause()
}

#[tokio::test]
async fn a_record_that_is_gone_is_a_loss_and_what_is_left_is_read() {
    let made_up = MadeUp::start().await;
    made_up.state().add("a", None);
    let Opened { follower, .. } = made_up.open(None).await.expect("it has a stream");
    let mut listener = Listener::start(follower);
    made_up.state().write("a", "UNIT#1");
    listener.look_at(&[unit("1")]).await;
    {
        let mut state = made_up.state();
        state.fail("GetRecords", "ExpiredIteratorException");
        state.fail("GetShardIterator", "TrimmedDataAccessException");
        state.trim("a");
        state.write("a", "UNIT#2");
    }
    assert_eq!(listener.next_news().await, StreamEvent::Lost);
    listener.look_at(&[unit("2")]).await;
    // Twice in a row is a loss, too.
    {
        let mut state = made_up.state();
        for _ in 0..2 {
            state.fail("GetRecords", "TrimmedDataAccessException");
        }
    }
    assert_eq!(listener.next_news().await, StreamEvent::Lost);
    listener.look_at(&[unit("2")]).await;
}

#[tokio::test]
async fn a_stream_that_is_switched_off_and_on_again_is_a_loss_and_is_followed() {
    let made_up = MadeUp::start().await;
    made_up.state().add("a", None);
    let Opened { follower, .. } = made_up.open(None).await.expect("it has a stream");
    let mut listener = Listener::start(follower);
    {
        let mut state = made_up.state();
        state.close("a");
        state.stream = None;
    }
    let StreamEvent::Failing(reason) = listener.next_news().await else { panic!("it has no stream") };
    assert!(reason.starts_with("the table t has no stream"), "{reason}");
    {
        let mut state = made_up.state();
        state.begin_another_stream();
        state.add("z", None);
        state.write("z", "UNIT#1");
    }
    assert_eq!(listener.next_news().await, StreamEvent::Lost);
    listener.look_at(&[unit("1")]).await;
}

#[tokio::test]
async fn a_right_that_is_missing_is_said_once_and_waited_for() {
    let made_up = MadeUp::start().await;
    made_up.state().add("a", None);
    let Opened { follower, .. } = made_up.open(None).await.expect("it has a stream");
    let mut listener = Listener::start(follower);
    {
        let mut state = made_up.state();
        for _ in 0..4 {
            state.fail("GetRecords", "AccessDeniedException");
        }
        state.write("a", "UNIT#1");
    }
    let expected = "DynamoDB Streams: AccessDeniedException: made up";
    assert_eq!(listener.next_news().await, StreamEvent::Failing(expected.into()));
    listener.look_at(&[unit("1")]).await;
}
