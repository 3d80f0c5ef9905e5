//! A blocking AMQP client for everything but the hot path: handshake, declarations, subscriptions, closing. Owns one
//! connection with one channel; every wait is bounded.

use crate::extensions::Arguments;
use crate::options::ArgumentValue;
use crate::target::Target;
use crate::wire::{CHANNEL, FRAME_BODY, FRAME_END, FRAME_HEAD, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD};
use crate::wire_stream::WireStream;
use leveret::protocol::method::{Method, basic, channel, confirm, connection, exchange, queue};
use leveret::protocol::{FieldTable, FieldValue, ShortString};
use leveret::tls::Connector;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for a connection to be accepted.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest frame to ask for, in bytes; what RabbitMQ proposes as well.
const FRAME_MAX: usize = 128 * 1024;
/// Bytes to receive at once.
const RECEIVE_CHUNK: usize = 4096;
/// Methods that are sent before the first answer is waited for, when many are sent.
const PIPELINE: usize = 256;
/// The consumer tag of every consumer: short, as its bytes come back with every delivery.
pub const CONSUMER_TAG: &str = "c";
/// The pseudo queue of direct reply-to.
pub const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// How to reach a broker.
#[derive(Clone, Debug)]
pub struct Broker {
    pub target: Target,
    pub address: SocketAddr,
    /// What connections over TLS are made with.
    pub connector: Option<Connector>,
}

/// One frame's type and payload, as a range of what was received.
struct Frame {
    kind: u8,
    payload: std::ops::Range<usize>,
}

/// A message that came without the hot path's walker.
pub struct Message {
    /// The content header's payload.
    pub header: Vec<u8>,
    pub body: Vec<u8>,
}

pub struct Client {
    stream: WireStream,
    received: Vec<u8>,
    /// Bytes of `received` already taken.
    taken: usize,
    outgoing: Vec<u8>,
    pub frame_max: usize,
}

/// Arguments as clients send them.
fn table(arguments: &Arguments) -> FieldTable {
    let field = |value: &ArgumentValue| match value {
        ArgumentValue::Number(number) => FieldValue::I64(*number),
        ArgumentValue::Boolean(boolean) => FieldValue::Boolean(*boolean),
        ArgumentValue::Text(text) => FieldValue::LongString(text.as_bytes().into()),
    };
    FieldTable(arguments.iter().map(|(name, value)| (ShortString::truncated(name.as_bytes()), field(value))).collect())
}

impl Client {
    /// Connects, logs in and opens channel 1.
    pub fn connect(broker: &Broker) -> io::Result<Self> {
        let mut client = Self::over(Self::socket(broker)?);
        client.handshake(&broker.target)?;
        client.call(CHANNEL, &Method::ChannelOpen(channel::Open), |answer| {
            matches!(answer, Method::ChannelOpenOk(_)).then_some(())
        })?;
        Ok(client)
    }

