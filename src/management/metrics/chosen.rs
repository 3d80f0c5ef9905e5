//! What a scraper asks for: families, virtual hosts, queues.

use super::{DETAILED_PREFIX, PREFIX};
use regex::{Regex, RegexBuilder};

/// The longest pattern of queues' names, in bytes.
const PATTERN_MAX_BYTES: usize = 2000;
/// What a compiled pattern may take, in bytes.
const PATTERN_MEMORY_MAX_BYTES: usize = 1 << 20;

/// As much of what there is.
pub struct Chosen {
    /// `None`: all that a page about each thing has.
    families: Option<Vec<String>>,
    /// `None`: all of them.
    vhosts: Option<Vec<String>>,
    queues: Option<Regex>,
}

/// The names that one may stand for more than one family.
const FIRST_OF_TWO: (&str, &str) = ("queue_metrics", "queue_consumer_count");

impl Chosen {
    pub fn all() -> Self {
        Self { families: None, vhosts: None, queues: None }
    }

    /// What the parameters `family`, `vhost` and `queue` say. The first two may be said several times.
    ///
    /// # Errors
    /// The third is not a pattern, or said twice; in RabbitMQ's words.
    pub fn of(parameters: Vec<(String, String)>) -> Result<Self, String> {
        let (mut families, mut vhosts, mut queues) = (Vec::new(), None, None);
        for (name, value) in parameters {
            match name.as_str() {
                "family" => families.push(value),
                "vhost" => vhosts.get_or_insert_with(Vec::new).push(value),
                "queue" if queues.is_some() => {
                    return Err("Only one 'queue' query parameter is allowed".to_owned());
                }
                "queue" => queues = Some(value),
                _ => {}
            }
        }
        let queues = queues.filter(|pattern| !pattern.is_empty()).map(|pattern| compile(&pattern)).transpose()?;
        Ok(Self { families: Some(families), vhosts, queues })
    }

    pub fn is_all(&self) -> bool {
        self.families.is_none()
    }

    /// What the names of families about each thing begin with.
    pub fn prefix(&self) -> &'static str {
        if self.is_all() { PREFIX } else { DETAILED_PREFIX }
    }

    /// Whether a group of families was chosen. Those that would tell a second time what another one tells are not.
    pub fn has(&self, group: &str) -> bool {
        let Some(families) = &self.families else { return group != FIRST_OF_TWO.1 };
        let is_named = |group: &str| families.iter().any(|family| family == group);
        is_named(group) && !(group == FIRST_OF_TWO.1 && is_named(FIRST_OF_TWO.0))
    }

    /// Whether a group was asked for by its name.
    pub fn names(&self, group: &str) -> bool {
        !self.is_all() && self.has(group)
    }

    pub fn has_vhost(&self, vhost: &str) -> bool {
        self.vhosts.as_ref().is_none_or(|vhosts| vhosts.iter().any(|chosen| chosen == vhost))
    }

    pub fn has_queue(&self, name: &str) -> bool {
        self.queues.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_MAX_BYTES {
        return Err("'queue' regex too long".to_owned());
    }
    let compiled = RegexBuilder::new(pattern).size_limit(PATTERN_MEMORY_MAX_BYTES).build();
    compiled.map_err(|error| format!("Invalid 'queue' regex: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(parameters: &[(&str, &str)]) -> Result<Chosen, String> {
        Chosen::of(parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn nothing_is_chosen_that_nobody_asked_for() {
        let nothing = chosen(&[]).unwrap();
        assert!(!nothing.has("queue_metrics") && nothing.has_vhost("/") && nothing.has_queue("q"));
        let some =
            chosen(&[("family", "queue_metrics"), ("family", "no_such"), ("vhost", "a"), ("vhost", "b")]).unwrap();
        assert!(some.has("queue_metrics") && !some.has("channel_metrics"));
        assert_eq!(["a", "b", "c"].map(|vhost| some.has_vhost(vhost)), [true, true, false]);
        assert!(Chosen::all().has("channel_metrics") && !Chosen::all().names("channel_metrics"));
    }

    #[test]
    fn consumers_are_told_once() {
        let both = chosen(&[("family", "queue_consumer_count"), ("family", "queue_metrics")]).unwrap();
        assert!(both.has("queue_metrics") && !both.has("queue_consumer_count"));
        assert!(chosen(&[("family", "queue_consumer_count")]).unwrap().has("queue_consumer_count"));
        assert!(!Chosen::all().has("queue_consumer_count"));
    }

    #[test]
    fn queues_are_chosen_by_one_pattern_of_bounded_length() {
        assert!(chosen(&[("queue", "^a.*b$")]).unwrap().has_queue("a-b"));
        assert!(!chosen(&[("queue", "^a.*b$")]).unwrap().has_queue("b"));
        assert!(chosen(&[("queue", "")]).unwrap().has_queue("anything"));
        assert!(chosen(&[("queue", &"a".repeat(PATTERN_MAX_BYTES))]).is_ok());
        for refused in
            [&[("queue", "(")][..], &[("queue", &"a".repeat(PATTERN_MAX_BYTES + 1))], &[("queue", "(?:a{1000}){1000}")]]
        {
            assert!(chosen(refused).is_err(), "{refused:?}");
        }
        let twice = chosen(&[("queue", "a"), ("queue", "b")]);
        assert_eq!(twice.err().as_deref(), Some("Only one 'queue' query parameter is allowed"));
    }
}
