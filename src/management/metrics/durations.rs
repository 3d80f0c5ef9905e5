//! How long messages of single queues take, for who asks for that by the name of the family.

use super::super::App;
use super::super::line::Declined;
use super::super::question::Question;
use super::LEVERET_PREFIX;
use super::chosen::Chosen;
use super::gather::each_page;
use super::text::{Kind, Text, labels};
use crate::broker::{QueueDurations, QueueDurationsSnapshot};
use crate::meter::Histogram;
use std::sync::Arc;

/// The name that they are asked for by.
const FAMILY: &str = "queue_durations";

/// Queues that one piece of a page is about.
const QUEUES_IN_A_PIECE: usize = 32;

type OfQueues = Vec<(String, QueueDurations)>;
type Family = (&'static str, &'static str, fn(&QueueDurations) -> &Histogram);

const FAMILIES: [Family; 2] = [
    (
        "queue_message_time_in_queue_seconds",
        "Time that a message waited in the queue, of one in some 1024 of all queues' messages",
        |durations| &durations.in_queue,
    ),
    (
        "queue_delivery_to_acknowledgement_seconds",
        "Time from a delivery of the queue's to its acknowledgement or rejection, of one in some 1024 of all",
        |durations| &durations.to_acknowledgement,
    ),
];

/// Asks for them, if they were chosen.
pub async fn gather(app: &App, chosen: &Chosen) -> Result<OfQueues, Declined> {
    let mut of_queues = Vec::new();
    if chosen.names(FAMILY) {
        let question = |from, reply| Question::QueueDurations { from, reply };
        each_page(app, question, |QueueDurationsSnapshot { vhost, name, durations }| {
            let name = String::from_utf8_lossy(&name);
            if chosen.has_vhost(&vhost) && chosen.has_queue(&name) {
                of_queues.push((labels(&[("vhost", &vhost), ("queue", &name)]), durations));
            }
        })
        .await?;
    }
    Ok(of_queues)
}

/// The text about them, a piece at a time; nothing where nothing was measured.
pub fn pieces(of_queues: OfQueues) -> impl Iterator<Item = String> {
    let families = if of_queues.is_empty() { &[] } else { &FAMILIES[..] };
    let of_queues = Arc::new(of_queues);
    families.iter().flat_map(move |(name, help, histogram)| {
        let mut head = Text::new(LEVERET_PREFIX);
        head.family(name, Kind::Histogram, help);
        let of_queues = Arc::clone(&of_queues);
        let pieces = (0..of_queues.len()).step_by(QUEUES_IN_A_PIECE).map(move |from| {
            let mut text = Text::new(LEVERET_PREFIX);
            let until = of_queues.len().min(from + QUEUES_IN_A_PIECE);
            of_queues[from..until]
                .iter()
                .for_each(|(labels, durations)| text.times(name, labels, histogram(durations)));
            text.into_string()
        });
        std::iter::once(head.into_string()).chain(pieces)
    })
}
