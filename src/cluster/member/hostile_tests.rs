//! Whatever members are told, in whatever order, nothing panics: neither what is here nor the crate that agrees.

use super::super::membership::Configuration;
use super::super::message::{Message, Point, RaftMessage, Says};
use super::consensus::Consensus;
use super::ledger::Known;
use crate::storage::entry::{EntryBody, EntryKind, EntryLabel, Place, Vote};
use crate::storage::{ClusterId, MemberId};
use proptest::prelude::*;
use std::num::NonZeroU64;

fn id(number: u64) -> MemberId {
    MemberId(NonZeroU64::new(number).unwrap())
}

fn known() -> Known {
    let members = (1..=3).map(|number| (id(number), format!("n{number}")));
    let label = |index| {
        let label = EntryLabel { term: 2, index, first_position: index, records: 1, kind: EntryKind::Records };
        (label, Place { segment: 1, offset: index, length: 3 })
    };
    Known {
        member: id(1),
        before: Point { index: 2, term: 1 },
        position_before: 2,
        entries: (3..=5).map(label).collect(),
        configurations: Vec::new(),
        vote: Vote { term: 2, member: None },
        applied: 3,
        commit: 3,
        configuration: Configuration::founding(ClusterId([1; 16]), members).unwrap(),
    }
}

/// Does what steps say; every disk is done at once.
fn settle(consensus: &mut Consensus) {
    while let Some(step) = consensus.take_step() {
        for EntryLabel { index, first_position, .. } in step.entries.iter().map(|entry| entry.label) {
            // The writer insists on it.
            assert_eq!(first_position, consensus.ledger().position_at(index - 1) + 1, "positions follow each other");
        }
        let placed = step.entries.iter().map(|entry| {
            let EntryLabel { index, term, .. } = entry.label;
            (Point { index, term }, Place { segment: 1, offset: index, length: 3 })
        });
        let placed: Vec<_> = placed.collect();
        if let Some(last) = step.snapshot {
            let configuration = consensus.configuration().clone();
            consensus.installed(last, last.index, configuration);
        } else {
            consensus.persisted_up_to(step.number, placed);
        }
        consensus.trim();
    }
}

/// Stands for the position behind the entry before.
const FOLLOWS: u64 = 0;

fn points() -> impl Strategy<Value = Point> {
    (0_u64..9, 0_u64..6).prop_map(|(index, term)| Point { index, term })
}

/// A term, a first position, and how many records; without the position it is the one that follows.
fn entries() -> impl Strategy<Value = (u64, u64, u32)> {
    (0_u64..6, prop_oneof![4 => Just(FOLLOWS), 1 => 1_u64..9], 0_u32..3)
}

fn says() -> impl Strategy<Value = Says> {
    let append = (points(), 0_u64..12, proptest::option::of(entries())).prop_map(|(before, commit, entry)| {
        let entry = entry.map(|(term, first_position, records)| EntryLabel {
            term,
            index: before.index + 1,
            first_position,
            records,
            kind: EntryKind::Records,
        });
        Says::Append { before, commit, entry }
    });
    prop_oneof![
        4 => append,
        1 => (any::<bool>(), any::<bool>(), points(), points())
            .prop_map(|(only_asks, transfers, last, commit)| Says::Vote { only_asks, transfers, last, commit }),
        3 => (any::<bool>(), any::<bool>(), points())
            .prop_map(|(only_asked, granted, commit)| Says::Voted { only_asked, granted, commit }),
        2 => (0_u64..12, 0_u64..12).prop_map(|(index, commit)| Says::Appended { index, commit }),
        2 => (0_u64..12, points(), 0_u64..12).prop_map(|(index, hint, commit)| Says::Refused { index, hint, commit }),
        1 => (0_u64..12).prop_map(|commit| Says::Heartbeat { commit }),
        1 => (0_u64..12).prop_map(|commit| Says::Alive { commit }),
        1 => Just(Says::Campaign),
    ]
}

#[derive(Clone, Debug)]
enum Event {
    Said { from: u64, term: u64, says: Says },
    Ticks(u32),
    Proposed,
    Snapshot { term: u64, last: Point },
    Forgotten(u64),
    HandOver(u64),
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (2_u64..5, 0_u64..6, says()).prop_map(|(from, term, says)| Event::Said { from, term, says }),
        3 => (1_u32..25).prop_map(Event::Ticks),
        2 => Just(Event::Proposed),
        // An offer of anything else is refused as a message.
        1 => (1_u64..9, 1_u64..4, 0_u64..3).prop_map(|(index, term, later)| Event::Snapshot {
            term: term + later,
            last: Point { index, term },
        }),
        1 => (0_u64..9).prop_map(Event::Forgotten),
        1 => (2_u64..5).prop_map(Event::HandOver),
    ]
}

proptest! {
    #[test]
    fn a_member_survives_whatever_it_is_told(events in proptest::collection::vec(events(), 1..60)) {
        let mut consensus = Consensus::start(known(), 9);
        for event in events {
            match event {
                Event::Said { from, term, mut says } => {
                    if let Says::Append { before, entry: Some(label), .. } = &mut says
                        && label.first_position == FOLLOWS
                    {
                        label.first_position = consensus.ledger().position_at(before.index) + 1;
                    }
                    let message = RaftMessage { from: id(from), to: id(1), term, says };
                    // As it would come from a peer: what no message may say is refused before.
                    let body = matches!(says, Says::Append { entry: Some(_), .. }).then(|| EntryBody::copied(b"who"));
                    let bytes = Message::Raft(message, body).encode();
                    if let Some(Message::Raft(message, body)) = Message::decode(bytes) {
                        consensus.receive(&message, body);
                    }
                }
                Event::Ticks(ticks) => {
                    for _ in 0..ticks {
                        consensus.tick();
                        settle(&mut consensus);
                    }
                }
                Event::Proposed => {
                    let first_position = consensus.last_position() + 1;
                    consensus.propose(EntryBody::copied(b"own"), first_position, 1);
                }
                Event::Snapshot { term, last } => {
                    let configuration = consensus.configuration().clone();
                    consensus.receive_snapshot(id(2), term, last, &configuration);
                }
                Event::Forgotten(below) => consensus.forget_below(below),
                Event::HandOver(to) => consensus.hand_over_to(id(to)),
            }
            settle(&mut consensus);
            prop_assert!(consensus.applied() <= consensus.committed());
        }
    }
}
