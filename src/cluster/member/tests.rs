//! A leader beside one node that agrees to everything, and one that is gone, or lacks everything.

use super::super::message::{Condition, Hello, Unread, Wanted};
use super::*;
use crate::broker::store::{DurableQueueId, Log, LogPosition};
use crate::storage::entry::{EntryKind, EntryLabel};
use crate::storage::{LogOptions, LogStore, SyncPolicy};
use std::num::NonZeroU64;

const OTHER: NodeNumber = NodeNumber(1);
const GONE: NodeNumber = NodeNumber(2);
const CLUSTER: ClusterId = ClusterId([1; 16]);

fn id(number: u64) -> MemberId {
    MemberId(NonZeroU64::new(number).unwrap())
}

fn member_of(node: NodeNumber) -> MemberId {
    id(u64::from(node.0) + 1)
}

fn place_of(index: u64) -> Place {
    Place { segment: 1, offset: index, length: 3 }
}

/// What the first of three knows that were founded.
fn known() -> Known {
    let members = (1..=3).map(|number| (id(number), format!("n{number}")));
    Known::at_founding(id(1), Configuration::founding(CLUSTER, members).unwrap())
}

struct World {
    member: Member,
    now_ms: u64,
    written: Vec<EntryLabel>,
    /// What the writer was asked for beside entries, and offered.
    asked: Vec<String>,
    /// What is published does not come to the other node.
    other_lacks_entries: bool,
    /// Of snapshots, how many bytes went to others.
    chunk_bytes: usize,
}

impl World {
    /// The first node leads.
    fn led() -> Self {
        Self::led_with(known())
    }

    fn led_with(known: Known) -> Self {
        let nodes = known.configuration.members().iter().map(|member| member.node.clone()).collect();
        let settings =
            Settings { nodes, me: NodeNumber(0), member: id(1), new_cluster: CLUSTER, chance: 7, rejoins: false };
        let member = Member::start(settings, Some(known), 0);
        let mut world = Self {
            member,
            now_ms: 0,
            written: Vec::new(),
            asked: Vec::new(),
            other_lacks_entries: false,
            chunk_bytes: 0,
        };
        world.connect(OTHER);
        world.ticks(40);
        assert!(matches!(world.member.role(), Role::Lead { .. }));
        world
    }

    /// The first node leads, and has a snapshot of these bytes and files, which it offered to the one that was gone; and what
    /// its last entry is.
    fn with_snapshot(checkpoint: &[u8], files: Vec<(String, u64)>) -> (Self, Point) {
        let mut world = Self::led();
        world.publish(0);
        let consensus = world.member.consensus().unwrap();
        let last = Point { index: world.last(), term: consensus.term() };
        let configuration = consensus.configuration().clone();
        world.member.forgotten(last.index + 1);
        world.connect(GONE);
        world.ticks(10);
        assert_eq!(world.asked, ["pin"]);
        world.member.pinned(Pinned { id: 9, last, configuration, checkpoint: checkpoint.to_vec(), files });
        world.ticks(10);
        assert_eq!(world.asked, ["pin", "take 9"]);
        (world, last)
    }

    /// The first node leads, and offers a snapshot of so many bytes, after which 4 bytes less than 16 GiB came.
    fn with_much_after_snapshot(bytes: u64) -> Self {
        let mut known = known();
        let entry = |index| {
            let label = EntryLabel { term: 1, index, first_position: index, records: 1, kind: EntryKind::Records };
            (label, Place { length: ((16u64 << 30) / 5) as u32, ..place_of(index) })
        };
        (known.entries, known.vote.term, known.applied, known.commit) = ((1..=6).map(entry).collect(), 1, 6, 6);
        let mut world = Self::led_with(known);
        let configuration = world.member.consensus().unwrap().configuration().clone();
        world.member.forgotten(2);
        world.connect(GONE);
        world.say_raft(GONE, Says::Refused { index: 6, hint: Point::default(), commit: 0 });
        assert_eq!(world.asked, ["pin"]);
        let (last, files) = (Point { index: 1, term: 1 }, vec![("1.seg".to_owned(), bytes)]);
        world.member.pinned(Pinned { id: 9, last, configuration, checkpoint: Vec::new(), files });
        world.ticks(10);
        assert_eq!(world.asked, ["pin", "take 9"]);
        world
    }

