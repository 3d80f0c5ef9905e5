//! Long runs by seed: terms, tails that are cut off, commits, checkpoints and moved records, with crashes in between.

use super::model::{Effect, Model, Node, founded, member, options};
use crate::random::seeds;
use crate::sim_disk::Fault;
use leveret::storage::LogOptions;
use leveret::storage::entry::Vote;
use leveret::storage::replica::ReplicaRequest;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

const SEEDS: u64 = 60;
const LIVES: usize = 5;
const STEPS_OF_A_LIFE: u32 = 200;

fn knobs(random: &mut ChaCha8Rng) -> LogOptions {
    let segment_bytes = [1024, 2048, 4096][random.next_u32() as usize % 3];
    LogOptions {
        segment_bytes,
        checkpoint_interval_bytes: [2, 4, 16][random.next_u32() as usize % 3] * segment_bytes,
        free_segments_max: [0, 2, 8][random.next_u32() as usize % 3],
        kept_for_followers_bytes: [0, 0, 3000][random.next_u32() as usize % 3],
        ..options()
    }
}

fn effects(model: &mut Model, random: &mut ChaCha8Rng) -> Vec<Effect> {
    let queues: Vec<u64> = model.messages().keys().copied().collect();
    let Some(&queue) = queues.get(random.next_u32() as usize % queues.len().max(1)) else {
        let fresh = model.log.iter().flat_map(|told| &told.effects);
        let fresh = fresh.filter(|effect| matches!(effect, Effect::Declare(_))).count() as u64;
        return vec![Effect::Declare(fresh + 1)];
    };
    match random.next_u32() % 20 {
        0..9 => {
            let (count, length) = [(1, 200), (1, 1500), (4, 5), (8, 5), (6, 20)][random.next_u32() as usize % 5];
            model.enqueue_many(queue, count, length)
        }
        9..12 => model.remove(queue),
        12..17 => {
            // One in the middle.
            let sequences: Vec<u64> = model.messages()[&queue].keys().copied().collect();
            let one = sequences.get(random.next_u32() as usize % sequences.len().max(1));
            let mut last = |first: u64| first + random.next_u64() % 6;
            one.map(|&first| Effect::Remove { queue, first, last: last(first) }).into_iter().collect()
        }
        17 => vec![Effect::Purge { queue, up_to: random.next_u64() % 5 }],
        18 if queues.len() > 2 => vec![Effect::Delete(queue)],
        18 | 19 => {
            let declared = model.log.iter().flat_map(|told| &told.effects).filter_map(|effect| match effect {
                Effect::Declare(number) => Some(*number),
                _ => None,
            });
            vec![Effect::Declare(declared.max().unwrap_or(0) + 1)]
        }
        _ => Vec::new(),
    }
}

fn step(node: &mut Node, model: &mut Model, random: &mut ChaCha8Rng) {
    let applied = node.duty.writer().applied().index;
    match random.next_u32() % 100 {
        0..50 => {
            let mut entries = Vec::new();
            for _ in 0..1 + random.next_u32() % 3 {
                let effects = effects(model, random);
                entries.push(model.entry(effects, applied));
            }
            model.append(node, entries, None);
        }
        50..54 => {
            model.term += 1 + random.next_u64() % 2;
            let vote = model.vote(Vote { term: model.term, member: Some(member(1 + random.next_u64() % 3)) });
            let with_entry = random.next_u32().is_multiple_of(2);
            let entries = if with_entry { vec![model.entry(Vec::new(), applied)] } else { Vec::new() };
            model.append(node, entries, Some(vote));
        }
        54..60 => {
            let behind = model.log.len() as u64 - model.committed;
            model.cut_off_behind(model.committed + random.next_u64() % (behind + 1));
            let newest = model.term;
            if random.next_u32().is_multiple_of(3) {
                model.term = model.log.last().map_or(1, |told| told.label.term);
            }
            let effects = effects(model, random);
            model.write(node, effects);
            model.term = newest;
        }
        60..62 => {
            let entry = model.configuration(format!("{} of us", random.next_u32() % 9).as_bytes(), applied);
            model.append(node, vec![entry], None);
        }
        62..85 => model.commit(node, model.committed + random.next_u64() % 10),
        85..88 => _ = node.ask(ReplicaRequest::Checkpoint),
        88..90 => _ = node.ask(ReplicaRequest::MakeRoom),
        90..94 => node.do_chores(),
        _ => node.maintain(4),
    }
}

fn live(seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let options = knobs(&mut random);
    let (mut node, mut model) = founded(options.clone());
    let mut moved = 0;
    for _ in 0..LIVES {
        if random.next_u32().is_multiple_of(2) {
            node.disk.fail_at(node.disk.calls() + random.next_u64() % 300, Fault::Crash);
        }
        node.delays_chores = random.next_u32().is_multiple_of(2);
        for _ in 0..random.next_u32() % STEPS_OF_A_LIFE {
            if node.failed {
                break;
            }
            step(&mut node, &mut model, &mut random);
        }
        if !node.failed {
            model.check_state(&mut node);
        }
        moved += node.duty.writer().totals().moved_bytes;
        let disk = node.disk.after_crash(random.next_u64());
        disk.fail_at(random.next_u64() % 60, Fault::Crash);
        let opened = Node::open(&disk, options.clone());
        let (again, found) = match opened {
            Ok(opened) if !disk.has_crashed() => opened,
            _ => Node::open(&disk.after_crash(random.next_u64()), options.clone()).unwrap(),
        };
        again.disk.relent();
        node = again;
        model.check(&found, &mut node);
    }
    MOVED.fetch_add(moved, std::sync::atomic::Ordering::Relaxed);
}

static MOVED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[test]
fn random_lives_keep_every_promise() {
    let seeds = seeds(SEEDS);
    let are_many = seeds.clone().count() > 10;
    for seed in seeds {
        let run = std::panic::catch_unwind(|| live(seed));
        if let Err(panic) = run {
            eprintln!("replay with LEVERET_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
    assert!(!are_many || MOVED.load(std::sync::atomic::Ordering::Relaxed) > 0, "records were moved");
}
