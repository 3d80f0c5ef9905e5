//! The exchange `x-consistent-hash`: every binding has as many buckets as its key says, and the hash of a message names
//! a bucket. Who comes takes a fair part from everybody and changes nothing among the others.
//!
//! Buckets, hash and jump are RabbitMQ's, so a key goes where it went there. Buckets are numbered in the order of
//! binding. A destination that is bound several times has the weight of the earliest binding that is left.

use super::Destination;
use super::binding::Binding;
use super::jump::Jumps;
use super::term_hash::TermHash;
use crate::broker::equivalence::{Subject, binary_term, integer, invalid_argument_type};
use crate::protocol::{AmqpError, FieldTable, FieldValue, FieldValueRef, PropertiesRef, ReplyCode, ShortString};
use hashbrown::HashMap;

/// Most buckets of a binding.
const WEIGHT_MAX: u64 = 10_000;
/// Of rings with up to so many buckets there is a list of whose each is.
const LISTED_BUCKETS_MAX: u64 = 1024;

/// What of a message is hashed.
#[derive(PartialEq, Debug)]
pub(super) enum HashOn {
    RoutingKey,
    Header(ShortString),
    CorrelationId,
    MessageId,
    Timestamp,
}

impl HashOn {
    /// What an exchange is declared to hash.
    ///
    /// # Errors
    /// 406 when it is two things, or none that there is.
    pub(super) fn of(arguments: &FieldTable, subject: Subject<'_>) -> Result<Self, AmqpError> {
        let text = |name: &'static str| match arguments.get(name.as_bytes()) {
            None => Ok(None),
            Some(FieldValue::LongString(text)) => Ok(Some(text)),
            Some(other) => Err(invalid_argument_type(subject, name, other)),
        };
        match (text("hash-header")?, text("hash-property")?) {
            (None, None) => Ok(Self::RoutingKey),
            (Some(header), None) => Ok(Self::Header(ShortString::truncated(header))),
            (None, Some(property)) => match &**property {
                b"correlation_id" => Ok(Self::CorrelationId),
                b"message_id" => Ok(Self::MessageId),
                b"timestamp" => Ok(Self::Timestamp),
                other => Err(refused(format!("Unsupported property: {}", String::from_utf8_lossy(other)))),
            },
            (Some(_), Some(_)) => Err(refused("hash-header and hash-property are mutually exclusive".to_owned())),
        }
    }

    /// What a message that has properties to be hashed is hashed to. Without them it is hashed as all others without.
    fn hash(&self, properties: &PropertiesRef<'_>) -> u64 {
        let binary = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => TermHash::default().binary(bytes).finish().into(),
            None => missing(),
        };
        match self {
            Self::RoutingKey => unreachable!("the routing key is no property"),
            Self::Header(name) => match properties.headers.and_then(|headers| headers.get(name)) {
                Some(value) => hash_header(&value),
                None => missing(),
            },
            Self::CorrelationId => binary(properties.correlation_id),
            Self::MessageId => binary(properties.message_id),
            Self::Timestamp => {
                binary(properties.timestamp.map(|seconds| seconds.to_string()).as_deref().map(str::as_bytes))
            }
        }
    }
}

fn missing() -> u64 {
    TermHash::default().atom("undefined").finish().into()
}

/// Integers are their own hash. Of an array or a table the first element counts.
fn hash_header(value: &FieldValueRef<'_>) -> u64 {
    let hash = TermHash::default();
    match value {
        FieldValueRef::LongString(bytes) | FieldValueRef::Bytes(bytes) => return hash.binary(bytes).finish().into(),
        FieldValueRef::Timestamp(seconds) => return seconds.wrapping_mul(1000),
        FieldValueRef::Array(array) => match array.iter().next() {
            Some(first) => hash.typed(&first.to_owned()),
            None => hash.nil(),
        },
        FieldValueRef::Table(table) => match table.iter().next() {
            Some((key, first)) => hash.entry(key, &first.to_owned()),
            None => hash.nil(),
        },
        scalar => {
            let scalar = scalar.to_owned();
            match integer(&scalar) {
                Some(integer) => return integer.cast_unsigned(),
                None => hash.value(&scalar),
            }
        }
    }
    .finish()
    .into()
}

/// The weight that a binding's key says.
///
/// # Errors
/// 406 when it is none.
pub(super) fn weight(routing_key: &[u8]) -> Result<u64, AmqpError> {
    let digits = routing_key.strip_prefix(b"+").or(routing_key.strip_prefix(b"-")).unwrap_or(routing_key);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        let key = binary_term(routing_key);
        return Err(refused(format!("The binding key must be an integer: {key}")));
    }
    let size =
        digits.iter().fold(0, |size: u64, digit| size.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    if size < 1 || routing_key.starts_with(b"-") {
        return Err(refused("The binding key must be greater than 0".to_owned()));
    }
    if size > WEIGHT_MAX {
        return Err(refused(format!("The binding key must not exceed {WEIGHT_MAX}")));
    }
    Ok(size)
}

