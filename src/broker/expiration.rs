//! The property `expiration`: a decimal number of milliseconds, read as Erlang's `string:to_integer` reads it.

use super::queue::arguments::EXPIRY_MAX_MS;
use crate::protocol::{AmqpError, ReplyCode};

/// Reads a message's time to live, in milliseconds.
///
/// # Errors
/// 406 with RabbitMQ's reason.
pub fn parse(expiration: &[u8]) -> Result<u64, AmqpError> {
    let text = String::from_utf8_lossy(expiration);
    let invalid = |reason: String| {
        let explanation = format!("invalid expiration '{text}': {reason}");
        AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
    };
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(invalid("no_integer".into()));
    }
    let (number, rest) = unsigned.split_at(digits);
    if !rest.is_empty() {
        return Err(invalid(format!("{{leftover_string,\"{rest}\"}}")));
    }
    let significant = number.trim_start_matches('0');
    if text.starts_with('-') && !significant.is_empty() {
        return Err(invalid(format!("{{value_negative,-{significant}}}")));
    }
    match if significant.is_empty() { Ok(0) } else { significant.parse::<u64>() } {
        Ok(milliseconds) if milliseconds <= EXPIRY_MAX_MS => Ok(milliseconds),
        _ => Err(invalid(format!("{{value_too_large,{significant}}}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(expiration: &str) -> String {
        let text = parse(expiration.as_bytes()).unwrap_err().explanation;
        text.strip_prefix(&format!("invalid expiration '{expiration}': ")).unwrap().to_owned()
    }

    #[test]
    fn numbers_are_read_and_everything_else_is_named() {
        assert_eq!(parse(b"0"), Ok(0));
        assert_eq!(parse(b"060000"), Ok(60_000));
        assert_eq!(parse(b"315360000000"), Ok(315_360_000_000));
        assert_eq!(reason("-1"), "{value_negative,-1}");
        assert_eq!(reason(""), "no_integer");
        assert_eq!(reason("abc"), "no_integer");
        assert_eq!(reason(" 5"), "no_integer");
        assert_eq!(reason("1.5"), "{leftover_string,\".5\"}");
        assert_eq!(reason("99999999999999999999"), "{value_too_large,99999999999999999999}");
    }
}
