//! The parts of the benchmark. Each measures a few rows of the table.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::Value;

use crate::chart::Line;
use crate::data::{self, Profile, Token};
use crate::harness::{Bench, Kind, Measured, invoke, ms, pid, target};
use crate::process;
use crate::report::Row;
use crate::statistics::{Samples, slope};

/// The times of updates at one delay: those of the floor and those of the function.
#[derive(Default)]
struct Delayed {
    delay_ms: Samples,
    latency_ms: [Samples; 2],
}

/// What updates cost on DynamoDB. Units are capacity units.
#[derive(Default)]
struct Consumption {
    /// The number of different items.
    items_read: f64,
    read_units: f64,
    items_written: f64,
    write_units: f64,
    bytes_read: f64,
}

impl Bench {
    /// Measures from the start of the process to its first request for an event.
    pub async fn init(&self, rows: &mut Vec<Row>) -> Result<()> {
        let kinds = [
            Kind::Noop,
            Kind::FunctionWithoutDynamoDb,
            Kind::RawConnected,
            Kind::Function,
            Kind::FunctionWithSystemRoots,
        ];
        let mut measured = kinds.map(|_| Measured::default());
        for _ in 0..self.times.starts {
            for (kind, measured) in kinds.into_iter().zip(&mut measured) {
                let start = Instant::now();
                let mut environment = self.environment(kind).await?;
                measured.latency_ms.push(ms(environment.idle().await? - start));
                measured.cpu_ms.push(process::cpu_ms(pid(&mut environment)?).await?);
            }
        }
        let [noop, without_dynamodb, raw, ours, with_system_roots] = &measured;
        let cpu = |what, floor: &Measured, ours: &Measured, goal, most| {
            Row::ratio(what, "ms", &floor.cpu_ms, &ours.cpu_ms, goal, most)
        };
        rows.push(cpu("init without a connection: CPU", noop, without_dynamodb, "at most 2.2x", Some(2.2)));
        rows.push(cpu("init with a connection: CPU", raw, ours, "", None));
        rows.push(Row::ratio(
            "init with a connection: time",
            "ms",
            &raw.latency_ms,
            &ours.latency_ms,
            "",
            None,
        ));
        rows.push(cpu("init with a connection, floor without a connection: CPU", noop, ours, "", None));
        rows.push(cpu("init with the system's root certificates: CPU", noop, with_system_roots, "", None));
        Ok(())
    }

    /// Measures the init and the first update, over TLS.
    pub async fn cold(&self, rows: &mut Vec<Row>) -> Result<()> {
        let profile = self.recorded(data::reference(), Token::New).await?;
        let mut whole = [Samples::default(), Samples::default()];
        let mut first = [Measured::default(), Measured::default()];
        for _ in 0..self.times.starts {
            for (place, kind) in [Kind::Raw, Kind::Function].into_iter().enumerate() {
                let mut environment = self.environment(kind).await?;
                let event = self.event(kind, &profile, 0, Token::New).await?;
                self.measure(&mut environment, event, &mut first[place]).await?;
                whole[place].push(process::cpu_ms(pid(&mut environment)?).await?);
            }
        }
        let [raw, ours] = &first;
        rows.push(Row::ratio("cold update: CPU", "ms", &whole[0], &whole[1], "at most 2x", Some(2.0)));
        rows.push(Row::ratio(
            "first update without the init: CPU",
            "ms",
            &raw.cpu_ms,
            &ours.cpu_ms,
            "",
            None,
        ));
        rows.push(Row::ratio(
            "first update without the init: time",
            "ms",
            &raw.latency_ms,
            &ours.latency_ms,
            "",
            None,
        ));
        Ok(())
    }

