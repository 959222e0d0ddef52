//! Which shards are read, and what their positions are.

use super::*;

const STREAM: &str = "arn:aws:dynamodb:eu-central-1:123456789012:table/t/stream/2026-11-26T00:00:00.000";
const NOW: i64 = 1_795_000_000;

/// Shards as `child<parent`.
fn listed(shards: &[&str]) -> Vec<Listed> {
    let listed = shards.iter().map(|shard| match shard.split_once('<') {
        Some((id, parent)) => Listed { id: id.into(), parent: Some(parent.into()) },
        None => Listed { id: (*shard).into(), parent: None },
    });
    listed.collect()
}

fn readable(shards: &Shards) -> Vec<(&str, Start)> {
    shards.readable().map(|(id, start)| (id, start.clone())).collect()
}

fn after(record: &str) -> Start {
    Start::After(record.into())
}

/// What a process that starts at this position does, after the position was stored and read again.
fn resumed(position: &Position, shards: &[&str]) -> Option<Shards> {
    let position = Position::parse(&position.to_text()).expect("a text that was made here");
    Shards::resume(&position, STREAM, &listed(shards), NOW)
}

#[test]
fn a_first_start_reads_only_shards_without_children() {
    let shards = Shards::at_latest(STREAM, &listed(&["a", "b<a", "c<b", "d"]), NOW);
    assert_eq!(readable(&shards), [("c", Start::Latest), ("d", Start::Latest)]);
    assert!(!shards.lacks_children());
}

#[test]
fn children_are_read_from_their_beginning_after_their_parent() {
    let mut shards = Shards::at_latest(STREAM, &listed(&["a"]), NOW);
    shards.read("a", "1", &About::Other);
    assert!(!shards.update(&listed(&["a", "b<a", "c<a", "d<b"]), NOW));
    assert_eq!(readable(&shards), [("a", after("1"))]);
    shards.finish("a");
    assert_eq!(readable(&shards), [("b", Start::Beginning), ("c", Start::Beginning)]);
    shards.finish("b");
    assert_eq!(readable(&shards), [("c", Start::Beginning), ("d", Start::Beginning)]);
}

#[test]
fn a_shard_that_ended_before_its_children_are_listed_waits_for_them() {
    let mut shards = Shards::at_latest(STREAM, &listed(&["a"]), NOW);
    shards.finish("a");
    assert!(shards.lacks_children());
    assert_eq!(readable(&shards), []);
    // The process ends in this state.
    let mut next = resumed(&shards.position(), &["a", "b<a"]).expect("nothing is lost");
    assert_eq!(readable(&next), [("b", Start::Beginning)]);
    assert!(!next.lacks_children());
    assert!(!shards.update(&listed(&["a", "b<a"]), NOW));
    assert_eq!(readable(&shards), [("b", Start::Beginning)]);
    // The second child of a split is listed later.
    shards.read("b", "5", &About::Other);
    next = resumed(&shards.position(), &["a", "b<a", "c<a"]).expect("nothing is lost");
    assert_eq!(readable(&next), [("b", after("5")), ("c", Start::Beginning)]);
}

#[test]
fn a_parent_that_is_not_listed_any_more_is_not_waited_for() {
    let mut shards = Shards::at_latest(STREAM, &listed(&["a"]), NOW);
    shards.finish("a");
    assert!(!shards.update(&listed(&["b<a"]), NOW));
    assert_eq!(readable(&shards), [("b", Start::Beginning)]);
    assert_eq!(shards.position().finished.len(), 0);
}

#[test]
fn a_position_goes_on_after_the_last_record_and_does_not_repeat_what_is_finished() {
    let mut shards = Shards::at_latest(STREAM, &listed(&["a", "b<a", "c<a"]), NOW);
    shards.read("b", "7", &About::Other);
    let position = shards.position();
    let next = resumed(&position, &["a", "b<a", "c<a", "d<b", "e<d"]).expect("nothing is lost");
    // Nothing was read of `c` yet. When its reading began is not known to another process.
    assert_eq!(readable(&next), [("b", after("7")), ("c", Start::Beginning)]);
    assert_eq!(
        next.position(),
        resumed(&next.position(), &["a", "b<a", "c<a", "d<b", "e<d"]).expect("it is").position()
    );
}

