//! Which bucket a hash names. It takes a generator of random numbers that is seeded anew for each hash, so what was found
//! is kept: a publisher's keys come again.

/// Words of the generator that a jump draws from.
const STATE_WORDS: usize = 16;
/// That many bits of a hash make a seed.
const SEED_BITS: u32 = 21;
const SEED_MASK: u64 = (1 << SEED_BITS) - 1;

/// Jumps that are kept, as a power of two: half a MiB.
const KEPT_BITS: u32 = 16;
/// Into more buckets than this nothing is kept: seed, buckets and bucket lie in one word.
const KEPT_BUCKETS_MAX: u64 = (1 << 21) - 1;

/// Jumps, and what was found by them: a table of fixed size where a newer one takes an older one's place. It holds for
/// any ring, as a jump depends on nothing but the hash and the number of buckets.
#[derive(Default)]
pub(super) struct Jumps {
    /// Seed, buckets and bucket, 21 bits each. No jump is into no buckets, so that 0 is an empty place. Empty until the first
    /// jump.
    kept: Vec<u64>,
}

impl Jumps {
    /// The bucket that a hash names among so many.
    #[inline]
    pub(super) fn jump(&mut self, hash: u64, buckets: u64) -> u64 {
        let seed = hash & SEED_MASK;
        let asked = buckets << SEED_BITS | seed;
        let place = (seed as usize ^ (buckets as usize) << 8) % (1 << KEPT_BITS);
        match self.kept.get(place) {
            Some(kept) if kept >> SEED_BITS == asked => kept & SEED_MASK,
            _ => self.jump_and_keep(seed, buckets, asked, place),
        }
    }

    #[inline(never)]
    fn jump_and_keep(&mut self, seed: u64, buckets: u64, asked: u64, place: usize) -> u64 {
        let bucket = jump(seed, buckets);
        if buckets <= KEPT_BUCKETS_MAX {
            if self.kept.is_empty() {
                self.kept.resize(1 << KEPT_BITS, 0);
            }
            self.kept[place] = asked << SEED_BITS | bucket;
        }
        bucket
    }
}

/// Jump consistent hash (Lamping, Veach) over a seeded xorshift1024*: with one more bucket, a fair part of all hashes
/// moves to that one, and no other.
#[inline]
fn jump(hash: u64, buckets: u64) -> u64 {
    let mut chance = Xorshift1024::seeded(hash);
    let (mut bucket, mut next) = (0, 0);
    while next < buckets {
        bucket = next;
        next = ((bucket + 1) as f64 / chance.fraction()) as u64;
    }
    bucket
}

/// Erlang's generator `exs1024`, seeded with three times the same number.
struct Xorshift1024 {
    words: [u64; STATE_WORDS],
    at: usize,
}

impl Xorshift1024 {
    #[inline]
    fn seeded(hash: u64) -> Self {
        let part = |prime: u64| (((hash & SEED_MASK) + 1) * prime) & SEED_MASK;
        let mut state = (part(2_097_131) << 43) | (part(2_097_133) << 22) | (part(2_097_143) << 1) | 1;
        let mut words = [0; STATE_WORDS];
        for word in words.iter_mut().rev() {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            *word = state.wrapping_mul(2_685_821_657_736_338_717);
        }
        Self { words, at: 0 }
    }

    /// From 0 to 1.
    #[inline]
    fn fraction(&mut self) -> f64 {
        let first = self.words[self.at];
        self.at = (self.at + 1) % STATE_WORDS;
        let mut second = self.words[self.at];
        second ^= second << 31;
        second ^= second >> 11;
        let word = first ^ (first >> 30) ^ second;
        self.words[self.at] = word;
        word.wrapping_mul(1_181_783_497_276_652_981) as f64 / 18_446_744_073_709_551_616.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `rand:seed_s(exs1024, {K, K, K})` and the plugin's jump make of it.
    #[test]
    fn jumps_as_the_plugin_does() {
        let hashes = [
            (1, 2, 0),
            (1, 10, 3),
            (2, 10, 9),
            (3, 10, 7),
            (4, 10, 3),
            (12_345_678, 100, 31),
            (99_999_999, 1000, 603),
            (134_217_727, 7, 6),
            (-5, 9, 2),
            (i64::MAX, 13, 6),
        ];
        for (hash, buckets, expected) in hashes {
            assert_eq!(jump(hash.cast_unsigned(), buckets), expected, "{hash} in {buckets}");
        }
    }

    /// Over all seeds that a hash can make there is no chance left: every queue's share is even within 2 %.
    #[test]
    fn all_seeds_together_are_even() {
        // Not all of them, which spares time: so many that chance is far below that.
        for (buckets, step) in [(2, 16), (10, 5), (50, 2)] {
            let mut counts = vec![0_u32; buckets as usize];
            let seeds = (0..1_u32 << SEED_BITS).step_by(step);
            let total = seeds.len() as f64;
            seeds.for_each(|seed| counts[jump(seed.into(), buckets) as usize] += 1);
            for count in counts {
                let share = f64::from(count) * buckets as f64 / total;
                assert!((share - 1.0).abs() < 0.02, "{share} of its share in {buckets}");
            }
        }
    }

    /// Whatever was kept before, in rings of whatever size.
    #[test]
    fn what_was_kept_is_what_is_found() {
        let mut jumps = Jumps::default();
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 24) % below
        };
        let sizes = [2, 3, 10, 11, 256, 257, 10_000, KEPT_BUCKETS_MAX, KEPT_BUCKETS_MAX + 1, 1 << 40];
        for _ in 0..20_000 {
            let hash = [random(1 << 8), random(1 << 40)][random(2) as usize];
            let buckets = sizes[random(sizes.len() as u64) as usize];
            assert_eq!(jumps.jump(hash, buckets), jump(hash, buckets), "{hash} in {buckets}");
        }
    }
}
