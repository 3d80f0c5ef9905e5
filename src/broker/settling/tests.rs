//! How much goes back to its queue in a turn, and that nobody gets what belongs behind it. The client is the test.

use super::*;
use crate::broker::store::MemoryStore;
use crate::broker::testing::{self, Nobody, VHOST};
use crate::broker::{ConsumeRequest, DeclareRequest, GetOutcome, Publication};
use crate::protocol::{FieldTable, FieldValue, ShortString};

const CLIENT: ConnectionId = ConnectionId(0);
const OTHER: ConnectionId = ConnectionId(1);

/// What a turn returns.
const RETURNED_PER_TURN: usize = SETTLED_PER_TURN / RETURN_COST;
/// More than two turns return.
const MANY: usize = 2 * RETURNED_PER_TURN + 100;

/// One client that holds deliveries of `q`, and another one.
struct Stage {
    broker: Broker<MemoryStore>,
    queue: QueueId,
    channel: ChannelId,
    other: ChannelId,
}

impl Stage {
    /// The client consumes from a queue of the type, or gets everything one by one.
    fn new(kind: &str, messages: usize, consumes: bool) -> Self {
        let kind = FieldValue::LongString(kind.as_bytes().into());
        Self::with_queue(vec![("x-queue-type".into(), kind)], messages, consumes)
    }

