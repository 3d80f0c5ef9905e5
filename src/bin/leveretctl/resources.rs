//! Limits of memory and disk, changed while the broker runs.

use crate::api::{Api, Failure, segment};
use crate::checks::node;
use crate::output::Output;
use serde_json::{Value, json};

const TOO_FEW: &str = "not enough arguments.";
const TOO_MANY: &str = "too many arguments.";

fn bad(why: &str) -> Failure {
    Failure::BadArgument(why.to_owned())
}

/// `FRACTION`, or `absolute VALUE`.
pub fn set_memory_watermark(api: &Api, output: &Output, arguments: &[String]) -> Result<(), Failure> {
    let (watermark, said) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["absolute"] => return Err(Failure::Usage(TOO_FEW.to_owned())),
        ["absolute", value] => (json!(absolute(value)?), format!("{value} bytes")),
        [fraction] => (json!(fraction_of_one(fraction)?), fraction.to_owned()),
        _ => return Err(Failure::Usage(TOO_MANY.to_owned())),
    };
    let node = node(api)?;
    output.announce(format_args!("Setting memory threshold on {node} to {said} ..."));
    put(api, &node, &json!({ "memory_watermark": watermark }))
}

/// `VALUE`, or `mem_relative FRACTION`.
pub fn set_disk_free_limit(api: &Api, output: &Output, arguments: &[String]) -> Result<(), Failure> {
    let (limit, said) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["mem_relative"] => return Err(Failure::Usage(TOO_FEW.to_owned())),
        ["mem_relative", share] => {
            let times = share.parse::<f64>().ok().filter(|times| times.is_finite() && *times >= 0.0);
            (json!(times.ok_or_else(|| bad(""))?), format!("{share} times the total RAM"))
        }
        [value] => (json!(absolute(value).map_err(|_| bad(""))?), format!("{value} bytes")),
        _ => return Err(Failure::Usage(TOO_MANY.to_owned())),
    };
    let node = node(api)?;
    output.announce(format_args!("Setting disk free limit on {node} to {said} ..."));
    put(api, &node, &json!({ "disk_free_limit": limit }))
}

fn put(api: &Api, node: &str, limits: &Value) -> Result<(), Failure> {
    api.put(&format!("nodes/{}/resource-limits", segment(node)), limits)
}

fn fraction_of_one(text: &str) -> Result<f64, Failure> {
    let fraction = text.parse::<f64>().map_err(|_| bad(""))?;
    match (0.0..=1.0).contains(&fraction) {
        true => Ok(fraction),
        false => Err(bad("The threshold should be a fraction between 0.0 and 1.0")),
    }
}

/// A whole number of bytes, with a unit or without.
fn absolute(text: &str) -> Result<u64, Failure> {
    let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad(""))?;
    let factor = match unit {
        "" => 1,
        "k" | "kiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ if unit.starts_with('.') => return Err(bad("The threshold should be an integer.")),
        _ => return Err(bad("Invalid units.")),
    };
    number.checked_mul(factor).ok_or_else(|| bad(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_rabbitmqctls_units() {
        let said = |text: &str| absolute(text).map_err(|failure| failure.to_string());
        assert_eq!(said("1000"), Ok(1000));
        assert_eq!(said("1kB"), Ok(1000));
        assert_eq!(said("1k"), Ok(1024));
        assert_eq!(said("2GiB"), Ok(2 << 30));
        assert_eq!(said("3MB"), Ok(3_000_000));
        let bad = |why: &str| Err(format!("Error (argument validation): Bad argument{why}"));
        assert_eq!(said("1XB"), bad(": Invalid units."));
        assert_eq!(said("1.5GB"), bad(": The threshold should be an integer."));
        assert_eq!(said("-1"), bad("."));
        assert_eq!(said(""), bad("."));
        assert_eq!(said("99999999999999999GB"), bad("."));
    }
}
