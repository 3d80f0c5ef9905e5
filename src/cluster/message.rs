//! What nodes say to each other, as bytes. Whatever bytes come, reading them never panics: they are a message, or refused.
//!
//! ```text
//! Hello      who I am, which nodes I was told of, which cluster I belong to
//! Condition  whether I am in maintenance, take clients, run out of what    again and again
//! Founding   this is the cluster, and you are in it                        to who belongs to none
//! Raft       votes, entries, how far they are                              of one member to another
//! Offer      a snapshot: its files                 ─┐
//! Wanted     from this byte of it on                ├ from the leader to who is too far behind for entries, and back
//! Chunk      some bytes of it                      ─┘
//! Missed     you had more, as you said             from the leader to who forgot something
//! ```
//! A message of Raft is a head of exactly as many bytes as a batch's header, and behind it an entry's body:
//!
//! ```text
//!  0  kind u8        what is said                    24  term u64
//!  1  flags u8                                       32  index u64, term u64     of the entry before, or the last one
//!  2  zero u16                                       48  commit u64
//!  4  records u32    of the entry                    56  term u64                of the entry, of the commit
//!  8  from u64       member                          64  number u64              first position, or a hint
//! 16  to u64         member                          72  body …
//! ```
//! so that the bytes that were received *are* the [`EntryBody`], and nothing is copied. All numbers are little-endian. That a
//! message is whole and of who it says is the transport's part.

use super::membership::{Configuration, MEMBERS_MAX, is_node_name};
use crate::storage::batch::BATCH_HEADER_BYTES;
use crate::storage::entry::{EntryBody, EntryKind, EntryLabel, Place};
use crate::storage::{ClusterId, MemberId};
use crate::varint::{Cursor, put_counted_bytes, put_varint};
use std::num::NonZeroU64;

/// The longest message: the longest batch there can be.
pub const MESSAGE_BYTES_MAX: usize = u32::MAX as usize;
/// Bytes of a snapshot in one message.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Files of a snapshot: segments of 64 MiB make 64 TiB.
const FILES_MAX: usize = 1 << 20;
/// Longest name of a snapshot's file.
const FILE_NAME_MAX_BYTES: usize = 64;
/// Longest configuration in words.
const CONFIGURATION_MAX_BYTES: usize = 16 << 10;
/// Indexes, terms and positions are below this, so that adding to one is safe.
const NUMBERS_END: u64 = 1 << 63;

const KIND_HELLO: u8 = 1;
const KIND_FOUNDING: u8 = 2;
const KIND_OFFER: u8 = 3;
const KIND_WANTED: u8 = 4;
const KIND_CHUNK: u8 = 5;
const KIND_CONDITION: u8 = 6;
const KIND_MISSED: u8 = 7;

/// What one node says to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    Hello(Hello),
    Founding(Configuration),
    Condition(Condition),
    /// With the entry's body, if there is an entry.
    Raft(RaftMessage, Option<EntryBody>),
    Offer(Offer),
    Wanted(Wanted),
    Chunk(Chunk),
    Missed(Missed),
}

/// A member said in this term that it had more on its disk than it has now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missed {
    pub member: MemberId,
    pub term: u64,
    /// Up to this entry.
    pub said: u64,
}

/// What every connection begins with, from both sides, and what is said again when it changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    pub member: MemberId,
    /// None: its folder is new and belongs to no cluster yet.
    pub cluster: Option<ClusterId>,
    /// The names in its settings, sorted.
    pub nodes: Vec<String>,
    /// It belonged to a cluster and lost its log: it founds none.
    pub rejoins: bool,
}

/// How a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Condition {
    /// It is in maintenance: it serves nobody, and leads only if no other node can.
    pub is_drained: bool,
    /// There is too little room on its disk.
    pub is_disk_low: bool,
    /// Messages and clients hold too much of its memory.
    pub is_memory_low: bool,
    /// It leads, and takes clients: who has just come to lead makes queues of what its log holds first.
    pub serves: bool,
}

