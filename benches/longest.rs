//! How long a turn of the loop takes at most where there is very much to do at once: a million messages expire, a queue with
//! a million bindings is deleted, a hundred thousand queues are listed.
//!
//! `cargo bench --profile ci --bench longest -- NAME RUNS` plays a scenario, or `all` of them, so many times and prints, run
//! by run, the processor time of its turns: half of them, all but one in a hundred, the two longest. It is counted by the
//! thread's own clock, so what other programs do is not in it but for the caches that they take; what the system does for
//! the thread is, and most of that is to find memory when it is touched for the first time: how often it did in the longest
//! turn is printed, too. Without a name every scenario is played once, and small, which shows that they all work.

#[path = "hub/mod.rs"]
mod hub;

use hub::{Loop, acknowledge, publishes, publishes_with};
use leveret::broker::ConnectionId;
use leveret::broker::policy::{Policy, PolicyKind, SaidPolicy};
use leveret::broker::snapshot::{Page, PageStart};
use leveret::management::{Asker, Command, Question, Reply, Request};
use leveret::protocol::method::{basic, exchange, queue};
use leveret::protocol::{BasicProperties, FieldTable, FieldValue, Method};
use leveret::server::Desk;
use std::process::ExitCode;
use tokio::sync::oneshot;

/// As in the program.
#[global_allocator]
static ALLOCATOR: leveret::allocator::Allocator = leveret::allocator::Allocator;

/// What a scenario is played with when nobody asks for its figures: a hundredth.
const SMALL_SCALE: usize = 100;
const BODY_BYTES: usize = 16;

/// Plays what there is of everything divided by the scale, and measures.
type Scenario = fn(scale: usize) -> Turns;

const SCENARIOS: [(&str, Scenario); 14] = [
    ("a million messages expire", |scale| expiry(1_000_000 / scale, false)),
    ("a million messages expire into a dead-letter queue", |scale| expiry(1_000_000 / scale, true)),
    ("a queue with 300,000 bindings is deleted", |scale| deletion(300_000 / scale, delete_queue())),
    ("an exchange with 300,000 bindings is deleted", |scale| deletion(300_000 / scale, delete_exchange())),
    ("a queue of a million is purged", |scale| purge(1_000_000 / scale)),
    ("a queue that knows duplicates is filled to a million", |scale| deduplication(1_000_000 / scale)),
    ("a limit of bytes comes upon a queue of a million", |scale| limit(1_000_000 / scale)),
    ("a queue is bound 300,000 times", |scale| bindings(300_000 / scale)),
    ("30,000 deliveries are acknowledged together", |scale| acknowledgement(30_000 / scale)),
    ("100,000 queues are listed", |scale| {
        listing(&mut queues(100_000 / scale), 1, |from, reply| Question::Queues { from, reply })
    }),
    ("100,000 queues are listed by four at once", |scale| {
        listing(&mut queues(100_000 / scale), 4, |from, reply| Question::Queues { from, reply })
    }),
    ("100,000 queues are looked at for their rates", |scale| {
        listing(&mut queues(100_000 / scale), 1, |from, reply| Question::QueueFigures { from, reply })
    }),
    ("10,000 connections are listed by four at once", |scale| {
        listing(&mut clients(10_000 / scale), 4, |from, reply| Question::Connections { from, reply })
    }),
    ("10,000 channels are listed by four at once", |scale| {
        listing(&mut clients(10_000 / scale), 4, |from, reply| Question::Channels { from, reply })
    }),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runs = arguments.get(1).and_then(|runs| runs.parse().ok());
    let (name, runs, scale) = match (arguments.first(), runs) {
        (Some(name), Some(runs)) => (name.as_str(), runs, 1),
        _ => ("all", 1, SMALL_SCALE),
    };
    for (known, play) in SCENARIOS.iter().filter(|(known, _)| name == "all" || name == *known) {
        println!("{known}");
        println!("   turns   median µs     99 % µs   second µs  longest µs  its faults");
        for _ in 0..runs {
            let mut turns = play(scale);
            turns.0.sort_unstable();
            let count = turns.0.len();
            let places = [count / 2, count * 99 / 100, count.saturating_sub(2), count - 1];
            let [half, most, second, longest] = places.map(|place| turns.0[place].time_us);
            println!("{count:>8}{half:>12}{most:>12}{second:>12}{longest:>12}{:>12}", turns.0[count - 1].faults);
        }
    }
    ExitCode::SUCCESS
}

/// What the thread took so far, or one turn did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Taken {
    time_us: u64,
    /// Times that memory was touched that was not there.
    faults: u64,
}

/// What each turn took.
struct Turns(Vec<Taken>);

impl Turns {
    fn measure(&mut self, turn: impl FnOnce()) {
        let before = taken();
        turn();
        let after = taken();
        self.0.push(Taken { time_us: after.time_us - before.time_us, faults: after.faults - before.faults });
    }