    fn connect(&mut self, node: NodeNumber) {
        self.member.connected(node);
        let nodes = (1..=3).map(|number| format!("n{number}")).collect();
        self.say(
            node,
            &Message::Hello(Hello { member: member_of(node), cluster: Some(CLUSTER), nodes, rejoins: false }),
        );
    }

    fn say(&mut self, node: NodeNumber, message: &Message) {
        self.member.received(node, message.encode());
        self.settle();
    }

    fn say_raft(&mut self, node: NodeNumber, says: Says) {
        let term = self.member.consensus().unwrap().term();
        self.say(node, &Message::Raft(RaftMessage { from: member_of(node), to: id(1), term, says }, None));
    }

    /// The next batch of the loop, of so many bytes.
    fn publish(&mut self, bytes: usize) {
        let Role::Lead { term, .. } = self.member.role() else { unreachable!("it leads") };
        let options = LogOptions { sync_policy: SyncPolicy::Replicated, ..LogOptions::default() };
        let mut store = LogStore::new(options, LogPosition(self.member.consensus().unwrap().last_position()));
        store.purged(DurableQueueId(1), 1);
        let mut batch = store.take_batch(0).unwrap();
        let length = batch.buffer.len().max(bytes);
        batch.buffer.resize(length, 0);
        self.member.propose(term, batch);
        self.settle();
    }

    fn last(&self) -> u64 {
        self.member.consensus().unwrap().ledger().last().index
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
                    let places: Vec<_> =
                        append.entries.iter().map(|entry| (entry.label.index, place_of(entry.label.index))).collect();
                    self.member.persisted(append.number, &places);
                }
                Output::Send { to, parts, .. } => self.answer(to, &parts),
                Output::Pin { .. } => self.asked.push("pin".to_owned()),
                Output::Unpin(id) => self.asked.push(format!("unpin {id}")),
                _ => {}
            }
        }
    }

    /// Who was gone only says that it is alive.
    fn answer(&mut self, to: NodeNumber, parts: &[Part]) {
        let bytes = parts.iter().flat_map(|part| match part {
            Part::Bytes(bytes) => bytes.clone(),
            Part::Body(body) => body.bytes().to_vec(),
            // Whoever agrees to everything gets what is in memory.
            Part::Stored(_) | Part::File { .. } => Vec::new(),
        });
        let message = match Message::decode(bytes.collect()) {
            Some(Message::Raft(message, _)) => message,
            Some(Message::Offer(offer)) => return self.asked.push(format!("take {}", offer.snapshot)),
            Some(Message::Chunk(chunk)) => return self.chunk_bytes += chunk.bytes.len(),
            _ => return,
        };
        let says = match message.says {
            Says::Heartbeat { commit } => Says::Alive { commit },
            Says::Campaign => return self.asked.push(format!("node {} is to lead", to.0)),
            _ if to == GONE || self.other_lacks_entries => return,
            Says::Vote { only_asks, .. } => {
                Says::Voted { only_asked: only_asks, granted: true, commit: Point::default() }
            }
            Says::Append { before, commit, entry } => {
                Says::Appended { index: before.index + u64::from(entry.is_some()), commit }
            }
            _ => return,
        };
        let answer = RaftMessage { from: member_of(to), to: id(1), term: message.term, says };
        self.member.received(to, Message::Raft(answer, None).encode());
    }
}

/// Both waited for the end of a hand-over that came to nothing.
#[test]
fn a_change_of_members_follows_the_batch_that_was_held_back() {
    let mut world = World::led();
    world.member.hand_over(Some(OTHER));
    world.publish(0);
    assert!(world.member.forget(GONE));
    world.settle();
    assert_eq!(world.written.len(), 1, "nothing but the term's own entry");
    world.ticks(40);
    let positions: Vec<_> = world.written.iter().map(|label| (label.first_position, label.records)).collect();
    assert_eq!(positions, [(1, 0), (1, 1), (2, 0)]);
}

