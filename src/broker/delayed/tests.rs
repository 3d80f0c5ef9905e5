//! Delayed messages in the broker: slices, memory, and what goes with an exchange.

use crate::broker::memory::message_memory_bytes;
use crate::broker::message::{Attributes, Content};
use crate::broker::store::MemoryStore;
use crate::broker::testing::{self, Nobody, settings};
use crate::broker::{
    Broker, ChannelId, ConnectionId, DeclareRequest, ExchangeRequest, KnownRoute, MessageMemory, Origin, Publication,
    Settings, Target,
};
use crate::protocol::{BasicProperties, ContentHeader, FieldTable, FieldValue};

const CLIENT: ConnectionId = ConnectionId(0);
const EXCHANGE: &[u8] = b"later";

struct Play {
    broker: Broker<MemoryStore>,
    channel: ChannelId,
    route: KnownRoute,
    now_ms: u64,
}

impl Play {
    fn new(paging_bytes: usize) -> Self {
        let message_memory = MessageMemory { paging_bytes, most_bytes: usize::MAX };
        let mut broker = testing::broker_with(Settings { message_memory, ..settings() }, MemoryStore::default());
        let channel = testing::connect(&mut broker, CLIENT);
        let mut play = Self { broker, channel, route: KnownRoute::default(), now_ms: 0 };
        play.declare();
        let arguments = FieldTable::default();
        let request = DeclareRequest { name: b"q", durable: false, exclusive: false, auto_delete: false, arguments };
        play.broker.declare_queue(testing::caller(&play.broker, CLIENT), request, &mut Nobody).unwrap();
        let no_arguments = FieldTable::default();
        play.broker.bind_queue(testing::caller(&play.broker, CLIENT), b"q", EXCHANGE, b"", no_arguments).unwrap();
        play
    }

    fn declare(&mut self) {
        let arguments = FieldTable(vec![("x-delayed-type".into(), FieldValue::LongString((*b"fanout").into()))]);
        let (name, kind, durable, auto_delete, internal) = (EXCHANGE, &b"x-delayed-message"[..], false, false, false);
        let request = ExchangeRequest { name, kind, durable, auto_delete, internal, arguments };
        self.broker.declare_exchange(testing::caller(&self.broker, CLIENT), request).unwrap();
    }

    fn publish(&mut self, delay_ms: u64) {
        let headers = FieldTable(vec![("x-delay".into(), FieldValue::I64(delay_ms.cast_signed()))]);
        let mut properties = Vec::new();
        BasicProperties { headers: Some(headers), ..BasicProperties::default() }.encode(&mut properties);
        let mut frames = Vec::new();
        ContentHeader { class_id: 60, weight: 0, body_size: 0, properties: &properties }.encode_frame(0, &mut frames);
        let (address, header_frame_length) = (b"\x05later\0\xCE".as_slice(), frames.len());
        let content = Content { address, frames: &frames, header_frame_length, shared_body: None };
        let publication = Publication { content, attributes: Attributes::default(), mandatory: false };
        let exchange = self.broker.exchange_in(testing::VHOST, EXCHANGE).unwrap();
        let target = Target { exchange, extra_keys: &[] };
        self.broker.publishes_to(testing::VHOST, exchange);
        let origin = Origin::Client { target, route: &mut self.route };
        self.broker.publish_from(origin, self.broker.caller(self.channel), &publication, &mut Nobody).unwrap();
        self.broker.relieve_memory();
    }

    /// One turn at a time on the clock. Says how many messages it routed.
    fn turn(&mut self, now_ms: u64) -> usize {
        self.now_ms = now_ms;
        let before = self.waiting();
        self.broker.set_now(now_ms);
        self.broker.come_due(&mut Nobody);
        self.broker.take_pages();
        self.broker.relieve_memory();
        self.broker.census();
        self.waiting() - before
    }

    fn waiting(&self) -> usize {
        self.broker.census().ready
    }

