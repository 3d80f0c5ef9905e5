//! A virtual client: what it knows, what it has said, and the two pipes between it and the broker.

use crate::command::Command;
use crate::model::{ClientId, Tick};
use crate::random::Random;
use crate::wire::{Event, Heard, Reply};
use leveret::broker::ConnectionId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How far the client has come, as it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Opening,
    Open,
    /// One side said close.
    Closing,
}

#[derive(Default)]
pub struct ClientChannel {
    /// The client said channel.close.
    pub closing: bool,
    /// The last delivery tag that arrived.
    pub seen_tag: u64,
    /// Tags that it has settled.
    pub settled: BTreeSet<u64>,
    pub consumers: Vec<String>,
}

/// As whom a client logs in, and where it wants to.
#[derive(Clone, Debug)]
pub struct Account {
    pub user: String,
    pub secret: String,
    pub vhost: String,
}

pub struct Client {
    pub id: ClientId,
    account: Account,
    pub connection: ConnectionId,
    pub phase: Phase,
    pub frame_max: u32,
    pub heartbeat_s: u16,
    pub understands_cancel: bool,
    pub channels: BTreeMap<u16, ClientChannel>,
    /// It doesn't read for now.
    pub paused: bool,
    pub connected_ms: u64,
    pub last_delivered_ms: u64,
    pub closing_since_ms: Option<u64>,
    /// Bytes on their way to the broker, and where commands end in all that was ever sent.
    to_broker: VecDeque<u8>,
    said: VecDeque<(u64, u16, Command)>,
    said_bytes: u64,
    delivered_bytes: u64,
    /// Where the bytes must be cut, among all that were ever sent: around commands that must be looked at alone.
    cuts: VecDeque<u64>,
    /// Commands whose last frames are held back, so that those of other channels come between them.
    held: BTreeMap<u16, (VecDeque<Vec<u8>>, Command)>,
    /// Bytes that stand in the broker's outbox, and where events end in all that ever did.
    pub from_broker: VecDeque<u8>,
    heard: VecDeque<(u64, u16, Event)>,
    pub tapped_bytes: u64,
    pub taken_bytes: u64,
    /// A delivery filled the outbox, and it hasn't drained since: nothing more is delivered.
    pub full: bool,
    /// Acts that the client will read to be done, each with where it reads that among all that was ever written to it.
    pub promises: VecDeque<(u64, Tick)>,
    /// Of the bytes that ever stood in the outbox, those that were there at the last flush.
    flushed_bytes: u64,
}

impl Client {
    pub fn new(id: ClientId, connection: ConnectionId, account: Account, random: &mut Random, now_ms: u64) -> Self {
        let mut client = Self {
            id,
            account,
            connection,
            phase: Phase::Opening,
            frame_max: *random.pick(&[4096, 4096, 4097, 8192, 20_000, 131_072, 131_072]),
            heartbeat_s: if random.percent(15) { 10 } else { 0 },
            understands_cancel: random.percent(80),
            channels: BTreeMap::new(),
            paused: false,
            connected_ms: now_ms,
            last_delivered_ms: now_ms,
            closing_since_ms: None,
            to_broker: VecDeque::new(),
            said: VecDeque::new(),
            said_bytes: 0,
            delivered_bytes: 0,
            cuts: VecDeque::new(),
            held: BTreeMap::new(),
            from_broker: VecDeque::new(),
            heard: VecDeque::new(),
            tapped_bytes: 0,
            taken_bytes: 0,
            full: false,
            promises: VecDeque::new(),
            flushed_bytes: 0,
        };
        client.say(0, Command::ProtocolHeader);
        client
    }

    /// Sends a command, all of it.
    pub fn say(&mut self, channel: u16, command: Command) {
        self.let_go(channel);
        let start = self.said_bytes;
        for frame in command.frames(channel, self.frame_max as usize) {
            self.write(&frame);
        }
        if command.settles_whatever_is_there() {
            self.cuts.extend([start, self.said_bytes]);
        }
        self.said.push_back((self.said_bytes, channel, command));
    }

    /// Sends the first frames of a command and holds back the others.
    pub fn begin_to_say(&mut self, channel: u16, command: Command, random: &mut Random) {
        self.let_go(channel);
        let mut frames: VecDeque<Vec<u8>> = command.frames(channel, self.frame_max as usize).into();
        for _ in 0..1 + random.below(frames.len() - 1) {
            let frame = frames.pop_front().expect("fewer than there are");
            self.write(&frame);
        }
        self.held.insert(channel, (frames, command));
    }

    /// Sends what is held back on a channel.
    pub fn let_go(&mut self, channel: u16) {
        if let Some((frames, command)) = self.held.remove(&channel) {
            frames.iter().for_each(|frame| self.write(frame));
            self.said.push_back((self.said_bytes, channel, command));
        }
    }