/// Who has just connected has yet to say who he is.
#[test]
fn an_order_to_give_the_lead_away_waits_for_who_is_named() {
    let mut world = World::led();
    let heir = |world: &World| world.member.consensus().expect("it leads").heir();
    world.member.connected(GONE);
    world.member.hand_over(Some(GONE));
    world.ticks(4);
    assert_eq!(heir(&world), None, "and nobody else gets it");
    world.connect(GONE);
    world.ticks(1);
    assert_eq!(heir(&world), Some(member_of(GONE)));
}

#[test]
fn an_order_waits_for_the_end_of_a_hand_over_to_somebody_else() {
    let mut world = World::led();
    world.connect(GONE);
    world.member.hand_over(Some(OTHER));
    world.member.hand_over(Some(GONE));
    assert_eq!(world.member.consensus().expect("it leads").heir(), Some(member_of(OTHER)));
    world.ticks(12);
    assert_eq!(world.member.consensus().expect("it leads").heir(), Some(member_of(GONE)), "it came to nothing");
}

/// His turn to stand for election comes before the next sign of life may.
#[test]
fn who_connects_hears_at_once_who_leads() {
    let mut world = World::led();
    world.connect(GONE);
    assert!(world.member.consensus().expect("it leads").reach(member_of(GONE)).is_some_and(|reach| reach.is_active));
}

/// Two in maintenance would give it to each other for ever.
#[test]
fn who_is_in_maintenance_gives_the_lead_to_nobody_who_is_as_well_unless_it_stops() {
    let mut world = World::led();
    let is_handing_over = |world: &World| world.member.consensus().expect("it leads").is_handing_over();
    let drained = Condition { is_drained: true, ..Condition::default() };
    world.member.received(OTHER, Message::Condition(drained).encode());
    assert_eq!((world.member.condition_of(OTHER), world.member.condition_of(GONE)), (Some(drained), None));
    world.member.set_condition(drained);
    world.member.hand_over(None);
    assert!(!is_handing_over(&world));
    world.member.stop();
    assert!(is_handing_over(&world));
    world.member.disconnected(OTHER);
    assert_eq!(world.member.condition_of(OTHER), None, "nothing is known of who is gone");
}

/// Nothing is published while who is far behind is sent what it lacks.
#[test]
fn who_is_far_behind_is_given_the_lead_last() {
    let drained = Condition { is_drained: true, ..Condition::default() };
    let world = || {
        let mut world = World::led();
        world.connect(GONE);
        world.ticks(10);
        world.say(OTHER, &Message::Condition(drained));
        (0..100).for_each(|_| world.publish(0));
        let reach = |node| world.member.consensus().unwrap().reach(member_of(node)).unwrap();
        assert!(reach(GONE).is_active && reach(OTHER).matched > reach(GONE).matched + 64);
        world
    };
    let mut stops = world();
    stops.member.stop();
    stops.settle();
    assert_eq!(stops.asked, ["node 1 is to lead"], "it has everything, and the other one has nothing");
    let mut stays = world();
    stays.member.hand_over(None);
    stays.settle();
    assert!(stays.asked.is_empty(), "who serves nobody is not asked as long as this node can go on");
    stays.member.hand_over(Some(OTHER));
    stays.ticks(40);
    assert_eq!(stays.asked, ["node 1 is to lead"], "but by an operator who knows");
}

/// To its clients it does no harm.
#[test]
fn who_cannot_read_its_log_back_leads_until_another_one_serves_and_has_everything() {
    let mut world = World::led();
    (0..100).for_each(|_| world.publish(0));
    world.connect(GONE);
    world.ticks(10);
    let condition = |is_drained| Message::Condition(Condition { is_drained, ..Condition::default() });
    world.say(OTHER, &condition(true));
    let lost = Part::Stored(place_of(2));
    for _ in 0..2 {
        world.member.could_not_read(GONE, &lost, Unread::NotThere);
        world.ticks(1_000 / TICK_MS);
    }
    for _ in 0..100 {
        world.ticks(1);
        assert!(world.member.consensus().unwrap().may_propose(), "publishers go on");
    }
    world.say(OTHER, &condition(false));
    world.ticks(1_000 / TICK_MS);
    assert!(world.asked.iter().any(|asked| asked == "node 1 is to lead"), "{:?}", world.asked);
}