    /// Turns until there is nothing to do any more.
    fn go_to_the_end(&mut self, turns: &mut Loop) {
        while turns.hub.next_deadline_ms().is_some_and(|due_ms| due_ms <= turns.now_ms) {
            self.measure(|| idle_turn(turns));
        }
    }
}

/// A turn in which nobody sent anything.
fn idle_turn(turns: &mut Loop) {
    assert!(turns.hub.start_turn(turns.now_ms).over.is_empty());
    while let Some(id) = turns.hub.next_to_flush() {
        let waiting = turns.hub.outboxes().get(id).len();
        turns.hub.sent(id, waiting);
    }
    assert!(!turns.hub.update_alarm(turns.hub.condition().resources));
}

fn taken() -> Taken {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is one that every thread has, and what is written is ours.
    let told = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(told, 0, "a thread has a clock");
    // SAFETY: rusage is plain data for which zeroes are valid, and getrusage writes nothing but it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0, "a thread has an account");
        usage
    };
    Taken { time_us: time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000, faults: usage.ru_minflt as u64 }
}

fn text(value: &str) -> FieldValue {
    FieldValue::LongString(value.as_bytes().into())
}

fn declare(name: &'static [u8], arguments: Vec<(&'static str, FieldValue)>) -> Method<'static> {
    let arguments = arguments.into_iter().map(|(name, value)| (name.into(), value)).collect();
    Method::QueueDeclare(queue::Declare { queue: name, arguments: FieldTable(arguments), ..queue::Declare::default() })
}

/// A loop with so many queues.
fn queues(count: usize) -> Loop {
    let mut turns = Loop::new();
    let client = turns.client(&[]);
    let names: Vec<String> = (0..count).map(|number| format!("orders.of.customer.{number}")).collect();
    for names in names.chunks(500) {
        let mut wire = Vec::new();
        for name in names {
            let declare = queue::Declare { queue: name.as_bytes(), nowait: true, ..queue::Declare::default() };
            Method::QueueDeclare(declare).encode_frame(1, &mut wire);
        }
        turns.turn(client, &wire);
    }
    turns
}

/// A loop with so many clients, who say of themselves what those of a common library say.
fn clients(count: usize) -> Loop {
    let mut turns = Loop::new();
    let capabilities = ["authentication_failure_close", "basic.nack", "connection.blocked", "consumer_cancel_notify"];
    let capabilities = capabilities.into_iter().chain(["publisher_confirms"]);
    let capabilities = capabilities.map(|name| (name.into(), FieldValue::Boolean(true))).collect();
    turns.client_properties = FieldTable(vec![
        ("product".into(), text("Pika Python Client Library")),
        ("platform".into(), text("Python 3.11.2")),
        ("capabilities".into(), FieldValue::Table(FieldTable(capabilities))),
        ("information".into(), text("See http://pika.rtfd.org")),
        ("version".into(), text("1.2.0")),
    ]);
    for _ in 0..count {
        turns.client(&[]);
    }
    turns
}

/// So many ask for all pages of a list, all of them in the same turns.
fn listing<T>(turns: &mut Loop, askers: usize, make: impl Fn(PageStart, Reply<Page<T>>) -> Question) -> Turns {
    let (commands, received) = std::sync::mpsc::sync_channel(askers);
    let (mut desk, mut measured) = (Desk::new(received), Turns(Vec::new()));
    let mut from = Some(PageStart::default());
    while let Some(start) = from.take() {
        let mut answers: Vec<_> = (0..askers)
            .map(|_| {
                let ((reply, answer), (refused, _)) = (oneshot::channel(), oneshot::channel());
                let request = Request::Question(make(start, reply));
                commands.send(Command { asker: Asker::Management, request, refused }).expect("there is room");
                answer
            })
            .collect();
        desk.ring();
        while desk.has_work() {
            measured.measure(|| desk.answer(&mut turns.hub));
        }
        for answer in &mut answers {
            from = answer.try_recv().expect("all of them are answered").next;
        }
    }
    measured
}

/// Fills the queue `q`.
fn fill(turns: &mut Loop, publisher: ConnectionId, count: usize) {
    const TURN: usize = 100;
    let wire = publishes(b"", (0..TURN).map(|_| &b"q"[..]), BODY_BYTES);
    (0..count / TURN).for_each(|_| turns.turn(publisher, &wire));
    assert_eq!(turns.totals().received, count as u64, "all of them are there");
}

