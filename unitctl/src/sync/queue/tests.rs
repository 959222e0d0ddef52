//! Tests of the queue: when a subject is looked at, and which positions are reached.

use livechat_units::id::{DepartmentId, UnitId, UserId};

use super::*;

const MONGODB: Stream = "users";

fn user(id: &str) -> Subject {
    Subject::User(UserId::parse(id).expect("an id"))
}

fn unit(id: &str) -> Subject {
    Subject::Unit(UnitId::parse(id).expect("an id"))
}

fn department(id: &str) -> Subject {
    Subject::Department(DepartmentId::parse(id).expect("an id"))
}

fn names(taken: Vec<Vec<Taken>>) -> Vec<String> {
    taken.into_iter().flatten().map(|taken| taken.subject.to_string()).collect()
}

#[test]
fn a_unit_waits_until_its_events_are_quiet_and_a_user_does_not() {
    let mut queue = Queue::default();
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    queue.look_at(unit("u"), at(0));
    queue.look_at(user("a"), at(0));
    assert_eq!(names(queue.take_due(9, at(0))), ["user a"]);
    queue.look_at(unit("u"), at(250));
    assert_eq!(queue.next_due(), Some(at(550)));
    assert!(queue.take_due(9, at(549)).is_empty());
    queue.look_at(unit("u"), at(500));
    // Not longer than the maximum after the first event.
    assert_eq!(queue.next_due(), Some(at(700)));
    assert_eq!(names(queue.take_due(9, at(700))), ["unit u"]);
}

/// The function writes a unit in one transaction, and Rocket.Chat in many writes.
#[test]
fn a_unit_waits_longer_after_an_event_of_mongodb_than_after_one_of_dynamodb() {
    let mut queue = Queue::default();
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let event = |queue: &mut Queue, stream, subject, ms| {
        queue.event(stream, "1".into(), vec![subject], Change::Written, at(ms));
    };
    event(&mut queue, DYNAMODB, unit("u"), 0);
    event(&mut queue, DYNAMODB, department("d"), 0);
    assert_eq!(queue.next_due(), Some(at(100)));
    event(&mut queue, MONGODB, unit("u"), 50);
    assert_eq!(queue.next_due(), Some(at(350)));
    // It does not end the wait for Rocket.Chat's next write.
    event(&mut queue, DYNAMODB, unit("u"), 60);
    assert_eq!(queue.next_due(), Some(at(350)));
    assert_eq!(names(queue.take_due(9, at(350))), ["unit u"]);
    // The look at the unit deals with its departments.
    assert_eq!(queue.next_due(), Some(at(500)));
}

#[test]
fn a_look_that_names_a_unit_does_not_make_it_wait_longer() {
    let mut queue = Queue::default();
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    queue.look_at(department("d"), at(0));
    queue.look_at(unit("u"), at(0));
    assert_eq!(names(queue.take_due(9, at(200))), ["department d"]);
    queue.finished(&department("d"), vec![unit("u"), unit("v")], at(220));
    assert_eq!(names(queue.take_due(9, at(300))), ["unit u"]);
    assert_eq!(queue.next_due(), Some(at(520)));
}

#[test]
fn the_rooms_of_one_department_are_written_at_a_time_and_make_nothing_else_wait() {
    let mut queue = Queue::default();
    let now = Instant::now();
    let rooms = |id| Subject::Rooms(DepartmentId::parse(id).expect("an id"));
    queue.event(MONGODB, "1".into(), vec![unit("u")], Change::Written, now);
    let later = now + Duration::from_secs(1);
    queue.take_due(9, later);
    queue.finished(&unit("u"), vec![rooms("a"), rooms("b")], later);
    assert_eq!(queue.positions().get(MONGODB).map(String::as_str), Some("1"));
    assert_eq!(names(queue.take_due(9, later)), ["rooms of department a"]);
    assert_eq!(queue.next_due(), None);
    queue.look_at(user("x"), later);
    assert_eq!(names(queue.take_due(9, later)), ["user x"]);
    queue.finished(&user("x"), Vec::new(), later);
    // Nobody has to worry because there are many rooms, but one whose rooms can't be written.
    assert_eq!((queue.pending(), queue.oldest()), (2, None));
    queue.failed(rooms("a"), later);
    assert_eq!(queue.oldest(), Some(now));
    assert_eq!(names(queue.take_due(9, later)), ["rooms of department b"]);
    queue.finished(&rooms("b"), Vec::new(), later);
    let later = later + Duration::from_secs(1);
    assert_eq!(names(queue.take_due(9, later)), ["rooms of department a"]);
    queue.finished(&rooms("a"), Vec::new(), later);
    assert_eq!(queue.pending(), 0);
}

