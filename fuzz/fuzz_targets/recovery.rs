//! Recovery from a log that something happened to: it refuses or it starts, and never panics. Whatever is recovered was
//! written, to the last byte, unless the damage came with checksums of its own; and the start after it finds the same.
//!
//! The input is a script of changes, eight bytes each, to the files of a log that the real code wrote.
#![no_main]

use leveret::storage::{LogWriter, RecoveryMode, recover};
use leveret_fuzz::log::{NODE, Shape, change, messages, options, written};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&shape, script)) = input.split_first() else { return };
    let (disk, known) = written(Shape::of(shape));
    let mut is_forged = false;
    for step in script.chunks_exact(8) {
        is_forged |= change(&disk, step.try_into().expect("chunks of eight"));
    }
    for mode in [RecoveryMode::Strict, RecoveryMode::Salvage] {
        let disk = disk.after_stop();
        let Ok(recovered) = recover(&disk, mode, NODE) else { continue };
        let found = messages(&recovered);
        if !is_forged {
            for (place, image) in &found {
                assert!(known.get(place) == Some(image), "{place:?} was never written like that");
            }
        }
        let Ok(writer) = LogWriter::start(disk.clone(), options(), recovered.resume) else { continue };
        drop(writer);
        let again = recover(&disk, RecoveryMode::Strict, NODE);
        if !is_forged {
            let again = again.expect("what was started can be started again");
            assert!(messages(&again) == found, "the start after it finds the same");
        }
    }
});
