//! One connection to a broker: raw frames out, rendered frames in, every read under a deadline.
//!
//! Incoming frames are sorted by channel, because brokers promise no order between channels. Answers
//! `connection.close` with close-ok at once and then waits for the socket to close, FIN or RST alike.

use super::fields::{Reader, put_number, table_entries};
use super::notation::{Arguments, Cursor, quote, string, words};
use super::{methods, properties};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a frame that must come may take. Generous: it is only waited for in full when a test fails.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a broker may take to close the socket after our close-ok.
const CLOSING_PATIENCE: Duration = Duration::from_secs(8);
/// How long nothing must arrive where no following reply can prove it.
const SILENCE: Duration = Duration::from_millis(100);
/// The largest frame that brokers offer by default.
pub const FRAME_MAX: usize = 131072;
const FRAME_END: u8 = 0xCE;
/// Bodies longer than this are rendered by their length.
const BODY_SHOWN_MAX: usize = 64;

const CAPABILITIES: &[&str] = &[
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "publisher_confirms",
];

/// What can come next on a channel.
pub enum Event {
    Method(methods::Received),
    Header(properties::Received),
    Body(Vec<u8>),
    /// The eight bytes that refuse a protocol version.
    ProtocolHeader(Vec<u8>),
    Heartbeat,
    Closed,
    Timeout,
}

impl Event {
    fn render(&self) -> String {
        match self {
            Event::Method(method) => method.render(),
            Event::Header(header) => header.render().to_owned(),
            Event::Body(body) if body.len() > BODY_SHOWN_MAX => format!("body({} bytes)", body.len()),
            Event::Body(body) => format!("body({})", quote(body)),
            Event::ProtocolHeader(bytes) => format!("protocol-header {}", quote(bytes)),
            Event::Heartbeat => "heartbeat".to_owned(),
            Event::Closed => "<closed>".to_owned(),
            Event::Timeout => "<timeout>".to_owned(),
        }
    }
}

/// What a client's bytes go over.
pub trait Wire: Read + Write + Send {
    fn set_read_timeout(&self, timeout: Duration);
}

impl Wire for TcpStream {
    fn set_read_timeout(&self, timeout: Duration) {
        TcpStream::set_read_timeout(self, Some(timeout)).expect("a TCP socket");
    }
}

pub struct Client {
    socket: Box<dyn Wire>,
    received: Vec<u8>,
    sorted: HashMap<u16, VecDeque<Event>>,
    open_channels: BTreeSet<u16>,
    frame_max: usize,
    heartbeats: bool,
    ended: bool,
    /// The last `amq.gen-` name that the broker gave out, for `$gen`.
    pub generated_name: Option<String>,
    /// The last reply_to that arrived, for `$reply`.
    pub reply_to: Option<String>,
}

impl Client {
    /// A connected socket that has said nothing yet.
    pub fn socket(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the broker listens");
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_write_timeout(Some(PATIENCE)).expect("a TCP socket");
        Self::over(socket)
    }

    /// The same over something else than a plain socket.
    pub fn over(socket: impl Wire + 'static) -> Self {
        Self {
            socket: Box::new(socket),
            received: Vec::new(),
            sorted: HashMap::new(),
            open_channels: BTreeSet::new(),
            frame_max: FRAME_MAX,
            heartbeats: false,
            ended: false,
            generated_name: None,
            reply_to: None,
        }
    }

    /// A connection with channel 1 open. `options`: frame_max, channel_max, heartbeat as the client answers tune;
    /// `without=` a client capability; `user=` and `password=` if it isn't guest; `vhost=` another than the first.
    pub fn connect(address: SocketAddr, options: &str) -> Self {
        Self::socket(address).open(options)
    }

