//! Where one key of one exchange leads: a set of queues and exchanges, each counted by the bindings that put it there.
//!
//! Most keys lead to one queue, so that case costs no allocation; large sets change one member in constant time.

use super::{Destination, ExchangeId, QueueId};
use hashbrown::HashMap;
use std::slice;

/// A set of destinations, ready to be copied into a route.
#[derive(Default)]
pub(super) enum Destinations {
    #[default]
    None,
    Queue {
        queue: QueueId,
        bindings: u32,
    },
    Exchange {
        exchange: ExchangeId,
        bindings: u32,
    },
    Many(Box<Many>),
}

#[derive(Default)]
pub(super) struct Many {
    queues: Vec<QueueId>,
    exchanges: Vec<ExchangeId>,
    members: HashMap<Destination, Member>,
}

struct Member {
    /// How many bindings lead there: they may differ in arguments, or in a pattern that means the same.
    bindings: u32,
    /// Index in `queues` or `exchanges`.
    position: usize,
}

impl Destinations {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    #[inline]
    pub(super) fn queues(&self) -> &[QueueId] {
        match self {
            Self::None | Self::Exchange { .. } => &[],
            Self::Queue { queue, .. } => slice::from_ref(queue),
            Self::Many(many) => &many.queues,
        }
    }

    #[inline]
    pub(super) fn exchanges(&self) -> &[ExchangeId] {
        match self {
            Self::None | Self::Queue { .. } => &[],
            Self::Exchange { exchange, .. } => slice::from_ref(exchange),
            Self::Many(many) => &many.exchanges,
        }
    }

    /// Counts one more binding to `destination`.
    pub(super) fn add(&mut self, destination: Destination) {
        match (&mut *self, destination) {
            (Self::None, Destination::Queue(queue)) => *self = Self::Queue { queue, bindings: 1 },
            (Self::None, Destination::Exchange(exchange)) => *self = Self::Exchange { exchange, bindings: 1 },
            (Self::Queue { queue, bindings }, Destination::Queue(added)) if *queue == added => *bindings += 1,
            (Self::Exchange { exchange, bindings }, Destination::Exchange(added)) if *exchange == added => {
                *bindings += 1;
            }
            (&mut Self::Queue { queue, bindings }, _) => {
                *self = Self::Many(Many::pair(Destination::Queue(queue), bindings, destination));
            }
            (&mut Self::Exchange { exchange, bindings }, _) => {
                *self = Self::Many(Many::pair(Destination::Exchange(exchange), bindings, destination));
            }
            (Self::Many(many), _) => many.add(destination, 1),
        }
    }

    /// Counts one binding to `destination` less. It must have been added.
    pub(super) fn remove(&mut self, destination: Destination) {
        match self {
            Self::None => unreachable!("a binding that was never added is removed"),
            Self::Queue { bindings, .. } | Self::Exchange { bindings, .. } => {
                *bindings -= 1;
                if *bindings == 0 {
                    *self = Self::None;
                }
            }
            Self::Many(many) => {
                many.remove(destination);
                if let Some(last) = many.only_member() {
                    *self = last;
                }
            }
        }
    }
}

impl Many {
    fn pair(first: Destination, bindings: u32, second: Destination) -> Box<Self> {
        let mut many = Box::<Self>::default();
        many.add(first, bindings);
        many.add(second, 1);
        many
    }

    fn add(&mut self, destination: Destination, bindings: u32) {
        let position = match destination {
            Destination::Queue(_) => self.queues.len(),
            Destination::Exchange(_) => self.exchanges.len(),
        };
        let member = self.members.entry(destination).or_insert_with(|| {
            match destination {
                Destination::Queue(queue) => self.queues.push(queue),
                Destination::Exchange(exchange) => self.exchanges.push(exchange),
            }
            Member { bindings: 0, position }
        });
        member.bindings += bindings;
    }

    fn remove(&mut self, destination: Destination) {
        let member = self.members.get_mut(&destination).expect("a removed binding was added");
        member.bindings -= 1;
        if member.bindings > 0 {
            return;
        }
        let position = member.position;
        self.members.remove(&destination);
        // The last one takes the free place, so that the lists stay without holes.
        let moved = match destination {
            Destination::Queue(_) => {
                self.queues.swap_remove(position);
                self.queues.get(position).map(|&queue| Destination::Queue(queue))
            }
            Destination::Exchange(_) => {
                self.exchanges.swap_remove(position);
                self.exchanges.get(position).map(|&exchange| Destination::Exchange(exchange))
            }
        };
        if let Some(moved) = moved {
            self.members.get_mut(&moved).expect("every listed destination is a member").position = position;
        }
    }

    fn only_member(&self) -> Option<Destinations> {
        if self.members.len() != 1 {
            return None;
        }
        self.members.iter().next().map(|(destination, member)| match *destination {
            Destination::Queue(queue) => Destinations::Queue { queue, bindings: member.bindings },
            Destination::Exchange(exchange) => Destinations::Exchange { exchange, bindings: member.bindings },
        })
    }
}
