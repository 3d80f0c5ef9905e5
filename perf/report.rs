//! Results for people and for programs: rows of one run, their median, least and most over repeats, table and JSON.
//! Owns presentation; measures nothing.

use crate::measure::Window;
use crate::unit::Unit;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Largest latency that is told apart, in nanoseconds: a minute.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// Decimal digits that latencies keep.
const LATENCY_DIGITS: u8 = 3;

/// One figure of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Key in JSON; with blanks for underscores, the label in the table.
    pub name: String,
    pub value: f64,
    pub unit: Unit,
}

/// What one run of a scenario gave.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Outcome {
    pub rows: Vec<Row>,
    pub warnings: Vec<String>,
}

impl Outcome {
    pub fn row(&mut self, name: impl Into<String>, value: f64, unit: Unit) {
        self.rows.push(Row { name: name.into(), value, unit });
    }

    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// CPU per unit of work, of which there were `number`, and memory.
    pub fn costs(&mut self, window: &Window, number: u64, work: &str) {
        if number == 0 {
            return;
        }
        if let (Some(cpu), Some(usage)) = (window.broker_cpu(), window.to.broker) {
            self.row(format!("broker_cpu_us_per_{work}"), cpu.as_secs_f64() * 1e6 / number as f64, Unit::Microseconds);
            self.row("broker_cpu_cores", cpu.as_secs_f64() / window.seconds(), Unit::Ratio);
            self.row("broker_resident_bytes", usage.resident_bytes as f64, Unit::Bytes);
        }
        let own = window.own_cpu().as_secs_f64();
        self.row(format!("generator_cpu_us_per_{work}"), own * 1e6 / number as f64, Unit::Microseconds);
        self.row("generator_cpu_cores", own / window.seconds(), Unit::Ratio);
    }

    /// Percentiles of a histogram of nanoseconds.
    pub fn latencies(&mut self, prefix: &str, histogram: &Histogram<u64>) {
        for (name, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            let value = histogram.value_at_quantile(quantile) as f64 / 1e3;
            self.row(format!("{prefix}_{name}_us"), value, Unit::Microseconds);
        }
    }
}

/// An empty histogram of nanoseconds; values above its range count as its largest.
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, LATENCY_DIGITS).expect("the bounds are in order")
}

/// All runs of one scenario.
pub struct Report {
    pub scenario: String,
    pub target: String,
    pub parameters: Map<String, Value>,
    pub outcomes: Vec<Outcome>,
}

/// One figure over all runs.
struct Summary {
    name: String,
    unit: Unit,
    median: f64,
    min: f64,
    max: f64,
}

impl Report {
    fn summaries(&self) -> Vec<Summary> {
        let mut names: Vec<(&str, Unit)> = Vec::new();
        for row in self.outcomes.iter().flat_map(|outcome| &outcome.rows) {
            if !names.iter().any(|(name, _)| *name == row.name) {
                names.push((&row.name, row.unit));
            }
        }
        let summarise = |(name, unit): (&str, Unit)| {
            let mut values: Vec<f64> = self
                .outcomes
                .iter()
                .filter_map(|outcome| outcome.rows.iter().find(|row| row.name == name))
                .map(|row| row.value)
                .collect();
            values.sort_by(f64::total_cmp);
            let middle = values.len() / 2;
            let median =
                if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
            Summary { name: name.to_owned(), unit, median, min: values[0], max: values[values.len() - 1] }
        };
        names.into_iter().map(summarise).collect()
    }

    fn warnings(&self) -> Vec<&str> {
        let mut warnings: Vec<&str> =
            self.outcomes.iter().flat_map(|outcome| &outcome.warnings).map(String::as_str).collect();
        warnings.dedup();
        warnings
    }

    pub fn to_json(&self) -> Value {
        let rows = |outcome: &Outcome| -> Value {
            outcome.rows.iter().map(|row| (row.name.clone(), json!(row.value))).collect::<Map<_, _>>().into()
        };
        let summary = |pick: fn(&Summary) -> f64| -> Value {
            self.summaries().iter().map(|row| (row.name.clone(), json!(pick(row)))).collect::<Map<_, _>>().into()
        };
        json!({
            "scenario": self.scenario,
            "target": self.target,
            "parameters": self.parameters,
            "runs": self.outcomes.iter().map(rows).collect::<Vec<_>>(),
            "median": summary(|row| row.median),
            "min": summary(|row| row.min),
            "max": summary(|row| row.max),
            "warnings": self.warnings(),
        })
    }

    pub fn to_table(&self) -> String {
        const NAME_WIDTH: usize = 32;
        let mut table = format!("{} against {}\n", self.scenario, self.target);
        let parameters: Vec<String> = self.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let _ = writeln!(table, "{}", parameters.join(", ").replace('"', ""));
        if self.outcomes.len() > 1 {
            let runs = format!("{} runs", self.outcomes.len());
            let _ = writeln!(table, "  {runs:<NAME_WIDTH$}{:>14}{:>14}{:>14}", "median", "least", "most");
        }
        for row in self.summaries() {
            let _ = write!(table, "  {:<NAME_WIDTH$}{:>14}", label(&row.name), row.unit.format(row.median));
            if self.outcomes.len() > 1 {
                let _ = write!(table, "{:>14}{:>14}", row.unit.format(row.min), row.unit.format(row.max));
            }
            table.push('\n');
        }
        for warning in self.warnings() {
            let _ = writeln!(table, "  ! {warning}");
        }
        table
    }
}

/// The label of a row: the unit stands with the value, so it need not stand in the name.
fn label(name: &str) -> String {
    let name = name.strip_suffix("_per_s").or(name.strip_suffix("_us")).unwrap_or(name);
    name.replace("_us_per_", "_per_").replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rates: &[f64]) -> Report {
        let outcome = |&rate: &f64| {
            let mut outcome = Outcome::default();
            outcome.row("consume_per_s", rate, Unit::PerSecond);
            outcome.warn("lag");
            outcome
        };
        Report {
            scenario: "throughput".into(),
            target: "127.0.0.1:5672".into(),
            parameters: Map::new(),
            outcomes: rates.iter().map(outcome).collect(),
        }
    }

    #[test]
    fn repeats_are_summed_up_by_median_least_and_most() {
        let json = report(&[3.0, 1.0, 2.0]).to_json();
        let figure = |key: &str| json[key]["consume_per_s"].as_f64();
        assert_eq!((figure("median"), figure("min"), figure("max")), (Some(2.0), Some(1.0), Some(3.0)));
        assert_eq!(report(&[3.0, 1.0]).to_json()["median"]["consume_per_s"].as_f64(), Some(2.0));
        assert_eq!(json["runs"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn a_warning_is_printed_once() {
        let table = report(&[1e6, 4_790_000.0, 5e6]).to_table();
        assert_eq!(table.matches("! lag").count(), 1);
        assert!(table.contains("4.79 M/s"), "{table}");
    }

    #[test]
    fn labels_are_readable() {
        assert_eq!(label("broker_cpu_us_per_message"), "broker cpu per message");
        assert_eq!(label("latency_p99_us"), "latency p99");
    }

    #[test]
    fn percentiles_come_from_nanoseconds() {
        let mut histogram = latency_histogram();
        for microseconds in 1..=1000 {
            histogram.saturating_record(microseconds * 1000);
        }
        let mut outcome = Outcome::default();
        outcome.latencies("latency", &histogram);
        let figures: Vec<i64> = outcome.rows.iter().map(|row| row.value.round() as i64).collect();
        assert_eq!(figures, [500, 950, 990, 999, 1000]);
    }
}