    fn with_queue(arguments: Vec<(ShortString, FieldValue)>, messages: usize, consumes: bool) -> Self {
        let mut broker = testing::broker();
        let (channel, other) = (testing::connect(&mut broker, CLIENT), testing::connect(&mut broker, OTHER));
        let arguments = FieldTable(arguments);
        let request = DeclareRequest { name: b"q", durable: true, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(broker.caller(channel), request, &mut Nobody).unwrap();
        let queue = broker.queue_in(VHOST, b"q").unwrap();
        let mut stage = Self { broker, queue, channel, other };
        (0..messages).for_each(|_| stage.publish());
        if consumes {
            let arguments = FieldTable::default();
            let request =
                ConsumeRequest { queue: b"q", consumer_tag: b"t", no_ack: false, exclusive: false, arguments };
            stage.broker.consume(stage.broker.caller(channel), request).unwrap();
            while stage.broker.has_touched() {
                stage.broker.pump(&mut Nobody);
            }
            stage.broker.cancel(stage.broker.caller(channel), b"t");
        } else {
            (0..messages).for_each(|_| assert!(stage.get(channel).is_some()));
        }
        assert_eq!(stage.broker.census().unacknowledged, messages);
        stage
    }

    fn publish(&mut self) {
        let publication = Publication { content: testing::CONTENT, attributes: Default::default(), mandatory: false };
        self.broker.publish(self.other, &publication, &[self.queue], &mut Nobody);
    }

    /// The sequence of the message that is got; `None` when that has to wait.
    fn get(&mut self, channel: ChannelId) -> Option<u64> {
        let caller = self.broker.caller(channel);
        match self.broker.get(caller, b"q", false, &mut Nobody).unwrap() {
            GetOutcome::Got(got) => {
                let unacknowledged = &self.broker.channel(channel).unacknowledged;
                let found = unacknowledged.iter().find(|(tag, _)| *tag == got.delivery_tag);
                found.map(|(_, delivered)| delivered.taken.sequence)
            }
            GetOutcome::Empty => panic!("there is something"),
            GetOutcome::Away(key) => {
                assert!(self.broker.head_is_away(key));
                None
            }
        }
    }

    fn turn(&mut self) {
        self.broker.set_now(0);
        self.broker.come_due(&mut Nobody);
        self.broker.pump(&mut Nobody);
    }
}

#[test]
fn what_a_closed_channel_held_comes_back_a_slice_in_each_turn_and_nobody_goes_before_it() {
    for (kind, consumes) in [("classic", true), ("quorum", true), ("classic", false)] {
        let mut stage = Stage::new(kind, MANY, consumes);
        stage.turn();
        stage.broker.close_channel(stage.channel);
        assert!(stage.broker.has_left_behind(CLIENT) && !stage.broker.has_left_behind(OTHER));
        let mut left = MANY;
        for _ in 0..2 {
            let now_left = stage.broker.census().unacknowledged;
            assert_eq!(left - now_left, RETURNED_PER_TURN, "{kind}");
            left = now_left;
            stage.publish();
            assert!(stage.broker.is_settling() && !stage.broker.settling.goes_on(), "it goes on in the next turn");
            assert_eq!(stage.get(stage.other), None, "{kind}: those on their way come first");
            stage.turn();
        }
        assert!(!stage.broker.has_left_behind(CLIENT));
        stage.turn();
        assert!(!stage.broker.is_settling());
        let got: Vec<_> = (0..MANY + 2).map(|_| stage.get(stage.other)).collect();
        let expected: Vec<_> = (0..MANY as u64 + 2).map(Some).collect();
        assert!(got == expected, "{kind}");
        stage.broker.census();
    }
}

#[test]
fn what_is_left_behind_comes_back_however_much_commands_settle() {
    let mut stage = Stage::new("classic", MANY, true);
    stage.turn();
    stage.broker.close_channel(stage.channel);
    while stage.broker.census().unacknowledged > 0 {
        stage.broker.set_now(0);
        stage.broker.settling.count(SETTLED_PER_TURN, 1);
        assert!(!stage.broker.can_settle());
        let before = stage.broker.census().unacknowledged;
        stage.broker.pump(&mut Nobody);
        assert!(stage.broker.census().unacknowledged < before);
    }
}

#[test]
fn a_lost_connection_and_a_deleted_queue_go_a_slice_at_a_time() {
    let mut stage = Stage::new("classic", MANY, true);
    stage.turn();
    stage.broker.close_connection(CLIENT, &mut Nobody);
    assert_eq!(stage.broker.census().unacknowledged, MANY - RETURNED_PER_TURN);
    assert!(!stage.broker.has_left_behind(CLIENT), "nobody is there to wait for it");
    let caller = stage.broker.caller(stage.other);
    let deleted = stage.broker.delete_queue(caller, b"q", false, false, &mut Nobody).unwrap();
    assert_eq!(deleted.value.message_count as usize, RETURNED_PER_TURN, "what is on its way is not ready");
    while stage.broker.is_settling() {
        let before = stage.broker.census().unacknowledged;
        stage.turn();
        assert!(before - stage.broker.census().unacknowledged <= RETURNED_PER_TURN);
    }
    assert_eq!(stage.broker.census().unacknowledged, 0);
}

#[test]
fn a_command_that_settles_much_is_given_again_until_it_is_finished() {
    let outcomes = [Settlement::Acknowledged, Settlement::Discarded, Settlement::Requeued];
    let ways = outcomes.map(|outcome| (Some(outcome), false));
    for (outcome, in_transaction) in ways.into_iter().chain([(None, false), (Some(Settlement::Requeued), true)]) {
        let many = 2 * SETTLED_PER_TURN + 10;
        let mut stage = Stage::new("classic", many, true);
        let channel = stage.channel;
        if in_transaction {
            stage.broker.select_transaction(channel).unwrap();
        }
        let give = |stage: &mut Stage| {
            let mut turns = 0;
            loop {
                stage.turn();
                turns += 1;
                let before = stage.broker.census();
                let progress = match outcome {
                    Some(outcome) => stage.broker.settle(channel, 0, true, outcome).unwrap(),
                    None => stage.broker.recover(channel),
                };
                let now = stage.broker.census();
                let most = if in_transaction { 0 } else { SETTLED_PER_TURN };
                assert!(before.unacknowledged - now.unacknowledged <= most, "{outcome:?}");
                if progress == Progress::Finished {
                    return turns;
                }
                assert!(stage.broker.is_settling() && !stage.broker.can_settle());
            }
        };
        let is_return = in_transaction || matches!(outcome, None | Some(Settlement::Requeued));
        let per_turn = if is_return { RETURNED_PER_TURN } else { SETTLED_PER_TURN };
        assert_eq!(give(&mut stage), many.div_ceil(per_turn), "{outcome:?}");
        if in_transaction {
            let mut turns = 1;
            stage.turn();
            while stage.broker.commit(channel, &mut Nobody).unwrap().value == Progress::Unfinished {
                assert_eq!(stage.get(stage.other), None, "the first ones are on their way back");
                stage.turn();
                turns += 1;
            }
            assert_eq!(turns, many.div_ceil(RETURNED_PER_TURN));
        }
        let census = stage.broker.census();
        assert_eq!((census.unacknowledged, census.ready), (0, if is_return { many } else { 0 }), "{outcome:?}");
        if is_return {
            assert_eq!(stage.get(stage.other), Some(0));
        }
    }
}

#[test]
fn fewer_are_settled_in_a_turn_whose_values_the_queue_remembers() {
    for outcome in [Settlement::Acknowledged, Settlement::Discarded] {
        let remembers = ("x-message-deduplication".into(), FieldValue::Boolean(true));
        let mut stage = Stage::with_queue(vec![remembers], SETTLED_PER_TURN, true);
        for slice in 1..=FORGET_COST {
            stage.turn();
            let progress = stage.broker.settle(stage.channel, 0, true, outcome).unwrap();
            assert_eq!(progress == Progress::Finished, slice == FORGET_COST, "{outcome:?}");
            let left = SETTLED_PER_TURN / FORGET_COST * (FORGET_COST - slice);
            assert_eq!(stage.broker.census().unacknowledged, left, "{outcome:?}");
        }
    }
}

/// It means those that there were when it was given.
#[test]
fn all_there_are_do_not_become_more_while_they_are_settled() {
    let mut stage = Stage::new("classic", MANY, true);
    stage.turn();
    let first = stage.broker.settle(stage.channel, 0, true, Settlement::Requeued).unwrap();
    assert_eq!(first, Progress::Unfinished);
    let arguments = FieldTable::default();
    let (name, durable) = (b"q2".as_slice(), false);
    let request = DeclareRequest { name, durable, exclusive: false, auto_delete: false, arguments };
    stage.broker.declare_queue(stage.broker.caller(stage.other), request, &mut Nobody).unwrap();
    let second = stage.broker.queue_in(VHOST, name).unwrap();
    let publication = Publication { content: testing::CONTENT, attributes: Default::default(), mandatory: false };
    stage.broker.publish(stage.other, &publication, &[second], &mut Nobody);
    assert!(matches!(
        stage.broker.get(stage.broker.caller(stage.channel), name, false, &mut Nobody),
        Ok(GetOutcome::Got(_))
    ));
    for _ in 0..2 {
        stage.turn();
        let _ = stage.broker.settle(stage.channel, 0, true, Settlement::Requeued).unwrap();
    }
    assert_eq!(stage.broker.census().unacknowledged, 1, "what came later is still unacknowledged");
}

#[test]
fn an_unfinished_command_of_a_client_that_goes_away_lets_its_queues_go() {
    let mut stage = Stage::new("classic", MANY, true);
    stage.turn();
    assert_eq!(stage.broker.settle(stage.channel, 0, true, Settlement::Requeued).unwrap(), Progress::Unfinished);
    stage.broker.close_connection(CLIENT, &mut Nobody);
    while stage.broker.census().unacknowledged > 0 {
        assert_eq!(stage.get(stage.other), None);
        stage.turn();
    }
    assert_eq!(stage.get(stage.other), Some(0));
    assert!(stage.broker.queue(stage.queue).behaviour.is_plain());
}

#[test]
fn sources_are_no_more_than_what_is_held() {
    let mut stage = Stage::new("classic", 1, false);
    for number in 0..1000 {
        let (name, arguments) = (format!("of {number}"), FieldTable::default());
        let name = name.as_bytes();
        let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
        let caller = stage.broker.caller(stage.channel);
        stage.broker.declare_queue(caller, request, &mut Nobody).unwrap();
        let queue = stage.broker.queue_in(VHOST, name).unwrap();
        let publication = Publication { content: testing::CONTENT, attributes: Default::default(), mandatory: false };
        stage.broker.publish(stage.other, &publication, &[queue], &mut Nobody);
        assert!(matches!(stage.broker.get(caller, name, false, &mut Nobody), Ok(GetOutcome::Got(_))));
        stage.broker.settle(stage.channel, number + 2, false, Settlement::Acknowledged).unwrap();
    }
    assert!(stage.broker.channel(stage.channel).other_sources.len() <= SOURCES_MIN);
}
