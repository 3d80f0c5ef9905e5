//! Methods of class `basic` other than publish, to the broker's commands.

use super::channel::Channel;
use super::dispatch::Outcome;
use super::{Awaited, Connection, Context};
use crate::broker::store::Store;
use crate::broker::{Caller, ConsumeRequest, GetOutcome, Progress, Settlement};
use crate::protocol::method::basic;
use crate::protocol::{AmqpError, Method, ReplyCode};

impl Connection {
    pub(super) fn basic_command<S: Store>(
        &mut self,
        index: usize,
        method: Method<'_>,
        context: &mut Context<'_, S>,
    ) -> Outcome {
        let Channel { number, caller, .. } = *self.channels[index];
        let id = caller.channel;
        match method {
            Method::BasicAck(basic::Ack { delivery_tag, multiple }) => {
                let progress = context.broker.settle(id, delivery_tag, multiple, Settlement::Acknowledged)?;
                self.go_on_later(progress)
            }
            Method::BasicNack(basic::Nack { delivery_tag, multiple, requeue }) => {
                let outcome = rejection(requeue, Settlement::Requeued);
                let progress = context.broker.settle(id, delivery_tag, multiple, outcome)?;
                self.go_on_later(progress)
            }
            Method::BasicReject(basic::Reject { delivery_tag, requeue }) => {
                let outcome = rejection(requeue, Settlement::Failed);
                context.broker.settle(id, delivery_tag, false, outcome).map(drop)
            }
            Method::BasicQos(qos) => self.qos(index, qos, context),
            Method::BasicConsume(consume) => self.consume(index, consume, context),
            Method::BasicCancel(basic::Cancel { consumer_tag, nowait }) => {
                context.broker.cancel(caller, consumer_tag);
                let answer = Method::BasicCancelOk(basic::CancelOk { consumer_tag });
                self.answer(number, nowait, &answer, context);
                Ok(())
            }
            Method::BasicGet(_) if context.outboxes.answers_wait(self.id) => {
                self.awaits = Some(Awaited::Room);
                Ok(())
            }
            Method::BasicGet(basic::Get { queue, no_ack }) => {
                match context.broker.get(caller, queue, no_ack, context.outboxes)? {
                    GetOutcome::Got(got) => context.outboxes.got(self.id, number, &got),
                    GetOutcome::Empty => {
                        self.answer(number, false, &Method::BasicGetEmpty(basic::GetEmpty), context);
                    }
                    GetOutcome::Away(queue) => self.awaits = Some(Awaited::HeadOf(queue)),
                }
                Ok(())
            }
            Method::BasicRecover(basic::Recover { requeue }) => {
                self.recover(index, requeue, context)?;
                if self.awaits.is_none() {
                    self.answer(number, false, &Method::BasicRecoverOk(basic::RecoverOk), context);
                }
                Ok(())
            }
            Method::BasicRecoverAsync(basic::RecoverAsync { requeue }) => self.recover(index, requeue, context),
            _ => unreachable!("only basic methods are sent here"),
        }
    }

    fn qos<S: Store>(&mut self, index: usize, qos: basic::Qos, context: &mut Context<'_, S>) -> Outcome {
        let Channel { number, caller: Caller { channel: id, .. }, .. } = *self.channels[index];
        let basic::Qos { prefetch_size, prefetch_count, global } = qos;
        if prefetch_size != 0 {
            let explanation = format!("prefetch_size!=0 ({prefetch_size})");
            return Err(AmqpError::connection(ReplyCode::NotImplemented, explanation));
        }
        if global {
            context.broker.set_channel_prefetch(id, prefetch_count);
        } else {
            context.broker.set_consumer_prefetch(id, prefetch_count);
            if self.capabilities.reads_qos_as_specified {
                context.broker.apply_consumer_prefetch(id);
            }
        }
        self.answer(number, false, &Method::BasicQosOk(basic::QosOk), context);
        Ok(())
    }

    fn consume<S: Store>(
        &mut self,
        index: usize,
        consume: basic::Consume<'_>,
        context: &mut Context<'_, S>,
    ) -> Outcome {
        context.broker.drop_inquiries();
        let Channel { number, caller, .. } = *self.channels[index];
        // no_local is ignored, as RabbitMQ does.
        let request = ConsumeRequest {
            queue: consume.queue,
            consumer_tag: consume.consumer_tag,
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            arguments: consume.arguments,
        };
        let consumer_tag = context.broker.consume(caller, request)?;
        let answer = Method::BasicConsumeOk(basic::ConsumeOk { consumer_tag: &consumer_tag });
        self.answer(number, consume.nowait, &answer, context);
        Ok(())
    }

    fn recover<S: Store>(&mut self, index: usize, requeue: bool, context: &mut Context<'_, S>) -> Outcome {
        if !requeue {
            return Err(AmqpError::connection(ReplyCode::NotImplemented, "requeue=false"));
        }
        let progress = context.broker.recover(self.channels[index].caller.channel);
        self.go_on_later(progress)
    }

    /// A command that is unfinished is handled again in the next turn.
    #[inline]
    pub(super) fn go_on_later(&mut self, progress: Progress) -> Outcome {
        if progress == Progress::Unfinished {
            self.awaits = Some(Awaited::NextTurn);
        }
        Ok(())
    }
}

/// RabbitMQ takes `basic.reject` for a failure and `basic.nack` for a wish.
fn rejection(requeue: bool, requeued: Settlement) -> Settlement {
    if requeue { requeued } else { Settlement::Discarded }
}
