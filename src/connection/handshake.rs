//! From the protocol header to an open virtual host (AMQP 0-9-1 §2.2.4).
//!
//! ```text
//! AwaitingHeader ─header→ start → AwaitingStartOk ─start-ok→ AwaitingLogin ─doorkeeper's answer→ tune → AwaitingTuneOk
//!                   or, as the mechanism wants it: ─start-ok→ secure → AwaitingSecureOk ─secure-ok→ AwaitingLogin
//! AwaitingTuneOk ─tune-ok→ AwaitingOpen ─open→ Running
//! ```
//! As RabbitMQ does, a client that breaks the order or asks for more than was offered is dropped without a word, after
//! the delay that makes guessing slow; once it is tuned it is told.

use super::login::Who;
use super::sasl::{Mechanism, Response};
use super::settings::{Identity, Settings};
use super::{Capabilities, Connection, Context, Phase, sasl};
use crate::broker::store::Store;
use crate::protocol::frame::{FRAME_MIN_SIZE, PROTOCOL_HEADER};
use crate::protocol::method::connection;
use crate::protocol::{AmqpError, FieldTable, FieldValue, Method, ReplyCode, ShortString};
use std::sync::Arc;

/// The version that we give where RabbitMQ's is wanted: one that clients know, of the series that we follow.
pub const COMPATIBLE_VERSION: &str = "3.13.7";

/// The client library under kombu and Celery. It knows RabbitMQ's `basic.qos` by the product's name; told any other
/// name, it changes the prefetch of running consumers with `global = false`, and counts on that.
const PY_AMQP: &str = "py-amqp";

/// What the server can do, beyond AMQP 0-9-1.
const CAPABILITIES: [&str; 9] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
];

fn text(value: &str) -> FieldValue {
    FieldValue::LongString(value.as_bytes().into())
}

fn server_properties(identity: Identity, cluster_name: &str) -> FieldTable {
    let capabilities =
        CAPABILITIES.iter().map(|capability| (ShortString::from(*capability), FieldValue::Boolean(true))).collect();
    let (product, version) = match identity {
        Identity::Leveret => ("Leveret", env!("CARGO_PKG_VERSION")),
        Identity::RabbitMq => ("RabbitMQ", COMPATIBLE_VERSION),
    };
    FieldTable(vec![
        ("capabilities".into(), FieldValue::Table(FieldTable(capabilities))),
        ("cluster_name".into(), text(cluster_name)),
        ("copyright".into(), text("Copyright the Leveret maintainers")),
        ("information".into(), text("Licensed under the Apache License 2.0")),
        ("platform".into(), text("Rust")),
        ("product".into(), text(product)),
        ("version".into(), text(version)),
    ])
}

/// The whole frames of `connection.start`: the same for every client without TLS, and for every one with it, as long as the
/// cluster is called the same.
pub struct Greeting {
    plain: Vec<u8>,
    encrypted: Vec<u8>,
}

impl Greeting {
    pub fn new(settings: &Settings, cluster_name: &str) -> Self {
        Self { plain: start(settings, cluster_name, false), encrypted: start(settings, cluster_name, true) }
    }

    fn of(&self, is_encrypted: bool) -> &[u8] {
        if is_encrypted { &self.encrypted } else { &self.plain }
    }
}

/// Who shows no certificate is offered EXTERNAL all the same, as with RabbitMQ: it is told why it is refused.
fn is_offered(mechanism: Mechanism, is_encrypted: bool) -> bool {
    is_encrypted || mechanism != Mechanism::External
}

fn start(settings: &Settings, cluster_name: &str, is_encrypted: bool) -> Vec<u8> {
    let mechanisms = settings.mechanisms.iter().filter(|mechanism| is_offered(**mechanism, is_encrypted));
    let mechanisms: Vec<_> = mechanisms.map(|mechanism| mechanism.name()).collect();
    let mechanisms = mechanisms.join(" ");
    let start = Method::ConnectionStart(connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: server_properties(settings.identity, cluster_name),
        mechanisms: mechanisms.as_bytes(),
        locales: b"en_US",
    });
    let mut frame = Vec::new();
    start.encode_frame(0, &mut frame);
    frame
}

impl Connection {
    /// Takes the protocol header off the front of the input. Returns how much it took.
    pub(super) fn receive_protocol_header<S: Store>(&mut self, input: &[u8], context: &mut Context<'_, S>) -> usize {
        const OLD_PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x01\x01\x00\x09";
        let Some(header) = input.first_chunk::<8>() else {
            // Eight bytes decide; fewer can only be told apart from AMQP early.
            if !PROTOCOL_HEADER.starts_with(&input[..input.len().min(4)]) {
                self.refuse_protocol(input, context);
                return input.len();
            }
            return 0;
        };
        if *header != PROTOCOL_HEADER && *header != OLD_PROTOCOL_HEADER {
            self.refuse_protocol(input, context);
            return input.len();
        }
        self.tell_accepted();
        context.outboxes.raw(self.id, context.greeting.of(self.encryption.is_some()));
        self.phase = Phase::AwaitingStartOk;
        header.len()
    }

