//! A dead letter's properties: those of the message that died, with its history in the headers.
//!
//! ```text
//! x-death = [ {original-expiration?, count, reason, queue, time, exchange, routing-keys}, … ]   newest first
//! x-first-death-reason, x-first-death-queue, x-first-death-exchange                             written once
//! x-last-death-reason, x-last-death-queue, x-last-death-exchange                                written each time
//! ```
//! There is one entry for each queue and reason, and it counts. Headers lie in the order of their names, as in RabbitMQ.
//! The expiration is gone, so that a letter does not expire again, and so is CC when the queue gives its letters a routing
//! key of its own.
//!
//! History is what the bytes say, whoever wrote them: an application may publish a letter again and go on with its count,
//! as in RabbitMQ up to 3.13. What a client made up and cannot be an entry is left out; a header of that name that is no
//! array counts as none.

use super::edit::{PROPERTIES_OFFSET, end_header_frame};
use super::image::Content;
use crate::broker::expiration;
use crate::protocol::decoder::{DecodeError, Reader};
use crate::protocol::encoder::{begin_length, end_length, put_u16};
use crate::protocol::properties::flag;
use crate::protocol::{ArrayRef, FieldValueRef, TableRef, TableWriter};

/// A letter's history forgets its oldest entries rather than make the headers longer than this, in bytes: a content header
/// is one frame. The newest entry is always there.
const HEADERS_MAX_BYTES: usize = 64 << 10;

/// Names that may have been left behind up to here are looked through one by one.
const SEARCHED_ONE_BY_ONE: usize = 8;

const X_DEATH: &[u8] = b"x-death";
const FIRST_EXCHANGE: &[u8] = b"x-first-death-exchange";
const FIRST_QUEUE: &[u8] = b"x-first-death-queue";
const FIRST_REASON: &[u8] = b"x-first-death-reason";
const LAST_EXCHANGE: &[u8] = b"x-last-death-exchange";
const LAST_QUEUE: &[u8] = b"x-last-death-queue";
const LAST_REASON: &[u8] = b"x-last-death-reason";

/// The death that does not happen by itself.
pub const REJECTED: &[u8] = b"rejected";

/// How a message left its queue.
#[derive(Clone, Copy)]
pub struct Death<'a> {
    pub reason: &'a [u8],
    pub queue: &'a [u8],
    /// What it had been published to.
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    /// Seconds since 1970.
    pub time_s: u64,
    /// The queue gives its dead letters a routing key of its own.
    pub has_new_key: bool,
}

/// A place in the properties that are read.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr() as usize - whole.as_ptr() as usize;
        Self { start: start as u32, end: (start + part.len()) as u32 }
    }

    fn of_bytes<'a>(&self, whole: &'a [u8]) -> &'a [u8] {
        &whole[self.start as usize..self.end as usize]
    }
}

/// Writes dead letters' properties, and knows of the last one where it came from. It is kept for its buffers.
#[derive(Default)]
pub struct DeathWriter {
    /// The message's own headers: names and entries.
    headers: Vec<(Span, Span)>,
    /// The queues that the message left since it was last rejected, but for the one that it leaves now.
    left_behind: Vec<Span>,
}

