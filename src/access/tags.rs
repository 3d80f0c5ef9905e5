//! The tags of a user: names, of which some open doors.
//!
//! | tag | sees and does over HTTP |
//! |---|---|
//! | `management` | its own connections, and what is in the virtual hosts that it may enter |
//! | `policymaker` | that, and policies there |
//! | `monitoring` | that of `management`, all connections and virtual hosts, and the node |
//! | `administrator` | all of that, and users, permissions, virtual hosts |
//!
//! Over AMQP only `impersonator` means anything: whoever has it may put another's name on a message.

use std::fmt;

/// Tags that a user may have, as many as RabbitMQ lets one have.
pub const TAGS_MAX: usize = 32;
/// The longest of them, in bytes: Erlang's longest atom has as many characters.
pub const TAG_BYTES_MAX: usize = 255;

const ADMINISTRATOR: &str = "administrator";
const MONITORING: &str = "monitoring";
const POLICYMAKER: &str = "policymaker";
const MANAGEMENT: &str = "management";
const IMPERSONATOR: &str = "impersonator";

/// Names in the order in which they were given, each once.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tags(Box<[Box<str>]>);

/// More tags than a user may have, or a longer one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyTags;

impl fmt::Display for TooManyTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a user has at most {TAGS_MAX} tags of {TAG_BYTES_MAX} bytes each")
    }
}

impl std::error::Error for TooManyTags {}

impl Tags {
    /// Empty names are none.
    pub fn new<Name: AsRef<str>>(names: impl IntoIterator<Item = Name>) -> Result<Self, TooManyTags> {
        let mut tags: Vec<Box<str>> = Vec::new();
        for name in names {
            let name = name.as_ref();
            if name.is_empty() || tags.iter().any(|tag| **tag == *name) {
                continue;
            }
            if tags.len() == TAGS_MAX || name.len() > TAG_BYTES_MAX {
                return Err(TooManyTags);
            }
            tags.push(name.into());
        }
        Ok(Self(tags.into()))
    }

    /// The one tag of who may do everything.
    pub fn administrator() -> Self {
        Self([ADMINISTRATOR.into()].into())
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|tag| &**tag)
    }

    pub fn holds(&self, name: &str) -> bool {
        self.iter().any(|tag| tag == name)
    }

    fn hold_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.holds(name))
    }

    /// RabbitMQ's `is_admin`.
    pub fn is_administrator(&self) -> bool {
        self.holds(ADMINISTRATOR)
    }

    /// RabbitMQ's `is_monitor`.
    pub fn is_monitor(&self) -> bool {
        self.hold_any(&[ADMINISTRATOR, MONITORING])
    }

    /// RabbitMQ's `is_policymaker`.
    pub fn is_policymaker(&self) -> bool {
        self.hold_any(&[ADMINISTRATOR, POLICYMAKER])
    }

    /// RabbitMQ's `is_mgmt_user`: whether the HTTP API lets it in at all.
    pub fn is_management_user(&self) -> bool {
        self.hold_any(&[ADMINISTRATOR, MONITORING, POLICYMAKER, MANAGEMENT])
    }

    /// Whether a message may carry another's user-id.
    pub fn is_impersonator(&self) -> bool {
        self.holds(IMPERSONATOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(names: &[&str]) -> Tags {
        Tags::new(names).unwrap()
    }

    #[test]
    fn names_keep_their_order_and_come_once() {
        let tags = tags(&["b", "", "a", "b", "administrator"]);
        assert_eq!(tags.iter().collect::<Vec<_>>(), ["b", "a", "administrator"]);
        assert!(tags.holds("a") && !tags.holds("c") && !tags.holds(""));
        assert_eq!(Tags::administrator(), super::Tags::new(["administrator"]).unwrap());
    }

    #[test]
    fn each_tag_opens_the_doors_that_rabbitmq_opens() {
        let doors = |name| {
            let tags = tags(&[name]);
            [tags.is_administrator(), tags.is_monitor(), tags.is_policymaker(), tags.is_management_user()]
        };
        assert_eq!(doors("administrator"), [true, true, true, true]);
        assert_eq!(doors("monitoring"), [false, true, false, true]);
        assert_eq!(doors("policymaker"), [false, false, true, true]);
        assert_eq!(doors("management"), [false, false, false, true]);
        assert_eq!(doors("impersonator"), [false; 4]);
        assert_eq!(doors("Administrator"), [false; 4], "as it is written");
        assert!(tags(&["impersonator"]).is_impersonator() && !Tags::administrator().is_impersonator());
    }

    #[test]
    fn there_is_an_end_to_them() {
        let names: Vec<String> = (0..TAGS_MAX).map(|number| number.to_string()).collect();
        assert_eq!(Tags::new(&names).unwrap().iter().len(), TAGS_MAX);
        assert_eq!(Tags::new(names.iter().chain(&names)).unwrap().iter().len(), TAGS_MAX, "those are known");
        assert_eq!(Tags::new(names.iter().map(|name| &**name).chain(["one more"])), Err(TooManyTags));
        assert!(Tags::new(["x".repeat(TAG_BYTES_MAX)]).is_ok());
        assert_eq!(Tags::new(["x".repeat(TAG_BYTES_MAX + 1)]), Err(TooManyTags));
    }
}
