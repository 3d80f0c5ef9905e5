//! What exchanges of the type `x-recent-history` were published last, for queues and exchanges that are bound later.
//!
//! It is kept in memory, as RabbitMQ's plugin keeps it, and gone with the exchange or with the process. A message is kept
//! when it is routed, which in a transaction is before the commit.

use super::exchange::{Destination, ExchangeId};
use super::flow::Kept;
use super::message::{Attributes, MessageRef};
use super::publish::{Publication, Target};
use super::store::Store;
use super::{Broker, Effects, VhostId};
use crate::protocol::{FieldValueRef, PropertiesRef};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// A header that is `true` keeps a message from being kept.
const NO_STORE: &[u8] = b"x-recent-history-no-store";

#[derive(Default)]
pub(super) struct Histories {
    /// The oldest message first. Only exchanges that are there are in it.
    kept: HashMap<(VhostId, ExchangeId), VecDeque<(MessageRef, Attributes)>>,
    /// Bound a moment ago, and not yet told.
    due: Vec<(VhostId, ExchangeId, Destination)>,
}

impl Histories {
    /// Of an exchange that is gone.
    pub fn forget(&mut self, vhost: VhostId, exchange: ExchangeId) {
        self.kept.remove(&(vhost, exchange));
    }
}

impl<S: Store> Broker<S> {
    /// Keeps a publish for those that are bound later to the exchanges that it was just routed by.
    #[cold]
    pub(super) fn keep_history(&mut self, vhost: VhostId, publication: &Publication<'_>) {
        let properties = PropertiesRef::parse(publication.content.properties()).unwrap_or_default();
        let no_store = properties.headers.and_then(|headers| headers.get(NO_STORE));
        if no_store == Some(FieldValueRef::Boolean(true)) {
            return;
        }
        let message = MessageRef::new(&publication.content, publication.attributes);
        for &exchange in self.vhosts.historians() {
            let length = self.vhosts[vhost].router().history_length(exchange);
            let kept = self.histories.kept.entry((vhost, exchange)).or_default();
            kept.push_back((message.clone(), publication.attributes));
            while kept.len() > length {
                kept.pop_front();
            }
        }
    }

    /// Notes that something was bound to an exchange. [`tell_history`](Self::tell_history) follows.
    pub(super) fn note_bound(&mut self, vhost: VhostId, source: ExchangeId, destination: Destination) {
        if self.histories.kept.contains_key(&(vhost, source)) {
            self.histories.due.push((vhost, source, destination));
        }
    }

    /// Gives what was just bound to an exchange with a history what that has kept, before anything else comes there.
    pub fn tell_history(&mut self, effects: &mut impl Effects) {
        while let Some((vhost, source, destination)) = self.histories.due.pop() {
            let Some(mut kept) = self.histories.kept.get(&(vhost, source)).cloned() else { continue };
            if matches!(destination, Destination::Exchange(_)) {
                // As the plugin does it: to an exchange the newest goes first.
                kept.make_contiguous().reverse();
            }
            let mut queues = Vec::new();
            for (message, attributes) in kept {
                queues.clear();
                let publication = Publication { content: message.content(), attributes, mandatory: false };
                match destination {
                    Destination::Queue(queue) => queues.extend([queue]),
                    Destination::Exchange(exchange) => {
                        let target = Target { exchange, extra_keys: &[] };
                        // Replies are sent by the default exchange alone, to which nothing is bound.
                        let _ = self.route_internally(vhost, target, &publication, &mut queues);
                    }
                }
                let mut kept = Kept { message: Some(message.clone()), ..Kept::default() };
                for &queue in &queues {
                    self.enter(queue, &publication, false, &mut kept, effects);
                }
            }
        }
    }
}