impl DeathWriter {
    /// Appends the flags and the list of a dead letter's properties.
    pub fn write(&mut self, properties: &[u8], death: &Death<'_>, out: &mut Vec<u8>) {
        let sections = Sections::read(properties).unwrap_or(Sections { flags: flag::HEADERS, ..Sections::default() });
        let history = match sections.headers.get(X_DEATH) {
            Some(FieldValueRef::Array(history)) => Some(history),
            _ => None,
        };
        self.choose_headers(properties, &sections, history.is_none(), death);
        self.note_left_behind(properties, history, death);
        put_u16(out, sections.flags);
        out.extend_from_slice(sections.before);
        let start = begin_length(out);
        let mut table = HeaderMerge { own: self.headers.iter(), properties, next: None, out };
        table.next = table.own.next();
        table.copy_below(X_DEATH);
        let other_bytes = properties.len() - history.map_or(0, |history| history.size_bytes());
        write_history(table.out, sections.headers, sections.expiration, history, death, other_bytes);
        if history.is_none() {
            table.put(FIRST_EXCHANGE, death.exchange);
            table.put(FIRST_QUEUE, death.queue);
            table.put(FIRST_REASON, death.reason);
        }
        table.put(LAST_EXCHANGE, death.exchange);
        table.put(LAST_QUEUE, death.queue);
        table.put(LAST_REASON, death.reason);
        table.copy_rest();
        end_length(out, start);
        out.extend_from_slice(sections.between);
        out.extend_from_slice(sections.after);
    }

    /// Appends a dead letter's frames to `frames`, and says how long the first one is, the content header.
    pub fn write_frames(&mut self, content: &Content<'_>, death: &Death<'_>, frames: &mut Vec<u8>) -> usize {
        let (header, body) = content.frames.split_at(content.header_frame_length);
        let start = frames.len();
        frames.extend_from_slice(&header[..PROPERTIES_OFFSET]);
        self.write(content.properties(), death, frames);
        let header_frame_length = end_header_frame(frames, start);
        frames.extend_from_slice(body);
        header_frame_length
    }

    /// Whether the letter, whose properties were [written](Self::write) last, would come back to a queue that it left before
    /// without a client having rejected it since: it goes round by itself.
    pub fn goes_round(&self, properties: &[u8], death: &Death<'_>, queue: &[u8]) -> bool {
        let name = |span: &Span| span.of_bytes(properties);
        death.reason != REJECTED
            && (death.queue == queue
                || match self.left_behind.len() {
                    ..=SEARCHED_ONE_BY_ONE => self.left_behind.iter().any(|span| name(span) == queue),
                    _ => self.left_behind.binary_search_by(|span| name(span).cmp(queue)).is_ok(),
                })
    }

    /// Collects the headers to copy, in the order of their names, each name once.
    fn choose_headers(&mut self, properties: &[u8], sections: &Sections<'_>, is_first: bool, death: &Death<'_>) {
        self.headers.clear();
        for (name, _, entry) in sections.headers.entries() {
            let is_replaced = match name {
                X_DEATH | LAST_EXCHANGE | LAST_QUEUE | LAST_REASON => true,
                FIRST_EXCHANGE | FIRST_QUEUE | FIRST_REASON => is_first,
                b"CC" => death.has_new_key,
                _ => false,
            };
            if !is_replaced {
                self.headers.push((Span::of(name, properties), Span::of(entry, properties)));
            }
        }
        let name = |header: &(Span, Span)| header.0.of_bytes(properties);
        if !self.headers.is_sorted_by(|a, b| name(a) < name(b)) {
            self.headers.sort_by(|a, b| name(a).cmp(name(b)));
            self.headers.dedup_by(|later, earlier| name(later) == name(earlier));
        }
    }

    fn note_left_behind(&mut self, properties: &[u8], history: Option<ArrayRef<'_>>, death: &Death<'_>) {
        self.left_behind.clear();
        let Some(history) = history.filter(|_| death.reason != REJECTED) else { return };
        let past = past_deaths(history).take_while(|past| past.reason != REJECTED);
        self.left_behind.extend(past.map(|past| Span::of(past.queue, properties)));
        if self.left_behind.len() > SEARCHED_ONE_BY_ONE {
            self.left_behind.sort_by(|a, b| a.of_bytes(properties).cmp(b.of_bytes(properties)));
        }
    }
}

/// The message's own headers, merged with those of its death.
struct HeaderMerge<'a> {
    own: std::slice::Iter<'a, (Span, Span)>,
    next: Option<&'a (Span, Span)>,
    properties: &'a [u8],
    out: &'a mut Vec<u8>,
}

