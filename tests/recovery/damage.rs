//! Segments that lost their end, got another one, or hold a byte that nobody wrote.

use crate::message::{Message, take_all};
use crate::node::{DataFolder, Node, ask};
use std::fs;
use std::path::Path;

const MESSAGES: u32 = 10;
const LENGTH: usize = 1_000;

fn message(number: u32) -> Message {
    Message { publisher: 1, number, length: LENGTH }
}

/// A folder with ten messages, each in a batch of its own, and no broker any more.
fn killed_with_ten_messages() -> DataFolder {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    assert!(ask(&mut client, "queue.declare queue=q durable", "queue.declare-ok"));
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    for number in 1..=MESSAGES {
        client.send_bytes(&message(number).publish("routing_key=q", 2));
        client.expects(&format!("basic.ack(delivery_tag={number}, multiple=false)"));
    }
    node.kill();
    folder
}

fn numbers(node: &Node) -> Vec<u32> {
    take_all(&mut node.client(), "q").iter().map(|delivery| delivery.message.number).collect()
}

/// Where a message's body lies in a segment.
fn place_of(segment: &[u8], number: u32) -> usize {
    let body = message(number).body();
    segment.windows(LENGTH).position(|window| window == body).expect("the message's body")
}

/// Where the zeros begin that were preallocated and never written.
fn end_of_data(segment: &[u8]) -> usize {
    segment.iter().rposition(|byte| *byte != 0).expect("data") + 1
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a segment");
    change(&mut bytes);
    fs::write(path, bytes).expect("a segment");
}

#[test]
fn a_torn_tail_is_cut_off() {
    let folder = killed_with_ten_messages();
    change(&folder.newest_segment(), |bytes| bytes.truncate(end_of_data(bytes) - 3));
    let node = folder.start();
    assert_eq!(numbers(&node), (1..MESSAGES).collect::<Vec<_>>());
    // The log goes on behind the cut.
    node.kill();
    assert_eq!(numbers(&folder.start()), (1..MESSAGES).collect::<Vec<_>>());
}

#[test]
fn a_last_batch_of_which_a_byte_never_arrived_is_cut_off() {
    let folder = killed_with_ten_messages();
    change(&folder.newest_segment(), |bytes| {
        let at = place_of(bytes, MESSAGES);
        bytes[at..at + 100].fill(0);
    });
    assert_eq!(numbers(&folder.start()), (1..MESSAGES).collect::<Vec<_>>());
}

#[test]
fn garbage_behind_the_end_is_no_damage() {
    let folder = killed_with_ten_messages();
    change(&folder.newest_segment(), |bytes| {
        // The last record may itself end in a few zeros.
        bytes.truncate(end_of_data(bytes) + 8);
        bytes.extend(message(99).body());
        bytes.extend(b"LvBt and more that looks like something");
    });
    let node = folder.start();
    assert_eq!(numbers(&node), (1..=MESSAGES).collect::<Vec<_>>());
    node.kill();
    assert_eq!(numbers(&folder.start()), (1..=MESSAGES).collect::<Vec<_>>());
}

#[test]
fn a_flipped_byte_is_refused_by_name_and_salvage_keeps_the_rest() {
    let folder = killed_with_ten_messages();
    let segment = folder.newest_segment();
    let mut flipped_at = 0;
    change(&segment, |bytes| {
        flipped_at = place_of(bytes, 4) + LENGTH / 2;
        bytes[flipped_at] ^= 0x10;
    });
    let damaged = fs::read(&segment).expect("a segment");
    for _ in 0..2 {
        let refusal = folder.refusal();
        assert_eq!(refusal.code, Some(1));
        let file = format!("log/{}", segment.file_name().expect("a name").display());
        let (_, rest) =
            refusal.text.split_once(&format!("leveret: {file} is damaged at byte ")).expect("file and byte");
        let (offset, rest) = rest.split_once(':').expect("a reason");
        let offset: usize = offset.parse().expect("a number");
        assert!(offset < flipped_at && flipped_at < offset + 2 * LENGTH, "byte {flipped_at} was flipped: {offset}");
        assert!(rest.contains("Start with --salvage to keep what is whole"), "{rest}");
        assert!(fs::read(&segment).expect("a segment") == damaged, "a refusal changes nothing");
    }

    let whole: Vec<_> = (1..=MESSAGES).filter(|number| *number != 4).collect();
    let node = folder.start_with(&["--salvage"]);
    assert!(node.said.contains("is damaged at byte"), "{}", node.said);
    assert_eq!(numbers(&node), whole);
    node.kill();
    let node = folder.start();
    assert_eq!(numbers(&node), whole, "what was salvaged needs no second time");
}

/// What a start after the kill made a checkpoint of cannot go missing unnoticed.
fn started_again_and_killed() -> (DataFolder, std::path::PathBuf) {
    let folder = killed_with_ten_messages();
    let segment = folder.newest_segment();
    folder.start().kill();
    (folder, segment)
}

#[track_caller]
fn is_refused_and_salvaged_empty(folder: &DataFolder, expected: &str) {
    let refusal = folder.refusal();
    assert_eq!(refusal.code, Some(1));
    assert!(refusal.text.contains(expected), "{}", refusal.text);
    let node = folder.start_with(&["--salvage"]);
    assert!(node.said.contains("10 messages of queue 1 are lost"), "{}", node.said);
    assert_eq!(numbers(&node), Vec::<u32>::new());
    node.kill();
    assert_eq!(numbers(&folder.start()), Vec::<u32>::new(), "what was salvaged needs no second time");
}

#[test]
fn a_missing_segment_is_refused_by_name() {
    let (folder, segment) = started_again_and_killed();
    fs::remove_file(&segment).expect("a segment");
    let name = segment.file_name().expect("a name").display();
    is_refused_and_salvaged_empty(
        &folder,
        &format!("leveret: log/{name} is damaged at byte 0: the segment is missing"),
    );
}

#[test]
fn a_segment_whose_header_is_damaged_is_refused_by_name_and_salvaged_by_its_batches() {
    let (folder, segment) = started_again_and_killed();
    change(&segment, |bytes| bytes[..20].fill(0));
    let refusal = folder.refusal();
    let name = segment.file_name().expect("a name").display();
    let expected = format!("leveret: log/{name} is damaged at byte 0: the segment's header is damaged");
    assert!(refusal.code == Some(1) && refusal.text.contains(&expected), "{}", refusal.text);
    let node = folder.start_with(&["--salvage"]);
    assert!(node.said.contains("is damaged at byte 0"), "{}", node.said);
    assert_eq!(numbers(&node), (1..=MESSAGES).collect::<Vec<_>>());
    node.kill();
    assert_eq!(numbers(&folder.start()), (1..=MESSAGES).collect::<Vec<_>>(), "what was salvaged needs no second time");
}

#[test]
fn a_zeroed_segment_is_refused_by_name() {
    let (folder, segment) = started_again_and_killed();
    change(&segment, |bytes| bytes.fill(0));
    let name = segment.file_name().expect("a name").display();
    is_refused_and_salvaged_empty(&folder, &format!("leveret: log/{name} is damaged at byte 0: the segment's header"));
}
