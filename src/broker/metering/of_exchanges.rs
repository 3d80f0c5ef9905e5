//! How many messages came to each exchange from those who publish, and how many of them went on to queues.
//!
//! No publish is counted for it. What all publishes of the broker are counted as rises with each of them anyway: an exchange
//! gets what it rose by while that was the exchange that was published to. Whoever goes on to publish says to which one, once
//! for a run of publishes ([`Broker::publishes_to`]); what is counted since then is added when it is another one, and to what
//! is told before that.

use crate::broker::exchange::{DEFAULT_EXCHANGE, Exchange, ExchangeId};
use crate::broker::snapshot::Page;
use crate::broker::snapshot::PageStart;
use crate::broker::store::Store;
use crate::broker::{Broker, VhostId};

/// What went through an exchange since it was declared.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct ExchangeCounters {
    /// Messages that were published to it: by clients and by management, and not what comes from another exchange.
    pub published_in: u64,
    /// How many of them queues got, each as often as it went to one, be it by way of other exchanges. What is
    /// kept for later counts when it is due, for the exchange that kept it.
    pub published_out: u64,
}

/// Tells an exchange from all others, those included that had its name before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ExchangeKey {
    vhost: VhostId,
    /// [`Exchange::serial`].
    serial: u64,
}

/// What of an exchange changes with every message, without its names: for who looks often.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ExchangeFigures {
    pub key: ExchangeKey,
    pub counters: ExchangeCounters,
}

/// Which exchange what is counted now belongs to.
#[derive(Default)]
pub(in crate::broker) struct OfExchanges {
    /// `None`: nobody has published since what leads where was changed.
    target: Option<(VhostId, ExchangeId)>,
    /// What was counted when it became the target.
    counted: Counted,
}

/// What is counted of publishes, whatever the exchange.
#[derive(Clone, Copy, Default)]
struct Counted {
    received: u64,
    copies: i64,
}

impl Counted {
    fn since(self, before: Self) -> ExchangeCounters {
        let published_in = self.received - before.received;
        ExchangeCounters { published_in, published_out: published_in.wrapping_add_signed(self.copies - before.copies) }
    }
}

impl ExchangeCounters {
    /// Something went through it: what it [keeps for later](crate::broker::delayed) may have come in before the start.
    pub fn are_of_something(self) -> bool {
        self != Self::default()
    }

    pub fn add(&mut self, other: Self) {
        self.published_in += other.published_in;
        self.published_out += other.published_out;
    }
}

impl<S: Store> Broker<S> {
    /// What is published from now on is published to this exchange, until somebody says another one.
    #[inline]
    pub fn publishes_to(&mut self, vhost: VhostId, exchange: ExchangeId) {
        let target = Some((vhost, exchange));
        if self.metering.of_exchanges.target != target {
            self.change_target(target);
        }
    }

    /// The same of the exchange of that name, which may be gone.
    pub(in crate::broker) fn publishes_to_named(&mut self, vhost: VhostId, exchange: &[u8]) {
        match self.metering.of_exchanges.target {
            Some((of, id)) if of == vhost && *self.router(vhost).exchange(id).name == *exchange => {}
            _ => {
                let target = self.exchange_in(vhost, exchange).map(|id| (vhost, id));
                self.change_target(target);
            }
        }
    }

    /// The same of the exchange that leads to queues by their names.
    pub(in crate::broker) fn publishes_to_queues(&mut self, vhost: VhostId) {
        self.publishes_to(vhost, DEFAULT_EXCHANGE);
    }

    /// What was published is counted for the exchange that it was published to. Exchanges may go then.
    #[inline]
    pub(in crate::broker) fn end_target(&mut self) {
        if self.metering.of_exchanges.target.is_some() {
            self.change_target(None);
        }
    }

    #[cold]
    fn change_target(&mut self, target: Option<(VhostId, ExchangeId)>) {
        let counted = self.counted();
        let OfExchanges { target: before, counted: since } =
            std::mem::replace(&mut self.metering.of_exchanges, OfExchanges { target, counted });
        if let Some((vhost, exchange)) = before {
            self.vhosts[vhost].count_published(exchange, counted.since(since));
        }
    }

    fn counted(&self) -> Counted {
        Counted { received: self.books.totals.received, copies: self.books.copies }
    }

    /// What went through an exchange until now.
    pub(in crate::broker) fn figures_of_exchange(&self, vhost: VhostId, exchange: &Exchange) -> ExchangeFigures {
        let key = ExchangeKey { vhost, serial: exchange.serial };
        let mut counters = exchange.counters;
        let OfExchanges { target, counted } = &self.metering.of_exchanges;
        if target.is_some_and(|(of, id)| of == vhost && self.router(of).exchange(id).serial == exchange.serial) {
            counters.add(self.counted().since(*counted));
        }
        ExchangeFigures { key, counters }
    }

    /// A page of exchanges that were published to. Exchanges of many vhosts are in one page.
    pub fn snapshot_exchange_figures(&self, from: PageStart) -> Page<ExchangeFigures> {
        Page::across_vhosts(
            &self.vhosts,
            from,
            |vhost| vhost.router().exchange_slots(),
            |id, slots, items| {
                let figures = self.vhosts[id].router().exchanges_in(slots);
                let figures = figures.map(|exchange| self.figures_of_exchange(id, exchange));
                items.extend(figures.filter(|figures| figures.counters.are_of_something()));
            },
        )
    }
}
