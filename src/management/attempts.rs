//! How often somebody wanted to be let in, over AMQP and over HTTP, since that was last forgotten.
//!
//! The loop counts those over AMQP, and goes on counting: what was forgotten of them is kept here, and subtracted.

use serde_json::{Value, json};

/// Those who were let in, and those who weren't.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Count {
    pub succeeded: u64,
    pub failed: u64,
}

impl Count {
    fn without(self, forgotten: Self) -> Self {
        Self { succeeded: self.succeeded - forgotten.succeeded, failed: self.failed - forgotten.failed }
    }

    fn shape(self, protocol: &str) -> Value {
        let Self { succeeded, failed } = self;
        json!({
            "protocol": protocol,
            "auth_attempts": succeeded + failed,
            "auth_attempts_failed": failed,
            "auth_attempts_succeeded": succeeded,
        })
    }
}

#[derive(Default)]
pub struct Attempts {
    http: Count,
    forgotten_of_amqp: Count,
}

impl Attempts {
    /// Somebody said who they are over HTTP.
    pub fn count(&mut self, is_let_in: bool) {
        *(if is_let_in { &mut self.http.succeeded } else { &mut self.http.failed }) += 1;
    }

    /// What is shown of them, with what the loop has counted: nothing of a protocol that nobody came over.
    pub fn shape(&self, amqp: Count) -> Value {
        let counts = [("http", self.http), ("amqp091", amqp.without(self.forgotten_of_amqp))];
        let some = counts.iter().filter(|(_, count)| *count != Count::default());
        some.map(|(protocol, count)| count.shape(protocol)).collect()
    }

    /// Forgets all that was counted so far.
    pub fn forget(&mut self, amqp: Count) {
        *self = Self { http: Count::default(), forgotten_of_amqp: amqp };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_forgotten_is_counted_no_more() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.shape(Count::default()), json!([]));
        attempts.count(true);
        attempts.count(false);
        attempts.count(true);
        let amqp = Count { succeeded: 5, failed: 7 };
        let row = |protocol: &str, succeeded: u64, failed: u64| Count { succeeded, failed }.shape(protocol);
        assert_eq!(attempts.shape(amqp), json!([row("http", 2, 1), row("amqp091", 5, 7)]));
        attempts.forget(amqp);
        assert_eq!(attempts.shape(amqp), json!([]));
        attempts.count(false);
        assert_eq!(attempts.shape(Count { succeeded: 6, failed: 7 }), json!([row("http", 0, 1), row("amqp091", 1, 0)]));
    }
}