/// An entry of the log, by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Point {
    pub index: u64,
    pub term: u64,
}

/// What one member says to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RaftMessage {
    pub from: MemberId,
    pub to: MemberId,
    pub term: u64,
    pub says: Says,
}

/// What is said, of the log and of who leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Says {
    /// Would you, or will you, vote for me? `transfers`: the leader wants it.
    Vote {
        only_asks: bool,
        transfers: bool,
        last: Point,
        commit: Point,
    },
    Voted {
        only_asked: bool,
        granted: bool,
        commit: Point,
    },
    /// What follows `before`, or only how far all is committed.
    Append {
        before: Point,
        commit: u64,
        entry: Option<EntryLabel>,
    },
    /// It is on my disk up to here.
    Appended {
        index: u64,
        commit: u64,
    },
    /// I do not have `index`, but may have `hint`.
    Refused {
        index: u64,
        hint: Point,
        commit: u64,
    },
    Heartbeat {
        commit: u64,
    },
    Alive {
        commit: u64,
    },
    /// Campaign now, and do not ask first.
    Campaign,
}

/// A snapshot that can be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Which one of those of this leader.
    pub snapshot: u64,
    /// Of the leader.
    pub term: u64,
    /// The last entry that is in it.
    pub last: Point,
    /// As of that entry.
    pub configuration: Configuration,
    /// Names and lengths; as bytes they follow each other in this order.
    pub files: Vec<(String, u64)>,
}

/// From which byte on a snapshot is wanted; its end says that all of it has arrived, and is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub snapshot: u64,
    pub at: u64,
}

/// Bytes of a snapshot, of one of its files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    pub snapshot: u64,
    pub at: u64,
    pub bytes: Vec<u8>,
}

/// Which of the two connections to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// What is short and must not wait.
    Control,
    /// What is long, in the order that it was given.
    Bulk,
}

/// Why a piece of a message could not be read from the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    /// The system had no descriptors or memory to give, or was interrupted, which says nothing of what is there.
    NotNow,
    /// The disk did not give it back.
    Refused,
    /// Nothing is there, or less, or something else.
    NotThere,
}

/// A piece of a message to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    Bytes(Vec<u8>),
    Body(EntryBody),
    /// The body of the entry that lies here, which is read when its turn comes.
    Stored(Place),
    /// Bytes of a file of the log or of a checkpoint.
    File {
        name: String,
        offset: u64,
        length: u32,
    },
}

impl Offer {
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What precedes the bytes of a chunk.
pub fn chunk_head(snapshot: u64, at: u64) -> Vec<u8> {
    let mut out = vec![KIND_CHUNK];
    put_varint(&mut out, snapshot);
    put_varint(&mut out, at);
    out
}

impl RaftMessage {
    /// All of it but the entry's body.
    pub fn head(&self) -> Vec<u8> {
        let (kind, flags, [index, index_term, commit, term, number], records) = self.numbers();
        let mut out = Vec::with_capacity(BATCH_HEADER_BYTES);
        out.extend_from_slice(&[kind, flags, 0, 0]);
        out.extend_from_slice(&records.to_le_bytes());
        for value in [self.from.0.get(), self.to.0.get(), self.term, index, index_term, commit, term, number] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        debug_assert_eq!(out.len(), BATCH_HEADER_BYTES);
        out
    }

