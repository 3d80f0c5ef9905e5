//! A full disk, a broken one, and one that cannot sync, under the program itself: it says so and ends, nothing is
//! confirmed afterwards, and a restart finds everything that was confirmed before. And scratch files that do not give
//! back what was written to them: the log is none the worse for that.

use crate::ledger::Ledger;
use crate::message::{Message, next_delivery, take_all};
use crate::node::{DataFolder, Node, PATIENCE, ask, depth};
use crate::refusing::{Refusal, UNLUCKY_DESCRIPTOR};
use crate::support::client::{Client, Event};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;

const LENGTH: usize = 20_000;
/// Messages that must be confirmed before anything goes wrong.
const CONFIRMED_BEFORE: u32 = 5;
/// More than a segment holds, in messages of [`LENGTH`].
const MESSAGES_MAX: u32 = 5_000;
const WINDOW: u32 = 20;

fn declare(node: &Node) -> Client {
    let mut client = node.client();
    assert!(ask(&mut client, "queue.declare queue=q durable", "queue.declare-ok"));
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    client
}

/// Publishes until the broker is gone; says how many messages were confirmed.
fn publish_until_it_ends(client: &mut Client, ledger: &mut Ledger, first: u32) -> u32 {
    let mut confirmed = first - 1;
    for number in first..=MESSAGES_MAX {
        let message = Message { publisher: 1, number, length: LENGTH };
        ledger.published("q", message);
        client.send_bytes(&message.publish("routing_key=q", 2));
        if number - first < WINDOW {
            continue;
        }
        match client.next(1, PATIENCE) {
            Event::Method(method) if method.name == "basic.ack" => {
                let last: u32 = method.field("delivery_tag").parse().expect("a number");
                let acknowledged = if method.field("multiple") == "true" { confirmed + 1..=last } else { last..=last };
                acknowledged.for_each(|number| ledger.confirmed(Message { publisher: 1, number, length: LENGTH }));
                confirmed = confirmed.max(last);
            }
            Event::Closed => return confirmed,
            Event::Method(method) => panic!("{} and not a confirm", method.render()),
            _ => panic!("neither a confirm nor an end"),
        }
    }
    panic!("nothing went wrong");
}

/// The broker ended by itself, said why, and a restart without the fault finds what was confirmed.
fn ends_well(folder: &DataFolder, node: Node, mut ledger: Ledger, doing: &str, error: &str) {
    let (status, text) = node.wait();
    assert_eq!(status.code(), Some(1), "{text}");
    let line = text.lines().find(|line| line.contains("the log failed, nothing is durable any more: "));
    let line = line.unwrap_or_else(|| panic!("no word of the log in:\n{text}"));
    assert!(line.contains("ERROR") && line.contains(&format!(": cannot {doing}")) && line.contains(error), "{line}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("leveret: cannot ") && last.contains(error), "{last}");
    assert!(!text.contains("panicked"), "{text}");

    let restarted = folder.start();
    let found = take_all(&mut restarted.client(), "q");
    assert!(found.len() >= CONFIRMED_BEFORE as usize);
    ledger.check("q", &found);
}

#[track_caller]
fn a_write_fails(error: libc::c_int, text: &str) {
    let folder = DataFolder::new();
    let node = folder.start_refusing(Refusal::of_writes_from(400_000, error));
    let mut ledger = Ledger::default();
    let confirmed = publish_until_it_ends(&mut declare(&node), &mut ledger, 1);
    assert!(confirmed >= CONFIRMED_BEFORE, "{confirmed} were confirmed");
    ends_well(&folder, node, ledger, "write ", text);
}

#[test]
fn a_full_disk_ends_the_broker_and_loses_nothing() {
    a_write_fails(libc::ENOSPC, "No space left on device");
}

#[test]
fn a_write_error_ends_the_broker_and_loses_nothing() {
    a_write_fails(libc::EIO, "Input/output error");
}

/// Publishes a few messages that are confirmed, then until the next segment, which is an unlucky file.
#[track_caller]
fn the_next_segment_fails(refusal: Refusal, doing: &str, text: &str) {
    let folder = DataFolder::new();
    let node = folder.start_refusing(refusal);
    let mut client = declare(&node);
    let mut ledger = Ledger::default();
    for number in 1..=CONFIRMED_BEFORE {
        let message = Message { publisher: 1, number, length: LENGTH };
        ledger.published("q", message);
        client.send_bytes(&message.publish("routing_key=q", 2));
        client.expects(&format!("basic.ack(delivery_tag={number}, multiple=false)"));
        ledger.confirmed(message);
    }
    let _descriptors: Vec<Client> = (0..UNLUCKY_DESCRIPTOR).map(|_| node.client()).collect();
    publish_until_it_ends(&mut client, &mut ledger, CONFIRMED_BEFORE + 1);
    ends_well(&folder, node, ledger, doing, text);
}

#[test]
fn a_failed_sync_ends_the_broker_and_loses_nothing() {
    the_next_segment_fails(Refusal::of_syncs(libc::EIO), "prepare log/", "Input/output error");
}

#[test]
fn no_room_for_another_segment_ends_the_broker_and_loses_nothing() {
    the_next_segment_fails(Refusal::of_room(libc::ENOSPC), "begin log/", "No space left on device");
}

/// The first sync of the log fails after a start: not a single confirm comes.
#[test]
fn nothing_is_confirmed_that_was_not_synced() {
    let folder = DataFolder::new();
    // A new folder's first definitions are synced before anybody can take the descriptors that are lucky.
    assert!(folder.start().stop().success());
    let node = folder.start_refusing(Refusal::of_syncs(libc::EIO));
    let mut client = node.client();
    let _descriptors: Vec<Client> = (0..UNLUCKY_DESCRIPTOR).map(|_| node.client()).collect();
    client.send("queue.declare queue=q durable nowait ; confirm.select");
    client.expects("confirm.select-ok");
    client.send("publish routing_key=q delivery_mode=2 body='x'");
    client.expects("<closed>");
    let (status, text) = node.wait();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("nothing is durable any more: cannot sync the log: Input/output error"), "{text}");
    folder.start();
}

