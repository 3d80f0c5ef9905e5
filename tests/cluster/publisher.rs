//! A loop that leads: it publishes to one queue, takes messages out of it again, and hears what lasts.

use super::chance::Chance;
use super::fate::Mutation;
use super::truth::{Effects, Truth, hash};
use leveret::broker::message::{Attributes, Content, MessageRef};
use leveret::broker::store::{Definition, DurableQueueId, Log as _, LogPosition, Route, VhostId};
use leveret::cluster::member::Told;
use leveret::protocol::{FieldTable, ShortString};
use leveret::storage::batch::BATCH_HEADER_BYTES;
use leveret::storage::{BatchDone, LogOptions, LogStore, SealedBatch, SyncPolicy, Written};
use std::collections::VecDeque;

/// It waits while so much is not with the writer.
const PENDING_MAX_BYTES: usize = 1500;
const QUEUE: DurableQueueId = DurableQueueId(1);

pub struct Publisher {
    pub term: u64,
    store: LogStore,
    /// What was told to the store and is in no batch yet.
    told: VecDeque<(LogPosition, Effect)>,
    unconfirmed: VecDeque<Unconfirmed>,
}

#[derive(Clone, Copy)]
enum Effect {
    Declared,
    Enqueued(u64),
    Purged(u64),
}

struct Unconfirmed {
    last: LogPosition,
    first_position: u64,
    body_hash: u64,
    records: u64,
}

fn message(sequence: u64, length: usize) -> MessageRef {
    let mut frames = b"\x02\x00\x00\x00\x00\x00\x0E\x00\x3C\x00\x00".to_vec();
    frames.extend_from_slice(&(length as u64).to_be_bytes());
    frames.extend_from_slice(b"\x00\x00\xCE");
    let header_frame_length = frames.len();
    frames.extend_from_slice(b"\x03\x00\x00");
    frames.extend_from_slice(&(length as u32).to_be_bytes());
    frames.extend((0..length).map(|at| (sequence as usize + at) as u8));
    frames.push(0xCE);
    let content = Content { address: b"\x01x\x03key\xCE", frames: &frames, header_frame_length, shared_body: None };
    MessageRef::new(&content, Attributes { persistent: true, priority: 0, expiration_ms: None })
}

impl Publisher {
    pub fn begin(term: u64, position: u64, truth: &Truth) -> Self {
        let options = LogOptions { sync_policy: SyncPolicy::Replicated, batch_max_bytes: 300, ..LogOptions::default() };
        let store = LogStore::new(options, LogPosition(position));
        let mut publisher = Self { term, store, told: VecDeque::new(), unconfirmed: VecDeque::new() };
        if !truth.is_declared() {
            let declared = Definition::QueueDeclared {
                id: QUEUE,
                vhost: VhostId(0),
                name: ShortString::truncated(b"queue"),
                auto_delete: false,
                arguments: FieldTable::default(),
                top_level: 0,
            };
            let position = publisher.store.define(&declared);
            publisher.told.push_back((position, Effect::Declared));
        }
        publisher
    }

    /// Publishes some, now and then, and seldom takes some away.
    pub fn publish(&mut self, truth: &mut Truth, chance: &mut Chance) {
        if self.store.pending_bytes() >= PENDING_MAX_BYTES || !chance.one_in(3) {
            return;
        }
        for _ in 0..chance.between(1, 4) {
            let sequence = truth.next_sequence();
            let stored = message(sequence, chance.below(60) as usize);
            let route = Route { queue: QUEUE, sequence, expires_at_ms: None };
            let position = self.store.enqueued(route, &stored.content(), 0, LogPosition::default());
            self.told.push_back((position, Effect::Enqueued(sequence)));
            if chance.one_in(10) {
                let up_to = sequence.saturating_sub(chance.below(30));
                let position = self.store.purged(QUEUE, up_to);
                self.told.push_back((position, Effect::Purged(up_to)));
            }
        }
    }

    /// What it hands over next.
    pub fn take_batch(&mut self, now_ms: u64, truth: &mut Truth) -> Option<SealedBatch> {
        let batch = self.store.take_batch(now_ms)?;
        let body_hash = hash(&batch.buffer[BATCH_HEADER_BYTES..]);
        let (last, first_position) = (batch.last_position(), batch.first_position);
        let mut effects = Effects::default();
        while let Some((_, effect)) = self.told.front().filter(|(position, _)| *position <= last) {
            match effect {
                Effect::Declared => effects.declares = true,
                Effect::Enqueued(sequence) => effects.enqueued.push(*sequence),
                Effect::Purged(up_to) => {
                    effects.enqueued.retain(|sequence| sequence > up_to);
                    effects.purged_up_to = effects.purged_up_to.max(Some(*up_to));
                }
            }
            self.told.pop_front();
        }
        truth.proposed(first_position, body_hash, effects);
        let records = u64::from(batch.records);
        self.unconfirmed.push_back(Unconfirmed { last, first_position, body_hash, records });
        Some(batch)
    }

    pub fn told(&mut self, told: Told, mutation: Mutation, truth: &mut Truth) {
        let written: Written = match told {
            Told::Done(written) => {
                let done = BatchDone { result: Ok(written), recycled: None };
                self.store.batch_done(done).expect("it was written");
                written
            }
            Told::Progress(written) => {
                self.store.committed(written.synced);
                written
            }
        };
        let lasts = match mutation {
            Mutation::ConfirmWritten => written.written.max(written.synced),
            _ => written.synced,
        };
        while let Some(batch) = self.unconfirmed.front().filter(|batch| batch.last <= lasts) {
            truth.confirmed(batch.first_position, batch.body_hash, batch.records);
            self.unconfirmed.pop_front();
        }
    }
}
