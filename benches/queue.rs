//! What a queue's own steps cost: waiting, returning, being unacknowledged, and the messages themselves.
//!
//! `cargo bench --bench queue`. The times are those of **one message** unless the name says how many.

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use leveret::broker::exchange::QueueId;
use leveret::broker::message::{Attributes, Content, MessageRef, NEVER};
use leveret::broker::queue::{Backlog, Taken};
use leveret::broker::unacknowledged::{Delivered, Unacknowledged};
use leveret::protocol::ContentHeader;
use leveret::protocol::frame::write_body_frame;
use leveret::protocol::properties::BASIC_CLASS_ID;
use std::hint::black_box;
use std::time::Duration;

/// As in the program.
#[global_allocator]
static ALLOCATOR: leveret::allocator::Allocator = leveret::allocator::Allocator;

/// Messages that wait, or are unacknowledged, while one more comes and goes.
const DEPTH: u64 = 1000;
/// Default exchange, routing key `hello`.
const ADDRESS: &[u8] = b"\0\x05hello\xCE";

/// The frames of a content, and how long the first of them is.
fn frames(body_size: usize) -> (Vec<u8>, usize) {
    let mut frames = Vec::new();
    let header =
        ContentHeader { class_id: BASIC_CLASS_ID, weight: 0, body_size: body_size as u64, properties: &[0, 0] };
    header.encode_frame(1, &mut frames);
    let header_frame_length = frames.len();
    write_body_frame(&mut frames, 1, &vec![b'.'; body_size]);
    (frames, header_frame_length)
}

fn message(body_size: usize) -> MessageRef {
    let (frames, header_frame_length) = frames(body_size);
    let content = Content { address: ADDRESS, frames: &frames, header_frame_length, shared_body: None };
    MessageRef::new(&content, Attributes::default())
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message, made and dropped");
    for body_size in [16, 1024] {
        let (frames, header_frame_length) = frames(body_size);
        group.bench_function(BenchmarkId::from_parameter(format!("{body_size} B")), |bencher| {
            bencher.iter(|| {
                let frames = black_box(&frames);
                let content = Content { address: ADDRESS, frames, header_frame_length, shared_body: None };
                MessageRef::new(&content, Attributes::default())
            });
        });
    }
    group.finish();
}

/// A backlog in which this many messages wait.
fn filled(depth: u64) -> (Backlog, MessageRef) {
    let mut backlog = Backlog::default();
    let message = message(16);
    for _ in 0..depth {
        backlog.push(message.clone(), NEVER);
    }
    (backlog, message)
}

fn backlog(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("backlog");
    for depth in [0, DEPTH] {
        let (mut backlog, message) = filled(depth);
        group.bench_function(BenchmarkId::new("push and pop, waiting", depth), |bencher| {
            bencher.iter(|| {
                backlog.push(message.clone(), NEVER);
                black_box(backlog.pop())
            });
        });

        let (mut backlog, message) = filled(depth);
        group.bench_function(BenchmarkId::new("push, pop, return and pop again, waiting", depth), |bencher| {
            bencher.iter(|| {
                backlog.push(message.clone(), NEVER);
                let taken = backlog.pop().expect("one was pushed");
                backlog.put_back(taken);
                black_box(backlog.pop())
            });
        });
    }

    // A consumer that was lost returns its whole prefetch at once.
    group.throughput(Throughput::Elements(DEPTH));
    group.bench_function("return and pop 1000", |bencher| {
        bencher.iter_batched(
            || {
                let (mut backlog, _) = filled(2 * DEPTH);
                let taken: Vec<Taken> = (0..DEPTH).map_while(|_| backlog.pop()).collect();
                (backlog, taken)
            },
            |(mut backlog, taken)| {
                taken.into_iter().rev().for_each(|taken| backlog.put_back(taken));
                (0..DEPTH).for_each(|_| drop(black_box(backlog.pop())));
                backlog
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Deliveries with rising tags, of which the oldest are acknowledged.
struct Deliveries {
    unacknowledged: Unacknowledged,
    message: MessageRef,
    next_tag: u64,
}

impl Deliveries {
    fn new(depth: u64) -> Self {
        let mut deliveries = Self { unacknowledged: Unacknowledged::default(), message: message(16), next_tag: 1 };
        for _ in 0..depth {
            deliveries.deliver();
        }
        deliveries
    }

    fn deliver(&mut self) -> u64 {
        let delivery_tag = self.next_tag;
        let message = self.message.clone();
        let returns = Default::default();
        let taken =
            Taken { message, expires_at_ms: NEVER, sequence: delivery_tag, redelivered: false, returns, level: 0 };
        self.unacknowledged.push(delivery_tag, Delivered { taken, queue: QueueId(0), consumer: None });
        self.next_tag += 1;
        delivery_tag
    }
}

fn unacknowledged(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unacknowledged");
    let mut deliveries = Deliveries::new(DEPTH);
    group.bench_function("deliver one, acknowledge the oldest", |bencher| {
        bencher.iter(|| {
            let newest = deliveries.deliver();
            black_box(deliveries.unacknowledged.take(newest - DEPTH))
        });
    });

    let mut deliveries = Deliveries::new(DEPTH);
    group.bench_function("deliver one, acknowledge out of order", |bencher| {
        // Pairs swap places: the second of two tags is always acknowledged before the first.
        bencher.iter(|| {
            let newest = deliveries.deliver();
            let oldest = newest - DEPTH;
            let tag = if oldest.is_multiple_of(2) { oldest - 1 } else { oldest + 1 };
            black_box(deliveries.unacknowledged.take(tag))
        });
    });

    const MULTIPLE: u64 = 100;
    let mut deliveries = Deliveries::new(DEPTH);
    group.throughput(Throughput::Elements(MULTIPLE));
    group.bench_function("deliver 100, acknowledge the 100 oldest at once", |bencher| {
        bencher.iter(|| {
            for _ in 0..MULTIPLE {
                deliveries.deliver();
            }
            let up_to = deliveries.next_tag - 1 - DEPTH;
            while let Some(settled) = deliveries.unacknowledged.take_next_up_to(up_to) {
                black_box(settled);
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .without_plots();
    targets = messages, backlog, unacknowledged
}
criterion_main!(benches);