/// Its vote may be needed, and its clients are to find somebody.
#[test]
fn who_stops_stays_until_another_leads() {
    let mut world = World::led();
    let term = world.member.consensus().expect("it leads").term() + 1;
    world.member.stop();
    let has_stopped = |world: &mut World| {
        let mut outputs = std::iter::from_fn(|| world.member.take_output());
        outputs.any(|output| matches!(output, Output::Stopped))
    };
    assert!(!has_stopped(&mut world));
    let last = world.member.consensus().expect("it leads").ledger().last();
    let say = |world: &mut World, says| {
        let message = RaftMessage { from: id(2), to: id(1), term, says };
        world.member.received(OTHER, Message::Raft(message, None).encode());
    };
    say(&mut world, Says::Vote { only_asks: false, transfers: true, last, commit: last });
    assert_eq!(world.member.role(), Role::Follow { leader: None });
    assert!(!has_stopped(&mut world));
    say(&mut world, Says::Heartbeat { commit: 0 });
    assert!(has_stopped(&mut world));
}

/// What was published while it travelled is more than is kept for everybody, so it stays for whoever got it.
#[test]
fn a_snapshot_stays_until_who_got_it_has_what_came_after_it() {
    let (mut world, last) = World::with_snapshot(b"state", Vec::new());
    world.say(GONE, &Message::Wanted(Wanted { snapshot: 9, at: 5 }));
    (0..20).for_each(|_| world.publish(4 << 20));
    let (seconds, end) = (|seconds: u64| 1000 * seconds / TICK_MS, world.last());
    world.ticks(seconds(20));
    world.say_raft(GONE, Says::Appended { index: last.index + 1, commit: last.index });
    world.ticks(seconds(20));
    assert_eq!(world.asked, ["pin", "take 9"], "more than 64 MiB are to come");
    world.say_raft(GONE, Says::Appended { index: end - 10, commit: last.index });
    world.ticks(seconds(4));
    assert_eq!(world.asked, ["pin", "take 9"], "it may need it again");
    world.ticks(seconds(2));
    assert_eq!(world.asked, ["pin", "take 9", "unpin 9"]);
}

/// It holds up segments of the disk.
#[test]
fn a_snapshot_is_given_up_when_more_came_after_it_than_is_in_it() {
    let mut world = World::with_much_after_snapshot(1 << 20);
    world.publish(0);
    world.ticks(2_000 / TICK_MS);
    assert_eq!(world.asked[2..], ["unpin 9", "pin"], "another one is begun");
    let mut world = World::with_much_after_snapshot(17 << 30);
    world.publish(0);
    world.ticks(4);
    assert_eq!(world.asked, ["pin", "take 9"], "that has more itself");
}

#[test]
fn a_snapshot_is_given_up_on_a_disk_without_room_and_begun_anew_when_there_is_some() {
    let (mut world, _) = World::with_snapshot(b"state", Vec::new());
    world.say(GONE, &Message::Wanted(Wanted { snapshot: 9, at: 5 }));
    world.member.set_condition(Condition { is_disk_low: true, ..Condition::default() });
    world.ticks(10_000 / TICK_MS);
    world.say_raft(GONE, Says::Refused { index: 2, hint: Point::default(), commit: 0 });
    world.ticks(10_000 / TICK_MS);
    assert_eq!(world.asked, ["pin", "take 9", "unpin 9"], "nobody else gets one meanwhile");
    world.member.set_condition(Condition::default());
    world.ticks(1_000 / TICK_MS);
    assert_eq!(world.asked, ["pin", "take 9", "unpin 9", "pin"]);
}

/// All of it was sent, and whoever gets it reads it through, for minutes.
#[test]
fn a_snapshot_that_is_being_read_through_is_neither_sent_again_nor_given_up() {
    let (mut world, _) = World::with_snapshot(b"state", Vec::new());
    world.chunk_bytes = 0;
    world.say(GONE, &Message::Wanted(Wanted { snapshot: 9, at: 0 }));
    assert_eq!(world.chunk_bytes, 5);
    for _ in 0..300 {
        world.ticks(1_000 / TICK_MS);
        world.say(GONE, &Message::Wanted(Wanted { snapshot: 9, at: 4 }));
    }
    let others: Vec<_> = world.asked.iter().filter(|asked| *asked != "take 9").collect();
    assert_eq!(others, ["pin"], "it stays");
    assert!(world.asked.len() <= 303, "it is offered each second");
    assert!(world.chunk_bytes <= 5 + 300, "what is said again is the last byte: {} bytes", world.chunk_bytes);
    assert!(world.member.consensus().unwrap().reach(member_of(GONE)).unwrap().needs_snapshot);
    world.say(GONE, &Message::Wanted(Wanted { snapshot: 9, at: 5 }));
    assert!(!world.member.consensus().unwrap().reach(member_of(GONE)).unwrap().needs_snapshot);
}