    fn numbers(&self) -> (u8, u8, [u64; 5], u32) {
        match self.says {
            Says::Vote { only_asks, transfers, last, commit } => {
                let flags = (u8::from(only_asks) * FLAG_ONLY_ASKS) | (u8::from(transfers) * FLAG_TRANSFERS);
                (KIND_VOTE, flags, [last.index, last.term, commit.index, commit.term, 0], 0)
            }
            Says::Voted { only_asked, granted, commit } => {
                let flags = (u8::from(only_asked) * FLAG_ONLY_ASKS) | (u8::from(granted) * FLAG_GRANTED);
                (KIND_VOTED, flags, [0, 0, commit.index, commit.term, 0], 0)
            }
            Says::Append { before, commit, entry: None } => {
                (KIND_APPEND, 0, [before.index, before.term, commit, 0, 0], 0)
            }
            Says::Append { before, commit, entry: Some(entry) } => {
                let flags = match entry.kind {
                    EntryKind::Records => FLAG_ENTRY,
                    EntryKind::Configuration => FLAG_ENTRY | FLAG_CONFIGURATION,
                };
                let numbers = [before.index, before.term, commit, entry.term, entry.first_position];
                (KIND_APPEND, flags, numbers, entry.records)
            }
            Says::Appended { index, commit } => (KIND_APPENDED, 0, [index, 0, commit, 0, 0], 0),
            Says::Refused { index, hint, commit } => (KIND_REFUSED, 0, [index, hint.term, commit, 0, hint.index], 0),
            Says::Heartbeat { commit } => (KIND_HEARTBEAT, 0, [0, 0, commit, 0, 0], 0),
            Says::Alive { commit } => (KIND_ALIVE, 0, [0, 0, commit, 0, 0], 0),
            Says::Campaign => (KIND_CAMPAIGN, 0, [0; 5], 0),
        }
    }

    /// Reads the head; says, too, whether a body follows.
    fn decode(bytes: &[u8]) -> Option<(Self, bool)> {
        let bytes: &[u8; BATCH_HEADER_BYTES] = bytes.first_chunk()?;
        let mut cursor = Cursor::new(bytes);
        let (kind, flags) = (cursor.u8()?, cursor.u8()?);
        if cursor.bytes(2)? != [0, 0] {
            return None;
        }
        let records = cursor.u32()?;
        let from = MemberId(NonZeroU64::new(cursor.u64()?)?);
        let to = MemberId(NonZeroU64::new(cursor.u64()?)?);
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = cursor.u64().filter(|number| *number < NUMBERS_END - 1)?;
        }
        let [term, index, index_term, commit, other_term, number] = numbers;
        let (point, commit_point) = (Point { index, term: index_term }, Point { index: commit, term: other_term });
        let (only_asks, granted) = (flags & FLAG_ONLY_ASKS != 0, flags & FLAG_GRANTED != 0);
        let says = match kind {
            KIND_VOTE => {
                Says::Vote { only_asks, transfers: flags & FLAG_TRANSFERS != 0, last: point, commit: commit_point }
            }
            KIND_VOTED => Says::Voted { only_asked: only_asks, granted, commit: commit_point },
            KIND_APPEND => {
                let kind = match flags & FLAG_CONFIGURATION {
                    0 => EntryKind::Records,
                    _ => EntryKind::Configuration,
                };
                let entry = EntryLabel { term: other_term, index: index + 1, first_position: number, records, kind };
                Says::Append { before: point, commit, entry: (flags & FLAG_ENTRY != 0).then_some(entry) }
            }
            KIND_APPENDED => Says::Appended { index, commit },
            KIND_REFUSED => Says::Refused { index, hint: Point { index: number, term: index_term }, commit },
            KIND_HEARTBEAT => Says::Heartbeat { commit },
            KIND_ALIVE => Says::Alive { commit },
            KIND_CAMPAIGN => Says::Campaign,
            _ => return None,
        };
        let message = Self { from, to, term, says };
        // Whatever has no place in what is said is zero.
        let is_exact = message.numbers() == (kind, flags, [index, index_term, commit, other_term, number], records);
        (is_exact && message.is_sound()).then_some((message, flags & FLAG_ENTRY != 0 && kind == KIND_APPEND))
    }

    /// Whether its numbers can stand beside each other.
    fn is_sound(&self) -> bool {
        // Without a term it would be taken for what a member says to itself.
        if self.term == 0 {
            return false;
        }
        let Says::Append { before, entry, .. } = self.says else { return true };
        // Only what is before the first entry has no term.
        let before_is_sound = (before.index == 0) == (before.term == 0) && before.term <= self.term;
        let is_sound = |entry: &EntryLabel| {
            entry.first_position > 0 && entry.term >= before.term.max(1) && entry.term <= self.term
        };
        before_is_sound && entry.as_ref().is_none_or(is_sound)
    }
}

