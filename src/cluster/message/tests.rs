//! What is said survives being written and read, and what nobody says is not read.

use super::*;
use proptest::prelude::*;

fn id(number: u64) -> MemberId {
    MemberId(NonZeroU64::new(number).unwrap())
}

fn configuration() -> Configuration {
    let nodes = ["n1", "n2", "n3"].map(str::to_owned);
    Configuration::founding(ClusterId([7; 16]), (1..).map(id).zip(nodes)).unwrap()
}

fn raft(says: Says) -> Message {
    Message::Raft(RaftMessage { from: id(1), to: id(u64::MAX), term: 9, says }, None)
}

fn with_entry(kind: EntryKind, body: &[u8]) -> Message {
    let before = Point { index: 16, term: 8 };
    let entry = EntryLabel { term: 9, index: 17, first_position: 100, records: 3, kind };
    let says = Says::Append { before, commit: 15, entry: Some(entry) };
    Message::Raft(RaftMessage { from: id(1), to: id(2), term: 9, says }, Some(EntryBody::copied(body)))
}

fn one_of_each() -> Vec<Message> {
    let (last, commit) = (Point { index: 4, term: 3 }, Point { index: 2, term: 1 });
    let nodes = ["n1", "n2"].map(str::to_owned).to_vec();
    let files = vec![("0000000000000001.seg".to_owned(), 5), ("0000000000000007.checkpoint".to_owned(), 1 << 40)];
    vec![
        Message::Hello(Hello { member: id(5), cluster: None, nodes: nodes.clone(), rejoins: true }),
        Message::Hello(Hello { member: id(5), cluster: Some(ClusterId([1; 16])), nodes, rejoins: false }),
        Message::Founding(configuration()),
        Message::Condition(Condition::default()),
        Message::Condition(Condition { is_drained: true, is_memory_low: true, ..Condition::default() }),
        Message::Condition(Condition { is_disk_low: true, serves: true, ..Condition::default() }),
        raft(Says::Vote { only_asks: true, transfers: false, last, commit }),
        raft(Says::Vote { only_asks: false, transfers: true, last, commit }),
        raft(Says::Voted { only_asked: true, granted: false, commit }),
        raft(Says::Voted { only_asked: false, granted: true, commit }),
        raft(Says::Append { before: last, commit: 3, entry: None }),
        with_entry(EntryKind::Records, b"records"),
        with_entry(EntryKind::Records, b""),
        with_entry(EntryKind::Configuration, b"who they are"),
        raft(Says::Appended { index: 5, commit: 4 }),
        raft(Says::Refused { index: 5, hint: last, commit: 4 }),
        raft(Says::Heartbeat { commit: 4 }),
        raft(Says::Alive { commit: 4 }),
        raft(Says::Campaign),
        Message::Offer(Offer { snapshot: 1, term: 9, last, configuration: configuration(), files }),
        Message::Wanted(Wanted { snapshot: 1, at: 77 }),
        Message::Chunk(Chunk { snapshot: 1, at: 1 << 33, bytes: b"some of it".to_vec() }),
        Message::Missed(Missed { member: id(5), term: 9, said: 300 }),
    ]
}

#[test]
fn messages_come_back() {
    for message in one_of_each() {
        let bytes = message.encode();
        let read = Message::decode(bytes.clone()).unwrap_or_else(|| panic!("{message:?} is refused"));
        // Bodies are the same by their bytes, and not by what stands before them.
        assert_eq!(read.encode(), bytes, "{message:?}");
        assert_eq!(std::mem::discriminant(&read), std::mem::discriminant(&message));
    }
}

#[test]
fn what_was_received_is_the_body() {
    let bytes = with_entry(EntryKind::Records, b"not copied").encode();
    let at = bytes.as_ptr() as usize + BATCH_HEADER_BYTES;
    let Some(Message::Raft(_, Some(body))) = Message::decode(bytes) else { unreachable!() };
    assert_eq!(body.bytes().as_ptr() as usize, at);
}

#[test]
fn cuts_are_refused() {
    for message in one_of_each() {
        let bytes = message.encode();
        // What is left of an entry's or a chunk's bytes is another's.
        let (least, is_open) = match &message {
            Message::Raft(_, Some(_)) => (BATCH_HEADER_BYTES, true),
            Message::Chunk(chunk) => (chunk_head(chunk.snapshot, chunk.at).len(), true),
            _ => (bytes.len(), false),
        };
        for length in 0..least {
            assert_eq!(Message::decode(bytes[..length].to_vec()), None, "{message:?} cut at {length}");
        }
        if !is_open {
            assert_eq!(Message::decode([&bytes[..], &[0]].concat()), None, "{message:?} and more");
        }
    }
}

#[test]
fn names_of_files_lead_nowhere_else() {
    for name in ["../log", "/etc", "a/b", ".hidden", "", "a\0b"] {
        assert!(!is_file_name(name), "{name:?}");
    }
    assert!(is_file_name("0000000000000001.seg") && is_file_name("0000000000000001.checkpoint"));
}

#[test]
fn numbers_that_contradict_each_other_are_refused() {
    let before = Point { index: 16, term: 8 };
    let entry = EntryLabel { term: 9, index: 17, first_position: 100, records: 3, kind: EntryKind::Records };
    for entry in [
        EntryLabel { term: 7, ..entry },
        EntryLabel { term: 10, ..entry },
        EntryLabel { first_position: 0, ..entry },
        EntryLabel { first_position: u64::MAX, ..entry },
    ] {
        let says = Says::Append { before, commit: 15, entry: Some(entry) };
        let message = RaftMessage { from: id(1), to: id(2), term: 9, says };
        assert_eq!(Message::decode(message.head()), None, "{entry:?}");
    }
    let head = raft(Says::Heartbeat { commit: 4 }).encode();
    for at in [1, 2, 4, 32, 40, 56, 64] {
        let mut head = head.clone();
        head[at] = 1;
        assert_eq!(Message::decode(head), None, "something where nothing is said, at {at}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Message::decode(bytes);
    }

    #[test]
    fn changed_bytes_are_read_or_refused(which in 0_usize..20, at in 0_usize..200, byte: u8, kind in 0_u8..30) {
        let messages = one_of_each();
        let mut bytes = messages[which % messages.len()].encode();
        let length = bytes.len();
        bytes[at % length] = byte;
        let _ = Message::decode(bytes.clone());
        bytes[0] = kind;
        let _ = Message::decode(bytes);
    }
}
