//! If no reply comes, the same request is sent a second time. Both may be answered, in any order and late.
//! docs/reliability.md has the results as a table, and `BLESS=1` writes it.

mod scenarios;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::{FutureExt, join_all};
use livechat_units::{Function, Response};
use tokio::time::sleep;

use self::scenarios::{NEVER, SCENARIOS, Scenario, late, ms};
use super::matrix::assert_documented;
use crate::support::fault_proxy::ConnectionFault;
use crate::support::faulty_client::{
    Fault, FaultyClient, OtherWrite, SentRequest, cancelled, exception, once,
};
use crate::support::interceptor::plain_http_client;
use crate::support::lag::in_time;
use crate::support::responses::{BUSY, UNAVAILABLE};
use crate::support::silent_proxy::SilentProxy;
use crate::support::update_case::UpdateCase;
use crate::support::{TestApp, assert_refused, body, department, event, invoke, with_app};

fn describe(response: &Response) -> &'static str {
    match (response.status_code, response.body.as_str()) {
        (200, _) => "200",
        (400, _) => "400",
        (503, UNAVAILABLE) => "503",
        (503, BUSY) => "503 busy",
        (status, body) => panic!("{status} {body}"),
    }
}

/// A write that deletes the department that the case's update lists, and one that stores it again.
fn delete_and_restore(app: &TestApp, case: &UpdateCase) -> (OtherWrite, OtherWrite) {
    let [id, unit] = ["e", "V"].map(|name| case.unit.replacen('U', name, 1));
    let item = testing::items::item(&department(&id, Some(&unit)));
    let table = &app.tables.livechat;
    let key = |name: &str| item[name].clone();
    let delete = app.client.delete_item().table_name(table).key("pk", key("pk")).key("sk", key("sk"));
    let put = app.client.put_item().table_name(table).set_item(Some(item));
    let delete: OtherWrite = Arc::new(move || {
        let delete = delete.clone();
        async move { drop(delete.send().await.expect("it is deleted")) }.boxed()
    });
    let put: OtherWrite = Arc::new(move || {
        let put = put.clone();
        async move { drop(put.send().await.expect("it is stored")) }.boxed()
    });
    (delete, put)
}

/// The answer to a scenario's update.
struct Answer {
    response: Response,
    /// By how much the unit's version has grown in the end.
    versions: u64,
    /// The time from the first transaction to the answer.
    took: Duration,
}

impl Answer {
    fn is_expected(&self, scenario: &Scenario) -> bool {
        describe(&self.response) == scenario.answer
            && self.versions == scenario.versions
            && self.took < ms(scenario.soon)
    }

    fn describe(&self, scenario: &Scenario) -> String {
        let Self { response, versions, took } = self;
        let answer = describe(response);
        format!("{}: {answer} after {took:?}, stored {versions} times: {}", scenario.name, response.body)
    }

    /// Checks what the answer promises, in whatever order things have happened.
    fn assert_true(&self, scenario: &Scenario) {
        let possible = match describe(&self.response) {
            "200" => 1..=1,
            "503" => 0..=1,
            _ => 0..=0,
        };
        assert!(possible.contains(&self.versions), "{}", self.describe(scenario));
    }
}

/// Sends a scenario's update.
async fn send(app: &TestApp, scenario: &Scenario, case: &UpdateCase) -> Answer {
    let (delete, restore) = delete_and_restore(app, case);
    let restore = once(restore);
    let restore_at_last = restore.clone();
    let began = Arc::new(OnceLock::<Instant>::new());
    let (fault, returns) = (scenario.fault, scenario.department_returns);
    let first_at = began.clone();
    let faulty = FaultyClient::new(move |sent: &SentRequest| {
        if !sent.is_write {
            return None;
        }
        let at = first_at.get_or_init(Instant::now).elapsed();
        if sent.number == 1
            && let Some(returns) = returns
        {
            let (delete, restore) = (delete.clone(), restore.clone());
            return Some(Fault::After(Arc::new(move || {
                let (delete, restore) = (delete(), restore.clone());
                async move {
                    delete.await;
                    if returns < NEVER {
                        tokio::spawn(async move {
                            sleep(ms(returns).saturating_sub(at)).await;
                            restore().await;
                        });
                    }
                }
                .boxed()
            })));
        }
        fault(sent.number, u64::try_from(at.as_millis()).unwrap_or(u64::MAX))
    });
    let function = Function::new(&faulty.sdk()(app.sdk.clone()), app.tables.clone());
    let response = invoke(&function, &case.event, Some(Duration::from_secs(30))).await;
    let took = began.get().expect("the transaction was sent").elapsed();
    // Late copies arrive.
    faulty.all_executed().await;
    restore_at_last().await;
    let versions = app.stored_unit(&case.unit).await["version"].as_u64().expect("a count") - 7;
    // The test ends with sound data, even if the department was deleted after the update had taken it.
    let [id, other] = ["e", "V"].map(|name| case.unit.replacen('U', name, 1));
    app.put_item(department(&id, Some(if versions == 0 { &other } else { &case.unit }))).await;
    Answer { response, versions, took }
}

