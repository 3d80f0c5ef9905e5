//! Every method of AMQP 0-9-1, with RabbitMQ's additions: one module per class, one struct per method, and [`Method`],
//! which is any of them.
//!
//! Strings borrow from the frame; tables are copied. Reserved arguments are read past and written as zero. Whether a
//! method makes sense from this peer at this moment is for the connection to say.

pub mod access;
pub mod basic;
pub mod channel;
pub mod confirm;
pub mod connection;
pub mod exchange;
pub mod queue;
pub mod tx;
mod wire;

pub use wire::Arguments;

use super::decoder::{DecodeError, Reader};
use super::encoder::put_u16;
use super::frame::{FrameError, FrameType, begin_frame, end_frame};
use super::octets::Numbers;
use super::{AmqpError, ReplyCode};

/// Octets of class id and method id, which open every method's payload.
pub const METHOD_IDS_LENGTH: usize = 4;

macro_rules! methods {
    ($($variant:ident($arguments:ty) = ($class_id:literal, $method_id:literal) $name:literal,)*) => {
        /// Any method, borrowing its strings from the frame.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Method<'a> {
            $(#[doc = concat!("`", $name, "`")] $variant($arguments),)*
        }

        impl<'a> Method<'a> {
            /// The method in the payload of a method frame.
            #[inline]
            pub fn decode(payload: &'a [u8]) -> Result<Self, MethodError> {
                let mut reader = Reader::new(payload);
                let (class_id, method_id) = read_ids(&mut reader)?;
                let decoded = match (class_id, method_id) {
                    $(($class_id, $method_id) => <$arguments>::decode(&mut reader).map(Self::$variant),)*
                    _ => return Err(MethodError::UnknownMethod { class_id, method_id }),
                };
                decoded
                    .and_then(|method| reader.finish().map(|()| method))
                    .map_err(|reason| MethodError::Malformed { class_id, method_id, reason })
            }

            #[inline]
            pub fn class_id(&self) -> u16 {
                match self {
                    $(Self::$variant(_) => $class_id,)*
                }
            }

            #[inline]
            pub fn method_id(&self) -> u16 {
                match self {
                    $(Self::$variant(_) => $method_id,)*
                }
            }

            /// The name in AMQP's notation: `queue.declare`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }

            /// Appends class id, method id and arguments.
            #[inline]
            pub fn encode_payload(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(arguments) => {
                        put_u16(out, $class_id);
                        put_u16(out, $method_id);
                        arguments.encode(out);
                    })*
                }
            }
        }
    };
}

