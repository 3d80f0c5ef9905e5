//! What a page is made of: the loop is asked for a page of slots at a time, and left alone for a moment after each.

use super::super::elsewhere::ClusterView;
use super::super::line::{Asker, Declined};
use super::super::question::{ConnectionSums, Overview, Question};
use super::super::sampler::BETWEEN_PAGES;
use super::super::{App, Reply};
use super::counted::Counted;
use crate::broker::Durations;
use crate::broker::snapshot::{Page, PageStart};
use crate::broker::sums::{ChannelSums, QueueSums};
use crate::reactor::process;
use tokio::time::sleep;

/// The node, and sums of what is on it.
pub struct Node {
    pub overview: Overview,
    pub queues: QueueSums,
    pub channels: ChannelSums,
    pub connections: ConnectionSums,
    pub counted: Counted,
    pub durations: Durations,
    /// Memory of the process, and its descriptors, as far as the system tells.
    pub resident_bytes: Option<u64>,
    pub open_descriptors: Option<u64>,
    pub descriptors_max: u64,
    /// When the process began, in seconds since 1970.
    pub started_at_s: u64,
    /// The cluster that it leads, if it is of one.
    pub cluster: Option<ClusterView>,
}

pub async fn node(app: &App) -> Result<Node, Declined> {
    // Before the sums: see `counted`.
    let overview = app.line.ask(Asker::Management, Question::Overview).await?;
    let durations = app.line.ask(Asker::Management, Question::Durations).await?;
    let (mut queues, mut channels) = (QueueSums::default(), ChannelSums::default());
    let mut connections = overview.gone_connections;
    each_page(app, |from, reply| Question::SumOfQueues { from, reply }, |sums| queues.add(&sums)).await?;
    each_page(app, |from, reply| Question::SumOfChannels { from, reply }, |sums| channels.add(&sums)).await?;
    each_page(app, |from, reply| Question::SumOfConnections { from, reply }, |sums| connections.add(&sums)).await?;
    let counted = app.metrics_floor.raise(Counted::of(&overview.totals, &queues, &channels, &connections));
    Ok(Node {
        overview,
        queues,
        channels,
        connections,
        counted,
        durations,
        resident_bytes: process::resident_bytes(),
        open_descriptors: process::open_descriptors(),
        descriptors_max: app.settings.descriptors,
        started_at_s: app.unix_ms(0) / 1000,
        cluster: app.settings.cluster.as_ref().map(|cluster| cluster.view()),
    })
}

/// Takes all items of a list.
pub async fn each_page<T>(
    app: &App,
    question: impl Fn(PageStart, Reply<Page<T>>) -> Question,
    mut take: impl FnMut(T),
) -> Result<(), Declined> {
    let mut from = Some(PageStart::default());
    while let Some(start) = from {
        let Page { items, next } = app.line.ask(Asker::Management, |reply| question(start, reply)).await?;
        items.into_iter().for_each(&mut take);
        from = next;
        if from.is_some() {
            sleep(BETWEEN_PAGES).await;
        }
    }
    Ok(())
}
