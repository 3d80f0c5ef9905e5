//! What permissions are made of: hashes of passwords, patterns of names, the scopes of tokens, and the tags of users.
//!
//! It owns what each of them means and how it is written down. It is pure: the same bytes always get the same answer, and
//! chance arrives as an argument. It knows no user, virtual host or queue, keeps nothing, and asks nobody.
//!
//! What arrives here may come from anybody: whatever it is, reading it never panics, and takes no more time and memory than
//! the limits in each file say.

mod bearer;
mod fingerprint;
mod inquiry;
mod password;
mod pattern;
mod right;
mod scopes;
mod syntax;
mod tags;
mod wildcard;

pub use bearer::{Bearer, Powers};
pub use fingerprint::{Fingerprint, FingerprintKey};
pub use inquiry::{About, Answer, Inquiry, key as inquiry_key};
pub use password::PasswordHash;
pub use pattern::{BadPattern, PATTERN_BYTES_MAX, Pattern};
pub use right::Right;
pub use scopes::{SCOPES_MAX, Scopes};
pub use tags::{TAG_BYTES_MAX, TAGS_MAX, Tags, TooManyTags};