fn refused(explanation: String) -> AmqpError {
    AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
}

/// The buckets of one exchange.
pub(super) struct HashRing {
    hash_on: HashOn,
    /// In the order of binding. Who has gone leaves a hole, until there are as many holes as members.
    members: Vec<Option<Member>>,
    /// Buckets of members, summed up as a Fenwick tree: word `i` has those of the members `i - (i & -i) .. i`.
    sums: Vec<u64>,
    buckets: u64,
    /// Whose each bucket is, when they are few: chance has no part in looking there, as it has in walking down the sums.
    by_bucket: Vec<Destination>,
    holes: usize,
    /// Members by destination, in the order of binding: the first of each has buckets.
    by_destination: HashMap<Destination, Vec<u32>>,
    /// The members in the order of the exchange's `outgoing`.
    outgoing: Vec<u32>,
}

struct Member {
    destination: Destination,
    weight: u64,
    /// Index in `outgoing`.
    position: usize,
}

impl HashRing {
    pub(super) fn new(hash_on: HashOn) -> Self {
        Self {
            hash_on,
            members: Vec::new(),
            sums: vec![0],
            buckets: 0,
            by_bucket: Vec::new(),
            holes: 0,
            by_destination: HashMap::new(),
            outgoing: Vec::new(),
        }
    }

    /// Whether a message's properties say where it goes.
    #[inline]
    pub(super) fn needs_properties(&self) -> bool {
        self.hash_on != HashOn::RoutingKey
    }

    #[inline]
    pub(super) fn by_routing_key(&self, routing_key: &[u8], jumps: &mut Jumps) -> Option<Destination> {
        self.pick(|| TermHash::default().binary(routing_key).finish().into(), jumps)
    }

    pub(super) fn by_properties(&self, properties: &PropertiesRef<'_>, jumps: &mut Jumps) -> Option<Destination> {
        self.pick(|| self.hash_on.hash(properties), jumps)
    }

    #[inline]
    fn pick(&self, hash: impl FnOnce() -> u64, jumps: &mut Jumps) -> Option<Destination> {
        let bucket = match self.buckets {
            0 => return None,
            1 => 0,
            buckets => jumps.jump(hash(), buckets),
        };
        Some(match self.by_bucket.get(bucket as usize) {
            Some(destination) => *destination,
            None => self.owner_of(bucket),
        })
    }

    #[inline(never)]
    fn owner_of(&self, bucket: u64) -> Destination {
        let member = self.members[self.member_of(bucket)].as_ref();
        member.expect("who has buckets is there").destination
    }

    /// Adds a binding that is about to become the last of the exchange's `outgoing`.
    pub(super) fn insert(&mut self, destination: Destination, weight: u64) {
        let index = self.members.len() as u32;
        let others = self.by_destination.entry(destination).or_default();
        others.push(index);
        let buckets = if others.len() == 1 { weight } else { 0 };
        self.members.push(Some(Member { destination, weight, position: self.outgoing.len() }));
        self.outgoing.push(index);
        self.push_sum(destination, buckets);
    }

    /// Removes a binding that is about to be swapped out of `outgoing`.
    pub(super) fn remove(&mut self, binding: &Binding) {
        let index = self.outgoing.swap_remove(binding.outgoing_position);
        if let Some(&moved) = self.outgoing.get(binding.outgoing_position) {
            let moved = self.members[moved as usize].as_mut().expect("who is bound is there");
            moved.position = binding.outgoing_position;
        }
        let member = self.members[index as usize].take().expect("a removed binding was inserted");
        self.holes += 1;
        let others = self.by_destination.get_mut(&member.destination).expect("a member's destination is known");
        let place =
            others.iter().position(|&other| other == index).expect("a member is among those of its destination");
        others.remove(place);
        let next = others.first().copied();
        if next.is_none() {
            self.by_destination.remove(&member.destination);
        }
        if place == 0 {
            self.unlist(index, member.weight);
            self.change_sum(index, member.weight.wrapping_neg());
            if let Some(next) = next {
                let weight = self.members[next as usize].as_ref().expect("it is listed").weight;
                self.change_sum(next, weight);
                self.list_again(next, member.destination, weight);
            }
        }
        if self.holes * 2 > self.members.len() {
            self.close_holes();
        }
    }

