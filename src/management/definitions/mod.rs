//! Definitions as a whole: RabbitMQ's files of users, virtual hosts and what is declared in them, read and written.
//!
//! What a file says is looked at here as far as that can be done without the broker: types, names, patterns, hashes. Whether
//! it fits what is there the loop says, before it makes any of it ([`Import`](crate::broker::import::Import)).
//!
//! | file | owns |
//! |---|---|
//! | `document` | the parts of a file, one element at a time |
//! | `read` | from elements to what is imported |
//! | `export` | a file of what is there |

mod document;
mod export;
mod read;

pub use document::Scope;
pub use export::export;
pub use read::read;
