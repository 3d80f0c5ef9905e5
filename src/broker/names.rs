//! Names that the broker makes up: server-named queues, consumer tags, reply addresses. And what it takes a client's
//! names of queues and exchanges for.
//!
//! What it makes up must not be guessable, as knowing a reply address is enough to send to it. The seed comes from
//! outside, so that a simulation with the same seed sees the same names.

use crate::protocol::ShortString;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::borrow::Cow;

/// What every made-up queue name starts with.
pub const QUEUE_PREFIX: &str = "amq.gen-";
/// What every made-up consumer tag starts with.
pub const CONSUMER_TAG_PREFIX: &str = "amq.ctag-";

/// Random bytes in a name; 22 characters of unpadded base64url.
const RANDOM_BYTES: usize = 16;

/// The queue or exchange that a method means which declares, binds, unbinds or deletes it: line breaks don't count there.
/// Methods that publish, consume, get and purge take names as they are, and so find nothing of a name with line breaks.
pub(super) fn without_line_breaks(name: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr2(b'\r', b'\n', name) {
        None => Cow::Borrowed(name),
        Some(_) => name.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect(),
    }
}

/// What exchanges that choose by chance begin with. Who watches their choices learns nothing about names.
pub(super) fn seed_of_routes(seed: [u8; 32]) -> u64 {
    let mut stream = ChaCha12Rng::from_seed(seed);
    stream.set_stream(1);
    stream.next_u64()
}

pub struct NameGenerator(ChaCha12Rng);

impl NameGenerator {
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// 22 characters that nobody can guess.
    pub fn token(&mut self) -> String {
        let mut bytes = [0; RANDOM_BYTES];
        self.0.fill_bytes(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn queue_name(&mut self) -> ShortString {
        ShortString::truncated(format!("{QUEUE_PREFIX}{}", self.token()).as_bytes())
    }

    pub fn consumer_tag(&mut self) -> ShortString {
        ShortString::truncated(format!("{CONSUMER_TAG_PREFIX}{}", self.token()).as_bytes())
    }
}
