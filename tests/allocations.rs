//! How often a message makes the broker allocate, and how much memory an idle client holds. An allocator counts; nothing
//! here depends on time or on the machine.

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

#[path = "../benches/hub/mod.rs"]
mod hub;

use hub::{Loop, acknowledge, publishes};
use leveret::protocol::Method;
use leveret::protocol::method::{basic, queue};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting what each thread asks of it.
struct Counting;

thread_local! {
    /// Of this thread only: the test harness has others, which allocate when they like.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that it allocated and has not freed. Blocks may be freed by other threads than theirs, but not in these tests.
    static HELD_BYTES: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
    HELD_BYTES.with(|held| held.set(held.get().wrapping_add(bytes)));
}

fn uncount(bytes: usize) {
    HELD_BYTES.with(|held| held.set(held.get().wrapping_sub(bytes)));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        uncount(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        uncount(layout.size());
        count(new_size);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// Publishes in one turn.
const TURN: u64 = 500;
const TURNS: u64 = 200;
/// 100,000 of them.
const MESSAGES: u64 = TURN * TURNS;
/// Turns in which pools, rings and caches find their sizes.
const WARM_UP_TURNS: u64 = 8;
const BODY_BYTES: usize = 16;
/// Messages to a chunk of a backlog.
const CHUNK_LENGTH: u64 = 1024;
/// Chunks of a backlog in which every message is an allocation.
const LOOSE_CHUNKS: u64 = 32;

fn allocations_in(steps: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    steps();
    ALLOCATIONS.with(Cell::get) - before
}

fn declare() -> Method<'static> {
    Method::QueueDeclare(queue::Declare { queue: b"hello", ..queue::Declare::default() })
}

fn consume(no_ack: bool) -> Method<'static> {
    Method::BasicConsume(basic::Consume { queue: b"hello", no_ack, ..basic::Consume::default() })
}

fn one_turn_of_publishes() -> Vec<u8> {
    publishes(b"", (0..TURN).map(|_| &b"hello"[..]), BODY_BYTES)
}

/// Published, handed over and sent without a single allocation.
#[test]
fn an_auto_acknowledged_message_costs_none() {
    let mut turns = Loop::new();
    let consumer = turns.client(&[declare(), consume(true)]);
    let publisher = turns.client(&[]);
    let wire = one_turn_of_publishes();
    (0..WARM_UP_TURNS).for_each(|_| turns.turn(publisher, &wire));
    let one_turn_sent = turns.take_sent(consumer) / (WARM_UP_TURNS as usize + 1);

    let allocations = allocations_in(|| (0..TURNS).for_each(|_| turns.turn(publisher, &wire)));
    assert_eq!(turns.totals().delivered_auto_ack, MESSAGES + WARM_UP_TURNS * TURN);
    assert!(turns.take_sent(consumer) > TURNS as usize * one_turn_sent);
    assert_eq!(allocations, 0, "for {MESSAGES} messages that nobody had to keep");
}

/// A message that waits for its acknowledgement is one allocation.
#[track_caller]
fn assert_one_each_when_acknowledged_every(every: u64) {
    let mut turns = Loop::new();
    let qos = Method::BasicQos(basic::Qos { prefetch_count: 1000, ..basic::Qos::default() });
    let consumer = turns.client(&[declare(), qos, consume(false)]);
    let publisher = turns.client(&[]);
    let wire = one_turn_of_publishes();
    let (mut acks, mut acknowledged) = (Vec::new(), 0);
    let mut turn = |turns: &mut Loop| {
        turns.turn(publisher, &wire);
        acknowledge(&mut acks, acknowledged, TURN, every);
        turns.turn(consumer, &acks);
        acknowledged += TURN;
    };
    (0..WARM_UP_TURNS).for_each(|_| turn(&mut turns));

    let allocations = allocations_in(|| (0..TURNS).for_each(|_| turn(&mut turns)));
    assert_eq!(turns.totals().acknowledged, MESSAGES + WARM_UP_TURNS * TURN);
    assert_eq!(allocations, MESSAGES, "with an acknowledgement every {every} messages");
}

#[test]
fn an_acknowledged_message_costs_one() {
    assert_one_each_when_acknowledged_every(100);
    assert_one_each_when_acknowledged_every(1);
}

/// A message that waits in its queue is one allocation, one far behind its head is none, and the queue's ring is one for
/// each chunk.
#[test]
fn a_waiting_message_costs_at_most_one() {
    let mut turns = Loop::new();
    let publisher = turns.client(&[declare()]);
    let wire = one_turn_of_publishes();
    (0..WARM_UP_TURNS).for_each(|_| turns.turn(publisher, &wire));

    let allocations = allocations_in(|| (0..TURNS).for_each(|_| turns.turn(publisher, &wire)));
    let messages_before = WARM_UP_TURNS * TURN;
    let chunks = (messages_before + MESSAGES).div_ceil(CHUNK_LENGTH) - messages_before.div_ceil(CHUNK_LENGTH);
    let growths_of_the_list_of_chunks = 5;
    // Of one message among some thousand it is measured how long it waits.
    let list_of_what_is_measured = 1;
    let messages_as_such = LOOSE_CHUNKS * CHUNK_LENGTH - messages_before;
    assert_eq!(allocations, messages_as_such + chunks + growths_of_the_list_of_chunks + list_of_what_is_measured);
}

/// At any number of them: right after a table has doubled, too, when half of it is empty.
#[test]
fn an_idle_client_with_a_channel_holds_less_than_three_kilobytes() {
    const HELD_PER_CLIENT_MAX: usize = 3_000;
    let mut turns = Loop::new();
    turns.client(&[]);
    let before = HELD_BYTES.with(Cell::get);
    for clients in 1..=10_000 {
        turns.client(&[]);
        let held = HELD_BYTES.with(Cell::get) - before;
        // Few clients share the pools with nobody.
        if clients >= 256 {
            assert!(held <= clients * HELD_PER_CLIENT_MAX, "{clients} clients hold {} bytes each", held / clients);
        }
    }
}
