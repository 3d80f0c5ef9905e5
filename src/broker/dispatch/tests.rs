//! Consumers who vanished are passed over.

use crate::broker::message::Content;
use crate::broker::store::MemoryStore;
use crate::broker::{Broker, ConnectionId, ConsumeRequest, DeclareRequest, Effects, Publication, Recipient, Room};
use crate::broker::{ChannelId, testing};
use crate::protocol::FieldTable;

/// Who got deliveries.
#[derive(Default)]
struct Takers(Vec<ConnectionId>);

impl Effects for Takers {
    fn deliver(&mut self, recipient: Recipient<'_>, _: u64, _: bool, _: &Content<'_>) -> Room {
        self.0.push(recipient.connection);
        Room::Left
    }
    fn return_unroutable(&mut self, _: ConnectionId, _: u16, _: &Content<'_>) {}
    fn confirm(&mut self, _: ConnectionId, _: u16, _: u64, _: bool) {}
    fn reject(&mut self, _: ConnectionId, _: u16, _: u64, _: bool) {}
    fn cancel_consumer(&mut self, _: Recipient<'_>) {}
}

fn consume(broker: &mut Broker<MemoryStore>, connection: ConnectionId) -> ChannelId {
    let channel = testing::connect(broker, connection);
    let arguments = FieldTable::default();
    let request = ConsumeRequest { queue: b"q", consumer_tag: b"", no_ack: false, exclusive: false, arguments };
    broker.consume(broker.caller(channel), request).unwrap();
    channel
}

#[test]
fn a_vanished_consumer_in_the_line_is_passed_over() {
    let (publisher, vanishing, staying) = (ConnectionId(0), ConnectionId(1), ConnectionId(2));
    let mut broker = testing::broker();
    let mut takers = Takers::default();
    let channel = testing::connect(&mut broker, publisher);
    let (name, arguments) = (b"q".as_slice(), FieldTable::default());
    let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
    broker.declare_queue(testing::caller(&broker, publisher), request, &mut takers).unwrap();
    let queue = broker.existing_queue(testing::VHOST, b"q").unwrap();
    let content = testing::CONTENT;
    let publication = Publication { content, attributes: Default::default(), mandatory: false };

    consume(&mut broker, vanishing);
    consume(&mut broker, staying);
    broker.close_connection(vanishing, &mut takers);
    broker.publish(channel, &publication, &[queue], &mut takers);
    broker.pump(&mut takers);
    assert_eq!(takers.0, [staying]);
    broker.census();
}
