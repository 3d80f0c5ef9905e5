//! What is written into an outbox comes out in order, whoever adds to it; and when it is full, or to be flushed.

use super::*;
use crate::broker::message::Content;
use crate::broker::{Effects, Recipient, Room};
use proptest::prelude::*;

const CLIENT: ConnectionId = ConnectionId(0);

fn outboxes() -> Outboxes {
    let mut outboxes = Outboxes::new(64 * 1024, usize::MAX);
    outboxes.open(CLIENT, 131_072);
    outboxes
}

fn take(outboxes: &mut Outboxes, count: usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 16];
    let filled = outboxes.get(CLIENT).io_slices(&mut slices);
    let mut bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
    bytes.truncate(count);
    outboxes.sent(CLIENT, bytes.len());
    bytes
}

proptest! {
    /// Copied and shared parts come out in the order in which they went in, however they are sent.
    #[test]
    fn order_is_kept(
        parts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..3000)), 1..40),
        sends in prop::collection::vec(1..9000usize, 1..400),
    ) {
        let mut outboxes = outboxes();
        let mut expected = Vec::new();
        let mut received = Vec::new();
        let mut sends = sends.into_iter().cycle();
        for (shared, bytes) in parts {
            expected.extend_from_slice(&bytes);
            if shared {
                outboxes.write_to(CLIENT).push_shared(Bytes::from(bytes));
            } else {
                outboxes.raw(CLIENT, &bytes);
            }
            received.extend(take(&mut outboxes, sends.next().unwrap() / 4));
            prop_assert_eq!(outboxes.get(CLIENT).len(), expected.len() - received.len());
        }
        while !outboxes.get(CLIENT).is_empty() {
            let unseen = &expected[received.len()..];
            let from = sends.next().unwrap() % (unseen.len() + 1);
            prop_assert_eq!(outboxes.get(CLIENT).peek(from), &unseen[from..]);
            received.extend(take(&mut outboxes, sends.next().unwrap()));
        }
        prop_assert_eq!(received, expected);
        prop_assert_eq!(outboxes.get(CLIENT).buffer.capacity(), 0);
    }
}

#[test]
fn an_outbox_is_listed_once_until_it_is_flushed() {
    let mut outboxes = outboxes();
    outboxes.raw(CLIENT, b"a");
    outboxes.raw(CLIENT, b"b");
    assert_eq!(outboxes.next_touched(), Some(CLIENT));
    assert_eq!(outboxes.next_touched(), None);
    outboxes.raw(CLIENT, b"c");
    assert_eq!(outboxes.next_touched(), Some(CLIENT));
}

#[test]
fn the_high_water_mark_counts_shared_bytes() {
    let mut outboxes = outboxes();
    let mut deliver = |body: &Bytes| {
        let recipient = Recipient { connection: CLIENT, channel_number: 1, consumer_tag: b"c" };
        let frames = [0; 22];
        let content =
            Content { address: b"\0\0\xCE", frames: &frames, header_frame_length: 22, shared_body: Some(body) };
        outboxes.deliver(recipient, 1, false, &content)
    };
    assert_eq!(deliver(&Bytes::from(vec![0; 60 * 1024])), Room::Left);
    assert_eq!(deliver(&Bytes::from(vec![0; 4 * 1024])), Room::Full);
}