    fn close_holes(&mut self) {
        let left: Vec<Member> = std::mem::take(&mut self.members).into_iter().flatten().collect();
        self.sums.truncate(1);
        (self.buckets, self.holes) = (0, 0);
        self.by_bucket.clear();
        self.by_destination.clear();
        for (index, member) in left.into_iter().enumerate() {
            self.outgoing[member.position] = index as u32;
            let others = self.by_destination.entry(member.destination).or_default();
            others.push(index as u32);
            let (destination, buckets) = (member.destination, if others.len() == 1 { member.weight } else { 0 });
            self.members.push(Some(member));
            self.push_sum(destination, buckets);
        }
    }

    fn push_sum(&mut self, destination: Destination, buckets: u64) {
        let are_listed = self.are_listed();
        self.buckets += buckets;
        match are_listed && self.buckets <= LISTED_BUCKETS_MAX {
            true => self.by_bucket.extend(std::iter::repeat_n(destination, buckets as usize)),
            false => self.by_bucket = Vec::new(),
        }
        let index = self.sums.len();
        let covered = index & index.wrapping_neg();
        let mut sum = buckets;
        let mut step = 1;
        while step < covered {
            sum += self.sums[index - step];
            step *= 2;
        }
        self.sums.push(sum);
    }

    /// Adds to a member's buckets, modulo 2^64.
    fn change_sum(&mut self, member: u32, change: u64) {
        self.buckets = self.buckets.wrapping_add(change);
        let mut index = member as usize + 1;
        while let Some(sum) = self.sums.get_mut(index) {
            *sum = sum.wrapping_add(change);
            index += index & index.wrapping_neg();
        }
    }

    /// Whether the list of buckets is whole. One that has become too long is begun again when holes are closed.
    fn are_listed(&self) -> bool {
        self.by_bucket.len() as u64 == self.buckets
    }

    /// Takes buckets off the list that a member still has.
    fn unlist(&mut self, member: u32, buckets: u64) {
        if self.are_listed() {
            let first = self.first_bucket_of(member);
            self.by_bucket.drain(first..first + buckets as usize);
        }
    }

    /// Puts buckets on the list that were given to a member, unless they have become many.
    fn list_again(&mut self, member: u32, destination: Destination, buckets: u64) {
        if self.by_bucket.len() as u64 + buckets == self.buckets && self.buckets <= LISTED_BUCKETS_MAX {
            let first = self.first_bucket_of(member);
            self.by_bucket.splice(first..first, std::iter::repeat_n(destination, buckets as usize));
        } else {
            self.by_bucket = Vec::new();
        }
    }

    /// How many buckets the members before have.
    fn first_bucket_of(&self, member: u32) -> usize {
        let (mut index, mut sum) = (member as usize, 0);
        while index > 0 {
            sum += self.sums[index];
            index -= index & index.wrapping_neg();
        }
        sum as usize
    }

