//! The arguments of `basic.consume`: what they may be, with RabbitMQ's words for what they may not.
//!
//! Unknown ones are kept and ignored, as RabbitMQ does; so is `x-cancel-on-ha-failover`: a queue is on one node here, and
//! does not fail over.

use super::Broker;
use super::equivalence::{integer, type_name};
use super::exchange::QueueId;
use super::queue::QueueKind;
use super::store::Store;
use crate::protocol::{AmqpError, FieldTable, FieldValue, ReplyCode};

/// Those that are for consumers of streams only.
const OF_STREAMS: [&str; 3] = ["x-stream-offset", "x-stream-filter", "x-stream-match-unfiltered"];
/// For queues of type quorum only.
const CONSUMER_TIMEOUT: &str = "x-consumer-timeout";

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct ConsumerArguments {
    /// `x-priority`
    pub priority: i64,
    /// `x-consumer-timeout`, instead of what its queue says.
    pub timeout_ms: Option<u64>,
}

impl<S: Store> Broker<S> {
    /// # Errors
    /// 406 for those of wrong types or values, and those that are for other queues.
    pub(super) fn consumer_arguments(
        &self,
        queue: QueueId,
        arguments: &FieldTable,
    ) -> Result<ConsumerArguments, AmqpError> {
        let kind = self.queue(queue).behaviour.kind;
        let properties = &self.queue(queue).properties;
        let subject = self.subject("queue", properties.vhost, &properties.name);
        let refused = |explanation| AmqpError::channel(ReplyCode::PreconditionFailed, explanation);
        let invalid =
            |argument: &str, reason: String| refused(format!("invalid arg '{argument}' for {subject}{reason}"));
        let of_others = OF_STREAMS.into_iter().chain((kind == QueueKind::Classic).then_some(CONSUMER_TIMEOUT));
        for argument in of_others {
            if arguments.get(argument.as_bytes()).is_some() {
                return Err(invalid(argument, format!(" of queue type rabbit_{}_queue", kind.name())));
            }
        }
        if let Some(FieldValue::Table(_)) = arguments.get(b"x-credit") {
            return Err(refused(format!("arg 'x-credit' for {subject} is not supported by this version")));
        }
        let number = |argument: &str| match arguments.get(argument.as_bytes()) {
            None => Ok(None),
            Some(value) => {
                let wrong_type = || invalid(argument, format!(": \"expected integer, got {}\"", type_name(value)));
                integer(value).map(Some).ok_or_else(wrong_type)
            }
        };
        let priority = number("x-priority")?.unwrap_or_default();
        let negative = |value| invalid(CONSUMER_TIMEOUT, format!(": {{value_negative,{value}}}"));
        let timeout_ms = match number(CONSUMER_TIMEOUT)? {
            None => None,
            Some(value) => Some(u64::try_from(value).map_err(|_| negative(value))?),
        };
        Ok(ConsumerArguments { priority, timeout_ms })
    }
}
