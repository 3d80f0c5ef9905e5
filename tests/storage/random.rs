//! Long runs by seed: hundreds of operations, crashes and clean stops in between.

use crate::harness::{Log, Model, small};
use crate::sim_disk::{Fault, SimDisk};
use leveret::broker::store::Log as _;
use leveret::storage::{LogOptions, RecoveryMode, SyncPolicy};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

const SEEDS: u64 = 150;
const LIVES: usize = 6;
const STEPS_OF_A_LIFE: u32 = 150;

fn options(random: &mut ChaCha8Rng) -> LogOptions {
    let segment_bytes = [1024, 2048, 8192][random.next_u32() as usize % 3];
    LogOptions {
        sync_policy: [SyncPolicy::Always, SyncPolicy::Always, SyncPolicy::Interval][random.next_u32() as usize % 3],
        segment_bytes,
        checkpoint_interval_bytes: [2, 4, 16][random.next_u32() as usize % 3] * segment_bytes,
        free_segments_max: [0, 2, 8][random.next_u32() as usize % 3],
        zero_ahead_bytes: [0, 300, 4096][random.next_u32() as usize % 3],
        ..small()
    }
}

fn step(log: &mut Log, model: &mut Model, random: &mut ChaCha8Rng) {
    let queues: Vec<u64> = model.queues.keys().copied().filter(|number| !model.deleted.contains_key(number)).collect();
    let chance = random.next_u32() % 100;
    let Some(&one) = queues.get(random.next_u32() as usize % queues.len().max(1)) else {
        let fresh = log.writer.state().max_queue_id.max(model.queues.keys().last().copied().unwrap_or(0)) + 1;
        return model.declare(log, fresh);
    };
    match chance {
        0..30 => {
            let length = [5, 30, 200, 3000][random.next_u32() as usize % 4];
            let position = model.enqueue(log, &[one], length);
            if random.next_u32().is_multiple_of(2) {
                log.store.awaited(position);
            }
        }
        30..38 => _ = model.enqueue(log, &queues, 40),
        38..44 => {
            let next = model.next_sequence.get(&one).copied().unwrap_or(0);
            model.give_back(log, one, random.next_u64() % (next + 1), chance < 41);
        }
        44..60 => {
            if let Some(sequence) = model.oldest(one) {
                model.remove(log, one, sequence);
            }
        }
        60..66 => {
            let next = model.next_sequence.get(&one).copied().unwrap_or(0);
            model.remove(log, one, random.next_u64() % (next + 1));
        }
        66..67 => model.purge(log, one),
        67..69 if queues.len() < 4 => {
            let fresh = model.queues.keys().last().copied().unwrap_or(0) + 1;
            model.declare(log, fresh);
        }
        69..70 => model.delete(log, one),
        70..72 => log.do_chores(),
        72..75 => log.now_ms += 70,
        75..78 => log.maintain(5),
        _ => log.flush(),
    }
    // Under the relaxed policy written is not synced: nothing is promised.
    if log.store.durable() <= log.writer.synced() {
        model.note_durable(log);
    }
}

fn live(seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let options = options(&mut random);
    let mut disk = SimDisk::default();
    let mut model = Model::default();
    let mut clean = false;
    for _ in 0..LIVES {
        if random.next_u32().is_multiple_of(3) {
            disk.fail_at(random.next_u64() % 200, Fault::Crash);
        }
        let opened = Log::open(&disk, options.clone(), RecoveryMode::Strict);
        let (mut log, found) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                assert!(error.to_string().contains("the power"), "seed {seed}: {error}");
                disk = disk.after_crash(random.next_u64());
                // What the failed start found was not told to anybody.
                clean = false;
                let (log, found) = Log::open(&disk, options.clone(), RecoveryMode::Strict).unwrap();
                (log, found)
            }
        };
        let was_clean = clean || found.clean;
        model.check(&found, was_clean);
        log.delays_chores = random.next_u32().is_multiple_of(2);
        for _ in 0..random.next_u32() % STEPS_OF_A_LIFE {
            if log.failed {
                break;
            }
            step(&mut log, &mut model, &mut random);
        }
        let disk_then = log.disk.clone();
        clean = !log.failed && random.next_u32().is_multiple_of(4);
        if clean {
            disk = log.stop();
            clean = !disk_then.has_crashed();
            if !clean {
                disk = disk_then.after_crash(random.next_u64());
            }
        } else {
            disk = disk_then.after_crash(random.next_u64());
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

/// The seed that is asked for, or as many as are asked for, or `usual` ones.
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    match number("LEVERET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LEVERET_SEEDS").unwrap_or(usual),
    }
}

#[test]
fn random_lives_keep_every_promise() {
    for seed in seeds(SEEDS) {
        let run = std::panic::catch_unwind(|| live(seed));
        if let Err(panic) = run {
            eprintln!("replay with LEVERET_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