    /// Whose bucket it is.
    #[inline]
    fn member_of(&self, mut bucket: u64) -> usize {
        let mut member = 0;
        let mut step = (self.sums.len() - 1).checked_ilog2().map_or(0, |bits| 1 << bits);
        while step > 0 {
            if let Some(&sum) = self.sums.get(member + step)
                && sum <= bucket
            {
                bucket -= sum;
                member += step;
            }
            step /= 2;
        }
        member
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::exchange::QueueId;
    use crate::broker::exchange::{ExchangeId, binding};

    fn queue(number: u32) -> Destination {
        Destination::Queue(QueueId(number))
    }

    fn ring(weights: &[u64]) -> HashRing {
        let mut ring = HashRing::new(HashOn::RoutingKey);
        weights.iter().enumerate().for_each(|(number, &weight)| ring.insert(queue(number as u32), weight));
        ring
    }

    #[test]
    fn weights() {
        let text = |key: &str| weight(key.as_bytes()).unwrap_err().explanation;
        assert_eq!(text(""), "The binding key must be an integer: <<>>");
        assert_eq!(text("1.5"), r#"The binding key must be an integer: <<"1.5">>"#);
        assert_eq!(text("+"), r#"The binding key must be an integer: <<"+">>"#);
        for key in ["0", "-1", "-99999999999999999999999999"] {
            assert_eq!(text(key), "The binding key must be greater than 0");
        }
        for key in ["10001", "18446744073709551617", "99999999999999999999999999"] {
            assert_eq!(text(key), "The binding key must not exceed 10000");
        }
        for (key, expected) in [("1", 1), ("+7", 7), ("007", 7), ("10000", 10_000)] {
            assert_eq!(weight(key.as_bytes()), Ok(expected), "{key}");
        }
    }

    /// How often each queue is chosen, by keys that are numbers.
    fn counts(ring: &HashRing, queues: usize, keys: u32) -> Vec<u32> {
        let (mut counts, mut jumps) = (vec![0; queues], Jumps::default());
        for key in 0..keys {
            let key = format!("key-{key}");
            let Some(Destination::Queue(queue)) = ring.by_routing_key(key.as_bytes(), &mut jumps) else {
                panic!("every key has a queue");
            };
            counts[queue.0 as usize] += 1;
        }
        counts
    }

    /// Of 100,000 keys every queue gets its share, give or take what chance does to that many (4 times its standard
    /// deviation) and 2 %; with equal weights, and with weights that differ.
    #[test]
    fn everybody_gets_a_share_by_weight() {
        const KEYS: u32 = 100_000;
        for queues in [2, 3, 5, 10, 20, 50_usize] {
            for weights in [vec![1; queues], vec![20; queues], (1..=queues as u64).collect::<Vec<_>>()] {
                let total: u64 = weights.iter().sum();
                for (count, &weight) in counts(&ring(&weights), queues, KEYS).iter().zip(&weights) {
                    let part = weight as f64 / total as f64;
                    let expected = part * f64::from(KEYS);
                    let chance = (expected * (1.0 - part)).sqrt();
                    let off = (f64::from(*count) - expected).abs();
                    assert!(
                        off <= 4.0 * chance && off / f64::from(KEYS) < 0.02,
                        "{queues} {weight}: {count}, {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn who_comes_takes_from_everybody_and_who_goes_last_gives_it_back() {
        let (mut ring, keys) = (ring(&[3, 3, 3]), || (0..2000).map(|key| format!("key-{key}")));
        let mut jumps = Jumps::default();
        let mut route = |ring: &HashRing| {
            keys().map(|key| ring.by_routing_key(key.as_bytes(), &mut jumps).unwrap()).collect::<Vec<_>>()
        };
        let before = route(&ring);
        ring.insert(queue(3), 3);
        let after = route(&ring);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == queue(3)));
        assert!((400..600).contains(&moved), "a quarter of 2000 moved: {moved}");
        ring.remove(&bound(queue(3), 3));
        assert_eq!(route(&ring), before);
    }

    fn bound(destination: Destination, outgoing_position: usize) -> Binding {
        Binding {
            source: ExchangeId(1),
            destination,
            routing_key: "1".into(),
            arguments: FieldTable::default(),
            fingerprint: binding::fingerprint(&FieldTable::default()),
            durable: false,
            outgoing_position,
            incoming_position: 0,
        }
    }

    /// The buckets as a plain list, made anew from the bindings in their order.
    fn plain(bindings: &[(Destination, u64)]) -> Vec<Destination> {
        let mut buckets: Vec<Destination> = Vec::new();
        for &(destination, weight) in bindings {
            if !buckets.contains(&destination) {
                buckets.extend(std::iter::repeat_n(destination, weight as usize));
            }
        }
        buckets
    }

    #[test]
    fn buckets_are_those_of_a_plain_list() {
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        // The model has the order of binding; `outgoing` is the exchange's, where the last takes a free place.
        let mut ring = ring(&[]);
        let (mut model, mut outgoing): (Vec<(u64, Destination, u64)>, Vec<u64>) = Default::default();
        let mut listed = 0;
        for serial in 0..3000 {
            if random(5) < 3 && outgoing.len() < 60 {
                // Now few in all, and now more than are listed.
                let heaviest = if serial % 1000 < 500 { 9 } else { 200 };
                let (destination, weight) = (queue(random(20) as u32), 1 + random(heaviest));
                ring.insert(destination, weight);
                model.push((serial, destination, weight));
                outgoing.push(serial);
            } else if !outgoing.is_empty() {
                let position = random(outgoing.len() as u64) as usize;
                let gone = outgoing.swap_remove(position);
                let index = model.iter().position(|&(serial, ..)| serial == gone).unwrap();
                let (_, destination, _) = model.remove(index);
                ring.remove(&bound(destination, position));
            }
            let bindings: Vec<_> = model.iter().map(|&(_, destination, weight)| (destination, weight)).collect();
            let buckets = plain(&bindings);
            assert_eq!(ring.buckets, buckets.len() as u64);
            for (number, expected) in buckets.iter().enumerate() {
                assert_eq!(ring.owner_of(number as u64), *expected, "bucket {number} after {serial}");
            }
            if !ring.by_bucket.is_empty() {
                assert_eq!(ring.by_bucket, buckets, "after {serial}");
                listed += 1;
            }
        }
        assert!((1000..2900).contains(&listed), "{listed} of 3000");
    }
}
