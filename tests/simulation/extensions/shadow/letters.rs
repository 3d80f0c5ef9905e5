//! Dead letters: those that wait to be published, and those that nobody has taken yet.

use super::lasting::Told;
use super::{Entry, Place, Queue, QueueIndex, Shadow};
use crate::extensions::content::Death;
use crate::extensions::exchanges::place_of;
use std::collections::VecDeque;

/// How long letters wait that were not taken before they are tried again.
const RETRY_MS: u64 = 1000;

/// A message on its way to a dead-letter exchange.
struct Letter {
    queue: QueueIndex,
    /// Tells that from later ones of its name.
    serial: usize,
    /// Where it was, if it was there.
    place: Option<Place>,
    entry: Entry,
    reason: &'static str,
    to: (&'static str, Option<&'static str>),
    /// It stays its queue's until everybody that it is for has it.
    is_sure: bool,
    /// The serials of those who have it.
    taken_by: Vec<usize>,
}

#[derive(Default)]
pub(super) struct Letters {
    waiting: VecDeque<Letter>,
    untaken: VecDeque<Letter>,
    retries_left: usize,
    retry_at_ms: Option<u64>,
}

impl Letters {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.retries_left == 0
    }

    /// Those that were not taken are tried again when their time has come.
    pub fn come_due(&mut self, now_ms: u64) {
        if self.retry_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.retry_at_ms = None;
            self.retries_left = self.untaken.len();
        }
    }

    fn retry(&mut self, now_ms: u64) {
        self.retry_at_ms.get_or_insert(now_ms + RETRY_MS);
    }
}

impl Shadow {
    /// A message leaves for good, as a dead letter if its queue has somewhere to send it.
    pub(super) fn die(&mut self, queue: QueueIndex, place: Option<Place>, entry: Entry, reason: &'static str) {
        if let Some(place) = place {
            self.forget_value(queue, place, &entry);
        }
        let of_queue = &mut self.queues[queue];
        if let Some(to) = of_queue.behaviour.dead_letters {
            of_queue.letters += 1;
            let is_sure = of_queue.behaviour.is_sure && reason != "maxlen";
            let (serial, taken_by) = (of_queue.serial, Vec::new());
            self.letters.waiting.push_back(Letter { queue, serial, place, entry, reason, to, is_sure, taken_by });
        } else if let Some(place) = place {
            self.tell(Told::Removed(queue, place));
        }
    }

    /// A queue's letters go before it does, and with them those before them.
    pub(super) fn publish_letters_of(&mut self, queue: QueueIndex) {
        if self.queues[queue].letters > 0 && !self.letters.waiting.is_empty() {
            self.publish_letters();
        }
    }

    pub(super) fn publish_letters(&mut self) {
        loop {
            if let Some(letter) = self.letters.waiting.pop_front() {
                self.publish_letter(letter);
            } else if self.letters.retries_left > 0 {
                self.letters.retries_left -= 1;
                let Some(letter) = self.letters.untaken.pop_front() else { return };
                if !self.letters.untaken.is_empty() {
                    self.letters.retry(self.now_ms);
                }
                self.try_again(letter);
            } else {
                return;
            }
        }
    }

    /// As its queue has it by now. For one that is gone, another one is tried.
    fn try_again(&mut self, letter: Letter) {
        let others = self.letters.untaken.len();
        let Queue { serial, behaviour, .. } = &self.queues[letter.queue];
        match behaviour.dead_letters {
            _ if *serial != letter.serial => {}
            Some(to) => {
                let is_sure = behaviour.is_sure;
                self.publish_letter(Letter { to, is_sure, ..letter });
            }
            None => self.has_gone(letter, false),
        }
        if self.letters.untaken.len() == others {
            self.letters.retries_left = others.min(self.letters.retries_left + 1);
        }
    }

    fn publish_letter(&mut self, mut letter: Letter) {
        let Letter { queue, reason, to: (exchange, key), .. } = letter;
        let name = self.specs[queue].name;
        let mut copy = letter.entry.clone();
        let known = copy.deaths.iter().position(|death| death.queue == name && death.reason == reason);
        // One entry for each queue and reason: how it came there first stays.
        let death = known.map(|known| copy.deaths.remove(known)).unwrap_or_else(|| Death {
            queue: name.to_owned(),
            reason: reason.to_owned(),
            count: 0,
            exchange: copy.exchange.clone(),
            routing_key: copy.routing_key.clone(),
        });
        copy.deaths.insert(0, Death { count: death.count + 1, ..death });
        let end = [reason.to_owned(), name.to_owned(), std::mem::replace(&mut copy.exchange, exchange.to_owned())];
        copy.ends[0].get_or_insert_with(|| end.clone());
        copy.ends[1] = Some(end);
        if let Some(key) = key {
            copy.routing_key = key.to_owned();
        }
        (copy.has_expiration, copy.expiration_ms) = (false, None);
        (copy.redelivered, copy.returns) = (false, 0);
        let (place, value, remembered_ms) = (place_of(exchange), copy.value, copy.remembered_ms);
        let has_come = self.has_come(place, value);
        let mut targets = if has_come { Vec::new() } else { self.route(exchange, &copy.routing_key) };
        targets.retain(|target| {
            !is_cycle(self.specs[*target].name, &copy.deaths) && !letter.taken_by.contains(&self.queues[*target].serial)
        });
        if targets.is_empty() {
            let is_wanting = letter.taken_by.is_empty();
            if !(has_come || is_wanting && letter.is_sure) {
                self.remember(place, value, remembered_ms, &mut 0);
            }
            return self.has_gone(letter, is_wanting);
        }
        let mut is_wanting = false;
        for target in targets {
            match self.enter(target, copy.clone(), &mut 0) {
                true => letter.taken_by.push(self.queues[target].serial),
                false => is_wanting = true,
            }
        }
        if !(is_wanting && letter.is_sure) {
            self.remember(place, value, remembered_ms, &mut 0);
        }
        self.has_gone(letter, is_wanting);
    }

    /// A letter was published, and somebody that it is for may still be wanting.
    fn has_gone(&mut self, letter: Letter, is_wanting: bool) {
        if self.queues[letter.queue].serial != letter.serial {
            return;
        }
        if is_wanting && letter.is_sure {
            self.letters.untaken.push_back(letter);
            return self.letters.retry(self.now_ms);
        }
        self.queues[letter.queue].letters -= 1;
        if let Some(place) = letter.place {
            self.tell(Told::Removed(letter.queue, place));
        }
    }
}

/// Whether a message was in a queue before and came there again without anybody having rejected it.
fn is_cycle(queue: &str, deaths: &[Death]) -> bool {
    let Some(last) = deaths.iter().position(|death| death.queue == queue) else { return false };
    deaths[..=last].iter().all(|death| death.reason != "rejected")
}
