//! Recovery from a log that something happened to: it refuses or it starts, and never panics. Whatever is recovered was
//! written, to the last byte, unless the damage came with checksums of its own; and the start after it finds the same.
//! What is salvaged can be restored, whatever the damage: nothing is of a virtual host or a user that is not there.
//! The messages are loaded before the writer starts, or when it has done all it can: to whoever loads that is the same.
//!
//! The input is an octet for the log's shape and for when to load, then a script of changes, eight bytes each, to the
//! files of a log that the real code wrote.
#![no_main]

use leveret::storage::{LogWriter, Recovered, RecoveryMode, recover};
use leveret_fuzz::log::{IDS, Shape, are_restorable, change, maintain, messages, options, written};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&shape, script)) = input.split_first() else { return };
    let (disk, known) = written(Shape::of(shape));
    let loads_late = shape / 3 % 2 == 1;
    let mut is_forged = false;
    for step in script.chunks_exact(8) {
        is_forged |= change(&disk, step.try_into().expect("chunks of eight"));
    }
    for mode in [RecoveryMode::Strict, RecoveryMode::Salvage] {
        let disk = disk.after_stop();
        let Ok(recovered) = recover(&disk, mode, IDS) else { continue };
        let Recovered { definitions, queues, loader, resume, .. } = recovered;
        if mode == RecoveryMode::Salvage || !is_forged {
            assert!(are_restorable(&definitions), "{definitions:?}");
        }
        let (loader, before) = if loads_late { (loader, None) } else { (None, Some(messages(loader))) };
        // A loader that failed ends the broker.
        if matches!(before, Some(Err(_))) {
            continue;
        }
        let Ok(mut writer) = LogWriter::start(disk.clone(), options(), resume) else { continue };
        if loads_late && maintain(&disk, &mut writer).is_err() {
            continue;
        }
        let Ok(found) = before.unwrap_or_else(|| messages(loader)) else { continue };
        drop(writer);
        if !is_forged {
            let promised: u64 = queues.iter().map(|queue| queue.messages).sum();
            assert_eq!(found.len() as u64, promised, "as many as recovery said");
            for (place, image) in &found {
                assert!(known.get(place) == Some(image), "{place:?} was never written like that");
            }
        }
        let again = recover(&disk, RecoveryMode::Strict, IDS).and_then(|again| messages(again.loader));
        if !is_forged {
            let again = again.expect("what was started can be started again");
            assert!(again == found, "the start after it finds the same");
        }
    }
});