methods! {
    ConnectionStart(connection::Start<'a>) = (10, 10) "connection.start",
    ConnectionStartOk(connection::StartOk<'a>) = (10, 11) "connection.start-ok",
    ConnectionSecure(connection::Secure<'a>) = (10, 20) "connection.secure",
    ConnectionSecureOk(connection::SecureOk<'a>) = (10, 21) "connection.secure-ok",
    ConnectionTune(connection::Tune) = (10, 30) "connection.tune",
    ConnectionTuneOk(connection::TuneOk) = (10, 31) "connection.tune-ok",
    ConnectionOpen(connection::Open<'a>) = (10, 40) "connection.open",
    ConnectionOpenOk(connection::OpenOk) = (10, 41) "connection.open-ok",
    ConnectionClose(connection::Close<'a>) = (10, 50) "connection.close",
    ConnectionCloseOk(connection::CloseOk) = (10, 51) "connection.close-ok",
    ConnectionBlocked(connection::Blocked<'a>) = (10, 60) "connection.blocked",
    ConnectionUnblocked(connection::Unblocked) = (10, 61) "connection.unblocked",
    ConnectionUpdateSecret(connection::UpdateSecret<'a>) = (10, 70) "connection.update-secret",
    ConnectionUpdateSecretOk(connection::UpdateSecretOk) = (10, 71) "connection.update-secret-ok",
    ChannelOpen(channel::Open) = (20, 10) "channel.open",
    ChannelOpenOk(channel::OpenOk) = (20, 11) "channel.open-ok",
    ChannelFlow(channel::Flow) = (20, 20) "channel.flow",
    ChannelFlowOk(channel::FlowOk) = (20, 21) "channel.flow-ok",
    ChannelClose(channel::Close<'a>) = (20, 40) "channel.close",
    ChannelCloseOk(channel::CloseOk) = (20, 41) "channel.close-ok",
    AccessRequest(access::Request<'a>) = (30, 10) "access.request",
    AccessRequestOk(access::RequestOk) = (30, 11) "access.request-ok",
    ExchangeDeclare(exchange::Declare<'a>) = (40, 10) "exchange.declare",
    ExchangeDeclareOk(exchange::DeclareOk) = (40, 11) "exchange.declare-ok",
    ExchangeDelete(exchange::Delete<'a>) = (40, 20) "exchange.delete",
    ExchangeDeleteOk(exchange::DeleteOk) = (40, 21) "exchange.delete-ok",
    ExchangeBind(exchange::Bind<'a>) = (40, 30) "exchange.bind",
    ExchangeBindOk(exchange::BindOk) = (40, 31) "exchange.bind-ok",
    ExchangeUnbind(exchange::Unbind<'a>) = (40, 40) "exchange.unbind",
    ExchangeUnbindOk(exchange::UnbindOk) = (40, 51) "exchange.unbind-ok",
    QueueDeclare(queue::Declare<'a>) = (50, 10) "queue.declare",
    QueueDeclareOk(queue::DeclareOk<'a>) = (50, 11) "queue.declare-ok",
    QueueBind(queue::Bind<'a>) = (50, 20) "queue.bind",
    QueueBindOk(queue::BindOk) = (50, 21) "queue.bind-ok",
    QueuePurge(queue::Purge<'a>) = (50, 30) "queue.purge",
    QueuePurgeOk(queue::PurgeOk) = (50, 31) "queue.purge-ok",
    QueueDelete(queue::Delete<'a>) = (50, 40) "queue.delete",
    QueueDeleteOk(queue::DeleteOk) = (50, 41) "queue.delete-ok",
    QueueUnbind(queue::Unbind<'a>) = (50, 50) "queue.unbind",
    QueueUnbindOk(queue::UnbindOk) = (50, 51) "queue.unbind-ok",
    BasicQos(basic::Qos) = (60, 10) "basic.qos",
    BasicQosOk(basic::QosOk) = (60, 11) "basic.qos-ok",
    BasicConsume(basic::Consume<'a>) = (60, 20) "basic.consume",
    BasicConsumeOk(basic::ConsumeOk<'a>) = (60, 21) "basic.consume-ok",
    BasicCancel(basic::Cancel<'a>) = (60, 30) "basic.cancel",
    BasicCancelOk(basic::CancelOk<'a>) = (60, 31) "basic.cancel-ok",
    BasicPublish(basic::Publish<'a>) = (60, 40) "basic.publish",
    BasicReturn(basic::Return<'a>) = (60, 50) "basic.return",
    BasicDeliver(basic::Deliver<'a>) = (60, 60) "basic.deliver",
    BasicGet(basic::Get<'a>) = (60, 70) "basic.get",
    BasicGetOk(basic::GetOk<'a>) = (60, 71) "basic.get-ok",
    BasicGetEmpty(basic::GetEmpty) = (60, 72) "basic.get-empty",
    BasicAck(basic::Ack) = (60, 80) "basic.ack",
    BasicReject(basic::Reject) = (60, 90) "basic.reject",
    BasicRecoverAsync(basic::RecoverAsync) = (60, 100) "basic.recover-async",
    BasicRecover(basic::Recover) = (60, 110) "basic.recover",
    BasicRecoverOk(basic::RecoverOk) = (60, 111) "basic.recover-ok",
    BasicNack(basic::Nack) = (60, 120) "basic.nack",
    ConfirmSelect(confirm::Select) = (85, 10) "confirm.select",
    ConfirmSelectOk(confirm::SelectOk) = (85, 11) "confirm.select-ok",
    TxSelect(tx::Select) = (90, 10) "tx.select",
    TxSelectOk(tx::SelectOk) = (90, 11) "tx.select-ok",
    TxCommit(tx::Commit) = (90, 20) "tx.commit",
    TxCommitOk(tx::CommitOk) = (90, 21) "tx.commit-ok",
    TxRollback(tx::Rollback) = (90, 30) "tx.rollback",
    TxRollbackOk(tx::RollbackOk) = (90, 31) "tx.rollback-ok",
}

impl Method<'_> {
    /// Appends a whole method frame.
    #[inline]
    pub fn encode_frame(&self, channel: u16, out: &mut Vec<u8>) {
        let frame = begin_frame(out, FrameType::Method, channel);
        self.encode_payload(out);
        end_frame(out, frame);
    }
}

#[inline]
fn read_ids(reader: &mut Reader<'_>) -> Result<(u16, u16), MethodError> {
    let class_id = reader.u16().map_err(|_| MethodError::TooShort)?;
    let method_id = reader.u16().map_err(|_| MethodError::TooShort)?;
    Ok((class_id, method_id))
}

/// A method frame's payload that is no method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MethodError {
    /// There is no room for a class id and a method id.
    TooShort,
    /// No method has these ids.
    UnknownMethod { class_id: u16, method_id: u16 },
    /// The arguments are not those of the method.
    Malformed { class_id: u16, method_id: u16, reason: DecodeError },
}

impl MethodError {
    /// The ids for the close to name: (0, 0) when there are none.
    pub fn ids(&self) -> (u16, u16) {
        match *self {
            Self::TooShort => (0, 0),
            Self::UnknownMethod { class_id, method_id } | Self::Malformed { class_id, method_id, .. } => {
                (class_id, method_id)
            }
        }
    }

    /// The connection exception, with the text that RabbitMQ gives it; `payload` is that of the frame. RabbitMQ drops
    /// the connection without a word where the ids are unknown; we say what RabbitMQ says of a method that it does not
    /// take.
    pub fn to_amqp_error(&self, payload: &[u8]) -> AmqpError {
        match *self {
            Self::TooShort => FrameError::Unknown { frame_type: FrameType::Method as u8, payload }.to_amqp_error(),
            Self::UnknownMethod { .. } => AmqpError::connection(ReplyCode::CommandInvalid, "unimplemented method"),
            Self::Malformed { reason: DecodeError::InvalidUtf8, .. } => {
                AmqpError::connection(ReplyCode::FrameError, "Malformed UTF-8 in shortstr").without_method()
            }
            Self::Malformed { .. } => {
                let arguments = payload.get(METHOD_IDS_LENGTH..).unwrap_or_default();
                AmqpError::connection(ReplyCode::FrameError, format!("cannot decode {}", Numbers(arguments)))
            }
        }
    }
}