const KIND_VOTE: u8 = 16;
const KIND_VOTED: u8 = 17;
const KIND_APPEND: u8 = 18;
const KIND_APPENDED: u8 = 19;
const KIND_REFUSED: u8 = 20;
const KIND_HEARTBEAT: u8 = 21;
const KIND_ALIVE: u8 = 22;
const KIND_CAMPAIGN: u8 = 23;

const FLAG_ONLY_ASKS: u8 = 1;
const FLAG_TRANSFERS: u8 = 2;
const FLAG_GRANTED: u8 = 4;
const FLAG_ENTRY: u8 = 8;
const FLAG_CONFIGURATION: u8 = 16;

const FLAG_DRAINED: u8 = 1;
const FLAG_DISK_LOW: u8 = 2;
const FLAG_MEMORY_LOW: u8 = 4;
const FLAG_SERVES: u8 = 8;

impl Message {
    /// The whole message. An entry's or a chunk's bytes are copied here; whoever has many of them sends them as
    /// [parts](Part).
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(Hello { member, cluster, nodes, rejoins }) => {
                let mut out = vec![KIND_HELLO];
                out.extend_from_slice(&member.0.get().to_le_bytes());
                put_counted_bytes(&mut out, cluster.as_ref().map_or(&[][..], |cluster| &cluster.0));
                put_varint(&mut out, nodes.len() as u64);
                nodes.iter().for_each(|node| put_counted_bytes(&mut out, node.as_bytes()));
                out.push(u8::from(*rejoins));
                out
            }
            Self::Founding(configuration) => {
                let mut out = vec![KIND_FOUNDING];
                out.extend_from_slice(&configuration.encode());
                out
            }
            Self::Condition(Condition { is_drained, is_disk_low, is_memory_low, serves }) => {
                let flags = [
                    (is_drained, FLAG_DRAINED),
                    (is_disk_low, FLAG_DISK_LOW),
                    (is_memory_low, FLAG_MEMORY_LOW),
                    (serves, FLAG_SERVES),
                ];
                vec![KIND_CONDITION, flags.iter().map(|(is_so, flag)| u8::from(**is_so) * flag).sum()]
            }
            Self::Raft(message, body) => {
                let mut out = message.head();
                out.extend_from_slice(body.as_ref().map_or(&[], EntryBody::bytes));
                out
            }
            Self::Offer(Offer { snapshot, term, last, configuration, files }) => {
                let mut out = vec![KIND_OFFER];
                for number in [*snapshot, *term, last.index, last.term] {
                    put_varint(&mut out, number);
                }
                put_counted_bytes(&mut out, &configuration.encode());
                put_varint(&mut out, files.len() as u64);
                for (name, bytes) in files {
                    put_counted_bytes(&mut out, name.as_bytes());
                    put_varint(&mut out, *bytes);
                }
                out
            }
            Self::Wanted(Wanted { snapshot, at }) => {
                let mut out = vec![KIND_WANTED];
                put_varint(&mut out, *snapshot);
                put_varint(&mut out, *at);
                out
            }
            Self::Missed(Missed { member, term, said }) => {
                let mut out = vec![KIND_MISSED];
                out.extend_from_slice(&member.0.get().to_le_bytes());
                put_varint(&mut out, *term);
                put_varint(&mut out, *said);
                out
            }
            Self::Chunk(Chunk { snapshot, at, bytes }) => {
                let mut out = chunk_head(*snapshot, *at);
                out.extend_from_slice(bytes);
                out
            }
        }
    }

    /// Reads a message, all of it; `None` for bytes that are none. The buffer of an entry becomes its body.
    pub fn decode(bytes: Vec<u8>) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        if kind >= KIND_VOTE {
            let (message, has_body) = RaftMessage::decode(&bytes)?;
            let body = match has_body {
                true => Some(EntryBody::of_buffer(bytes)),
                false if bytes.len() == BATCH_HEADER_BYTES => None,
                false => return None,
            };
            return Some(Self::Raft(message, body));
        }
        let mut cursor = Cursor::new(rest);
        let message = match kind {
            KIND_HELLO => Self::Hello(read_hello(&mut cursor)?),
            KIND_FOUNDING => Self::Founding(Configuration::read(&mut cursor)?),
            KIND_CONDITION => Self::Condition(read_condition(cursor.u8()?)?),
            KIND_OFFER => Self::Offer(read_offer(&mut cursor)?),
            KIND_WANTED => Self::Wanted(Wanted { snapshot: cursor.varint()?, at: cursor.varint()? }),
            KIND_MISSED => {
                let member = MemberId(NonZeroU64::new(cursor.u64()?)?);
                Self::Missed(Missed { member, term: cursor.varint()?, said: cursor.varint()? })
            }
            KIND_CHUNK => {
                let (snapshot, at) = (cursor.varint()?, cursor.varint()?);
                let bytes = cursor.bytes(cursor.rest().len())?;
                (bytes.len() <= CHUNK_BYTES_MAX).then(|| Self::Chunk(Chunk { snapshot, at, bytes: bytes.to_vec() }))?
            }
            _ => return None,
        };
        cursor.is_empty().then_some(message)
    }
}