fn expiry(count: usize, into_queue: bool) -> Turns {
    const TTL_MS: i32 = 1000;
    let mut turns = Loop::new();
    let mut arguments = vec![("x-message-ttl", FieldValue::I32(TTL_MS))];
    if into_queue {
        arguments.extend([("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))]);
    }
    let publisher = turns.client(&[declare(b"q", arguments), declare(b"dead", Vec::new())]);
    fill(&mut turns, publisher, count);
    turns.now_ms = TTL_MS as u64;
    let mut measured = Turns(Vec::new());
    measured.go_to_the_end(&mut turns);
    measured
}

/// The queue `q`, bound so often to the exchange `x`, and who has done that.
fn bound(turns: &mut Loop, count: usize, measured: &mut Turns) -> ConnectionId {
    let x = exchange::Declare { exchange: b"x", exchange_type: b"topic", ..exchange::Declare::default() };
    let client = turns.client(&[declare(b"q", Vec::new()), Method::ExchangeDeclare(x)]);
    let keys: Vec<String> = (0..count).map(|number| format!("a.{number}.*")).collect();
    for keys in keys.chunks(500) {
        let mut wire = Vec::new();
        for key in keys {
            let bind = queue::Bind {
                queue: b"q",
                exchange: b"x",
                routing_key: key.as_bytes(),
                nowait: true,
                ..queue::Bind::default()
            };
            Method::QueueBind(bind).encode_frame(1, &mut wire);
        }
        measured.measure(|| turns.turn(client, &wire));
    }
    client
}

fn bindings(count: usize) -> Turns {
    let mut measured = Turns(Vec::new());
    bound(&mut Loop::new(), count, &mut measured);
    measured
}

fn delete_queue() -> Method<'static> {
    Method::QueueDelete(queue::Delete { queue: b"q", ..queue::Delete::default() })
}

fn delete_exchange() -> Method<'static> {
    Method::ExchangeDelete(exchange::Delete { exchange: b"x", ..exchange::Delete::default() })
}

fn deletion(count: usize, delete: Method<'_>) -> Turns {
    let mut turns = Loop::new();
    let client = bound(&mut turns, count, &mut Turns(Vec::new()));
    says(&mut turns, client, delete)
}

fn says(turns: &mut Loop, client: ConnectionId, method: Method<'_>) -> Turns {
    let (mut measured, mut wire) = (Turns(Vec::new()), Vec::new());
    method.encode_frame(1, &mut wire);
    measured.measure(|| turns.turn(client, &wire));
    measured.go_to_the_end(turns);
    measured
}

fn purge(count: usize) -> Turns {
    let mut turns = Loop::new();
    let client = turns.client(&[declare(b"q", Vec::new())]);
    fill(&mut turns, client, count);
    says(&mut turns, client, Method::QueuePurge(queue::Purge { queue: b"q", nowait: true }))
}

/// Messages that another queue has as well: they are not packed.
fn limit(count: usize) -> Turns {
    let mut turns = Loop::new();
    let bind = |queue| Method::QueueBind(queue::Bind { queue, exchange: b"amq.fanout", ..queue::Bind::default() });
    let says = [declare(b"q", Vec::new()), declare(b"other", Vec::new()), bind(b"q"), bind(b"other")];
    let publisher = turns.client(&says);
    let wire = publishes(b"amq.fanout", (0..500).map(|_| &b""[..]), BODY_BYTES);
    (0..count / 500).for_each(|_| turns.turn(publisher, &wire));
    let settings = FieldTable(vec![("max-length-bytes".into(), FieldValue::I64(1 << 40))]);
    let (pattern, definition) = (text("^q$"), FieldValue::Table(settings));
    let said = SaidPolicy { pattern, apply_to: None, priority: None, definition };
    let policy = Policy::read(PolicyKind::User, "limited".into(), said).expect("a policy");
    let vhost = turns.hub.broker().vhost_named(b"/").expect("the first one");
    let mut measured = Turns(Vec::new());
    measured.measure(|| {
        turns.hub.broker_mut().put_policy(vhost, PolicyKind::User, policy.into()).expect("it can be set");
        idle_turn(&mut turns);
    });
    measured.go_to_the_end(&mut turns);
    measured
}

fn deduplication(count: usize) -> Turns {
    let mut turns = Loop::new();
    let client = turns.client(&[declare(b"q", vec![("x-message-deduplication", FieldValue::Boolean(true))])]);
    let mut measured = Turns(Vec::new());
    for first in (0..count).step_by(500) {
        let publish = |number: usize| {
            let headers = Some(FieldTable(vec![("x-deduplication-header".into(), text(&number.to_string()))]));
            let mut properties = Vec::new();
            BasicProperties { headers, ..BasicProperties::default() }.encode(&mut properties);
            publishes_with(b"", [&b"q"[..]], BODY_BYTES, &properties)
        };
        let wire: Vec<u8> = (first..first + 500).flat_map(publish).collect();
        measured.measure(|| turns.turn(client, &wire));
    }
    measured
}

/// As many as one command may settle in a turn, or a few less.
fn acknowledgement(count: usize) -> Turns {
    let mut turns = Loop::new();
    let consume = basic::Consume { queue: b"q", ..basic::Consume::default() };
    let consumer = turns.client(&[declare(b"q", Vec::new()), Method::BasicConsume(consume)]);
    let publisher = turns.client(&[]);
    fill(&mut turns, publisher, count);
    assert!(turns.take_sent(consumer) > count * BODY_BYTES, "all of them were delivered");
    let (mut measured, mut wire) = (Turns(Vec::new()), Vec::new());
    acknowledge(&mut wire, 0, count as u64, count as u64);
    measured.measure(|| turns.turn(consumer, &wire));
    assert_eq!(turns.totals().acknowledged, count as u64);
    measured
}