#[test]
fn no_subject_is_looked_at_twice_at_the_same_time() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.look_at(user("a"), now);
    assert_eq!(queue.take_due(9, now).len(), 1);
    queue.look_at(user("a"), now);
    assert!(queue.take_due(9, now).is_empty());
    assert_eq!(queue.next_due(), None);
    queue.finished(&user("a"), Vec::new(), now);
    assert_eq!(names(queue.take_due(9, now)), ["user a"]);
}

#[test]
fn a_position_is_that_of_the_oldest_event_that_is_not_dealt_with() {
    let mut queue = Queue::default();
    let now = Instant::now();
    let position = |queue: &Queue| queue.positions().get(MONGODB).cloned();
    queue.event(MONGODB, "0".into(), Vec::new(), Change::Written, now);
    assert_eq!(position(&queue).as_deref(), Some("0"));
    queue.event(MONGODB, "1".into(), vec![user("a")], Change::Written, now);
    queue.event(MONGODB, "2".into(), vec![user("b"), unit("u")], Change::Written, now);
    queue.event(MONGODB, "3".into(), Vec::new(), Change::Written, now);
    assert_eq!(queue.take_due(9, now).len(), 2);
    queue.finished(&user("b"), Vec::new(), now);
    assert_eq!(position(&queue).as_deref(), Some("0"));
    // A follow-up belongs to the same event.
    queue.finished(&user("a"), vec![user("c")], now);
    assert_eq!(position(&queue).as_deref(), Some("0"));
    queue.take_due(9, now);
    queue.failed(user("c"), now);
    assert_eq!(position(&queue).as_deref(), Some("0"));
    let later = now + Duration::from_secs(1);
    assert_eq!(names(queue.take_due(9, later)), ["user c", "unit u"]);
    queue.finished(&user("c"), Vec::new(), later);
    assert_eq!(position(&queue).as_deref(), Some("1"));
    queue.finished(&unit("u"), Vec::new(), later);
    assert_eq!(position(&queue).as_deref(), Some("3"));
    assert_eq!(queue.pending(), 0);
}

#[test]
fn a_look_that_failed_is_repeated_with_what_came_meanwhile() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.event(MONGODB, "1".into(), vec![user("a")], Change::Written, now);
    queue.take_due(9, now);
    queue.event(MONGODB, "2".into(), vec![user("a")], Change::Deleted, now);
    queue.failed(user("a"), now);
    assert!(queue.take_due(9, now).is_empty());
    let later = now + Duration::from_secs(1);
    let taken = queue.take_due(9, later);
    assert!(taken[0][0].waiting.is_deletion && taken[0][0].waiting.failures == 1);
    queue.finished(&user("a"), Vec::new(), later);
    assert_eq!(queue.positions().get(MONGODB).map(String::as_str), Some("2"));
}

#[test]
fn many_users_are_looked_at_together_and_one_that_failed_alone() {
    let mut queue = Queue::default();
    let now = Instant::now();
    for number in 0..250 {
        queue.look_at(user(&format!("{number}")), now);
    }
    queue.look_at(unit("u"), now);
    let sizes = |taken: Vec<Vec<_>>| taken.iter().map(Vec::len).collect::<Vec<_>>();
    let later = now + Duration::from_secs(1);
    // As few in each look as possible, so that they end soon.
    assert_eq!(sizes(queue.take_due(2, later)), [100, 100]);
    assert_eq!(sizes(queue.take_due(60, later)), [vec![1; 50], vec![1]].concat());
    assert!(queue.take_due(9, later).is_empty());
    for failed in ["7", "8"] {
        queue.failed(user(failed), later);
    }
    queue.look_at(user("a"), later);
    queue.look_at(user("b"), later);
    assert_eq!(sizes(queue.take_due(3, later + Duration::from_secs(1))), [1, 1, 1]);
    assert_eq!(queue.pending(), 253);
}

#[test]
fn departments_that_are_written_one_after_the_other_are_looked_at_together() {
    let mut queue = Queue::default();
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    for number in 0..5 {
        queue.look_at(department(&format!("{number}")), at(10 * number));
    }
    queue.look_at(Subject::Permission("p".into()), at(50));
    assert_eq!(names(queue.take_due(9, at(50))), ["permission p"]);
    queue.look_at(unit("u"), at(50));
    let taken = queue.take_due(9, at(350));
    assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [5, 1]);
    // One whose look has failed is looked at alone.
    queue.failed(department("0"), at(350));
    queue.finished(&department("1"), Vec::new(), at(350));
    queue.look_at(department("1"), at(350));
    let taken = queue.take_due(9, at(900));
    assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
}
