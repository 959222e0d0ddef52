//! What can happen to a transaction that is sent twice, and the answer to its update.

use std::time::Duration;

use crate::support::fault_proxy::ConnectionFault;
use crate::support::faulty_client::{Fault, cancelled, exception};

pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The request arrives `request` ms late, and its reply `reply` ms late.
pub(super) fn late(request: u64, reply: u64) -> Fault {
    Fault::Delayed(ms(request), ms(reply))
}

/// A transaction that is sent twice, because its first copy gets no answer for a while.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// The fault of each copy. It is chosen by the copy's number and by the time since the first copy, in ms.
    pub(super) fault: fn(usize, u64) -> Option<Fault>,
    /// A listed department is deleted before the second copy. This is when it is stored again, in ms after the first copy.
    pub(super) department_returns: Option<u64>,
    /// The answer to the update.
    pub(super) answer: &'static str,
    /// By how much the unit's version has grown in the end.
    pub(super) versions: u64,
    /// The answer comes in less than this time, in ms.
    pub(super) soon: u64,
}

pub(super) fn in_progress() -> Option<Fault> {
    Some(exception("TransactionInProgressException"))
}

pub(super) const NEVER: u64 = 60_000;

pub(super) const SCENARIOS: [Scenario; 12] = [
    Scenario {
        name: "the second is answered first",
        fault: |copy, _| (copy == 0).then(|| late(0, 900)),
        department_returns: None,
        answer: "200",
        versions: 1,
        soon: 800,
    },
    Scenario {
        name: "the first never arrives, the second is answered",
        fault: |copy, _| (copy == 0).then_some(Fault::Connection(ConnectionFault::Hang)),
        department_returns: None,
        answer: "200",
        versions: 1,
        soon: 800,
    },
    Scenario {
        name: "both are answered, the first before the second",
        fault: |copy, _| Some(late(0, if copy == 0 { 300 } else { 700 })),
        department_returns: None,
        answer: "200",
        versions: 1,
        soon: 800,
    },
    Scenario {
        name: "both are silent, the third is answered",
        fault: |copy, _| (copy < 2).then_some(Fault::Connection(ConnectionFault::HangAfter)),
        department_returns: None,
        answer: "200",
        versions: 1,
        soon: 3000,
    },
    Scenario {
        name: "the second is refused as in progress, the first succeeds",
        fault: |copy, _| if copy == 0 { Some(late(0, 400)) } else { in_progress() },
        department_returns: None,
        answer: "200",
        versions: 1,
        soon: 900,
    },
    Scenario {
        name: "the second is refused as in progress, the first hangs for five seconds",
        fault: |copy, at| match copy {
            0 => Some(Fault::Connection(ConnectionFault::Hang)),
            _ if at < 5000 => in_progress(),
            _ => None,
        },
        department_returns: None,
        answer: "200",
        versions: 1,
        soon: 9500,
    },
    Scenario {
        name: "the second is refused as in progress, the first is stored and its reply lost",
        fault: |copy, at| match copy {
            0 => Some(Fault::Connection(ConnectionFault::HangAfter)),
            _ if at < 1500 => in_progress(),
            _ => None,
        },
        department_returns: None,
        answer: "200",
        versions: 1,
        soon: 4500,
    },
    Scenario {
        name: "all later ones are refused as in progress, the first is stored and its reply lost",
        fault: |copy, _| {
            if copy == 0 { Some(Fault::Connection(ConnectionFault::HangAfter)) } else { in_progress() }
        },
        department_returns: None,
        answer: "503",
        versions: 1,
        soon: 12_000,
    },
    Scenario {
        name: "the second is refused by a condition, the first is stored afterwards",
        fault: |copy, _| (copy == 0).then(|| late(700, 0)),
        department_returns: Some(500),
        answer: "200",
        versions: 1,
        soon: 1800,
    },
    Scenario {
        name: "the second is refused by a condition, the first is stored after it was given up",
        fault: |copy, _| (copy == 0).then(|| late(1500, 0)),
        department_returns: Some(1300),
        answer: "503",
        versions: 1,
        soon: 2500,
    },
    Scenario {
        name: "both are refused by a condition",
        fault: |copy, _| (copy == 0).then(|| late(700, 0)),
        department_returns: Some(NEVER),
        answer: "400",
        versions: 0,
        soon: 1800,
    },
    Scenario {
        name: "the second is refused as a conflict, the first is stored afterwards",
        fault: |copy, _| {
            Some(if copy == 0 { late(600, 0) } else { cancelled(&["None", "TransactionConflict"]) })
        },
        department_returns: None,
        answer: "200",
        versions: 1,
        soon: 1500,
    },
];