    /// [`connect`](Self::connect) of one that has said nothing yet.
    pub fn open(self, options: &str) -> Self {
        let mut client = self;
        let mut options = Arguments::parse(&words(options));
        let withheld = options.take("without");
        let capabilities: Vec<String> = CAPABILITIES
            .iter()
            .filter(|name| withheld.as_deref() != Some(name))
            .map(|name| format!("{name}=t:true"))
            .collect();
        let [frame_max, channel_max, heartbeat] = [("frame_max", 131072), ("channel_max", 2047), ("heartbeat", 0)]
            .map(|(name, default)| options.take_number(name).unwrap_or(default));
        let [user, password] = ["user", "password"].map(|name| options.take(name).unwrap_or("guest".to_owned()));
        let vhost = options.take("vhost").unwrap_or("/".to_owned());
        options.finish();
        client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
        client.receives("connection.start");
        client.send(&format!(
            "connection.start-ok mechanism=PLAIN response='\\0{user}\\0{password}' locale=en_US \
             client_properties={{capabilities=F:{{{}}}}}",
            capabilities.join(", ")
        ));
        client.receives("connection.tune");
        client.send(&format!(
            "connection.tune-ok channel_max={channel_max} frame_max={frame_max} heartbeat={heartbeat} ; \
             connection.open virtual_host={vhost}"
        ));
        client.receives("connection.open-ok");
        client.frame_max = frame_max as usize;
        client.heartbeats = heartbeat > 0;
        client.open_channel(1);
        client
    }

    fn receives(&mut self, name: &str) {
        match self.next(0, PATIENCE) {
            Event::Method(method) if method.name == name => {}
            other => panic!("{name} expected, {} came", other.render()),
        }
    }

    pub fn open_channel(&mut self, channel: u16) {
        self.send_on(channel, "channel.open");
        self.expects_on(channel, "channel.open-ok(r1='')");
    }

    /// Sends what `line` says on channel 1. See [`Client::send_on`].
    pub fn send(&mut self, line: &str) {
        self.send_on(1, line);
    }

    /// Sends a line of the notation in one write: frames separated by ` ; `, each perhaps repeated (`5x publish …`,
    /// where `%` in the text counts from 0).
    pub fn send_on(&mut self, channel: u16, line: &str) {
        self.send_bytes(&encode(channel, line, self.frame_max));
    }