fn read_hello(cursor: &mut Cursor<'_>) -> Option<Hello> {
    let member = MemberId(NonZeroU64::new(cursor.u64()?)?);
    let cluster = match cursor.counted_bytes()? {
        [] => None,
        bytes => Some(ClusterId(bytes.try_into().ok()?)),
    };
    let count = usize::try_from(cursor.varint()?).ok().filter(|count| *count <= MEMBERS_MAX)?;
    let mut nodes = Vec::with_capacity(count);
    for _ in 0..count {
        let node = std::str::from_utf8(cursor.counted_bytes()?).ok().filter(|node| is_node_name(node))?;
        nodes.push(node.to_owned());
    }
    let rejoins = match cursor.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    Some(Hello { member, cluster, nodes, rejoins })
}

fn read_condition(flags: u8) -> Option<Condition> {
    let is_known = flags & !(FLAG_DRAINED | FLAG_DISK_LOW | FLAG_MEMORY_LOW | FLAG_SERVES) == 0;
    is_known.then_some(Condition {
        is_drained: flags & FLAG_DRAINED != 0,
        is_disk_low: flags & FLAG_DISK_LOW != 0,
        is_memory_low: flags & FLAG_MEMORY_LOW != 0,
        serves: flags & FLAG_SERVES != 0,
    })
}

fn read_offer(cursor: &mut Cursor<'_>) -> Option<Offer> {
    let mut number = || cursor.varint().filter(|number| *number < NUMBERS_END - 1);
    let (snapshot, term) = (number()?, number()?);
    let last = Point { index: number()?, term: number()? };
    if last.index == 0 || last.term == 0 || last.term > term {
        return None;
    }
    let configuration = cursor.counted_bytes().filter(|bytes| bytes.len() <= CONFIGURATION_MAX_BYTES)?;
    let configuration = Configuration::decode(configuration)?;
    let count = usize::try_from(cursor.varint()?).ok().filter(|count| *count <= FILES_MAX)?;
    let mut files: Vec<(String, u64)> = Vec::new();
    let mut total: u64 = 0;
    for _ in 0..count {
        let name = std::str::from_utf8(cursor.counted_bytes()?).ok().filter(|name| is_file_name(name))?;
        let bytes = cursor.varint()?;
        total = total.checked_add(bytes).filter(|total| *total < NUMBERS_END)?;
        files.push((name.to_owned(), bytes));
    }
    Some(Offer { snapshot, term, last, configuration, files })
}

/// Whether a file may be called so: the names of segments and checkpoints are no longer and have no way out of a folder.
fn is_file_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    !name.is_empty() && name.len() <= FILE_NAME_MAX_BYTES && !name.starts_with('.') && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests;
