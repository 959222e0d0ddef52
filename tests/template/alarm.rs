//! An alarm of the template, evaluated over made-up metrics as CloudWatch evaluates it ("Alarm evaluation" and
//! "Configuring how CloudWatch alarms treat missing data", CloudWatch User Guide).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use yaml_serde::Value;

use crate::metric_math::{Series, evaluate};
use crate::template::{name, number, resources, text};

/// Samples of metrics, by namespace and name and then by the minute.
pub type Samples = BTreeMap<(String, String), BTreeMap<i64, Vec<f64>>>;

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Statistic {
    Sum,
    Percentile(u32),
}

#[derive(Clone, Debug)]
struct Metric {
    key: (String, String),
    statistic: Statistic,
    /// In minutes.
    period: i64,
}

/// How an alarm behaves during a scenario.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Behaviour {
    Silent,
    /// Raised, at whichever minute the periods begin.
    Raised,
    /// Raised or not, which depends on where the periods begin.
    Undecided,
}

pub struct Alarm {
    /// Its name, without the stack's name at the beginning.
    pub name: String,
    pub description: String,
    metrics: BTreeMap<String, Metric>,
    /// The expression that is compared with the threshold. It names metrics by their ids in `metrics`.
    expression: String,
    evaluation_periods: usize,
    datapoints_to_alarm: usize,
    threshold: f64,
    includes_threshold: bool,
}

impl Alarm {
    /// All alarms of the template.
    pub fn all() -> Vec<Self> {
        let alarms = resources("AWS::CloudWatch::Alarm");
        alarms.iter().map(|(_, properties)| Self::new(properties)).collect()
    }

    fn new(properties: &Value) -> Self {
        let full_name = name(&properties["AlarmName"]);
        let alarm =
            full_name.strip_prefix("livechat-units-").expect("an alarm carries the stack's name").to_owned();
        // The evaluation below knows no other treatment.
        assert_eq!(properties["TreatMissingData"].as_str(), Some("notBreaching"), "{alarm}");
        let (metrics, expression) = match properties["Metrics"].as_sequence() {
            None => {
                let metric = Metric::new(properties, properties, &properties["Statistic"]);
                (BTreeMap::from([("metric".to_owned(), metric)]), "metric".to_owned())
            }
            Some(parts) => {
                let metrics = parts.iter().filter(|part| !part["MetricStat"].is_null()).map(|part| {
                    let stat = &part["MetricStat"];
                    assert_eq!(part["ReturnData"].as_bool(), Some(false), "{alarm}");
                    (text(&part["Id"]), Metric::new(&stat["Metric"], stat, &stat["Stat"]))
                });
                let mut expressions = parts.iter().filter_map(|part| part["Expression"].as_str());
                let expression = expressions.next().expect("an alarm on several metrics has an expression");
                assert_eq!(expressions.next(), None, "{alarm}");
                (metrics.collect(), expression.to_owned())
            }
        };
        let evaluation_periods = number(&properties["EvaluationPeriods"]) as usize;
        Self {
            name: alarm,
            description: text(&properties["AlarmDescription"]),
            metrics,
            expression,
            evaluation_periods,
            datapoints_to_alarm: match &properties["DatapointsToAlarm"] {
                Value::Null => evaluation_periods,
                datapoints => number(datapoints) as usize,
            },
            threshold: number(&properties["Threshold"]),
            includes_threshold: match properties["ComparisonOperator"].as_str() {
                Some("GreaterThanThreshold") => false,
                Some("GreaterThanOrEqualToThreshold") => true,
                other => panic!("{other:?} is not known here"),
            },
        }
    }

    /// The metrics that the alarm is charged for.
    pub fn charged_metrics(&self) -> usize {
        self.metrics.len()
    }

    /// The namespace and name of each metric.
    pub fn watched(&self) -> impl Iterator<Item = &(String, String)> {
        self.metrics.values().map(|metric| &metric.key)
    }

    /// The phrases with which a document has to say what raises the alarm: how much, and in how long.
    pub fn phrases(&self) -> Vec<String> {
        let percentile = self.metrics.values().find_map(|metric| match metric.statistic {
            Statistic::Percentile(percentile) => Some(percentile),
            Statistic::Sum => None,
        });
        // `IF(requests >= 20, ...)`: with less, the alarm is silent.
        let least = self.expression.split_once(" >= ").map(|(_, rest)| {
            let (least, _) = rest.split_once(',').expect("a condition ends with a comma");
            least.parse::<f64>().expect("a number")
        });
        let period = self.metrics.values().map(|metric| metric.period).max().expect("an alarm has a metric");
        let mut phrases = match (least, percentile) {
            (None, None) => vec![format!("{} ", in_words(self.threshold))],
            (Some(least), None) => {
                vec![format!("{} 5xx", in_words(least)), format!("more than {} %", self.threshold)]
            }
            (Some(least), Some(percentile)) => {
                let one_in = 100.0 / f64::from(100 - percentile);
                vec![
                    format!("at least {} requests", in_words(least)),
                    format!("more than one in {}", in_words(one_in)),
                ]
            }
            (None, Some(_)) => panic!("{}: a percentile of few requests means nothing", self.name),
        };
        match (period, self.evaluation_periods) {
            // For one event, a document names no length of time.
            (1, 1) => assert_eq!(self.threshold, 1.0, "{}", self.name),
            (1, periods) => phrases.push(format!(
                "a minute, in {} of {} minutes",
                in_words(self.datapoints_to_alarm as f64),
                in_words(periods as f64)
            )),
            (60, 1) => phrases.push("in an hour".to_owned()),
            (minutes, 1) => phrases.push(format!("in {} minutes", in_words(minutes as f64))),
            other => panic!("{}: {other:?} is not said in the documents", self.name),
        }
        phrases
    }

