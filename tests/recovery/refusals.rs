//! Folders and machines on which the broker must not run, or can do without something, and what it says.

use crate::node::{DataFolder, ask, depth, launch};
use crate::refusing::Refusal;
use crate::stops::publish_confirmed;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[test]
fn a_second_broker_on_the_same_folder_is_refused() {
    let folder = DataFolder::new();
    let first = folder.start();
    assert!(ask(&mut first.client(), "queue.declare queue=q durable", "queue.declare-ok"));
    let second = folder.refusal();
    let expected = format!("leveret: the data folder {} is in use by another broker\n", folder.path().display());
    assert!(second.text.ends_with(&expected), "{}", second.text);
    assert_eq!(second.code, Some(1));
    // The first one did not notice, and its end frees the folder.
    publish_confirmed(&first, 1, "q", 2, 3);
    first.kill();
    assert_eq!(depth(&mut folder.start().client(), "q"), Some(3));
}

#[track_caller]
fn refusal_at(path: &Path) -> String {
    let refusal = launch(path, &[]).err().expect("a refusal");
    assert_eq!(refusal.code, Some(1), "{}", refusal.text);
    refusal.text
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = DataFolder::new();
    std::fs::create_dir_all(folder.path()).expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "a regular file").expect("a temporary file");
    // Below a file nothing can be made, nor below /proc, whoever asks.
    for path in [file.join("data"), file.clone(), "/proc/leveret-data".into()] {
        let text = refusal_at(&path);
        let expected = format!("leveret: cannot make the folder {}", path.display());
        assert!(text.contains(&expected), "{text}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "a regular file");
}

#[test]
fn data_of_a_newer_version_is_refused_and_left_alone() {
    let folder = DataFolder::new();
    let node = folder.start();
    assert!(ask(&mut node.client(), "queue.declare queue=q durable", "queue.declare-ok"));
    assert_eq!(node.stop().code(), Some(0));
    let meta = folder.path().join("META");
    let ours = std::fs::read(&meta).expect("META");
    let mut newer = ours.clone();
    // The format's version stands behind the eight bytes of the magic.
    newer[8] += 1;
    std::fs::write(&meta, &newer).expect("META");
    let refusal = folder.refusal();
    assert_eq!(refusal.code, Some(1));
    let expected =
        "leveret: the data is in format 3, of a newer version of Leveret; this one reads 2: start the newer version";
    assert!(refusal.text.contains(expected), "{}", refusal.text);
    assert_eq!(std::fs::read(&meta).expect("META"), newer);
    std::fs::write(&meta, &ours).expect("META");
    assert_eq!(depth(&mut folder.start().client(), "q"), Some(0));
}

/// What a broker wrote before the first release, after its third start.
const META_OF_FORMAT_1: &[u8; 44] =
    b"LEVERMET\x01\0\0\0\0\0\0\0\x9F\x3C\x5A\x01\x7B\xE2\x4D\x68\xA1\xC4\x0E\x93\x57\x2D\xB8\xF6\
      \x03\0\0\0\0\0\0\0\x22\x01\x29\xDC";

#[test]
fn data_of_the_format_before_the_first_release_is_refused_and_left_alone() {
    let folder = DataFolder::new();
    assert_eq!(folder.start().stop().code(), Some(0));
    let meta = folder.path().join("META");
    std::fs::write(&meta, META_OF_FORMAT_1).expect("META");
    for arguments in [&[][..], &["--salvage"]] {
        let refusal = launch(folder.path(), arguments).err().expect("a refusal");
        assert_eq!(refusal.code, Some(1));
        let expected = "leveret: the data is in format 1, of a version of Leveret before its first release; this one \
                        reads 2: empty the queues with the version that wrote them, and choose another data folder\n";
        assert!(refusal.text.ends_with(expected), "{}", refusal.text);
        assert_eq!(std::fs::read(&meta).expect("META"), META_OF_FORMAT_1);
    }
}

#[test]
fn a_log_without_its_meta_is_not_taken_for_an_empty_folder() {
    let folder = DataFolder::new();
    assert_eq!(folder.start().stop().code(), Some(0));
    std::fs::remove_file(folder.path().join("META")).expect("META");
    let refusal = folder.refusal();
    assert_eq!(refusal.code, Some(1));
    assert!(refusal.text.contains("META is not Leveret's: it is missing although there is a log"), "{}", refusal.text);
}

#[test]
fn a_read_only_folder_is_named() {
    let folder = DataFolder::new();
    assert_eq!(folder.start().stop().code(), Some(0));
    let refusal = folder.launch_refusing(Refusal::of_opening_for_writing(), &[]).err().expect("a refusal");
    assert_eq!(refusal.code, Some(1), "{}", refusal.text);
    let lock = folder.path().join("LOCK");
    let expected = format!("leveret: cannot write to the data folder: open {}: Read-only file system", lock.display());
    assert!(refusal.text.contains(&expected), "{}", refusal.text);
    folder.start();
}

#[test]
fn the_folder_of_another_user_is_refused() {
    let folder = DataFolder::new();
    assert_eq!(folder.start().stop().code(), Some(0));
    let owner = std::fs::metadata(folder.path()).expect("the folder").uid();
    let refusal = folder.launch_refusing(Refusal::of_the_user(), &[]).err().expect("a refusal");
    assert_eq!(refusal.code, Some(1), "{}", refusal.text);
    let expected = format!(
        "leveret: {} is not Leveret's: the folder belongs to user {owner}, and this is user ",
        folder.path().display()
    );
    assert!(refusal.text.contains(&expected), "{}", refusal.text);
    folder.start();
}

#[test]
fn meta_that_is_something_else_or_damaged_is_refused_and_left_alone() {
    let folder = DataFolder::new();
    assert_eq!(folder.start().stop().code(), Some(0));
    let meta = folder.path().join("META");
    let ours = std::fs::read(&meta).expect("META");
    let mut flipped = ours.clone();
    flipped[20] ^= 1;
    for (bytes, expected) in [
        (b"a letter to somebody".to_vec(), "META is not Leveret's: it does not begin as META does"),
        (flipped, "META is damaged at byte 0: its checksum is wrong"),
        (ours[..30].to_vec(), "META is damaged at byte 0: its checksum is wrong"),
        (Vec::new(), "META is not Leveret's"),
    ] {
        std::fs::write(&meta, &bytes).expect("META");
        let refusal = folder.refusal();
        assert_eq!(refusal.code, Some(1));
        assert!(refusal.text.contains(expected), "{}", refusal.text);
        assert_eq!(std::fs::read(&meta).expect("META"), bytes);
    }
    std::fs::write(&meta, &ours).expect("META");
    folder.start();
}

#[test]
fn files_of_others_are_passed_over() {
    let folder = DataFolder::new();
    let node = folder.start();
    assert!(ask(&mut node.client(), "queue.declare queue=q durable", "queue.declare-ok"));
    publish_confirmed(&node, 1, "q", 2, 3);
    node.kill();
    for name in ["notes.txt", "log/notes.txt", "log/old.seg", "checkpoint/lost+found", "checkpoint/1.checkpoint.tmp"] {
        std::fs::write(folder.path().join(name), "not for a broker").expect("a file");
    }
    assert_eq!(depth(&mut folder.start().client(), "q"), Some(3));
    assert_eq!(std::fs::read(folder.path().join("notes.txt")).expect("the file"), b"not for a broker");
}

#[test]
fn a_machine_without_ipv6_is_served_over_ipv4() {
    let folder = DataFolder::new();
    let launch = |listen| folder.launch_refusing(Refusal::of_ipv6(), &["--listen", listen]);
    let node = launch("[::]:0").unwrap_or_else(|refusal| panic!("{}", refusal.text));
    assert!(node.said.contains("not listening at [::]:0: this machine has no IPv6\n"), "{}", node.said);
    assert!(ask(&mut node.client(), "queue.declare queue=q", "queue.declare-ok"));
    drop(node);
    // Who names one of its addresses means that one.
    let refusal = launch("[::1]:0").err().expect("a refusal");
    assert!(
        refusal.text.contains("leveret: can't listen at [::1]:0: Address family not supported"),
        "{}",
        refusal.text
    );
}
