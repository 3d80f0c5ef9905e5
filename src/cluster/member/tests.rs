//! A leader beside one node that agrees to everything, and one that is gone.

use super::super::message::Hello;
use super::*;
use crate::broker::store::{DurableQueueId, Log, LogPosition};
use crate::storage::entry::EntryLabel;
use crate::storage::{LogOptions, LogStore, SyncPolicy};
use std::num::NonZeroU64;

const OTHER: NodeNumber = NodeNumber(1);
const GONE: NodeNumber = NodeNumber(2);

fn id(number: u64) -> MemberId {
    MemberId(NonZeroU64::new(number).unwrap())
}

struct World {
    member: Member,
    now_ms: u64,
    written: Vec<EntryLabel>,
}

impl World {
    /// The first node leads.
    fn led() -> Self {
        let nodes: Vec<String> = (1..=3).map(|number| format!("n{number}")).collect();
        let cluster = ClusterId([1; 16]);
        let configuration = Configuration::founding(cluster, (1..=3).map(id).zip(nodes.clone())).unwrap();
        let known = Known::at_founding(id(1), configuration);
        let settings =
            Settings { nodes: nodes.clone(), me: NodeNumber(0), member: id(1), new_cluster: cluster, chance: 7 };
        let mut world = Self { member: Member::start(settings, Some(known), 0), now_ms: 0, written: Vec::new() };
        world.member.connected(OTHER);
        let hello = Message::Hello(Hello { member: id(2), cluster: Some(cluster), nodes });
        world.member.received(OTHER, hello.encode());
        world.ticks(40);
        assert!(matches!(world.member.role(), Role::Lead { .. }));
        world
    }

    fn ticks(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now_ms += TICK_MS;
            self.member.tick(self.now_ms);
            self.settle();
        }
    }

    /// The disk is done at once, and so is the other node.
    fn settle(&mut self) {
        while let Some(output) = self.member.take_output() {
            match output {
                Output::Append(append) => {
                    self.written.extend(append.entries.iter().map(|entry| entry.label));
                    let place = |index| (index, Place { segment: 1, offset: index, length: 3 });
                    let places: Vec<_> = append.entries.iter().map(|entry| place(entry.label.index)).collect();
                    self.member.persisted(append.number, &places);
                }
                Output::Send { parts, .. } => self.answer(&parts),
                _ => {}
            }
        }
    }

    fn answer(&mut self, parts: &[Part]) {
        let bytes = parts.iter().flat_map(|part| match part {
            Part::Bytes(bytes) => bytes.clone(),
            Part::Body(body) => body.bytes().to_vec(),
            Part::Stored(_) | Part::File { .. } => unreachable!("bodies are in memory"),
        });
        let Some(Message::Raft(message, _)) = Message::decode(bytes.collect()) else { return };
        let says = match message.says {
            Says::Vote { only_asks, .. } => {
                Says::Voted { only_asked: only_asks, granted: true, commit: Point::default() }
            }
            Says::Append { before, commit, entry } => {
                Says::Appended { index: before.index + u64::from(entry.is_some()), commit }
            }
            Says::Heartbeat { commit } => Says::Alive { commit },
            _ => return,
        };
        let answer = RaftMessage { from: id(2), to: id(1), term: message.term, says };
        self.member.received(OTHER, Message::Raft(answer, None).encode());
    }
}

/// Both waited for the end of a hand-over that came to nothing.
#[test]
fn a_change_of_members_follows_the_batch_that_was_held_back() {
    let mut world = World::led();
    let Role::Lead { term, .. } = world.member.role() else { unreachable!("it leads") };
    world.member.hand_over(Some(OTHER));
    let options = LogOptions { sync_policy: SyncPolicy::Replicated, ..LogOptions::default() };
    let mut store = LogStore::new(options, LogPosition(0));
    store.purged(DurableQueueId(1), 1);
    world.member.propose(term, store.take_batch(0).unwrap());
    assert!(world.member.forget(GONE));
    world.settle();
    assert_eq!(world.written.len(), 1, "nothing but the term's own entry");
    world.ticks(40);
    let positions: Vec<_> = world.written.iter().map(|label| (label.first_position, label.records)).collect();
    assert_eq!(positions, [(1, 0), (1, 1), (2, 0)]);
}
