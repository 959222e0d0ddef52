//! What is to be looked at, and how far the streams of changes have been dealt with.
//!
//! A subject is looked at when no event of it has come for a moment, because Rocket.Chat saves a unit in many separate
//! writes. A position may be stored when all events before it have been dealt with. So after a crash, the events that
//! were not dealt with come again.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::delays::Delays;
use super::model::{Change, Side, Subject};
use super::together::MAX_TOGETHER;

/// The pause before a look that failed is repeated for the first time. It doubles with each failure.
const MIN_RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The maximum pause before a look that failed is repeated.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(10);

/// The name of a stream of changes, by which its position is stored.
pub type Stream = &'static str;

/// DynamoDB's stream. All others are MongoDB's.
pub const DYNAMODB: Stream = "dynamodb";

/// A subject and when it is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    subject: Subject,
}

/// Subjects in the order in which they are due.
type Order = BTreeSet<Due>;

/// Subjects that wait, by when they are due.
#[derive(Debug, Default)]
struct Orders {
    /// Users. One whose look has failed is in `others`, to be looked at alone.
    users: Order,
    /// The rooms of departments. There is one such look at a time, so that the server has time for Rocket.Chat, and so that
    /// other looks need not wait.
    rooms: Order,
    /// All others.
    others: Order,
}

/// Subjects to look at.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: HashMap<Subject, Waiting>,
    /// What is being looked at now, by subject.
    in_flight: HashMap<Subject, Waiting>,
    /// What waits and is not being looked at.
    orders: Orders,
    positions: BTreeMap<Stream, Position>,
}

/// Why and since when a subject waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The first event.
    pub since: Instant,
    due: Instant,
    /// True if an event says that something was deleted in MongoDB, so that the look may remove it from DynamoDB.
    pub is_deletion: bool,
    /// The number of looks that failed in a row.
    pub failures: u32,
    /// The events that led here.
    events: Vec<EventId>,
}

/// An event: the stream that it came from, and its number there.
#[derive(Clone, Copy, Debug)]
struct EventId {
    stream: Stream,
    number: u64,
}

/// A subject that was taken out of the queue for a look.
#[derive(Debug)]
pub struct Taken {
    /// The subject.
    pub subject: Subject,
    /// Why and since when it waited.
    pub waiting: Waiting,
}

/// How far a stream has been dealt with.
#[derive(Debug, Default)]
struct Position {
    /// The events that are not dealt with, and all events after the first of these, with the position after each.
    events: VecDeque<Event>,
    /// The number of the first of these.
    first: u64,
    /// The position before them.
    done: Option<String>,
}

#[derive(Debug)]
struct Event {
    position: String,
    /// The number of subjects that have to be looked at.
    pending: usize,
}

impl Queue {
    /// Takes an event of a stream. `position` is the position after it.
    pub fn event(
        &mut self,
        stream: Stream,
        position: String,
        subjects: Vec<Subject>,
        change: Change,
        now: Instant,
    ) {
        let of_stream = self.positions.entry(stream).or_default();
        let number = of_stream.first + of_stream.events.len() as u64;
        of_stream.events.push_back(Event { position, pending: subjects.len() });
        of_stream.advance();
        let side = if stream == DYNAMODB { Side::DynamoDb } else { Side::MongoDb };
        for subject in subjects {
            let delays = Delays::after_event(&subject, side);
            self.add(subject, delays, change, now, now, &[EventId { stream, number }]);
        }
    }

    /// Takes a subject that no event of a stream led to.
    pub fn look_at(&mut self, subject: Subject, now: Instant) {
        let delays = Delays::after_event(&subject, Side::MongoDb);
        self.add(subject, delays, Change::Written, now, now, &[]);
    }

    fn add(
        &mut self,
        subject: Subject,
        Delays { quiet, max }: Delays,
        change: Change,
        since: Instant,
        now: Instant,
        events: &[EventId],
    ) {
        self.remove_from_order(&subject);
        let waiting = self.waiting.entry(subject.clone()).or_insert_with(|| Waiting {
            since: now,
            due: now,
            is_deletion: false,
            failures: 0,
            events: Vec::new(),
        });
        waiting.is_deletion |= change == Change::Deleted;
        if waiting.failures == 0 {
            waiting.due = waiting.due.max(now + quiet).min(waiting.since + max);
        }
        waiting.since = waiting.since.min(since);
        waiting.events.extend(events.iter().copied());
        self.put_in_order(&subject);
    }

    fn put_in_order(&mut self, subject: &Subject) {
        if self.in_flight.contains_key(subject) {
            return;
        }
        if let Some(waiting) = self.waiting.get(subject) {
            self.orders.of(subject, waiting).insert(Due { at: waiting.due, subject: subject.clone() });
        }
    }

    fn remove_from_order(&mut self, subject: &Subject) {
        if let Some(waiting) = self.waiting.get(subject) {
            self.orders.of(subject, waiting).remove(&Due { at: waiting.due, subject: subject.clone() });
        }
    }

