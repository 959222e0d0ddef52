//! Updates of more than a hundred changes: what they cost, and how long they take where a partition key takes 1,000 write
//! units a second, as on AWS.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use testing::events::{update_body, update_event};
use testing::items;

use crate::harness::{Bench, Kind, ms, pid};
use crate::process;
use crate::proxy::Transactions;

/// The function's timeout in the template.
const TIMEOUT: Duration = Duration::from_secs(29);

/// Write units that one partition key takes each second on AWS (Amazon DynamoDB Developer Guide, "Best practices for
/// designing and using partition keys effectively").
const UNITS_A_SECOND: f64 = 1000.0;

/// Members that join.
const CHANGES: [usize; 3] = [100, 1000, 5000];

/// Members that the unit has and keeps.
const OTHERS: [usize; 2] = [0, 5000];

impl Bench {
    /// Measures one large update of each kind. Returns the results as a table in Markdown.
    pub async fn large(&self) -> Result<String> {
        let mut table = String::from(
            "| members that join | others | limit | status | transactions | throttled | time | CPU | peak memory |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for limit in [None, Some(UNITS_A_SECOND)] {
            for others in OTHERS {
                for changes in CHANGES {
                    let unit = format!("large-{others}-{changes}-{}", limit.is_some());
                    let event = self.put_large(&unit, others, changes).await?;
                    let mut environment = self.environment(Kind::Function).await?;
                    environment.idle().await?;
                    let pid = pid(&mut environment)?;
                    let cpu = process::cpu_ms(pid).await?;
                    self.proxy.limit(limit);
                    let start = Instant::now();
                    let answer = environment.invoke(event.to_string(), TIMEOUT).await?.response()?;
                    let time = start.elapsed();
                    let Transactions { stored, throttled } = self.proxy.limit(None);
                    environment.idle().await?;
                    let cpu = process::cpu_ms(pid).await? - cpu;
                    let status = serde_json::from_slice::<Value>(&answer)?["statusCode"].take();
                    let limit = limit.map_or("none".to_owned(), |limit| format!("{limit} units/s"));
                    writeln!(
                        table,
                        "| {changes} | {others} | {limit} | {status} | {stored} | {throttled} | {:.0} ms | {cpu:.1} ms | {:.1} MB |",
                        ms(time),
                        process::peak_mb(pid)?,
                    )?;
                }
            }
        }
        Ok(table)
    }

    /// Stores a unit with this many monitors, the users who monitor it, and the users who join. Returns the event of
    /// the update.
    async fn put_large(&self, unit: &str, others: usize, changes: usize) -> Result<Value> {
        let time = "2020-01-01T00:00:00.000Z";
        let all: Vec<(String, String)> = (0..others + changes)
            .map(|number| (format!("user{number:013}"), format!("name{number:06}")))
            .collect();
        let by_id: serde_json::Map<String, Value> =
            all[..others].iter().map(|(id, name)| (id.clone(), name.as_str().into())).collect();
        let mut stored = vec![json!({
            "pk": format!("UNIT#{unit}"), "sk": "UNIT", "name": "Support", "visibility": "private", "type": "u",
            "numMonitors": others, "numDepartments": 0, "monitors": by_id, "version": 1, "_updatedAt": time,
        })];
        for (number, (id, name)) in all.iter().enumerate() {
            stored.push(json!({
                "pk": format!("USER#{id}"), "sk": "USER", "username": name, "active": true,
                "roles": { "set": ["user", "livechat-monitor"] },
            }));
            if number < others {
                stored.push(json!({
                    "pk": format!("UNIT#{unit}"), "sk": format!("MONITOR#{id}"), "unitId": unit, "monitorId": id,
                    "username": name, "_updatedAt": time,
                }));
            }
        }
        items::put(&self.data.client, &self.data.tables.livechat, &stored).await?;
        let monitors = all.iter().map(|(id, name)| (id.as_str(), name.as_str()));
        Ok(update_event(unit, &update_body("Support", monitors, [])))
    }
}
