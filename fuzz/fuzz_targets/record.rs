//! The records of the log: whatever the bytes, a record is whole or it is none; one that is whole comes back when it is
//! written again, makes a message, and changes the state without a panic.
#![no_main]

use leveret::broker::message::{Attributes, Content, MessageRef};
use leveret::storage::record::{Enqueue, Record, put_definition, put_delivered, put_enqueue, put_route, read_record};
use leveret::storage::state::State;
use leveret::varint::Cursor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut records = Cursor::new(bytes);
    let mut state = State::default();
    let mut segment = 1;
    while !records.is_empty() {
        let before = records.rest();
        let Ok(record) = read_record(&mut records) else {
            assert!(state.apply(before, segment).is_err(), "a record is whole or none for everybody");
            return;
        };
        let bytes = &before[..before.len() - records.rest().len()];
        match &record {
            Record::Enqueue(enqueue) => write_again(enqueue),
            Record::Removed { ranges, .. } => {
                let mut end = 0;
                for (first, last) in *ranges {
                    assert!(end <= first && first <= last, "ranges ascend");
                    end = last;
                }
            }
            Record::Purged { .. } => {}
            Record::Delivered { queue, below } => {
                let mut written = Vec::new();
                put_delivered(&mut written, *queue, *below);
                let again = read_record(&mut Cursor::new(&written)).expect("what we write, we read");
                let Record::Delivered { queue: queue_again, below: below_again } = again else {
                    panic!("a mark is one")
                };
                assert_eq!((queue_again, below_again), (*queue, *below));
            }
            Record::Definition(definition) => {
                let mut written = Vec::new();
                put_definition(&mut written, definition);
                let again = read_record(&mut Cursor::new(&written)).expect("what we write, we read");
                let Record::Definition(again) = again else { panic!("a definition is one") };
                let mut twice = Vec::new();
                put_definition(&mut twice, &again);
                assert_eq!(written, twice);
            }
        }
        state.apply(bytes, segment).expect("it was read before");
        segment += 1;
    }
    let live: u64 = state.queues.values().map(|queue| queue.live.len()).sum();
    let in_segments: u64 = state.segments.values().map(|segment| segment.live).sum();
    assert_eq!(live, in_segments, "what is alive is in a segment");
});

/// A message out of a record gives the same record.
fn write_again(enqueue: &Enqueue<'_>) {
    let body = enqueue.body.map(|body| body.to_vec().into());
    let content = Content {
        address: enqueue.address,
        frames: enqueue.frames,
        header_frame_length: enqueue.header_frame_length,
        shared_body: body.as_ref(),
    };
    let mut routes = enqueue.routes;
    let Some(first) = routes.next() else { return };
    let mut written = Vec::new();
    let start = put_enqueue(&mut written, &content, enqueue.priority, first);
    routes.for_each(|route| put_route(&mut written, start, route));
    let again = read_record(&mut Cursor::new(&written)).expect("what we write, we read");
    let Record::Enqueue(again) = again else { panic!("a message is one") };
    assert_eq!(
        (again.priority, again.address, again.frames, again.body),
        (enqueue.priority, enqueue.address, enqueue.frames, enqueue.body)
    );
    assert!(again.routes.eq(enqueue.routes), "the routes are the same");
    let attributes = Attributes { persistent: true, priority: enqueue.priority, expiration_ms: None };
    let message = MessageRef::new(&content, attributes);
    let content = message.content();
    let _ = (content.exchange(), content.routing_key(), content.properties(), content.body());
}