#[test]
fn records_of_the_syncs_own_items_move_no_position() {
    let mut shards = Shards::at_latest(STREAM, &listed(&["a"]), NOW);
    shards.read("a", "1", &About::Other);
    let position = shards.position();
    for record in ["2", "3"] {
        shards.read("a", record, &About::Own);
        assert_eq!(shards.position(), position);
    }
    // A new iterator goes on after them all the same.
    shards.needs_iterator("a");
    assert_eq!(readable(&shards), [("a", after("3"))]);
    shards.read("a", "4", &About::Other);
    assert_ne!(shards.position(), position);
    // The end of a shard moves it, whatever its last records were.
    let position = shards.position();
    shards.read("a", "5", &About::Own);
    shards.finish("a");
    assert_ne!(shards.position(), position);
}

#[test]
fn a_position_that_stands_still_changes_once_an_hour_and_is_lost_after_a_day() {
    let mut shards = Shards::at_latest(STREAM, &listed(&["a", "b"]), NOW - NOW % 3600);
    let position = shards.position();
    let hour = NOW - NOW % 3600;
    // Only one of the two has been read.
    shards.read_until("a", hour + 3600);
    assert_eq!(shards.position(), position);
    shards.read_until("b", hour + 3599);
    assert_eq!(shards.position(), position);
    shards.read_until("b", hour + 3600);
    assert_ne!(shards.position(), position);
    // An older time does not move it back.
    shards.read_until("b", hour);
    assert_ne!(shards.position(), position);

    let at = |now| Shards::resume(&position, STREAM, &listed(&["a", "b"]), now).is_some();
    assert!(at(hour + 22 * 3600));
    assert!(!at(hour + 22 * 3600 + 1));
    // A clock that is behind is no reason to begin anew.
    assert!(at(hour - 3600));
}

#[test]
fn a_position_is_lost_in_another_stream_and_without_its_shard() {
    let mut shards = Shards::at_latest(STREAM, &listed(&["a", "b"]), NOW);
    shards.finish("a");
    let position = shards.position();
    assert!(Shards::resume(&position, "another", &listed(&["a", "b"]), NOW).is_none());
    assert!(resumed(&position, &["a"]).is_none());
    // What was read to its end may be gone.
    assert!(resumed(&position, &["b"]).is_some());
}

#[test]
fn a_shard_that_goes_before_it_was_read_is_a_loss() {
    let mut shards = Shards::at_latest(STREAM, &listed(&["a", "b"]), NOW);
    shards.finish("a");
    assert!(!shards.update(&listed(&["b"]), NOW));
    assert!(shards.update(&listed(&["c"]), NOW));
    assert_eq!(readable(&shards), [("c", Start::Beginning)]);
}

#[test]
fn an_iterator_that_expires_before_a_first_record_is_followed_by_one_from_the_beginning() {
    let mut shards = Shards::at_latest(STREAM, &listed(&["a"]), NOW);
    shards.needs_iterator("a");
    assert_eq!(readable(&shards), [("a", Start::Beginning)]);
    shards.read("a", "1", &About::Other);
    shards.needs_iterator("a");
    assert_eq!(readable(&shards), [("a", after("1"))]);
    shards.lost("a");
    assert_eq!(readable(&shards), [("a", Start::Beginning)]);
    assert_eq!(shards.position().reading["a"], None);
}

#[test]
fn a_text_that_is_no_position_is_none() {
    for text in ["", "{}", "null", "\"x\""] {
        assert_eq!(Position::parse(text), None, "{text}");
    }
}