impl HeaderMerge<'_> {
    /// Copies its own headers whose names come before `name`.
    fn copy_below(&mut self, name: &[u8]) {
        while let Some((own, entry)) = self.next
            && own.of_bytes(self.properties) < name
        {
            self.out.extend_from_slice(entry.of_bytes(self.properties));
            self.next = self.own.next();
        }
    }

    fn put(&mut self, name: &[u8], value: &[u8]) {
        self.copy_below(name);
        TableWriter::new(self.out).long_string(name, value);
    }

    fn copy_rest(&mut self) {
        for (_, entry) in self.next.into_iter().chain(self.own.by_ref()) {
            self.out.extend_from_slice(entry.of_bytes(self.properties));
        }
    }
}

/// Writes `x-death`: the newest entry, which may be one that was there, and the others behind it.
fn write_history(
    out: &mut Vec<u8>,
    headers: TableRef<'_>,
    expiration: Option<&[u8]>,
    history: Option<ArrayRef<'_>>,
    death: &Death<'_>,
    other_bytes: usize,
) {
    let start = out.len();
    let is_same = |past: &PastDeath<'_>| past.queue == death.queue && past.reason == death.reason;
    TableWriter::new(out).array(X_DEATH, |array| {
        let again = history.and_then(|history| past_deaths(history).find(is_same));
        match again {
            Some(past) => {
                let past = PastDeath { count: past.count.saturating_add(1), ..past };
                array.table(|table| past.write(table));
            }
            None => array.table(|table| {
                if let Some(expiration) = expiration {
                    write_expiration(table, expiration);
                }
                table.integer(b"count", 1);
                table.long_string(b"reason", death.reason);
                table.long_string(b"queue", death.queue);
                table.timestamp(b"time", death.time_s);
                table.long_string(b"exchange", death.exchange);
                table.array(b"routing-keys", |keys| {
                    keys.long_string(death.routing_key);
                    if let Some(FieldValueRef::Array(copies)) = headers.get(b"CC") {
                        long_strings(copies).for_each(|key| keys.long_string(key));
                    }
                });
            }),
        }
        for past in history.into_iter().flat_map(past_deaths).filter(|past| !is_same(past)) {
            if array.buffer_length() - start + past.written_bytes() + other_bytes > HEADERS_MAX_BYTES {
                break;
            }
            array.table(|table| past.write(table));
        }
    });
}

/// A time to live as RabbitMQ writes it: the number that it read.
fn write_expiration(table: &mut TableWriter<'_>, text: &[u8]) {
    const NAME: &[u8] = b"original-expiration";
    if text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || text.first() != Some(&b'0')) {
        return table.long_string(NAME, text);
    }
    match expiration::parse(text) {
        Ok(expiration_ms) => table.long_string(NAME, expiration_ms.to_string().as_bytes()),
        Err(_) => table.long_string(NAME, text),
    }
}

/// An entry of a letter's history.
#[derive(Clone, Copy)]
struct PastDeath<'a> {
    original_expiration: Option<&'a [u8]>,
    count: i64,
    reason: &'a [u8],
    queue: &'a [u8],
    time_s: u64,
    exchange: &'a [u8],
    routing_keys: ArrayRef<'a>,
}

impl<'a> PastDeath<'a> {
    /// `None` for what is no entry.
    fn read(value: FieldValueRef<'a>) -> Option<Self> {
        let FieldValueRef::Table(table) = value else { return None };
        let (mut count, mut reason, mut queue, mut time_s) = (None, None, None, None);
        let (mut exchange, mut routing_keys, mut original_expiration) = (None, None, None);
        for (name, value) in table.iter() {
            match (name, value) {
                (b"count", value) => count = integer(value),
                (b"time", value) => time_s = integer(value).map(i64::cast_unsigned),
                (b"reason", FieldValueRef::LongString(value)) => reason = Some(value),
                (b"queue", FieldValueRef::LongString(value)) => queue = Some(value),
                (b"exchange", FieldValueRef::LongString(value)) => exchange = Some(value),
                (b"routing-keys", FieldValueRef::Array(keys)) => routing_keys = Some(keys),
                (b"original-expiration", FieldValueRef::LongString(value)) => original_expiration = Some(value),
                _ => {}
            }
        }
        Some(Self {
            original_expiration,
            count: count?,
            reason: reason?,
            queue: queue?,
            time_s: time_s?,
            exchange: exchange?,
            routing_keys: routing_keys?,
        })
    }

