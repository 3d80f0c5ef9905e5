//! What the client does, and what an administrator.

use super::content::{Draft, seen};
use super::exchanges::{EXCHANGES, Memory, VALUES, place_of};
use super::topology::{Dying, GIVES_FOR_GOOD, NAMES, Rule};
use super::{CONSUME, KINDS, PUBLISHES, Story, TAKES, Unconfirmed};
use crate::command::{Command, Consume};
use crate::decree::VHOSTS;
use crate::wire::{Event, Reply};
use crate::world::Step;
use leveret::broker::policy::{Policy, PolicyKind, SaidPolicy};
use leveret::protocol::FieldValue;
use std::sync::Arc;

impl Story<'_> {
    pub(super) fn publish(&mut self) -> Step {
        self.last_id += 1;
        let exchange = *self.random.pick(&["", "", "", "", "fan", "late", "once", "lately", "ring", "recent"]);
        let routing_key = (*self.random.pick(&NAMES)).to_owned();
        let may_expire = self.dying == Dying::Expires && exchange.is_empty() && routing_key == NAMES[1];
        let is_delayed = exchange == "late" && self.random.percent(90);
        let delay_ms = is_delayed.then(|| self.shadow.free_delay(*self.random.pick(&[0, 1, 5, 60, 200])));
        let memory = self.memories.iter().find(|memory| memory.exchange == place_of(exchange));
        let values = if memory.is_some() { VALUES } else { 4 };
        let may_say_how_long = memory.is_some_and(|memory| !memory.is_scarce());
        let is_scarce = memory.is_some_and(Memory::is_scarce);
        let mut draft = Draft {
            id: self.last_id,
            exchange,
            routing_key,
            persistent: self.random.percent(85),
            priority: self.random.below(5) as u8,
            expiration_ms: (may_expire && self.random.percent(30)).then(|| *self.random.pick(&[0, 5, 50])),
            delay_ms,
            value: self.random.percent(50).then(|| self.random.below(values.into()) as u8),
            remembered_ms: (may_say_how_long && self.random.percent(30))
                .then(|| *self.random.pick(&[0, 5, 60, 1000, 20_000])),
            body_bytes: *self.random.pick(&[8, 8, 20, 50, 200]),
        };
        // What is taken back has its place in the line until somebody comes by.
        if is_scarce && !self.shadow.is_taken_by_all(&draft) {
            draft.value = None;
        }
        self.transcript.note(|| format!("{draft:?}"));
        self.hub.receive(self.connection, &draft.frames(PUBLISHES));
        let (accepted, safe) = self.shadow.publish(&draft);
        self.last_publish += 1;
        self.unconfirmed.insert(self.last_publish, Unconfirmed { accepted, safe });
        Ok(())
    }

    pub(super) fn get(&mut self) -> Step {
        let queue = self.random.below(NAMES.len());
        if !self.specs[queue].gives() || !self.shadow.is_there(queue) {
            return Ok(());
        }
        let no_ack = self.random.percent(30);
        self.get_from(queue, no_ack).map(drop)
    }

    /// Takes a message out of a queue; false when there is none.
    pub(super) fn get_from(&mut self, queue: usize, no_ack: bool) -> Result<bool, String> {
        let name = NAMES[queue];
        self.transcript.note(|| format!("get from {name}, no_ack={no_ack}"));
        self.say(TAKES, &Command::Get { queue: name.to_owned(), no_ack });
        let due = self.shadow.get(TAKES, queue, no_ack);
        let heard = self.hear()?;
        match (&heard[..], due) {
            ([Event::Reply(Reply::Plain(60, 72))], None) => Ok(false),
            (
                [Event::Reply(Reply::GetOk { delivery_tag, redelivered, message_count, content })],
                Some((tag, entry, left)),
            ) => {
                let is = (*delivery_tag, *redelivered, *message_count, seen(content)?);
                let counts = self.shadow.counts_returns(queue);
                let ought = (tag, entry.redelivered, left as u32, entry.seen(counts));
                if is == ought { Ok(true) } else { Err(format!("{name} gave {is:?} where {ought:?} was due")) }
            }
            (heard, due) => Err(format!("{name} gave {heard:?} where {due:?} was due")),
        }
    }

    /// A channel's consumer is cancelled, or it begins to consume where it is nobody's guess what it is given.
    pub(super) fn consume_or_cancel(&mut self) -> Step {
        let channel = self.random.pick(&CONSUME.collect::<Vec<_>>()).to_owned();
        let consumer_tag = format!("c{channel}");
        if let Some(queue) = self.shadow.consumes(channel) {
            self.transcript.note(|| format!("cancel {consumer_tag} of {}", NAMES[queue]));
            self.say(channel, &Command::Cancel { consumer_tag: consumer_tag.clone(), nowait: false });
            self.shadow.cancel(channel);
            return self.is_answered_now(&[Event::Reply(Reply::CancelOk(consumer_tag))]);
        }
        // Where several wait to follow one, it shows who does.
        let crowded = CONSUME.filter_map(|channel| self.shadow.consumes(channel)).find(|_| self.random.percent(40));
        let queue = crowded.unwrap_or(self.random.below(NAMES.len()));
        if !self.shadow.admits(queue) {
            return Ok(());
        }
        let no_ack = queue == GIVES_FOR_GOOD && self.random.percent(40);
        let prefetch_count = *self.random.pick(&[0, 1, 1, 2, 4]);
        self.transcript.note(|| format!("{consumer_tag} consumes {prefetch_count} from {}, {no_ack}", NAMES[queue]));
        let consume = Consume::of(NAMES[queue].to_owned(), consumer_tag.clone(), no_ack);
        self.say(channel, &Command::Qos { prefetch_count, global: false });
        self.say(channel, &Command::Consume(consume));
        self.shadow.consume(channel, queue, no_ack, prefetch_count.into());
        let ought = [Reply::Plain(60, 11), Reply::ConsumeOk(consumer_tag)].map(Event::Reply);
        self.is_answered_now(&ought)
    }

    pub(super) fn settle_one(&mut self) -> Step {
        let tags = self.shadow.held_tags();
        if tags.is_empty() {
            return Ok(());
        }
        let tag = *self.random.pick(&tags);
        let (channel, delivery_tag) = tag;
        let command = match self.random.below(7) {
            0 | 1 => {
                self.shadow.acknowledge(tag);
                Command::Ack { delivery_tag, multiple: false }
            }
            2 | 3 => {
                self.shadow.reject(tag);
                Command::Reject { delivery_tag, requeue: false }
            }
            4 | 5 => {
                self.shadow.requeue(tag);
                Command::Nack { delivery_tag, multiple: false, requeue: true }
            }
            _ => {
                let up_to = tags.into_iter().filter(|other| other.0 == channel && *other <= tag);
                up_to.for_each(|tag| self.shadow.reject(tag));
                Command::Nack { delivery_tag, multiple: true, requeue: false }
            }
        };
        self.transcript.note(|| format!("{channel}: {command:?}"));
        self.say(channel, &command);
        Ok(())
    }

    pub(super) fn purge(&mut self) -> Step {
        let queue = self.random.below(NAMES.len());
        // What is held of it could come back beside another one of its value, and which is remembered after a restart is
        // nobody's promise.
        if !self.shadow.is_there(queue) || self.specs[queue].deduplicates && self.shadow.holds_of(queue) {
            return Ok(());
        }
        self.purge_queue(queue).map(drop)
    }

    /// Whether there was anything in it.
    pub(super) fn purge_queue(&mut self, queue: usize) -> Result<bool, String> {
        self.transcript.note(|| format!("purge {}", NAMES[queue]));
        self.settle_disk()?;
        let starts = self.starts;
        self.shadow.turn(self.now_ms);
        self.say(TAKES, &Command::QueuePurge { queue: NAMES[queue].to_owned() });
        let count = self.shadow.purge(queue) as u32;
        let safe = self.shadow.tick();
        let heard = self.settle_and_hear()?;
        if self.starts != starts {
            return Ok(false);
        }
        if heard != [Event::Reply(Reply::Count(50, 31, count))] {
            return Err(format!("{heard:?} where purge-ok {count} was due"));
        }
        self.shadow.promise(safe);
        Ok(count > 0)
    }

    /// A queue or a binding comes or goes.
    pub(super) fn define(&mut self) -> Step {
        self.settle_disk()?;
        let (starts, before) = (self.starts, self.shadow.tick());
        let index = self.random.below(NAMES.len());
        let may_be_bound = |exchange: &usize| EXCHANGES[*exchange].2.contains(&index);
        let exchanges: Vec<usize> = (1..EXCHANGES.len()).filter(may_be_bound).collect();
        let exchange = Some(*self.random.pick(&exchanges));
        let mut cancelled = Vec::new();
        let mut safe = None;
        let ought = if !self.shadow.is_there(index) {
            self.transcript.note(|| format!("declare {}", NAMES[index]));
            self.declare_queue(index);
            Reply::DeclareOk { name: NAMES[index].to_owned(), messages: 0, consumers: 0 }
        } else if let Some(exchange) = exchange.filter(|_| self.random.percent(70)) {
            if self.random.percent(70) {
                self.transcript.note(|| format!("bind {} to {}", NAMES[index], EXCHANGES[exchange].0));
                safe = Some(self.bind(exchange, index));
                Reply::Plain(50, 21)
            } else {
                self.transcript.note(|| format!("unbind {} from {}", NAMES[index], EXCHANGES[exchange].0));
                self.unbind(exchange, index);
                Reply::Plain(50, 51)
            }
        } else {
            // With dead letters on their way.
            if self.random.percent(60) {
                self.settle_one()?;
            }
            self.transcript.note(|| format!("delete {}", NAMES[index]));
            let queue = NAMES[index].to_owned();
            self.say(TAKES, &Command::QueueDelete { queue, if_unused: false, if_empty: false, nowait: false });
            let (count, consumers) = self.shadow.delete(index);
            cancelled = consumers;
            Reply::Count(50, 41, count as u32)
        };
        let safe = safe.unwrap_or(self.shadow.tick());
        // The log may hear of dead letters, too, before it says what is safe.
        self.shadow.turn(self.now_ms);
        let heard = self.settle_and_hear()?;
        if self.starts != starts {
            return Ok(());
        }
        let cancels = cancelled.into_iter().map(|channel| Event::Cancelled(format!("c{channel}")));
        let ought: Vec<_> = std::iter::once(Event::Reply(ought)).chain(cancels).collect();
        if heard != ought {
            return Err(format!("{heard:?} where {ought:?} was due"));
        }
        // What is bound already is answered at once.
        if safe > before {
            self.shadow.promise(safe);
        }
        Ok(())
    }

    /// The virtual host is deleted with all that is in it, and made again.
    pub(super) fn raze(&mut self) -> Step {
        // With dead letters on their way.
        if self.random.percent(60) {
            self.settle_one()?;
        }
        self.transcript.note(|| "the virtual host is razed".to_owned());
        let vhost = self.hub.broker().vhost_named(VHOSTS[0].as_bytes()).expect("it was founded");
        let durable_at = self.hub.delete_vhost(vhost).durable_at;
        // The administrator waits for the answer.
        self.hub.broker_mut().await_durable(durable_at);
        self.shadow.raze();
        let safe = self.shadow.tick();
        self.is_founded = false;
        self.leave();
        self.clear_away()?;
        let starts = self.starts;
        match self.random.below(3) {
            0 => self.look_ahead()?,
            1 => _ = self.drive_disk()?,
            _ => {
                self.settle_disk()?;
                if self.starts == starts && self.hub.broker().durable() >= durable_at {
                    self.shadow.promise(safe);
                }
            }
        }
        if self.starts == starts { self.found() } else { Ok(()) }
    }

    /// Somebody sets a policy or an operator policy, or deletes it.
    pub(super) fn rule(&mut self) -> Step {
        let which = self.random.below(KINDS.len());
        let (kind, name, priority) = KINDS[which];
        let is_operator = kind == PolicyKind::Operator;
        let rule =
            self.random.percent(75).then(|| Rule::random(is_operator, self.dying, &self.specs, &mut self.random));
        let rule = rule.flatten();
        self.transcript.note(|| format!("{name}: {rule:?}"));
        let broker = self.hub.broker_mut();
        let vhost = broker.vhost_named(VHOSTS[0].as_bytes()).expect("it is founded again whenever it is razed");
        match &rule {
            None => _ = broker.delete_policy(vhost, kind, &name.into()),
            Some(rule) => {
                let pattern = FieldValue::LongString(rule.pattern().into_bytes().into());
                let definition = FieldValue::Table(rule.wishes.definition());
                let priority = Some(FieldValue::I64(priority));
                let said = SaidPolicy { pattern, apply_to: None, priority, definition };
                let policy = Policy::read(kind, name.into(), said)?;
                broker.put_policy(vhost, kind, Arc::new(policy)).map_err(|error| error.to_string())?;
            }
        }
        self.shadow.rule(which, rule);
        Ok(())
    }

    /// One of the client's channels ends, and it opens another one.
    pub(super) fn reopen(&mut self) -> Step {
        let channels: Vec<u16> = std::iter::once(TAKES).chain(CONSUME).collect();
        let channel = *self.random.pick(&channels);
        self.close(channel)
    }

    pub(super) fn close(&mut self, channel: u16) -> Step {
        self.transcript.note(|| format!("channel {channel} ends"));
        self.say(channel, &Command::ChannelClose);
        self.say(channel, &Command::ChannelOpen);
        self.shadow.close(channel);
        self.is_answered_now(&[Event::Reply(Reply::Plain(20, 41)), Event::Reply(Reply::Plain(20, 11))])
    }

    fn is_answered_now(&mut self, ought: &[Event]) -> Step {
        let heard = self.hear()?;
        if heard == ought { Ok(()) } else { Err(format!("{heard:?} where {ought:?} was due")) }
    }
}
