//! The units of figures, and how figures are written for people.

/// How a row's value is written. JSON keys carry the unit in their names instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Count,
    PerSecond,
    BytesPerSecond,
    Seconds,
    Microseconds,
    Bytes,
    Ratio,
}

impl Unit {
    /// `value` with three digits and its unit.
    pub fn format(self, value: f64) -> String {
        match self {
            Self::Count => format!("{value:.0}"),
            Self::PerSecond => format!("{}/s", readable(value)),
            Self::BytesPerSecond => format!("{}B/s", readable(value)),
            Self::Seconds => format!("{value:.2} s"),
            Self::Microseconds if value < 10.0 => format!("{value:.3} us"),
            Self::Microseconds => format!("{value:.1} us"),
            Self::Bytes if value < 10_000.0 => format!("{value:.0} B"),
            Self::Bytes => format!("{}B", readable(value)),
            Self::Ratio => format!("{value:.2}"),
        }
    }
}

/// Three digits and a decimal prefix.
pub fn readable(value: f64) -> String {
    match value.abs() {
        size if size >= 1e9 => format!("{:.2} G", value / 1e9),
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 1e4 => format!("{:.1} k", value / 1e3),
        _ => format!("{value:.0} "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_readable() {
        assert_eq!(Unit::Microseconds.format(0.2361), "0.236 us");
        assert_eq!(Unit::Bytes.format(53_100.0), "53.1 kB");
    }
}