    fn write(&self, table: &mut TableWriter<'_>) {
        if let Some(expiration) = self.original_expiration {
            table.long_string(b"original-expiration", expiration);
        }
        table.integer(b"count", self.count);
        table.long_string(b"reason", self.reason);
        table.long_string(b"queue", self.queue);
        table.timestamp(b"time", self.time_s);
        table.long_string(b"exchange", self.exchange);
        table.array(b"routing-keys", |keys| long_strings(self.routing_keys).for_each(|key| keys.long_string(key)));
    }

    /// At most so many bytes are [written](Self::write).
    fn written_bytes(&self) -> usize {
        /// Names, tags and lengths of all fields.
        const FIXED_BYTES: usize = 128;
        let strings = [self.original_expiration.unwrap_or_default(), self.reason, self.queue, self.exchange];
        FIXED_BYTES + strings.iter().map(|string| string.len()).sum::<usize>() + self.routing_keys.size_bytes()
    }
}

fn past_deaths(history: ArrayRef<'_>) -> impl Iterator<Item = PastDeath<'_>> {
    history.iter().filter_map(PastDeath::read)
}

fn long_strings(array: ArrayRef<'_>) -> impl Iterator<Item = &[u8]> {
    array.iter().filter_map(|value| match value {
        FieldValueRef::LongString(string) => Some(string),
        _ => None,
    })
}

/// A number of whichever width a client gave it.
fn integer(value: FieldValueRef<'_>) -> Option<i64> {
    match value {
        FieldValueRef::Timestamp(value) => Some(value.cast_signed()),
        value => value.integer(),
    }
}

/// Properties, cut where a dead letter's are different.
#[derive(Default)]
struct Sections<'a> {
    /// Those of the letter.
    flags: u16,
    /// What lies before the headers.
    before: &'a [u8],
    headers: TableRef<'a>,
    /// What lies between the headers and the expiration.
    between: &'a [u8],
    expiration: Option<&'a [u8]>,
    after: &'a [u8],
}

impl<'a> Sections<'a> {
    fn read(properties: &'a [u8]) -> Result<Self, DecodeError> {
        /// Those that say which properties are there.
        const PROPERTY_FLAGS: u16 = !0b11;
        let mut reader = Reader::new(properties);
        let flags = reader.u16()? & PROPERTY_FLAGS;
        let list = reader.rest();
        for flag in [flag::CONTENT_TYPE, flag::CONTENT_ENCODING] {
            if flags & flag != 0 {
                reader.short_string()?;
            }
        }
        let before = &list[..list.len() - reader.rest().len()];
        let headers = match flags & flag::HEADERS {
            0 => TableRef::default(),
            _ => TableRef::parse(reader.table_bytes()?)?,
        };
        let list = reader.rest();
        for flag in [flag::DELIVERY_MODE, flag::PRIORITY] {
            if flags & flag != 0 {
                reader.u8()?;
            }
        }
        for flag in [flag::CORRELATION_ID, flag::REPLY_TO] {
            if flags & flag != 0 {
                reader.short_string()?;
            }
        }
        let between = &list[..list.len() - reader.rest().len()];
        let expiration = (flags & flag::EXPIRATION != 0).then(|| reader.short_string()).transpose()?;
        let flags = flags & !flag::EXPIRATION | flag::HEADERS;
        Ok(Self { flags, before, headers, between, expiration, after: reader.rest() })
    }
}

#[cfg(test)]
mod tests;
