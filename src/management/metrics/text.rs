//! Prometheus' text format, version 0.0.4.

use crate::meter::Histogram;
use std::fmt::Write;

/// What a family is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Rises until the broker ends.
    Counter,
    Gauge,
    Histogram,
    /// Neither, in RabbitMQ's opinion.
    Untyped,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Untyped => "untyped",
        }
    }
}

/// Families with their values, one after the other.
pub struct Text {
    text: String,
    prefix: &'static str,
}

impl Text {
    /// A text whose families' names begin alike.
    pub fn new(prefix: &'static str) -> Self {
        Self { text: String::new(), prefix }
    }

    pub fn into_string(self) -> String {
        self.text
    }

    /// What the names of the families that follow begin with.
    pub fn prefixed(&mut self, prefix: &'static str) {
        self.prefix = prefix;
    }

    /// Begins a family.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let (text, prefix) = (&mut self.text, self.prefix);
        // Writing to a string doesn't fail.
        let _ = writeln!(text, "# TYPE {prefix}{name} {}\n# HELP {prefix}{name} {help}", kind.name());
    }

    /// A value of the family that was begun last. `labels` as [`labels`] makes them.
    pub fn value(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let (text, prefix) = (&mut self.text, self.prefix);
        let _ = match labels {
            "" => writeln!(text, "{prefix}{name} {value}"),
            labels => writeln!(text, "{prefix}{name}{{{labels}}} {value}"),
        };
    }

    /// A family of one value without labels.
    pub fn alone(&mut self, name: &str, kind: Kind, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        self.value(name, "", value);
    }

    /// A family of one histogram, in seconds.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, Kind::Histogram, help);
        self.times(name, "", histogram);
    }

    /// A histogram of the family that was begun last, in seconds. `labels` as [`labels`] makes them.
    pub fn times(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound_us, count) in histogram.up_to_each() {
            self.value(&bucket, &format!("{labels}{comma}le=\"{}\"", seconds(bound_us)), count);
        }
        self.value(&bucket, &format!("{labels}{comma}le=\"+Inf\""), histogram.count());
        self.value(&format!("{name}_sum"), labels, seconds(histogram.sum_us()));
        self.value(&format!("{name}_count"), labels, histogram.count());
    }

    /// As [`alone`](Self::alone), where the value is known.
    pub fn known(&mut self, name: &str, kind: Kind, help: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.alone(name, kind, help, value);
        }
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1_000_000.0
}

/// `name="value",…`, with the values escaped.
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_told_as_rabbitmq_tells_it() {
        let mut text = Text::new("rabbitmq_");
        text.alone("queues", Kind::Gauge, "Queues available", 3);
        text.family("global_publishers", Kind::Gauge, "Current number of publishers");
        text.value("global_publishers", &labels(&[("protocol", "amqp091")]), 1);
        text.known("erlang_uptime_seconds", Kind::Gauge, "Node uptime", None::<u64>);
        let expected = "# TYPE rabbitmq_queues gauge\n# HELP rabbitmq_queues Queues available\nrabbitmq_queues 3\n\
                        # TYPE rabbitmq_global_publishers gauge\n\
                        # HELP rabbitmq_global_publishers Current number of publishers\n\
                        rabbitmq_global_publishers{protocol=\"amqp091\"} 1\n";
        assert_eq!(text.into_string(), expected);
    }

    #[test]
    fn a_histogram_adds_its_buckets_up() {
        let mut histogram = Histogram::default();
        [5, 20, 20, u64::MAX / 2].into_iter().for_each(|us| histogram.record(us));
        let mut text = Text::new("leveret_");
        text.histogram("turn_seconds", "How long", &histogram);
        let text = text.into_string();
        for line in [
            "# TYPE leveret_turn_seconds histogram",
            "leveret_turn_seconds_bucket{le=\"0.00001\"} 1",
            "leveret_turn_seconds_bucket{le=\"0.000025\"} 3",
            "leveret_turn_seconds_bucket{le=\"3600\"} 3",
            "leveret_turn_seconds_bucket{le=\"+Inf\"} 4",
            "leveret_turn_seconds_count 4",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} in {text}");
        }
    }

    #[test]
    fn names_of_clients_stay_within_their_quotes() {
        assert_eq!(labels(&[("queue", "a\"} 1\n\\"), ("vhost", "/")]), r#"queue="a\"} 1\n\\",vhost="/""#);
    }
}