/// It says that it is alive, and takes nothing.
#[test]
fn a_snapshot_goes_when_who_got_it_makes_nothing_of_it() {
    let (mut world, _) = World::with_snapshot(&[1], Vec::new());
    world.say(GONE, &Message::Wanted(Wanted { snapshot: 9, at: 1 }));
    world.ticks(40_000 / TICK_MS);
    assert_eq!(world.asked, ["pin", "take 9", "unpin 9"]);
}

/// Segments are freed while messages that name them wait, and the log hears of it a moment later.
#[test]
fn an_entry_that_cannot_be_read_back_is_given_to_nobody_and_another_node_leads() {
    let mut world = World::led();
    (0..4).for_each(|_| world.publish(0));
    world.connect(GONE);
    let before = |world: &World| world.member.consensus().unwrap().ledger().before().index;
    let (freed, lost) = (Part::Stored(Place { segment: 0, ..place_of(2) }), Part::Stored(place_of(2)));
    for _ in 0..2 {
        world.member.could_not_read(GONE, &freed, Unread::NotThere);
        world.ticks(2_000 / TICK_MS);
    }
    world.member.could_not_read(GONE, &lost, Unread::NotThere);
    world.ticks(900 / TICK_MS);
    world.member.could_not_read(GONE, &lost, Unread::NotThere);
    assert_eq!((before(&world), &world.asked[..]), (0, &[][..]));
    world.ticks(100 / TICK_MS);
    world.member.could_not_read(GONE, &lost, Unread::NotThere);
    assert_eq!(before(&world), 2, "a snapshot is what is left");
    world.ticks(1_000 / TICK_MS);
    let has_asked = |what: &str| world.asked.iter().any(|asked| asked == what);
    assert!(has_asked("pin") && has_asked("node 1 is to lead"), "{:?}", world.asked);
}

#[test]
fn who_cannot_read_back_what_is_not_committed_leads_no_more() {
    let mut world = World::led();
    world.publish(0);
    world.other_lacks_entries = true;
    world.publish(0);
    let lost = Part::Stored(place_of(world.last()));
    world.member.could_not_read(OTHER, &lost, Unread::Refused);
    world.ticks(1_000 / TICK_MS);
    assert!(matches!(world.member.role(), Role::Lead { .. }));
    world.member.could_not_read(OTHER, &lost, Unread::Refused);
    world.ticks(10_000 / TICK_MS);
    assert_eq!(world.member.role(), Role::Follow { leader: None }, "nor does it want to");
}

#[test]
fn a_pinned_file_that_cannot_be_read_has_another_node_lead() {
    let (mut world, _) = World::with_snapshot(&[1], vec![("1.seg".to_owned(), 7)]);
    let part = |name: &str| Part::File { name: name.to_owned(), offset: 0, length: 7 };
    world.member.could_not_read(GONE, &part("0.seg"), Unread::NotThere);
    world.ticks(1_000 / TICK_MS);
    assert!(!world.asked.iter().any(|asked| asked.ends_with("is to lead")), "that is of one before: {:?}", world.asked);
    world.member.could_not_read(GONE, &part("1.seg"), Unread::NotThere);
    world.ticks(1_000 / TICK_MS);
    assert!(world.asked.iter().any(|asked| asked == "node 1 is to lead"), "{:?}", world.asked);
}

impl World {
    /// Whether it was noticed that the log is damaged, which another node is to lead on account of.
    fn gives_the_lead_away(&mut self) -> bool {
        self.ticks(1_000 / TICK_MS);
        self.asked.iter().any(|asked| asked == "node 1 is to lead")
    }
}