    /// Writes bytes. A broker that has closed already is no error here: what it said is for the next expectation.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        if let Err(error) = self.socket.write_all(bytes) {
            let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted];
            assert!(gone.contains(&error.kind()), "cannot write to the broker: {error}");
        }
    }

    /// Asserts what comes next on channel 1. See [`Client::read_like`].
    #[track_caller]
    pub fn expects(&mut self, expected: &str) {
        self.expects_on(1, expected);
    }

    #[track_caller]
    pub fn expects_on(&mut self, channel: u16, expected: &str) {
        let actual = self.read_like(channel, expected);
        assert_eq!(actual, expected, "on channel {channel}");
    }

    /// Reads as much as `expected` describes and renders it the same way:
    /// frames joined by ` → `; `deliveries tag#1=body …` (`R` before `=`: redelivered; `get` for basic.get-ok);
    /// `acks N`: confirms of 1 to N however coalesced; `confirms +1 -2 +3`: what became of these publishes, `-` for a
    /// nack, however coalesced; `(nothing)`, proven by the reply to a later method;
    /// `(silence)`: nothing for a while; `<eventually closed>`: whatever comes before the end of the connection.
    /// In a frame, `…` stands for any text.
    pub fn read_like(&mut self, channel: u16, expected: &str) -> String {
        let rendered = if expected == "(nothing)" {
            self.unexpected_before_reply(channel).unwrap_or_else(|| "(nothing)".to_owned())
        } else if expected == "(silence)" {
            self.arrives_within(channel, SILENCE).unwrap_or_else(|| "(silence)".to_owned())
        } else if let Some(list) = expected.strip_prefix("deliveries ") {
            let read: Vec<String> = list.split(' ').map(|_| self.read_delivery(channel)).collect();
            format!("deliveries {}", read.join(" "))
        } else if let Some(count) = expected.strip_prefix("acks ") {
            self.read_acks(channel, count.parse().expect("acks N"))
        } else if let Some(list) = expected.strip_prefix("confirms ") {
            self.read_confirms(channel, list)
        } else if expected == "<eventually closed>" {
            self.read_until_closed()
        } else {
            self.read_frames(channel, expected)
        };
        normalise(&rendered)
    }

    fn read_frames(&mut self, channel: u16, expected: &str) -> String {
        let mut rendered = Vec::new();
        for frame in expected.split(" → ") {
            let event = self.next(channel, PATIENCE);
            let text = event.render();
            rendered.push(if abbreviates(frame, &text) { frame.to_owned() } else { text });
            if matches!(event, Event::Timeout | Event::Closed) {
                break;
            }
        }
        rendered.join(" → ")
    }

    fn read_until_closed(&mut self) -> String {
        loop {
            match self.next(0, PATIENCE) {
                Event::Closed => return "<eventually closed>".to_owned(),
                Event::Timeout => return "<timeout>".to_owned(),
                _ => {}
            }
        }
    }

    /// Whatever arrives on a channel before the deadline, rendered.
    pub fn arrives_within(&mut self, channel: u16, patience: Duration) -> Option<String> {
        match self.next(channel, patience) {
            Event::Timeout => None,
            event => Some(event.render()),
        }
    }

    fn read_delivery(&mut self, channel: u16) -> String {
        let method = match self.next(channel, PATIENCE) {
            Event::Method(method) if ["basic.deliver", "basic.get-ok"].contains(&method.name) => method,
            other => return other.render(),
        };
        let consumer = if method.name == "basic.deliver" { method.field("consumer_tag") } else { "get" };
        let redelivered = if method.field("redelivered") == "true" { "R" } else { "" };
        let summary = format!("{consumer}#{}{redelivered}", method.field("delivery_tag"));
        let size = match self.next(channel, PATIENCE) {
            Event::Header(header) => header.body_size as usize,
            other => return other.render(),
        };
        let mut body = Vec::new();
        while body.len() < size {
            match self.next(channel, PATIENCE) {
                Event::Body(part) => body.extend(part),
                other => return other.render(),
            }
        }
        format!("{summary}={}", String::from_utf8_lossy(&body))
    }

    fn read_acks(&mut self, channel: u16, count: u64) -> String {
        let mut confirmed = BTreeSet::new();
        while confirmed.len() < count as usize {
            match self.next(channel, PATIENCE) {
                Event::Method(method) if method.name == "basic.ack" => {
                    let tag: u64 = method.field("delivery_tag").parse().expect("a number");
                    let first = if method.field("multiple") == "true" { 1 } else { tag };
                    let before = confirmed.len();
                    confirmed.extend(first..=tag);
                    if confirmed.len() == before {
                        return format!("{} confirms nothing new", method.render());
                    }
                }
                other => return format!("{} after {confirmed:?}", other.render()),
            }
        }
        match confirmed.last() == Some(&count) {
            true => format!("acks {count}"),
            false => format!("acks {confirmed:?}"),
        }
    }

    /// Acks and nacks of the tags that `expected` names. `multiple` stands for those that nothing came for before.
    fn read_confirms(&mut self, channel: u16, expected: &str) -> String {
        let tags: Vec<u64> = expected.split(' ').map(|word| word[1..].parse().expect("+1 or -1")).collect();
        let (first, count) = (tags[0], tags.len());
        let mut fates = BTreeMap::new();
        while fates.len() < count {
            let method = match self.next(channel, PATIENCE) {
                Event::Method(method) if ["basic.ack", "basic.nack"].contains(&method.name) => method,
                other => return format!("{} after {fates:?}", other.render()),
            };
            let tag: u64 = method.field("delivery_tag").parse().expect("a number");
            let fate = if method.name == "basic.ack" { '+' } else { '-' };
            let before = fates.len();
            match method.field("multiple") == "true" {
                true => (first..=tag).for_each(|tag| _ = fates.entry(tag).or_insert(fate)),
                false => _ = fates.entry(tag).or_insert(fate),
            }
            if fates.len() == before {
                return format!("{} confirms nothing new", method.render());
            }
        }
        let fates: Vec<String> = fates.iter().map(|(tag, fate)| format!("{fate}{tag}")).collect();
        format!("confirms {}", fates.join(" "))
    }

    /// What arrives on an open channel before the reply to a harmless method sent now. Twice over, since a broker may
    /// answer the first one in the same turn in which it begins to deliver.
    fn unexpected_before_reply(&mut self, channel: u16) -> Option<String> {
        for _ in 0..2 {
            self.send_on(channel, "exchange.declare exchange=amq.direct passive");
            match self.next(channel, PATIENCE) {
                Event::Method(method) if method.name == "exchange.declare-ok" => {}
                other => return Some(other.render()),
            }
        }
        None
    }

    /// What is left on any open channel that nobody expected.
    pub fn leftovers(&mut self) -> Vec<String> {
        let channels: Vec<u16> = self.open_channels.iter().copied().collect();
        channels.into_iter().filter_map(|channel| self.unexpected_before_reply(channel)).collect()
    }

    /// The next thing on a channel; heartbeats are passed over unless channel 0 is asked for.
    pub fn next(&mut self, channel: u16, patience: Duration) -> Event {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(event) = self.sorted.get_mut(&channel).and_then(VecDeque::pop_front) {
                return event;
            }
            if self.ended {
                return Event::Closed;
            }
            let (from, event) = match self.take_event() {
                Some(arrived) => arrived,
                None => match self.fill(deadline) {
                    Fill::Some => continue,
                    Fill::Closed => {
                        self.ended = true;
                        self.open_channels.clear();
                        return Event::Closed;
                    }
                    Fill::Timeout => return Event::Timeout,
                },
            };
            if let Event::Method(method) = &event {
                self.note(from, method);
                if method.name == "connection.close" {
                    return self.answer_close(event);
                }
            }
            if let Event::Header(header) = &event {
                self.reply_to = header.reply_to.clone().or(self.reply_to.take());
            }
            match event {
                Event::Heartbeat if channel != 0 || !self.heartbeats => {}
                Event::ProtocolHeader(_) => return event,
                _ => self.sorted.entry(from).or_default().push_back(event),
            }
        }
    }

    fn note(&mut self, channel: u16, method: &methods::Received) {
        match method.name {
            "channel.open-ok" => {
                self.open_channels.insert(channel);
            }
            "channel.close" | "channel.close-ok" => {
                self.open_channels.remove(&channel);
            }
            "connection.close-ok" => self.open_channels.clear(),
            "queue.declare-ok" if method.field("queue").starts_with("amq.gen-") => {
                self.generated_name = Some(method.field("queue").to_owned());
            }
            _ => {}
        }
    }

    fn answer_close(&mut self, close: Event) -> Event {
        self.send("connection.close-ok");
        self.open_channels.clear();
        let deadline = Instant::now() + CLOSING_PATIENCE;
        self.ended = true;
        loop {
            match self.fill(deadline) {
                Fill::Some => {}
                Fill::Closed => return close,
                Fill::Timeout => panic!("{} and close-ok, but the socket stays open", close.render()),
            }
        }
    }

    fn take_event(&mut self) -> Option<(u16, Event)> {
        if self.received.starts_with(b"AMQP") && self.received.len() >= 8 {
            let header: Vec<u8> = self.received.drain(..8).skip(4).collect();
            return Some((0, Event::ProtocolHeader(header)));
        }
        let mut head = Reader(self.received.get(..7)?);
        let (kind, channel, size) = (head.number(1), head.number(2) as u16, head.number(4) as usize);
        let payload = self.received.get(7..7 + size)?.to_vec();
        assert_eq!(*self.received.get(7 + size)?, FRAME_END, "the end of a frame of type {kind}");
        assert!(size + 8 <= self.frame_max, "a frame of {size} bytes where {} were agreed", self.frame_max);
        self.received.drain(..size + 8);
        let event = match kind {
            1 => Event::Method(methods::Received::decode(&payload)),
            2 => Event::Header(properties::Received::decode(&payload)),
            3 => Event::Body(payload),
            8 => Event::Heartbeat,
            unknown => panic!("the broker sent a frame of type {unknown}"),
        };
        Some((channel, event))
    }

    fn fill(&mut self, deadline: Instant) -> Fill {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Fill::Timeout;
        }
        self.socket.set_read_timeout(left);
        let mut buffer = [0; 65536];
        match self.socket.read(&mut buffer) {
            Ok(0) => Fill::Closed,
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                Fill::Some
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Fill::Closed,
            Err(error) if error.kind() == ErrorKind::Interrupted => Fill::Some,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Fill::Timeout,
            Err(error) => panic!("cannot read from the broker: {error}"),
        }
    }
}

