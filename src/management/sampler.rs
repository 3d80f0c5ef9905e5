//! Looks at the broker's counters every few seconds, for the [rates](super::rates).
//!
//! It asks the loop like any other client of the line, a page at a time, and lets the loop do other things in between. A
//! look that the loop has no time for is left out.

use super::figures::{
    connection_figures, duration_figures, exchange_figures, node_figures, overview_figures, queue_figures,
};
use super::line::{Asker, Declined};
use super::question::Question;
use super::rates::{ConnectionKey, Rates, SAMPLE_INTERVAL_MS};
use super::{App, Reply};
use crate::broker::snapshot::{Page, PageStart, TotalsSnapshot};
use crate::reactor::process;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How long the loop is left alone between two pages.
pub const BETWEEN_PAGES: Duration = Duration::from_millis(1);

/// Looks as long as the runtime runs.
pub async fn run(app: Arc<App>) {
    let mut ticks = interval(Duration::from_millis(SAMPLE_INTERVAL_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if look(&app).await.is_err() {
            tracing::debug!(target: "management", "the loop has no time to tell its counters");
        }
    }
}

async fn look(app: &App) -> Result<(), Declined> {
    let overview = app.line.ask(Asker::Management, Question::Overview).await?;
    let began_ms = app.now_ms();
    let node = node_figures(&overview, process::resident_bytes()).map(|(_, figure)| figure.unwrap_or_default());
    let durations = app.line.ask(Asker::Management, Question::Durations).await?;
    {
        let mut rates = app.rates();
        rates.add_overview(began_ms, values(overview_figures(&overview)));
        rates.add_node(began_ms, node);
        rates.add_durations(began_ms, duration_figures(&durations));
    }
    let things = things_of(&overview.totals) + overview.connections;
    if app.rates().wants_each(things, began_ms) {
        let queues = |from, reply| Question::QueueFigures { from, reply };
        look_at_each(app, queues, |rates, now_ms, queue| {
            rates.add_queue(queue.serial, now_ms, values(queue_figures(&queue)));
        })
        .await?;
        let connections = |from, reply| Question::ConnectionFigures { from, reply };
        look_at_each(app, connections, |rates, now_ms, connection| {
            rates.add_connection(ConnectionKey::of(&connection), now_ms, values(connection_figures(&connection)));
        })
        .await?;
        let exchanges = |from, reply| Question::ExchangeFigures { from, reply };
        look_at_each(app, exchanges, |rates, now_ms, exchange| {
            rates.add_exchange(exchange.key, now_ms, values(exchange_figures(&exchange.counters)));
        })
        .await?;
    }
    app.rates().end_look(began_ms);
    Ok(())
}

/// What is looked at one by one besides connections. An exchange that nothing was published to is passed over, which takes
/// its time as well.
fn things_of(totals: &TotalsSnapshot) -> usize {
    totals.queues + totals.exchanges
}

async fn look_at_each<T>(
    app: &App,
    question: impl Fn(PageStart, Reply<Page<T>>) -> Question,
    add: impl Fn(&mut Rates, u64, T),
) -> Result<(), Declined> {
    let mut from = Some(PageStart::default());
    while let Some(start) = from {
        let Page { items, next } = app.line.ask(Asker::Management, |reply| question(start, reply)).await?;
        let now_ms = app.now_ms();
        {
            let mut rates = app.rates();
            items.into_iter().for_each(|item| add(&mut rates, now_ms, item));
        }
        from = next;
        sleep(BETWEEN_PAGES).await;
    }
    Ok(())
}

fn values<const N: usize>(figures: [(&'static str, u64); N]) -> [u64; N] {
    figures.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_count_as_what_is_looked_at_one_by_one() {
        let totals = TotalsSnapshot { queues: 3, exchanges: 20_000, ..TotalsSnapshot::default() };
        assert_eq!(things_of(&totals), 20_003);
    }
}
