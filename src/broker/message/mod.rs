//! Messages: the form in which the broker keeps them, what their properties mean to it, and what it changes in them.
//!
//! | file | owns |
//! |---|---|
//! | `image` | a message in the form in which it will leave, one allocation |
//! | `properties` | what queues must know of a message's properties; what in them is special, the rules for it |
//! | `death` | the properties of a dead letter: its history |
//! | `delivery_count` | how often a message came back, as a header |
//! | `edit` | other properties in a content header frame, headers taken out |
//! | `compose` | a message from its parts, as the broker's own interfaces publish it |

mod compose;
mod death;
mod delivery_count;
mod edit;
mod image;
mod properties;

pub use compose::ComposedMessage;
pub use death::{Death, DeathWriter};
pub use delivery_count::{with_delivery_count, without_delivery_count};
pub use edit::PROPERTIES_OFFSET;
pub use image::{Content, INLINE_BODY_MAX, MessageRef, NEVER, Parts, framed_body};
pub use properties::{Attributes, apply_rules, may_copy, plain_attributes, read_again};
