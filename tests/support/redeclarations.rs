//! A queue declared twice, with all flags that there are: which difference is told of.
//!
//! Who isn't meant to have the queue hears that it is locked, whatever else is different. An exclusive queue isn't durable
//! whatever was asked for.

use std::fmt::Write;

#[derive(Clone, Copy)]
struct Flags {
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
}

impl Flags {
    fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self { durable: bits & 1 != 0, exclusive: bits & 2 != 0, auto_delete: bits & 4 != 0 })
    }

    /// As a `queue.declare` is written with them.
    fn words(self) -> String {
        [(self.durable, " durable"), (self.exclusive, " exclusive"), (self.auto_delete, " auto_delete")]
            .into_iter()
            .filter_map(|(set, word)| set.then_some(word))
            .collect()
    }
}

/// The transcript of every pair of declarations, the second one by the owner of the first or by another connection.
pub fn transcript() -> String {
    let mut text = String::new();
    for (current, received) in Flags::all().flat_map(|current| Flags::all().map(move |received| (current, received))) {
        for connection in ["a", "b"] {
            let (first, second) = (current.words(), received.words());
            let answer = answer(current, received, connection == "a");
            // Writing into a String cannot fail.
            let _ = write!(
                text,
                "== declared{first}, then by {connection}{second}\n\
                 > queue.declare queue=wf.q{first}\n\
                 < {OK}\n\
                 > {connection}: queue.declare queue=wf.q{second}\n\
                 < {connection}: {answer}\n"
            );
        }
    }
    text
}

const OK: &str = "queue.declare-ok(queue='wf.q', message_count=0, consumer_count=0)";

fn answer(current: Flags, received: Flags, is_owner: bool) -> String {
    let differs = |attribute, received, current| {
        format!(
            "channel.close 406 PRECONDITION_FAILED - inequivalent arg '{attribute}' for queue 'wf.q' in vhost '/': received \
             '{received}' but current is '{current}' (50,10)"
        )
    };
    if current.exclusive != received.exclusive || current.exclusive && !is_owner {
        return "channel.close 405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'wf.q' in vhost '/'. It \
                could be originally declared on another connection or the exclusive property value does not match that of \
                the original declaration. (50,10)"
            .to_owned();
    }
    if !current.exclusive && current.durable != received.durable {
        return differs("durable", received.durable, current.durable);
    }
    if current.auto_delete != received.auto_delete {
        return differs("auto_delete", received.auto_delete, current.auto_delete);
    }
    OK.to_owned()
}