    /// What the alarm does from the first to the last minute of the samples and for a period after them.
    pub fn behaviour(&self, samples: &Samples) -> Behaviour {
        let minutes = || samples.values().flat_map(BTreeMap::keys).copied();
        let (Some(first), Some(last)) = (minutes().min(), minutes().max()) else { return Behaviour::Silent };
        let period = self.metrics.values().map(|metric| metric.period).max().expect("an alarm has a metric");
        // An alarm is evaluated each minute, with periods that end at that minute (`EvaluationWindow`: SlidingWindow is
        // the default). Each minute of a period is looked at separately, so that the result holds for windows at fixed
        // times, too. CloudWatch also reads an unspecified number of values that are older than the evaluation periods.
        let oldest = first - period * i64::try_from(2 * self.evaluation_periods).expect("a few");
        let series = self.metrics.iter().map(|(id, metric)| {
            assert_eq!(metric.period, period, "an alarm has metrics with different periods");
            (id.clone(), metric.values(samples, oldest..=last))
        });
        let values = evaluate(&self.expression, &series.collect());
        let raised = (0..period).map(|offset| {
            [0, self.evaluation_periods].map(|more| {
                let mut minutes =
                    (first..=last + period).filter(|minute| minute.rem_euclid(period) == offset);
                minutes.any(|minute| self.is_raised(&values, minute, period, more))
            })
        });
        let raised: Vec<bool> = raised.flatten().collect();
        match (raised.contains(&true), raised.contains(&false)) {
            (true, false) => Behaviour::Raised,
            (false, _) => Behaviour::Silent,
            (true, true) => Behaviour::Undecided,
        }
    }

    /// Whether the alarm is in the state ALARM at a minute, if CloudWatch also reads this many older values.
    fn is_raised(&self, values: &Series, minute: i64, period: i64, more: usize) -> bool {
        let range = i64::try_from(self.evaluation_periods + more).expect("a few");
        let recent = (1..=range).filter_map(|periods| values.get(&(minute - periods * period)));
        // The most recent values count. If there are enough, missing ones are passed over; else the missing ones count as
        // not breaching.
        let breaching = recent.take(self.evaluation_periods).filter(|value| {
            **value > self.threshold || (self.includes_threshold && **value == self.threshold)
        });
        breaching.count() >= self.datapoints_to_alarm
    }
}

/// A number as a document writes it: up to ten in words, above that in digits.
fn in_words(number: f64) -> String {
    const WORDS: [&str; 10] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    assert!(number >= 1.0 && number.fract() == 0.0, "{number} is not a count");
    WORDS.get(number as usize - 1).map_or_else(|| number.to_string(), ToString::to_string)
}

impl Metric {
    fn new(metric: &Value, period: &Value, statistic: &Value) -> Self {
        let statistic = text(statistic);
        let statistic = match statistic.strip_prefix('p') {
            None if statistic == "Sum" => Statistic::Sum,
            Some(percent) => Statistic::Percentile(percent.parse().expect("a whole percentile")),
            None => panic!("{statistic} is not known here"),
        };
        let seconds = number(&period["Period"]) as i64;
        assert_eq!(seconds % 60, 0);
        Self {
            key: (text(&metric["Namespace"]), text(&metric["MetricName"])),
            statistic,
            period: seconds / 60,
        }
    }

    /// The statistic of each period that starts in these minutes and has samples.
    fn values(&self, samples: &Samples, starts: RangeInclusive<i64>) -> Series {
        let Some(minutes) = samples.get(&self.key) else { return Series::new() };
        let sums: Series = minutes.iter().map(|(minute, values)| (*minute, values.iter().sum())).collect();
        let value = |start: i64| match self.statistic {
            Statistic::Sum => {
                let mut sums = sums.range(start..start + self.period).map(|(_, sum)| *sum).peekable();
                sums.peek().is_some().then(|| sums.sum())
            }
            Statistic::Percentile(percent) => {
                let minutes = minutes.range(start..start + self.period);
                let mut values: Vec<f64> = minutes.flat_map(|(_, values)| values).copied().collect();
                values.sort_by(f64::total_cmp);
                let rank = (values.len() * percent as usize).div_ceil(100);
                values.get(rank.max(1) - 1).copied()
            }
        };
        starts.filter_map(|start| Some((start, value(start)?))).collect()
    }
}
