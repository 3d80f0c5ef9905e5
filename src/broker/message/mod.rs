//! Messages: the form in which the broker keeps them.
//!
//! | file | owns |
//! |---|---|
//! | `image` | a message in the form in which it will leave, one allocation; the memory account |

mod image;

pub use image::{
    Attributes, Content, Holding, INLINE_BODY_MAX, MessageRef, NEVER, Parts, framed_body, message_memory_bytes,
};