#[tokio::test]
async fn every_order_of_two_answers_to_a_transaction() {
    with_app(async |app| {
        app.put_monitors(&["m", "n"]).await;
        let answers = SCENARIOS.iter().enumerate().map(|(number, scenario)| {
            // If this machine is late, things may happen in another order than the scenario's.
            in_time(async move |attempt| {
                // Every attempt has items of its own.
                let case = UpdateCase::new(app, false, 100 * attempt + number).await;
                let answer = send(app, scenario, &case).await;
                answer.assert_true(scenario);
                if answer.is_expected(scenario) { Ok(answer) } else { Err(answer.describe(scenario)) }
            })
        });
        let answers = join_all(answers).await;
        let mut printed =
            String::from("| the first copy has no reply yet, and | answer | stored |\n|---|---|---|\n");
        for (scenario, Answer { response, versions, .. }) in SCENARIOS.iter().zip(answers) {
            let (name, answer) = (scenario.name, describe(&response));
            let stored = ["no", "once"][usize::try_from(versions).expect("one at most")];
            writeln!(printed, "| {name} | {answer} | {stored} |").expect("a string takes it");
        }
        assert_documented("second requests", "every_order", &printed);
    })
    .await;
}

#[tokio::test]
async fn a_read_whose_reply_does_not_come_is_sent_again() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        let faults: [fn(usize) -> Option<Fault>; 3] = [
            |copy| (copy == 0).then(|| late(0, 900)),
            |copy| (copy == 0).then_some(Fault::Connection(ConnectionFault::Hang)),
            |copy| match copy {
                0 => Some(late(0, 400)),
                1 => Some(exception("ThrottlingException")),
                _ => None,
            },
        ];
        for fault in faults {
            in_time(async |_| {
                let faulty = FaultyClient::new(move |sent| (!sent.is_write).then(|| fault(sent.number))?);
                let function = Function::new(&faulty.sdk()(app.sdk.clone()), app.tables.clone());
                let started = Instant::now();
                let response =
                    invoke(&function, &event("U", &body(&[], &[])), Some(Duration::from_secs(30))).await;
                let took = started.elapsed();
                assert_eq!(response.status_code, 200, "{}", response.body);
                let sent = faulty.sent();
                assert!(!sent[0].is_repeated && sent[1].is_repeated && sent[0].body == sent[1].body);
                if took < ms(850) { Ok(()) } else { Err(format!("answered after {took:?}")) }
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn no_second_request_is_sent_after_the_time_budget() {
    with_app(async |app| {
        in_time(async |attempt| {
            // The thread stops when the update has sent its first request. Meanwhile come the time for the second one and the end
            // of the time budget.
            let budget = 300 * (1 + attempt as u64);
            let faulty = FaultyClient::new(move |_| {
                std::thread::sleep(ms(budget + 100));
                Some(Fault::Connection(ConnectionFault::Hang))
            });
            let function = Function::new(&faulty.sdk()(app.sdk.clone()), app.tables.clone());
            let update = event("U", &body(&[], &[]));
            let response = invoke(&function, &update, Some(ms(1000 + budget))).await;
            assert_refused(&response, 503, UNAVAILABLE);
            let sent = faulty.sent().len();
            assert!(sent <= 1, "{sent} requests");
            if sent == 1 { Ok(()) } else { Err("the time was over before the first request".into()) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_frozen_environment_whose_connections_are_dead_answers_soon() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        let proxy = SilentProxy::start().await;
        let sdk = app.sdk.to_builder().endpoint_url(&proxy.url);
        let sdk = sdk.http_client(plain_http_client()).build();
        let update = event("U", &body(&[], &[]));
        let updates = AtomicUsize::new(0);
        in_time(async |_| {
            let function = Function::new(&sdk, app.tables.clone());
            let send = async || {
                let started = Instant::now();
                let response = invoke(&function, &update, Some(Duration::from_secs(30))).await;
                assert_eq!(response.status_code, 200, "{}", response.body);
                updates.fetch_add(1, Ordering::Relaxed);
                started.elapsed()
            };
            send().await;
            // More than one connection is in the pool.
            futures_util::join!(send(), send());
            proxy.silence_all();
            let before = proxy.connections();
            let took = send().await;
            assert!(proxy.connections() > before, "no new connection was opened");
            // The next update does not meet the silent connections.
            let before = proxy.connections();
            send().await;
            let new = proxy.connections() - before;
            let is_soon = took < ms(700) && new == 0;
            if is_soon { Ok(()) } else { Err(format!("after {took:?}, and then {new} new connections")) }
        })
        .await;
        assert_eq!(app.stored_unit("U").await["version"], 7 + updates.into_inner());
    })
    .await;
}

#[tokio::test]
async fn no_answer_of_rows_1_to_12_for_an_update_that_is_stored() {
    /// The numbers of updates that are sent at the same time. The later ones are sent only if none was refused before, because a
    /// busy machine answers all of them with 503.
    const ROUNDS: [usize; 8] = [150, 40, 20, 20, 20, 10, 10, 10];
    with_app(async |app| {
        app.put_monitors(&["m", "n"]).await;
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut first = 0;
        let mut all_answers = Vec::new();
        for updates in ROUNDS {
            let answers = send_at_once(app, &mut random, first..first + updates).await;
            println!("answers, transactions stored: {answers:?}");
            first += updates;
            let is_any_refused = answers.keys().any(|(answer, _)| *answer == "400");
            all_answers.push(answers);
            if is_any_refused {
                return;
            }
        }
        panic!("no update was refused: {all_answers:?}");
    })
    .await;
}

/// Sends updates with these numbers at the same time. Each meets random faults. Checks the promises of their answers, and returns
/// how often each answer came with this number of stored transactions.
async fn send_at_once(
    app: &TestApp,
    random: &mut Rng,
    numbers: Range<usize>,
) -> BTreeMap<(&'static str, usize), usize> {
    let mut cases = Vec::new();
    for number in numbers.clone() {
        let case = UpdateCase::new(app, false, number).await;
        let (delete, restore) = delete_and_restore(app, &case);
        cases.push((case, delete, restore, random.fork()));
    }
    let sound = app.stored_items().await;
    let outcomes = cases.iter().map(async |(case, delete, restore, random)| {
        let mut random = random.clone();
        let is_gone = Arc::new(AtomicBool::new(true));
        let mut of_faults = random.fork();
        let faults: Vec<Fault> = (0..256)
            .map(|_| match of_faults.u8(..10) {
                0..6 => late(of_faults.u64(0..1600), of_faults.u64(0..500)),
                6 => cancelled(&["TransactionConflict"]),
                7 => exception("ThrottlingException"),
                _ => late(0, of_faults.u64(0..250)),
            })
            .collect();
        let faulty =
            FaultyClient::new(move |sent| sent.is_write.then(|| faults.get(sent.number).cloned())?);
        let function = Function::new(&faulty.sdk()(app.sdk.clone()), app.tables.clone());
        let other = case.other_update(app);
        let others = async {
            // The department goes and comes back, and the unit changes now and then.
            while is_gone.load(Ordering::Relaxed) {
                sleep(ms(random.u64(20..400))).await;
                match random.u8(..8) {
                    0 => other().await,
                    _ => {
                        delete().await;
                        sleep(ms(random.u64(100..900))).await;
                        restore().await;
                    }
                }
            }
        };
        let update = async {
            let remaining = Duration::from_millis(if case.unit.ends_with('7') { 2500 } else { 30_000 });
            let response = invoke(&function, &case.event, Some(remaining)).await;
            is_gone.store(false, Ordering::Relaxed);
            response
        };
        let (response, ()) = futures_util::join!(update, others);
        // After the answer the department is there, so that late copies are stored if they can be.
        (response, faulty)
    });
    let outcomes: Vec<(Response, FaultyClient)> = join_all(outcomes).await;
    for (_, faulty) in &outcomes {
        faulty.all_executed().await;
    }
    let mut answers = BTreeMap::new();
    for (response, faulty) in &outcomes {
        let (answer, stored) = (describe(response), faulty.stored().len());
        *answers.entry((answer, stored)).or_insert(0) += 1;
        match answer {
            "200" => assert!(stored >= 1, "200, but nothing is stored"),
            "503" => {}
            promise => assert_eq!(stored, 0, "{promise}, but the update is stored: {}", response.body),
        }
    }
    // The test ends with sound data.
    for number in numbers {
        app.delete_item(&format!("UNIT#U-{number}"), "MONITOR#n").await;
    }
    let sound: Vec<_> = sound.into_values().collect();
    testing::items::put(&app.client, &app.tables.livechat, &sound).await.expect("the items are written");
    answers
}