    /// Takes the subjects that are due, for at most this many looks. The users of one look are looked at together,
    /// and so are departments; every other look has one subject. None of them is being looked at already.
    pub fn take_due(&mut self, most: usize, now: Instant) -> Vec<Vec<Taken>> {
        let due = |order: &Order, most: usize| -> Vec<Subject> {
            let due = order.iter().take_while(|due| due.at <= now).take(most);
            due.map(|due| due.subject.clone()).collect()
        };
        if most == 0 {
            return Vec::new();
        }
        // Users come first, because a revoked token is the most urgent change of all. The others follow in the order in
        // which they are due.
        let users = due(&self.orders.users, most * MAX_TOGETHER);
        let together = users.len().div_ceil(most).max(1);
        let mut looks: Vec<Vec<Subject>> = users.chunks(together).map(<[Subject]>::to_vec).collect();
        let room = most - looks.len();
        let mut others: Vec<Vec<Subject>> = Vec::new();
        // The place of the look that gets the next department.
        let mut departments: Option<usize> = None;
        for Due { subject, .. } in self.orders.others.iter().take_while(|due| due.at <= now) {
            let is_together =
                matches!(subject, Subject::Department(_)) && self.waiting[subject].failures == 0;
            match departments.filter(|_| is_together) {
                Some(place) if others[place].len() < MAX_TOGETHER => others[place].push(subject.clone()),
                _ if others.len() == room => break,
                _ => {
                    departments = if is_together { Some(others.len()) } else { departments };
                    others.push(vec![subject.clone()]);
                }
            }
        }
        looks.extend(others);
        if looks.len() < most && !self.is_looking_at_rooms() {
            looks.extend(due(&self.orders.rooms, 1).into_iter().map(|rooms| vec![rooms]));
        }
        looks.into_iter().map(|subjects| self.take(subjects)).collect()
    }

    fn take(&mut self, subjects: Vec<Subject>) -> Vec<Taken> {
        let mut taken = Vec::with_capacity(subjects.len());
        for subject in subjects {
            self.remove_from_order(&subject);
            if let Some(waiting) = self.waiting.remove(&subject) {
                self.in_flight.insert(subject.clone(), waiting.clone());
                taken.push(Taken { subject, waiting });
            }
        }
        taken
    }

    /// When the next subject is due. `None` if none waits, or all that wait are being looked at.
    pub fn next_due(&self) -> Option<Instant> {
        let Orders { users, rooms, others } = &self.orders;
        let rooms = rooms.first().filter(|_| !self.is_looking_at_rooms());
        [users.first(), rooms, others.first()].into_iter().flatten().map(|due| due.at).min()
    }

    /// A look has succeeded. `follow_ups` have to be looked at because of it. The events that led to the look are dealt
    /// with only when those looks have ended, too, except looks at rooms.
    pub fn finished(&mut self, subject: &Subject, follow_ups: Vec<Subject>, now: Instant) {
        let Some(done) = self.in_flight.remove(subject) else { return };
        self.put_in_order(subject);
        for follow_up in follow_ups {
            // No position waits for rooms, which may take long. The department's base says that they are still to be
            // written, and the full pass of the next start finds that.
            let events = if matches!(follow_up, Subject::Rooms(_)) { &[] } else { done.events.as_slice() };
            for EventId { stream, number } in events {
                if let Some(event) = self.positions.get_mut(stream).and_then(|all| all.event(*number)) {
                    event.pending += 1;
                }
            }
            let mut delays = Delays::after_event(&follow_up, Side::MongoDb);
            if self.waiting.contains_key(&follow_up) {
                // It is looked at soon.
                delays.quiet = Duration::ZERO;
            }
            self.add(follow_up, delays, Change::Written, done.since, now, events);
        }
        for EventId { stream, number } in done.events {
            let Some(of_stream) = self.positions.get_mut(stream) else { continue };
            if let Some(event) = of_stream.event(number) {
                event.pending -= 1;
            }
            of_stream.advance();
        }
    }

    /// A look has failed, and is repeated after a pause.
    pub fn failed(&mut self, subject: Subject, now: Instant) {
        let Some(mut again) = self.in_flight.remove(&subject) else { return };
        again.failures += 1;
        let pause = MIN_RETRY_PAUSE.saturating_mul(1 << again.failures.min(10)).min(MAX_RETRY_PAUSE);
        again.due = now + pause;
        if let Some(waiting) = self.waiting.remove(&subject) {
            again.is_deletion |= waiting.is_deletion;
            again.events.extend(waiting.events);
        }
        self.waiting.insert(subject.clone(), again);
        self.put_in_order(&subject);
    }

    /// Forgets the position of a stream that has lost events. The positions of its next events count again.
    pub fn forget_position(&mut self, stream: Stream) {
        if let Some(position) = self.positions.get_mut(stream) {
            position.done = None;
        }
    }

    /// The position of each stream up to which everything has been dealt with.
    pub fn positions(&self) -> BTreeMap<Stream, String> {
        let done =
            self.positions.iter().filter_map(|(stream, position)| Some((*stream, position.done.clone()?)));
        done.collect()
    }

    fn is_looking_at_rooms(&self) -> bool {
        self.in_flight.keys().any(|subject| matches!(subject, Subject::Rooms(_)))
    }

    /// The number of subjects that wait or are being looked at.
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// When the subject that has waited longest began to wait. Rooms do not count unless a look at them has failed: they
    /// take as long as there are many.
    pub fn oldest(&self) -> Option<Instant> {
        let all = self.waiting.iter().chain(&self.in_flight);
        let counting =
            all.filter(|(subject, waiting)| !matches!(subject, Subject::Rooms(_)) || waiting.failures > 0);
        counting.map(|(_, waiting)| waiting.since).min()
    }
}

impl Orders {
    /// The order that a subject is in.
    fn of(&mut self, subject: &Subject, waiting: &Waiting) -> &mut Order {
        match subject {
            Subject::User(_) if waiting.failures == 0 => &mut self.users,
            Subject::Rooms(_) => &mut self.rooms,
            _ => &mut self.others,
        }
    }
}

impl Position {
    fn event(&mut self, number: u64) -> Option<&mut Event> {
        self.events.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Removes the events that are dealt with from the front.
    fn advance(&mut self) {
        while self.events.front().is_some_and(|event| event.pending == 0) {
            self.done = self.events.pop_front().map(|event| event.position);
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests;