    /// Measures how many requests of an update wait for each other: with each request delayed by 1 ms, the latency grows by
    /// that many ms.
    pub async fn round_trips(&self, rows: &mut Vec<Row>) -> Result<Vec<Line>> {
        let cases =
            [(Token::Known, "token seen before", "2", 2.0), (Token::New, "first use of a token", "3", 3.0)];
        let mut lines = Vec::new();
        for (token, name, goal, calls_of_floor) in cases {
            let mut delays = [0, 5, 10].map(|delay| (Duration::from_millis(delay), Delayed::default()));
            // The delays take turns, so that other work of this machine affects all of them alike.
            for round in 0..self.times.rounds {
                for (delay, measured) in &mut delays {
                    self.proxy.delay(*delay);
                    let profile = self.recorded(data::reference(), token).await?;
                    let series = format!("d{}r{round}", delay.as_millis());
                    let turn = self.in_turn(&profile, self.times.delayed, token, &series).await?;
                    measured.delay_ms.push(self.proxy.mean_delay_ms());
                    for (whole, part) in measured.latency_ms.iter_mut().zip(&turn) {
                        whole.extend(&part.latency_ms);
                    }
                }
            }
            self.proxy.delay(Duration::ZERO);
            let points = [0, 1].map(|place| {
                let point = |(_, of): &(_, Delayed)| (of.delay_ms.median(), of.latency_ms[place].median());
                delays.iter().map(point).collect::<Vec<_>>()
            });
            let [raw, ours] = [slope(&points[0]), slope(&points[1])];
            // On a busy machine a request takes longer than its delay. The floor's number of requests is known, so comparing
            // the two slopes corrects that.
            let calls = calls_of_floor * ours / raw;
            rows.push(Row {
                what: format!("sequential round trips, {name}"),
                unit: "ms per ms of delay",
                floor: Some(raw.into()),
                ours: ours.into(),
                result: format!("{calls:.2}"),
                goal,
                met: Some(calls < calls_of_floor + 0.25),
            });
            let [raw, ours] = points;
            lines.push(Line { name, points: ours });
            if token == Token::Known {
                lines.push(Line { name: "the same requests without SDK", points: raw });
            }
        }
        Ok(lines)
    }

    pub async fn warm(&self, rows: &mut Vec<Row>) -> Result<()> {
        let profile = self.recorded(data::reference(), Token::Known).await?;
        let [raw, ours] = self.in_turn(&profile, self.times.updates, Token::Known, "warm").await?;
        let more = ours.cpu_ms.median() - raw.cpu_ms.median();
        rows.push(Row {
            what: "warm update: CPU".into(),
            unit: "ms",
            floor: Some((&raw.cpu_ms).into()),
            ours: (&ours.cpu_ms).into(),
            result: format!("{more:+.2} ms"),
            goal: "at most +0.45 ms",
            met: Some(more <= 0.45),
        });
        rows.push(Row::ratio("warm update: time", "ms", &raw.latency_ms, &ours.latency_ms, "", None));
        Ok(())
    }

    pub async fn capacity(&self, rows: &mut Vec<Row>) -> Result<()> {
        let profiles = [
            ("nothing changes", data::reference()),
            ("a department leaves", data::growth(1)),
            ("a department moves", data::moving()),
        ];
        for (name, profile) in profiles {
            let consumption = self.consumption(&self.recorded(profile, Token::Known).await?)?;
            let row = |what: &str, floor: f64, ours: f64, goal| Row {
                what: format!("{name}: {what}"),
                unit: "units",
                floor: Some(floor.into()),
                ours: ours.into(),
                result: format!("{:.2}x", ours / floor),
                goal,
                met: Some(ours == floor),
            };
            rows.push(row(
                "read",
                consumption.items_read,
                consumption.read_units,
                "1 unit an item, no item twice",
            ));
            rows.push(row(
                "written",
                2.0 * consumption.items_written,
                consumption.write_units,
                "2 units a changed item",
            ));
        }
        rows.push(Row {
            what: "logged for an update".into(),
            unit: "bytes",
            floor: None,
            ours: self.logged_bytes().await?.into(),
            result: String::new(),
            goal: "",
            met: None,
        });
        Ok(())
    }

    async fn logged_bytes(&self) -> Result<f64> {
        const UPDATES: usize = 10;
        let file = target().join("bench/log");
        let mut environment = self.environment_with(Kind::Function, fs::File::create(&file)?.into()).await?;
        for _ in 0..UPDATES {
            invoke(&mut environment, data::reference().events.remove(0).to_string()).await?;
        }
        environment.idle().await?;
        Ok(fs::metadata(file)?.len() as f64 / UPDATES as f64)
    }