    fn socket(broker: &Broker) -> io::Result<WireStream> {
        let stream = TcpStream::connect_timeout(&broker.address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        match &broker.connector {
            None => Ok(WireStream::plain(stream)),
            Some(connector) => {
                WireStream::encrypted(stream, connector.connect(&broker.target.host).map_err(io::Error::other)?)
            }
        }
    }

    fn over(stream: WireStream) -> Self {
        Self { stream, received: Vec::new(), taken: 0, outgoing: Vec::new(), frame_max: FRAME_MAX }
    }

    fn handshake(&mut self, target: &Target) -> io::Result<()> {
        (&self.stream).write_all(b"AMQP\x00\x00\x09\x01")?;
        self.wait_for(|answer| matches!(answer, Method::ConnectionStart(_)).then_some(()))?;
        let response = format!("\0{}\0{}", target.user, target.password);
        let tune = self.call(
            0,
            &Method::ConnectionStartOk(connection::StartOk {
                client_properties: client_properties(),
                mechanism: b"PLAIN",
                response: response.as_bytes(),
                locale: b"en_US",
            }),
            |answer| if let Method::ConnectionTune(tune) = answer { Some(tune) } else { None },
        )?;
        if tune.frame_max > 0 {
            self.frame_max = self.frame_max.min(tune.frame_max as usize);
        }
        let tune_ok =
            connection::TuneOk { channel_max: tune.channel_max, frame_max: self.frame_max as u32, heartbeat: 0 };
        Method::ConnectionTuneOk(tune_ok).encode_frame(0, &mut self.outgoing);
        let open = connection::Open { virtual_host: target.vhost.as_bytes() };
        self.call(0, &Method::ConnectionOpen(open), |answer| {
            matches!(answer, Method::ConnectionOpenOk(_)).then_some(())
        })
    }

    /// How many messages a queue has.
    pub fn message_count(&mut self, name: &str) -> io::Result<u32> {
        let declare = queue::Declare { queue: name.as_bytes(), passive: true, ..queue::Declare::default() };
        self.call(CHANNEL, &Method::QueueDeclare(declare), |answer| {
            if let Method::QueueDeclareOk(ok) = answer { Some(ok.message_count) } else { None }
        })
    }

    /// Declares queues, many before the first is answered.
    pub fn declare_queues(&mut self, names: &[&str], durable: bool) -> io::Result<()> {
        self.declare_queues_with(names, durable, &Vec::new())
    }

    /// And with arguments.
    pub fn declare_queues_with(&mut self, names: &[&str], durable: bool, arguments: &Arguments) -> io::Result<()> {
        let arguments = table(arguments);
        self.call_all(names, |name| {
            let arguments = arguments.clone();
            Method::QueueDeclare(queue::Declare {
                queue: name.as_bytes(),
                durable,
                arguments,
                ..queue::Declare::default()
            })
        })
    }

    /// Declares a queue whose dead letters go to another one.
    pub fn declare_dying(&mut self, name: &str, to: &str, durable: bool) -> io::Result<()> {
        let string = |text: &str| FieldValue::LongString(text.as_bytes().into());
        let arguments = FieldTable(vec![
            ("x-dead-letter-exchange".into(), string("")),
            ("x-dead-letter-routing-key".into(), string(to)),
        ]);
        let declare = queue::Declare { queue: name.as_bytes(), durable, arguments, ..queue::Declare::default() };
        self.call(CHANNEL, &Method::QueueDeclare(declare), |answer| {
            matches!(answer, Method::QueueDeclareOk(_)).then_some(())
        })
    }

    /// Takes one message of a queue.
    pub fn take_one(&mut self, name: &str) -> io::Result<()> {
        let get = basic::Get { queue: name.as_bytes(), no_ack: true };
        self.call(CHANNEL, &Method::BasicGet(get), |answer| matches!(answer, Method::BasicGetOk(_)).then_some(()))
    }

    /// Waits for so many deliveries.
    pub fn skip_deliveries(&mut self, count: u64) -> io::Result<()> {
        for _ in 0..count {
            self.wait_for(|method| matches!(method, Method::BasicDeliver(_)).then_some(()))?;
        }
        Ok(())
    }

    /// Rejects everything that was delivered, with one method.
    pub fn reject_all(&mut self) -> io::Result<()> {
        let nack = basic::Nack { delivery_tag: 0, multiple: true, requeue: false };
        Method::BasicNack(nack).encode_frame(CHANNEL, &mut self.outgoing);
        let sent = (&self.stream).write_all(&self.outgoing);
        self.outgoing.clear();
        sent
    }

    /// Deletes queues, many before the first is answered.
    pub fn delete_queues(&mut self, names: &[&str]) -> io::Result<()> {
        self.call_all(names, |name| {
            Method::QueueDelete(queue::Delete { queue: name.as_bytes(), ..queue::Delete::default() })
        })
    }

    /// Binds queues by their keys, many before the first is answered.
    pub fn bind_all(&mut self, exchange: &str, queues_and_keys: &[(&str, &str)]) -> io::Result<()> {
        self.call_all(queues_and_keys, |(queue, routing_key)| {
            Method::QueueBind(queue::Bind {
                queue: queue.as_bytes(),
                exchange: exchange.as_bytes(),
                routing_key: routing_key.as_bytes(),
                ..queue::Bind::default()
            })
        })
    }

    /// Unbinds what `bind_all` bound.
    pub fn unbind_all(&mut self, exchange: &str, queues_and_keys: &[(&str, &str)]) -> io::Result<()> {
        self.call_all(queues_and_keys, |(queue, routing_key)| {
            Method::QueueUnbind(queue::Unbind {
                queue: queue.as_bytes(),
                exchange: exchange.as_bytes(),
                routing_key: routing_key.as_bytes(),
                ..queue::Unbind::default()
            })
        })
    }

    /// Sends a method for each item, many at once, and waits for as many answers, whose kinds follow from the methods.
    fn call_all<'a, Item>(&mut self, items: &'a [Item], method: impl Fn(&'a Item) -> Method<'a>) -> io::Result<()> {
        for some in items.chunks(PIPELINE) {
            some.iter().for_each(|item| method(item).encode_frame(CHANNEL, &mut self.outgoing));
            let sent = (&self.stream).write_all(&self.outgoing);
            self.outgoing.clear();
            sent?;
            for item in some {
                // An answer's id is its method's and one.
                let (class_id, method_id) = (method(item).class_id(), method(item).method_id() + 1);
                self.wait_for(|answer| {
                    (answer.class_id() == class_id && answer.method_id() == method_id).then_some(())
                })?;
            }
        }
        Ok(())
    }

    pub fn declare_exchange(
        &mut self,
        name: &str,
        exchange_type: &str,
        durable: bool,
        arguments: &Arguments,
    ) -> io::Result<()> {
        let declare = exchange::Declare {
            exchange: name.as_bytes(),
            exchange_type: exchange_type.as_bytes(),
            durable,
            arguments: table(arguments),
            ..exchange::Declare::default()
        };
        self.call(CHANNEL, &Method::ExchangeDeclare(declare), |answer| {
            matches!(answer, Method::ExchangeDeclareOk(_)).then_some(())
        })
    }

    pub fn delete_exchange(&mut self, name: &str) -> io::Result<()> {
        let delete = exchange::Delete { exchange: name.as_bytes(), ..exchange::Delete::default() };
        self.call(CHANNEL, &Method::ExchangeDelete(delete), |answer| {
            matches!(answer, Method::ExchangeDeleteOk(_)).then_some(())
        })
    }

    /// Asks for confirms of what is published from here on.
    pub fn select_confirms(&mut self) -> io::Result<()> {
        self.call(CHANNEL, &Method::ConfirmSelect(confirm::Select { nowait: false }), |answer| {
            matches!(answer, Method::ConfirmSelectOk(_)).then_some(())
        })
    }

    /// Limits unacknowledged deliveries, then subscribes. `prefetch` 0 is no limit.
    pub fn consume(&mut self, queue: &str, prefetch: u16, no_ack: bool) -> io::Result<()> {
        if prefetch > 0 {
            let qos = basic::Qos { prefetch_size: 0, prefetch_count: prefetch, global: false };
            self.call(CHANNEL, &Method::BasicQos(qos), |answer| matches!(answer, Method::BasicQosOk(_)).then_some(()))?;
        }
        let consume = basic::Consume {
            queue: queue.as_bytes(),
            consumer_tag: CONSUMER_TAG.as_bytes(),
            no_ack,
            ..basic::Consume::default()
        };
        self.call(CHANNEL, &Method::BasicConsume(consume), |answer| {
            matches!(answer, Method::BasicConsumeOk(_)).then_some(())
        })
    }

    /// As `consume`, from many queues under a tag each.
    pub fn consume_all(&mut self, queues: &[&str], prefetch: u16, no_ack: bool) -> io::Result<()> {
        if let [queue] = queues {
            return self.consume(queue, prefetch, no_ack);
        }
        if prefetch > 0 {
            let qos = basic::Qos { prefetch_size: 0, prefetch_count: prefetch, global: false };
            self.call(CHANNEL, &Method::BasicQos(qos), |answer| matches!(answer, Method::BasicQosOk(_)).then_some(()))?;
        }
        let tagged: Vec<(&str, String)> =
            queues.iter().enumerate().map(|(number, queue)| (*queue, format!("{CONSUMER_TAG}{number:05}"))).collect();
        self.call_all(&tagged, |(queue, consumer_tag)| {
            Method::BasicConsume(basic::Consume {
                queue: queue.as_bytes(),
                consumer_tag: consumer_tag.as_bytes(),
                no_ack,
                ..basic::Consume::default()
            })
        })
    }

    /// Connects so many times, opens a channel and closes again. Each conversation is one write and its answers are
    /// read at its end, which is legal, if unusual, as nothing that is said depends on the broker's answers.
    pub fn visit(broker: &Broker, times: usize) -> io::Result<()> {
        let mut conversation = b"AMQP\x00\x00\x09\x01".to_vec();
        let response = format!("\0{}\0{}", broker.target.user, broker.target.password);
        let start_ok = connection::StartOk {
            client_properties: client_properties(),
            mechanism: b"PLAIN",
            response: response.as_bytes(),
            locale: b"en_US",
        };
        Method::ConnectionStartOk(start_ok).encode_frame(0, &mut conversation);
        // The least that RabbitMQ 4 takes.
        let tune_ok = connection::TuneOk { channel_max: 1, frame_max: 8192, heartbeat: 0 };
        Method::ConnectionTuneOk(tune_ok).encode_frame(0, &mut conversation);
        let open = connection::Open { virtual_host: broker.target.vhost.as_bytes() };
        Method::ConnectionOpen(open).encode_frame(0, &mut conversation);
        Method::ChannelOpen(channel::Open).encode_frame(CHANNEL, &mut conversation);
        let close = connection::Close { reply_code: 200, ..connection::Close::default() };
        Method::ConnectionClose(close).encode_frame(0, &mut conversation);
        let mut clients = Vec::new();
        for _ in 0..times {
            let client = Self::over(Self::socket(broker)?);
            (&client.stream).write_all(&conversation)?;
            clients.push(client);
        }
        for mut client in clients {
            client.wait_for(|answer| matches!(answer, Method::ConnectionCloseOk(_)).then_some(()))?;
            // Whoever closes a connection first keeps its port for a minute, and there are few ports.
            socket2::SockRef::from(client.stream.socket()).set_linger(Some(Duration::ZERO))?;
        }
        Ok(())
    }

    /// Closes the channel. The answer means that the broker has dealt with everything sent before.
    pub fn close_channel(&mut self) -> io::Result<()> {
        self.stream.socket().set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let close = channel::Close { reply_code: 200, ..channel::Close::default() };
        self.call(CHANNEL, &Method::ChannelClose(close), |answer| {
            matches!(answer, Method::ChannelCloseOk(_)).then_some(())
        })
    }

    /// Closes the connection in good order.
    pub fn close(mut self) -> io::Result<()> {
        self.stream.socket().set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let close = connection::Close { reply_code: 200, ..connection::Close::default() };
        self.call(0, &Method::ConnectionClose(close), |answer| {
            matches!(answer, Method::ConnectionCloseOk(_)).then_some(())
        })
    }

    /// The socket, for the hot path.
    pub fn stream(&self) -> &WireStream {
        &self.stream
    }

    /// What was received behind the last answer, for the hot path's walker, which takes over reading.
    pub fn take_received(&mut self) -> Vec<u8> {
        let rest = self.received.split_off(self.taken);
        self.received.clear();
        self.taken = 0;
        rest
    }

    /// The next delivered message.
    pub fn next_message(&mut self) -> io::Result<Message> {
        self.wait_for(|method| matches!(method, Method::BasicDeliver(_)).then_some(()))?;
        let frame = self.next_frame()?;
        let header = self.received[frame.payload].to_vec();
        let size = header.get(4..12).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")));
        let (FRAME_HEADER, Some(size)) = (frame.kind, size) else {
            return Err(io::Error::other("a delivery without a content header"));
        };
        let mut body = Vec::new();
        while (body.len() as u64) < size {
            let frame = self.next_frame()?;
            if frame.kind != FRAME_BODY {
                return Err(io::Error::other("a delivery without its whole body"));
            }
            body.extend_from_slice(&self.received[frame.payload]);
        }
        Ok(Message { header, body })
    }

    /// Sends a method and waits for the answer that `pick` wants. Other methods are passed over, a close is an error.
    fn call<Answer>(
        &mut self,
        channel: u16,
        method: &Method<'_>,
        pick: impl FnMut(Method<'_>) -> Option<Answer>,
    ) -> io::Result<Answer> {
        method.encode_frame(channel, &mut self.outgoing);
        let sent = (&self.stream).write_all(&self.outgoing);
        self.outgoing.clear();
        // A refusal may lie unread although the socket takes no more: that is the better explanation.
        let answer = self.wait_for(pick);
        match (sent, answer) {
            (_, Ok(answer)) => Ok(answer),
            (Err(sent), Err(answer)) if answer.kind() == io::ErrorKind::UnexpectedEof => Err(sent),
            (_, Err(answer)) => Err(io::Error::new(answer.kind(), format!("{}: {answer}", method.name()))),
        }
    }

    fn wait_for<Answer>(&mut self, mut pick: impl FnMut(Method<'_>) -> Option<Answer>) -> io::Result<Answer> {
        loop {
            let frame = self.next_frame()?;
            if frame.kind != FRAME_METHOD {
                continue;
            }
            let method = Method::decode(&self.received[frame.payload])
                .map_err(|error| io::Error::other(format!("the broker sent no method: {error:?}")))?;
            if let Some(refusal) = refusal(&method) {
                return Err(refusal);
            }
            if let Some(answer) = pick(method) {
                return Ok(answer);
            }
        }
    }

    fn next_frame(&mut self) -> io::Result<Frame> {
        loop {
            let rest = &self.received[self.taken..];
            if let Some(head) = rest.first_chunk::<FRAME_HEAD>() {
                let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
                if size > FRAME_MAX {
                    return Err(io::Error::other(format!("the broker sent a frame of {size} bytes")));
                }
                if let Some(&end) = rest.get(FRAME_HEAD + size) {
                    if end != FRAME_END {
                        return Err(io::Error::other("the broker sent a frame without its end"));
                    }
                    let start = self.taken + FRAME_HEAD;
                    let kind = head[0];
                    self.taken += size + FRAME_OVERHEAD;
                    return Ok(Frame { kind, payload: start..start + size });
                }
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        self.received.drain(..self.taken);
        self.taken = 0;
        let len = self.received.len();
        self.received.resize(len + RECEIVE_CHUNK, 0);
        let result = (&self.stream).read(&mut self.received[len..]);
        self.received.truncate(len + result.as_ref().map_or(0, |&read| read));
        match result {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker hung up")),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the broker did not answer in time"))
            }
            Err(error) => Err(error),
        }
    }
}

/// Who this is, and that it wants to be told why a login failed and when a consumer ends.
fn client_properties() -> FieldTable {
    let capability = |name: &'static str| (ShortString::from(name), FieldValue::Boolean(true));
    let capabilities = vec![
        capability("authentication_failure_close"),
        capability("consumer_cancel_notify"),
        capability("basic.nack"),
    ];
    FieldTable(vec![
        (ShortString::from("product"), FieldValue::LongString(Box::from(&b"leveret-perf"[..]))),
        (ShortString::from("capabilities"), FieldValue::Table(FieldTable(capabilities))),
    ])
}

/// The error that a close is.
fn refusal(method: &Method<'_>) -> Option<io::Error> {
    let (code, text) = match method {
        Method::ChannelClose(close) => (close.reply_code, close.reply_text),
        Method::ConnectionClose(close) => (close.reply_code, close.reply_text),
        _ => return None,
    };
    Some(io::Error::other(format!("{code} {}", String::from_utf8_lossy(text))))
}

/// The error that a method in a stream of messages is, if the stream cannot go on after it.
pub fn interruption(class_method: u32, arguments: &[u8]) -> Option<io::Error> {
    let payload = [&class_method.to_be_bytes(), arguments].concat();
    let method = Method::decode(&payload).ok()?;
    if matches!(method, Method::BasicCancel(_)) {
        return Some(io::Error::other("the broker cancelled the consumer"));
    }
    refusal(&method)
}