    /// Says which version is spoken here, and ends.
    fn refuse_protocol<S: Store>(&mut self, input: &[u8], context: &mut Context<'_, S>) {
        /// How a record of TLS's handshake begins.
        const TLS_HEADER: &[u8] = b"\x16\x03";
        self.tell_accepted();
        context.outboxes.raw(self.id, &PROTOCOL_HEADER);
        let why = match input.starts_with(TLS_HEADER) {
            true => "it speaks TLS: this port is for AMQP without it",
            false => "it did not speak AMQP 0-9-1",
        };
        self.end(super::CloseReason::Handshake(why), context);
    }

    pub(super) fn handshake_method<S: Store>(&mut self, method: Method<'_>, context: &mut Context<'_, S>) {
        match (self.phase, method) {
            (Phase::AwaitingStartOk, Method::ConnectionStartOk(start_ok)) => self.start_ok(start_ok, context),
            (Phase::AwaitingSecureOk, Method::ConnectionSecureOk(secure_ok)) => self.secure_ok(&secure_ok, context),
            (Phase::AwaitingTuneOk, Method::ConnectionTuneOk(tune_ok)) => self.tune_ok(tune_ok, context),
            (Phase::AwaitingOpen, Method::ConnectionOpen(open)) => self.open(open, context),
            (Phase::AwaitingTuneOk | Phase::AwaitingOpen, Method::ConnectionClose(_)) => self.close_received(context),
            (Phase::AwaitingOpen, method) => {
                let error =
                    AmqpError::connection(ReplyCode::ChannelError, "unexpected method in connection state opening");
                self.raise_on_connection(&error, (method.class_id(), method.method_id()), context);
            }
            _ => self.doom("it sent a method out of turn", context),
        }
    }

    fn start_ok<S: Store>(&mut self, start_ok: connection::StartOk<'_>, context: &mut Context<'_, S>) {
        let properties = start_ok.client_properties;
        let mut encoded = Vec::new();
        properties.encode_entries(&mut encoded);
        self.client_properties = encoded.into();
        let capability = |name: &str| match properties.get(b"capabilities") {
            Some(FieldValue::Table(table)) => table.get(name.as_bytes()) == Some(&FieldValue::Boolean(true)),
            _ => false,
        };
        let understands_cancel = capability("consumer_cancel_notify");
        self.capabilities = Capabilities {
            authentication_failure_close: capability("authentication_failure_close"),
            connection_blocked: capability("connection.blocked"),
            reads_qos_as_specified: context.settings.identity == Identity::Leveret
                && properties.get(b"product") == Some(&text(PY_AMQP)),
        };
        context.outboxes.get_mut(self.id).understands_cancel = understands_cancel;

        let offered = &context.settings.mechanisms;
        let mechanism = offered
            .iter()
            .filter(|mechanism| is_offered(**mechanism, self.encryption.is_some()))
            .find(|mechanism| mechanism.name().as_bytes() == start_ok.mechanism);
        match mechanism.and_then(|mechanism| sasl::first_response(*mechanism, start_ok.response)) {
            Some(Response::Complete(credentials)) => self.ask_for_login(credentials, context),
            Some(Response::User(user)) => self.challenge(user, context),
            Some(Response::Certificate) => self.log_in_by_certificate(context),
            None => self.doom("its credentials were malformed or of a mechanism that is not offered", context),
        }
    }

    fn tune_ok<S: Store>(&mut self, tune_ok: connection::TuneOk, context: &mut Context<'_, S>) {
        let offered = context.settings;
        let channels_too_many =
            offered.channel_max != 0 && (tune_ok.channel_max == 0 || tune_ok.channel_max > offered.channel_max);
        if channels_too_many || !(FRAME_MIN_SIZE..=offered.frame_max).contains(&tune_ok.frame_max) {
            return self.doom("it asked for more channels or larger frames than were offered", context);
        }
        self.channel_max = tune_ok.channel_max;
        self.frame_max = tune_ok.frame_max;
        self.heartbeat_s = tune_ok.heartbeat;
        self.watch_from(context.now_ms);
        context.outboxes.get_mut(self.id).set_frame_max(self.frame_max);
        self.phase = Phase::AwaitingOpen;
    }

    fn open<S: Store>(&mut self, open: connection::Open<'_>, context: &mut Context<'_, S>) {
        let Ok(vhost_name) = std::str::from_utf8(open.virtual_host) else {
            let error = AmqpError::connection(ReplyCode::FrameError, "Malformed UTF-8 in shortstr");
            return self.raise_on_connection(&error, (10, 40), context);
        };
        context.broker.drop_inquiries();
        let logged_in = self.user.as_ref().expect("whoever may open has logged in");
        let entered = match &logged_in.who {
            Who::User(user) => context.broker.admit(*user, &logged_in.name, open.virtual_host),
            Who::Bearer(bearer) => self.enter_as(&Arc::clone(bearer), open.virtual_host, context),
        };
        let (user, vhost) = match entered {
            Ok(entered) => entered,
            Err(_) if self.waits_for_answer(context) => return,
            Err(error) => return self.raise_on_connection(&error, (10, 40), context),
        };
        context.broker.open_connection(self.id, user, vhost);
        context.broker.name_connection(self.id, &self.name());
        if context.broker.hears_events() {
            context.broker.tell_connection_created(self.id, &self.details());
        }
        context.outboxes.method(self.id, 0, &Method::ConnectionOpenOk(connection::OpenOk));
        self.phase = Phase::Running;
        self.deadline_ms = None;
        self.last_received_ms = context.now_ms;
        self.vhost_name = vhost_name.into();
        self.tell_opened();
    }
}
