//! What somebody elsewhere is asked about a user whose permissions are kept there, and what it answers.

use super::{Right, Tags};
// From `core`, which has addresses and no sockets.
use core::net::IpAddr;
use std::sync::Arc;

/// A question about a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inquiry {
    pub user: Arc<str>,
    pub tags: Arc<Tags>,
    pub vhost: Box<str>,
    pub about: About<Box<[u8]>>,
}

/// What it wants to do in a virtual host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About<Name> {
    /// To enter it, from there.
    Vhost(IpAddr),
    /// This, with a queue or an exchange of that name, whether there is one or not.
    Resource { kind: &'static str, name: Name, right: Right },
    /// The same with an exchange of type topic and a key.
    Key { exchange: Name, right: Right, key: Name },
}

/// What somebody elsewhere says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub is_allowed: bool,
    /// What whoever asked for it is told besides, behind the refusal.
    pub told: Box<str>,
    /// How long it need not be asked again, in milliseconds.
    pub known_for_ms: u64,
}

impl Inquiry {
    /// See [`key`].
    pub fn key(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        key(&self.user, &self.tags, &self.vhost, &self.about, &mut bytes);
        bytes
    }

    /// Whether it is about a publish.
    pub fn is_of_publish(&self) -> bool {
        match self.about {
            About::Vhost(_) => false,
            About::Resource { kind, right, .. } => kind == "exchange" && right == Right::Write,
            About::Key { right, .. } => right == Right::Write,
        }
    }
}

/// The bytes of a question: the same for the same one, and for no other.
pub fn key<Name: AsRef<[u8]>>(user: &str, tags: &Tags, vhost: &str, about: &About<Name>, bytes: &mut Vec<u8>) {
    bytes.clear();
    let mut put = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part);
    };
    put(user.as_bytes());
    put(vhost.as_bytes());
    match about {
        About::Vhost(peer) => put(peer.to_string().as_bytes()),
        About::Resource { kind, name, right } => {
            put(&[*right as u8]);
            put(kind.as_bytes());
            put(name.as_ref());
        }
        About::Key { exchange, right, key } => {
            put(&[*right as u8]);
            put(b"topic");
            put(exchange.as_ref());
            put(key.as_ref());
        }
    }
    tags.iter().for_each(|tag| put(tag.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_questions_have_the_same_bytes() {
        let here = IpAddr::from([127, 0, 0, 1]);
        fn resource<'a>(kind: &'static str, name: &'a [u8], right: Right) -> About<&'a [u8]> {
            About::Resource { kind, name, right }
        }
        let abouts: [About<&[u8]>; 9] = [
            About::Vhost(here),
            About::Vhost(IpAddr::from([127, 0, 0, 2])),
            resource("queue", b"a", Right::Read),
            resource("queue", b"a", Right::Write),
            resource("queue", b"ab", Right::Read),
            resource("exchange", b"a", Right::Read),
            About::Key { exchange: b"a", right: Right::Read, key: b"b" },
            About::Key { exchange: b"ab", right: Right::Read, key: b"" },
            About::Key { exchange: b"", right: Right::Read, key: b"ab" },
        ];
        let mut keys = Vec::new();
        for (user, vhost) in [("a", "bc"), ("ab", "c")] {
            for tags in [&[][..], &["a", "b"], &["ab"], &["b"]] {
                for about in &abouts {
                    let mut bytes = Vec::new();
                    key(user, &Tags::new(tags).unwrap(), vhost, about, &mut bytes);
                    keys.push(bytes);
                }
            }
        }
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