enum Fill {
    Some,
    Closed,
    Timeout,
}

/// The bytes of a line of the notation.
pub fn encode(channel: u16, line: &str, frame_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in words(line).split(|word| word == ";") {
        let (count, part) = match part.first().and_then(|word| word.strip_suffix('x')).and_then(|n| n.parse().ok()) {
            Some(count) => (count, &part[1..]),
            None => (1, part),
        };
        for index in 0..count {
            let part: Vec<String> = part.iter().map(|word| word.replace('%', &index.to_string())).collect();
            put_words(&mut bytes, channel, &part, frame_max);
        }
    }
    bytes
}

fn put_words(out: &mut Vec<u8>, channel: u16, words: &[String], frame_max: usize) {
    let (verb, rest) = words.split_first().expect("a verb");
    let raw = |at: usize| string(rest.get(at).expect("bytes after the verb"));
    match verb.as_str() {
        "bytes" => out.extend(raw(0)),
        "body" => put_frame(out, 3, channel, &raw(0)),
        "heartbeat" => put_frame(out, 8, channel, &[]),
        "method" => {
            let mut arguments = Arguments::parse(rest);
            let mut payload = Vec::new();
            put_number(&mut payload, arguments.take_number("class").expect("class="), 2);
            put_number(&mut payload, arguments.take_number("id").expect("id="), 2);
            payload.extend(arguments.take_string("payload").unwrap_or_default());
            arguments.finish();
            put_frame(out, 1, channel, &payload);
        }
        "frame" => {
            let mut arguments = Arguments::parse(rest);
            let kind = arguments.take_number("type").expect("type=") as u8;
            put_frame(out, kind, channel, &arguments.take_string("payload").unwrap_or_default());
            if let Some(end) = arguments.take_number("end") {
                *out.last_mut().expect("a frame") = end as u8;
            }
            arguments.finish();
        }
        "header" => {
            let mut arguments = Arguments::parse(rest);
            let size = arguments.take_number("size").unwrap_or(0);
            put_frame(out, 2, channel, &properties::encode(size, &mut arguments));
            arguments.finish();
        }
        "publish" => {
            let mut arguments = Arguments::parse(rest);
            let body = arguments.take_string("body").unwrap_or_default();
            put_frame(out, 1, channel, &methods::encode("basic.publish", &mut arguments));
            put_frame(out, 2, channel, &properties::encode(body.len() as u64, &mut arguments));
            arguments.finish();
            for chunk in body.chunks(frame_max - 8) {
                put_frame(out, 3, channel, chunk);
            }
        }
        "amqplain" => {
            let response = table_entries(&mut Cursor::new(rest.first().expect("a table")));
            let mut payload = methods::encode("connection.start-ok", &mut Arguments::parse(&[]));
            payload.truncate(4 + 4);
            payload.extend(b"\x08AMQPLAIN");
            super::fields::put_long_string(&mut payload, &response);
            payload.extend(b"\x05en_US");
            put_frame(out, 1, 0, &payload);
        }
        method => {
            let mut arguments = Arguments::parse(rest);
            let channel = if method.starts_with("connection.") { 0 } else { channel };
            let channel = arguments.take_number("on").map_or(channel, |number| number as u16);
            put_frame(out, 1, channel, &methods::encode(method, &mut arguments));
            arguments.finish();
        }
    }
}