/// That it has no descriptors left says nothing of the log, however long it lasts.
#[test]
fn a_system_that_is_short_of_something_damages_no_log() {
    let (mut world, _) = World::with_snapshot(&[1], vec![("1.seg".to_owned(), 7)]);
    world.publish(0);
    let file = Part::File { name: "1.seg".to_owned(), offset: 0, length: 7 };
    for part in [&file, &Part::Stored(place_of(world.last()))] {
        for _ in 0..60 {
            world.member.could_not_read(GONE, part, Unread::NotNow);
            assert!(!world.gives_the_lead_away(), "{part:?}");
        }
    }
    assert!(
        world.asked.iter().filter(|asked| *asked == "take 9").count() > 30,
        "it is offered again: {:?}",
        world.asked
    );
}

#[test]
fn what_a_disk_refuses_is_damaged_when_it_refuses_it_again_and_again() {
    for is_file in [true, false] {
        let (mut world, _) = World::with_snapshot(&[1], vec![("1.seg".to_owned(), 7)]);
        world.publish(0);
        let file = Part::File { name: "1.seg".to_owned(), offset: 0, length: 7 };
        let part = if is_file { file } else { Part::Stored(place_of(world.last())) };
        let next = Part::File { name: "1.seg".to_owned(), offset: 7, length: 1 };
        let fails = |world: &mut World| {
            // Of a file some pieces are sent before anything is heard.
            world.member.could_not_read(GONE, &part, Unread::Refused);
            world.member.could_not_read(GONE, &next, Unread::Refused);
            world.gives_the_lead_away()
        };
        assert!(!fails(&mut world), "once, and for a second it wasn't asked for");
        world.member.could_read(GONE, &part);
        assert!(!fails(&mut world), "it was read meanwhile");
        world.ticks(60_000 / TICK_MS);
        assert!(!fails(&mut world), "a minute ago it failed, too, and nobody asked since");
        assert!(fails(&mut world), "{part:?}: a second ago, and again");
    }
}

#[test]
fn who_forgot_what_it_said_it_had_is_told() {
    let mut world = World::led();
    let consensus = world.member.consensus().unwrap();
    let (term, had) = (consensus.term(), consensus.reach(id(2)).unwrap().matched);
    assert!(had > 0);
    let mut refuses = |index, hint| {
        let says = Says::Refused { index, hint: Point { index: hint, term: 0 }, commit: 0 };
        let refusal = RaftMessage { from: id(2), to: id(1), term, says };
        world.member.received(OTHER, Message::Raft(refusal, None).encode());
        std::iter::from_fn(|| world.member.take_output()).find_map(|output| match output {
            Output::Send { parts, .. } => match &parts[..] {
                [Part::Bytes(bytes)] => {
                    Message::decode(bytes.clone()).filter(|said| matches!(said, Message::Missed(_)))
                }
                _ => None,
            },
            _ => None,
        })
    };
    assert_eq!(refuses(had + 1, had), None, "it has what it said");
    assert_eq!(refuses(had, had - 1), Some(Message::Missed(Missed { member: id(2), term, said: had })));
}

#[test]
fn who_leads_alone_is_believed_that_something_was_forgotten() {
    let mut world = World::led();
    let term = world.member.consensus().unwrap().term() + 1;
    let last = world.member.consensus().unwrap().ledger().last().index;
    let forgets = |world: &mut World, missed| {
        world.member.received(OTHER, Message::Missed(missed).encode());
        let outputs: Vec<_> = std::iter::from_fn(|| world.member.take_output()).collect();
        outputs.iter().any(|output| matches!(output, Output::Forgot { said } if *said == last + 1))
    };
    let missed = Missed { member: id(1), term, said: last + 1 };
    assert!(!forgets(&mut world, missed), "this node leads");
    let beat = RaftMessage { from: id(2), to: id(1), term, says: Says::Heartbeat { commit: 0 } };
    world.member.received(OTHER, Message::Raft(beat, None).encode());
    world.settle();
    assert!(
        !forgets(&mut world, Missed { term: term - 1, ..missed })
            && !forgets(&mut world, Missed { member: id(3), ..missed })
    );
    assert!(!forgets(&mut world, Missed { said: last, ..missed }), "it has that");
    assert!(forgets(&mut world, missed));
}