    /// Measures one department that leaves and comes back, in units of different sizes.
    pub async fn growth(&self, rows: &mut Vec<Row>) -> Result<Vec<Line>> {
        let mut lines = [Vec::new(), Vec::new()];
        for members in data::MEMBERS {
            let profile = self.recorded(data::growth(members), Token::Known).await?;
            let consumption = self.consumption(&profile)?;
            let [raw, ours] = self.in_turn(&profile, self.times.cycles, Token::Known, "growth").await?;
            // The cost of the unit grows with its size; the department costs 2 units.
            let floor = 2.0 * profile.unit_bytes(&self.data).await?.div_ceil(1024) as f64 + 2.0;
            rows.push(Row {
                what: format!("unit with {members} members: written"),
                unit: "units",
                floor: Some(floor.into()),
                ours: consumption.write_units.into(),
                result: format!(
                    "{} units, {:.1} KB read",
                    consumption.read_units,
                    consumption.bytes_read / 1e3
                ),
                goal: "2 units for each KB of a changed item",
                met: Some(consumption.write_units == floor),
            });
            let (cpu, time) =
                (format!("unit with {members} members: CPU"), format!("unit with {members} members: time"));
            rows.push(Row::ratio(&cpu, "ms", &raw.cpu_ms, &ours.cpu_ms, "", None));
            rows.push(Row::ratio(&time, "ms", &raw.latency_ms, &ours.latency_ms, "", None));
            for (line, measured) in lines.iter_mut().zip([raw, ours]) {
                line.push((members as f64, measured.latency_ms.median()));
            }
        }
        let [raw, ours] = lines;
        Ok(vec![
            Line { name: "the function", points: ours },
            Line { name: "the same requests without SDK", points: raw },
        ])
    }

    pub async fn memory(&self, rows: &mut Vec<Row>) -> Result<()> {
        let event = data::reference().events.remove(0).to_string();
        let mut noop = self.environment(Kind::Noop).await?;
        let mut function = self.environment(Kind::Function).await?;
        let mut peaks = Vec::new();
        let mut done = 0;
        for until in self.times.memory {
            for _ in done..until {
                invoke(&mut function, event.clone()).await?;
            }
            done = until;
            peaks.push(process::peak_mb(pid(&mut function)?)?);
        }
        let [few, some, many] = self.times.memory;
        for _ in 0..some {
            invoke(&mut noop, event.clone()).await?;
        }
        let floor = process::peak_mb(pid(&mut noop)?)?;
        let row = |what: String, floor: f64, ours: f64, goal, met| Row {
            what,
            unit: "MB",
            floor: Some(floor.into()),
            ours: ours.into(),
            result: format!("{:+.1} MB", ours - floor),
            goal,
            met: Some(met),
        };
        let what = format!("peak memory after {some} updates");
        rows.push(row(what, floor, peaks[1], "under 12 MB", peaks[1] < 12.0));
        let what = format!("peak memory, update {few} to {many}");
        rows.push(row(what, peaks[0], peaks[2], "no growth", peaks[2] - peaks[0] < 0.1));
        Ok(())
    }

    pub fn artifact(&self, rows: &mut Vec<Row>) -> Result<()> {
        let (noop, ours) = (zipped_mb(&self.noop)?, zipped_mb(&self.function)?);
        rows.push(Row::ratio("artifact, zipped", "MB", noop, ours, "", None));
        Ok(())
    }

    /// What the first update of a profile costs on DynamoDB.
    fn consumption(&self, profile: &Profile) -> Result<Consumption> {
        let mut consumption = Consumption::default();
        let mut keys = HashSet::new();
        for call in profile.calls.first().context("nothing is recorded")? {
            let request: Value = serde_json::from_slice(&call.request)?;
            if let Some(actions) = request["TransactItems"].as_array() {
                consumption.items_written += actions.len() as f64;
                consumption.write_units += call.units()?;
                continue;
            }
            consumption.read_units += call.units()?;
            consumption.bytes_read += call.response.len() as f64;
            for (table, read) in request["RequestItems"].as_object().context("an unknown request")? {
                let read = read["Keys"].as_array().context("no keys")?;
                keys.extend(read.iter().map(|key| format!("{table} {key}")));
            }
        }
        consumption.items_read = keys.len() as f64;
        Ok(consumption)
    }
}

/// The size of a zip of one file, without its name and some hundred bytes of headers.
fn zipped_mb(file: &Path) -> Result<f64> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&fs::read(file)?)?;
    Ok(encoder.finish()?.len() as f64 / 1e6)
}