    pub fn let_all_go(&mut self) {
        for channel in self.held.keys().copied().collect::<Vec<_>>() {
            self.let_go(channel);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.to_broker.extend(bytes);
        self.said_bytes += bytes.len() as u64;
    }

    /// Bytes that the broker hasn't got yet.
    pub fn undelivered(&self) -> usize {
        self.to_broker.len()
    }

    /// Of `count` bytes, those that may reach the broker at once.
    pub fn deliverable(&mut self, count: usize) -> usize {
        while self.cuts.front().is_some_and(|cut| *cut <= self.delivered_bytes) {
            self.cuts.pop_front();
        }
        let up_to_cut = self.cuts.front().map_or(usize::MAX, |cut| (cut - self.delivered_bytes) as usize);
        count.min(self.to_broker.len()).min(up_to_cut)
    }

    /// How many bytes have reached the broker.
    pub fn delivered_bytes(&self) -> u64 {
        self.delivered_bytes
    }

    /// Takes bytes out of the pipe to the broker, and the commands that are complete with them, each with where it ends.
    pub fn deliver(&mut self, count: usize) -> (Vec<u8>, Vec<(u64, u16, Command)>) {
        let bytes: Vec<u8> = self.to_broker.drain(..count).collect();
        self.delivered_bytes += count as u64;
        let mut commands = Vec::new();
        while self.said.front().is_some_and(|(end, ..)| *end <= self.delivered_bytes)
            && let Some(said) = self.said.pop_front()
        {
            commands.push(said);
        }
        (bytes, commands)
    }

    /// Notes what the broker wrote into the outbox.
    pub fn tapped(&mut self, bytes: &[u8], events: &[Heard], high_water_bytes: usize) {
        for Heard { end, channel, event } in events {
            let length = self.from_broker.len() + end;
            self.full |= matches!(event, Event::Deliver { .. }) && length >= high_water_bytes;
            self.heard.push_back((self.tapped_bytes + *end as u64, *channel, event.clone()));
        }
        self.from_broker.extend(bytes);
        self.tapped_bytes += bytes.len() as u64;
    }

    /// Whether nothing was written to the outbox, which holds `length` bytes, since the last flush.
    pub fn is_flushed(&self, length: usize) -> bool {
        self.taken_bytes + length as u64 == self.flushed_bytes
    }

    /// The broker flushed, as far as the client read.
    pub fn note_flush(&mut self) {
        self.flushed_bytes = self.tapped_bytes;
    }

    /// Takes `count` bytes out of the pipe from the broker and reacts to the events that are complete with them.
    pub fn take(&mut self, count: usize, now_ms: u64) {
        self.taken_bytes += count as u64;
        while self.heard.front().is_some_and(|(end, ..)| *end <= self.taken_bytes)
            && let Some((_, channel, event)) = self.heard.pop_front()
        {
            self.react(channel, event, now_ms);
        }
    }

    fn react(&mut self, number: u16, event: Event, now_ms: u64) {
        match event {
            Event::Reply(Reply::Plain(10, 10)) => {
                let Account { user, secret, .. } = self.account.clone();
                self.say(0, Command::StartOk { understands_cancel: self.understands_cancel, user, secret });
            }
            Event::Reply(Reply::Plain(10, 30)) => {
                self.say(0, Command::TuneOk { frame_max: self.frame_max, heartbeat_s: self.heartbeat_s });
                self.say(0, Command::Open { vhost: self.account.vhost.clone() });
            }
            Event::Reply(Reply::Plain(10, 41)) => self.phase = Phase::Open,
            Event::Reply(Reply::ConnectionClose(_)) => {
                self.phase = Phase::Closing;
                self.held.clear();
                self.closing_since_ms.get_or_insert(now_ms);
                self.say(0, Command::CloseOk);
            }
            Event::Reply(Reply::ChannelClose(..)) => {
                self.held.remove(&number);
                let channel = self.channels.get(&number);
                if channel.is_none_or(|channel| !channel.closing) {
                    self.channels.remove(&number);
                }
                if self.phase == Phase::Open {
                    self.say(number, Command::ChannelCloseOk);
                }
            }
            Event::Reply(Reply::Plain(20, 41)) => drop(self.channels.remove(&number)),
            Event::Reply(Reply::ConsumeOk(tag)) => {
                if let Some(channel) = self.channels.get_mut(&number) {
                    channel.consumers.push(tag);
                }
            }
            Event::Cancelled(tag) => {
                if let Some(channel) = self.channels.get_mut(&number) {
                    channel.consumers.retain(|other| *other != tag);
                }
            }
            Event::Deliver { delivery_tag, .. } | Event::Reply(Reply::GetOk { delivery_tag, .. }) => {
                if let Some(channel) = self.channels.get_mut(&number) {
                    channel.seen_tag = delivery_tag;
                }
            }
            _ => {}
        }
    }
}