pub fn put_frame(out: &mut Vec<u8>, kind: u8, channel: u16, payload: &[u8]) {
    out.push(kind);
    put_number(out, channel.into(), 2);
    put_number(out, payload.len() as u64, 4);
    out.extend_from_slice(payload);
    out.push(FRAME_END);
}

/// Whether `pattern`, in which `…` stands for any text, describes `text`.
fn abbreviates(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last = "";
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = part;
    }
    rest.is_empty() || (last.is_empty() && pattern.ends_with('…'))
}

/// Replaces what brokers make up: generated names and reply addresses.
fn normalise(text: &str) -> String {
    const GENERATED_LENGTH: usize = 22;
    const REPLY_TO: &str = "amq.rabbitmq.reply-to.";
    /// A forged address in a transcript is shorter than this.
    const REPLY_TO_ADDRESS_MIN: usize = 16;
    let mut normal = String::new();
    let mut rest = text;
    let is_name = |character: char| character.is_ascii_alphanumeric() || "-_.+/=".contains(character);
    while let Some(at) = rest.find("amq.") {
        let (before, name) = rest.split_at(at);
        normal.push_str(before);
        let end = name.find(|character| !is_name(character)).unwrap_or(name.len());
        let (name, after) = name.split_at(end);
        rest = after;
        let prefix = ["amq.gen-", "amq.ctag-"].into_iter().find(|prefix| name.starts_with(prefix));
        match prefix {
            Some(prefix) if name.len() == prefix.len() + GENERATED_LENGTH => {
                normal.push_str(&format!("{prefix}<{GENERATED_LENGTH}ch>"));
            }
            _ if name.starts_with(REPLY_TO) && name.len() >= REPLY_TO.len() + REPLY_TO_ADDRESS_MIN => {
                normal.push_str(&format!("{REPLY_TO}<address>"));
            }
            _ => normal.push_str(name),
        }
    }
    normal + rest
}