/// Files of pages, with their sizes.
fn page_files(folder: &DataFolder) -> Vec<(PathBuf, u64)> {
    let entries = std::fs::read_dir(folder.path().join("paging")).expect("a folder for pages");
    let files = entries.map(|entry| entry.expect("a name"));
    files.map(|file| (file.path(), file.metadata().expect("a size").len())).collect()
}

/// Takes a message out of a queue and acknowledges it.
fn take_one(client: &mut Client, delivery_tag: usize) -> Message {
    client.send("basic.get queue=q");
    let message = next_delivery(client).expect("a running broker").message;
    client.send(&format!("basic.ack delivery_tag={delivery_tag}"));
    message
}

#[test]
fn pages_that_cannot_be_read_back_end_the_broker_in_order_and_nothing_is_lost() {
    const MESSAGES: u32 = 500;
    const TAKEN: usize = 3;
    const PAGED_BYTES: u64 = 4 << 20;
    let folder = DataFolder::new();
    let node = folder.start_with_little_memory();
    let mut client = declare(&node);
    let messages: Vec<_> = (1..=MESSAGES).map(|number| Message { publisher: 1, number, length: LENGTH }).collect();
    messages.iter().for_each(|message| client.send_bytes(&message.publish("routing_key=q", 2)));
    client.expects(&format!("acks {MESSAGES}"));
    for (index, message) in messages[..TAKEN].iter().enumerate() {
        assert_eq!(take_one(&mut client, index + 1), *message);
    }
    assert_eq!(depth(&mut client, "q"), Some(MESSAGES as usize - TAKEN));

    let since = Instant::now();
    while page_files(&folder).iter().map(|(_, bytes)| bytes).sum::<u64>() < PAGED_BYTES {
        assert!(since.elapsed() < PATIENCE, "no pages");
        std::thread::yield_now();
    }
    // Connected before: a page that was asked for already may be the first that can't be read.
    let mut consumer = node.client();
    for (path, bytes) in page_files(&folder) {
        let file = File::options().write(true).open(path).expect("a file of pages");
        file.write_all_at(&vec![0x55; bytes as usize], 0).expect("a file of pages");
    }
    consumer.send("basic.consume queue=q");
    while !matches!(consumer.next(1, PATIENCE), Event::Closed) {}
    let (status, text) = node.wait();
    assert_eq!(status.code(), Some(1), "{text}");
    let line = text.lines().find(|line| line.contains("ERROR")).unwrap_or_else(|| panic!("no word of it in:\n{text}"));
    assert!(line.contains("cannot read a page back from paging/0000000000000000.page, byte "), "{line}");
    assert!(line.contains("The log is not affected"), "{line}");
    assert!(!text.contains("the log failed") && !text.contains("panicked"), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("leveret: cannot read a page back from paging/"), "{last}");

    let node = folder.start();
    assert!(node.said.contains("after an orderly stop"), "{}", node.said);
    let found: Vec<_> = take_all(&mut node.client(), "q").iter().map(|delivery| delivery.message).collect();
    assert!(found == messages[TAKEN..], "{} messages came back", found.len());
}
