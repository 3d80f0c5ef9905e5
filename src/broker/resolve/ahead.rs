//! What a command would ask of permissions, without giving it: for commands that can't be given twice.

use crate::broker::store::Store;
use crate::broker::{Broker, Caller, TailId};
use crate::protocol::FieldTable;

/// A command, with the names in it.
pub enum Ahead<'a> {
    DeclareQueue {
        name: &'a [u8],
        arguments: &'a FieldTable,
    },
    DeleteQueue(&'a [u8]),
    ReadQueue(&'a [u8]),
    /// Out of it, and to other queues.
    MoveFromQueue(&'a [u8]),
    ReadExchange(&'a [u8]),
    DeclareExchange {
        name: &'a [u8],
        kind: &'a [u8],
        arguments: &'a FieldTable,
    },
    DeleteExchange(&'a [u8]),
    BindQueue {
        queue: &'a [u8],
        exchange: &'a [u8],
        routing_key: &'a [u8],
    },
    BindExchange {
        source: &'a [u8],
        destination: &'a [u8],
        routing_key: &'a [u8],
    },
    Publish {
        exchange: &'a [u8],
        routing_key: &'a [u8],
    },
    WatchDelayed {
        exchange: &'a [u8],
        cancels: bool,
    },
    CountTail(TailId),
}

impl<S: Store> Broker<S> {
    /// Asks what a command would: there is an [inquiry](Self::take_inquiry) then, if it would lack an answer.
    pub fn look_ahead(&self, caller: Caller, command: &Ahead<'_>) {
        let asked = match *command {
            Ahead::DeclareQueue { name, arguments } => self.queue_to_declare(caller, name, None, arguments).map(drop),
            Ahead::DeleteQueue(name) => self.queue_to_delete(caller, name).map(drop),
            Ahead::ReadQueue(name) => self.queue_to_read(caller, name).map(drop),
            Ahead::MoveFromQueue(name) => self.queue_to_move_from(caller, name).map(drop),
            Ahead::ReadExchange(name) => self.exchange_to_read(caller, name).map(drop),
            Ahead::DeclareExchange { name, kind, arguments } => {
                self.exchange_to_declare(caller, name, kind, arguments).map(drop)
            }
            Ahead::DeleteExchange(name) => self.exchange_to_delete(caller, name).map(drop),
            Ahead::BindQueue { queue, exchange, routing_key } => {
                self.ends_to_unbind_queue(caller, queue, exchange, routing_key).map(drop)
            }
            Ahead::BindExchange { source, destination, routing_key } => {
                self.ends_to_unbind_exchange(caller, source, destination, routing_key).map(drop)
            }
            Ahead::Publish { exchange, routing_key } => {
                self.exchange_to_publish(caller, exchange, routing_key).map(drop)
            }
            Ahead::WatchDelayed { exchange, cancels } => self.delays_to_watch(caller, exchange, cancels).map(drop),
            Ahead::CountTail(id) => self.tail_to_read(caller, id).map(drop),
        };
        // Why it is refused is said when it is given.
        drop(asked);
    }
}