    fn delayed(&self) -> usize {
        self.broker.messages_delayed(testing::VHOST, EXCHANGE).unwrap()
    }
}

#[test]
fn what_is_due_in_the_same_millisecond_goes_in_slices() {
    const COUNT: usize = 10_000;
    let mut play = Play::new(usize::MAX);
    (0..COUNT).for_each(|_| play.publish(50));
    assert_eq!((play.delayed(), play.waiting()), (COUNT, 0));
    assert_eq!(play.turn(49), 0);
    let mut routed = Vec::new();
    while play.delayed() > 0 {
        assert!(play.broker.next_due_ms().is_some_and(|due_ms| due_ms <= 50));
        routed.push(play.turn(50));
    }
    assert_eq!(routed.iter().sum::<usize>(), COUNT);
    assert!(routed.iter().all(|slice| *slice <= super::release::RELEASED_PER_TURN), "{routed:?}");
    assert_eq!(play.broker.next_due_ms(), None);
}

#[test]
fn many_wait_within_the_memory_setting_and_come_in_time() {
    const COUNT: u64 = 50_000;
    const PAGING_BYTES: usize = 512 << 10;
    let before = message_memory_bytes();
    let mut play = Play::new(before + PAGING_BYTES);
    for index in 0..COUNT {
        play.publish(1 + index * 7919 % 600_000);
    }
    let memory_bytes = message_memory_bytes() - before;
    assert!(memory_bytes < 2 * PAGING_BYTES, "{memory_bytes} bytes");
    assert_eq!(play.delayed(), COUNT as usize);
    let mut now_ms = 0;
    while play.delayed() > 0 {
        now_ms = play.broker.next_due_ms().map_or(now_ms + 1, |due_ms| due_ms.max(now_ms));
        play.turn(now_ms);
    }
    assert!(now_ms <= 600_010, "the last one came at {now_ms}");
    assert_eq!(play.waiting(), COUNT as usize);
}

#[test]
fn what_an_exchange_kept_goes_with_it_a_slice_at_a_time() {
    const COUNT: u64 = 50_000;
    let before = message_memory_bytes();
    let mut play = Play::new(before + (512 << 10));
    (0..COUNT).for_each(|index| play.publish(1000 + index));
    assert!(play.broker.store().page_count() > 0);
    play.broker.delete_exchange(testing::caller(&play.broker, CLIENT), EXCHANGE, false).unwrap();
    play.declare();
    assert_eq!(play.delayed(), 0);
    while play.broker.next_due_ms().is_some() {
        play.turn(play.now_ms);
    }
    assert_eq!(play.broker.store().page_count(), 0);
    assert_eq!(play.turn(1_000_000), 0);
}

#[test]
fn who_watches_makes_nobody_forget() {
    let mut play = Play::new(usize::MAX);
    play.broker.vhosts[testing::VHOST].attributes.tracing = true;
    play.broker.note_tracing();
    play.publish(10);
    assert_eq!((play.waiting(), play.delayed()), (0, 1));
    assert_eq!(play.turn(10), 1);
}

#[test]
fn what_an_exchange_kept_comes_out_of_it_when_it_is_due() {
    let mut play = Play::new(usize::MAX);
    let figures = |play: &Play| {
        let exchange = play.broker.exchange_in(testing::VHOST, EXCHANGE).unwrap();
        let exchange = play.broker.vhosts[testing::VHOST].router().exchange(exchange);
        let counters = play.broker.figures_of_exchange(testing::VHOST, exchange).counters;
        (counters.published_in, counters.published_out)
    };
    (0..3).for_each(|_| play.publish(10));
    play.publish(20);
    assert_eq!(figures(&play), (4, 0));
    play.turn(10);
    assert_eq!(figures(&play), (4, 3));
    play.publish(0);
    play.turn(20);
    assert_eq!((figures(&play), play.waiting()), ((5, 5), 5));
}
