//! Batches: what is written at once, and what is whole or not there at all.
//!
//! ```text
//!  0  magic u32
//!  4  body length u32
//!  8  serial u64             1 more than that of the batch before, whatever it is
//! 16  synced serial u64      the last batch that was known to be synced when this was written
//! 24  term u64               of an entry; 0 in a batch that is none
//! 32  index u64              of an entry, 1 more than that of the entry before; 0 in a batch that is none
//! 40  first position u64     of its first record, or of the next one there will be
//! 48  commit u64             index up to which all was known to be committed when this was written
//! 56  records u32            how many positions the batch takes
//! 60  flags u32              1 last of a clean stop, 2 moved records; of a cluster's node 4 configuration, 8 vote
//! 64  crc of the body
//! 68  crc of the 68 bytes before
//! 72  records …
//! ```
//! All numbers are little-endian. Both checksums are CRC-32C, seeded with the generation and the number of the segment
//! and the offset of the batch. What the numbers mean, and which of them is of which sequence, says
//! [`Sequences`](super::sequences::Sequences).

use super::entry::{EntryKind, EntryLabel};
use super::segment::SegmentHeader;

/// Bytes before a batch's first record.
pub const BATCH_HEADER_BYTES: usize = 72;

/// What a batch begins with.
pub const MAGIC: [u8; 4] = *b"LvBt";

/// The broker stopped after this batch and had nothing more to say.
pub const FLAG_CLEAN_STOP: u32 = 1;
/// Copies of live messages out of segments that are to be freed.
pub const FLAG_MOVED: u32 = 2;
/// An entry whose body is who the members are from it on, instead of records.
pub const FLAG_CONFIGURATION: u32 = 4;
/// The body is a term and whom this node gave its vote in it, instead of records.
pub const FLAG_VOTE: u32 = 8;

/// What a batch is beside its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    pub body_length: u32,
    pub label: BatchLabel,
    body_crc: u32,
}

/// What a batch's header says that its body does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BatchLabel {
    pub serial: u64,
    pub synced_serial: u64,
    pub term: u64,
    pub index: u64,
    pub first_position: u64,
    pub commit: u64,
    pub records: u32,
    pub flags: u32,
}

/// A batch where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub header: BatchHeader,
    pub body: &'a [u8],
}

impl BatchLabel {
    /// The position after this batch's records.
    pub fn next_position(&self) -> u64 {
        self.first_position + u64::from(self.records)
    }

    /// Whether only a node of a cluster writes such a batch.
    pub fn is_of_cluster(&self) -> bool {
        matches!(self.flags, FLAG_CONFIGURATION | FLAG_VOTE)
    }

    /// Whether it is an entry of the log that nodes would agree on, and no batch of this node's own.
    pub fn is_entry(&self) -> bool {
        self.index > 0
    }

    /// What it says as an entry, if it is one.
    pub fn entry(&self) -> Option<EntryLabel> {
        let kind = match self.flags {
            FLAG_CONFIGURATION => EntryKind::Configuration,
            _ => EntryKind::Records,
        };
        let Self { term, index, first_position, records, .. } = *self;
        self.is_entry().then_some(EntryLabel { term, index, first_position, records, kind })
    }

    /// Whether its numbers can stand beside each other. No writer makes others.
    fn is_sound(&self) -> bool {
        let kind_is_sound = match self.is_entry() {
            true => self.term > 0 && self.commit <= self.index && matches!(self.flags, 0 | FLAG_CONFIGURATION),
            false => {
                let is_local = matches!(self.flags, FLAG_CLEAN_STOP | FLAG_MOVED | FLAG_VOTE);
                self.term == 0 && self.records == 0 && is_local
            }
        };
        let numbers = [self.serial, self.term, self.index, self.commit, self.first_position];
        kind_is_sound
            && self.synced_serial < self.serial
            && self.first_position > 0
            && numbers.iter().all(|number| *number < NUMBERS_END)
    }
}

/// Serials, terms, indexes and positions are below this, so that adding to one is safe. Counting up to it at a thousand
/// million a second takes three centuries.
pub(super) const NUMBERS_END: u64 = 1 << 63;

impl BatchHeader {
    /// Reads the header that `bytes` begin with, which lies at `offset` of its segment; `None` when there is none, or one
    /// that contradicts itself.
    pub fn decode(bytes: &[u8], segment: &SegmentHeader, offset: u64) -> Option<Self> {
        let bytes: &[u8; BATCH_HEADER_BYTES] = bytes.first_chunk()?;
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let is_whole = u32_at(68) == crc32c::crc32c_append(seed(segment, offset), &bytes[..68]);
        let label = BatchLabel {
            serial: u64_at(8),
            synced_serial: u64_at(16),
            term: u64_at(24),
            index: u64_at(32),
            first_position: u64_at(40),
            commit: u64_at(48),
            records: u32_at(56),
            flags: u32_at(60),
        };
        let header = Self { body_length: u32_at(4), label, body_crc: u32_at(64) };
        (is_whole && label.is_sound()).then_some(header)
    }
}

fn seed(segment: &SegmentHeader, offset: u64) -> u32 {
    crc32c::crc32c_append(segment.checksum_seed(), &offset.to_le_bytes())
}

/// Writes the header in front of the records that begin at [`BATCH_HEADER_BYTES`], for the place that they will have.
pub fn seal(batch: &mut [u8], label: &BatchLabel, segment: &SegmentHeader, offset: u64) {
    let (header, body) = batch.split_at_mut(BATCH_HEADER_BYTES);
    put_header(header, body, label, segment, offset);
}

/// The header of a batch whose body lies elsewhere, for the place that they will have together.
pub fn header_of(body: &[u8], label: &BatchLabel, segment: &SegmentHeader, offset: u64) -> [u8; BATCH_HEADER_BYTES] {
    let mut header = [0; BATCH_HEADER_BYTES];
    put_header(&mut header, body, label, segment, offset);
    header
}

fn put_header(header: &mut [u8], body: &[u8], label: &BatchLabel, segment: &SegmentHeader, offset: u64) {
    let seed = seed(segment, offset);
    let body_length = u32::try_from(body.len()).expect("batches are bounded below 4 GiB");
    header[0..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&body_length.to_le_bytes());
    let BatchLabel { serial, synced_serial, term, index, first_position, commit, records, flags } = *label;
    for (at, number) in (8..).step_by(8).zip([serial, synced_serial, term, index, first_position, commit]) {
        header[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    header[56..60].copy_from_slice(&records.to_le_bytes());
    header[60..64].copy_from_slice(&flags.to_le_bytes());
    header[64..68].copy_from_slice(&crc32c::crc32c_append(seed, body).to_le_bytes());
    let crc = crc32c::crc32c_append(seed, &header[..68]);
    header[68..].copy_from_slice(&crc.to_le_bytes());
}

impl<'a> Batch<'a> {
    /// Its records; none where the body is something else.
    pub fn records(&self) -> &'a [u8] {
        if self.header.label.is_of_cluster() { &[] } else { self.body }
    }

    /// Whether the body is the one that the header was written for.
    pub fn is_whole(&self, segment: &SegmentHeader, offset: u64) -> bool {
        crc32c::crc32c_append(seed(segment, offset), self.body) == self.header.body_crc
    }
}

#[cfg(test)]
mod tests {
    use super::super::ClusterId;
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: SegmentHeader =
        SegmentHeader { cluster: ClusterId([1; 16]), number: 9, first_serial: 1, generation: 4 };

    const LABEL: BatchLabel = BatchLabel {
        serial: 12,
        synced_serial: 10,
        term: 2,
        index: 9,
        first_position: 77,
        commit: 8,
        records: 3,
        flags: 0,
    };

    fn sealed(body: &[u8], offset: u64) -> Vec<u8> {
        let mut batch = vec![0; BATCH_HEADER_BYTES];
        batch.extend_from_slice(body);
        seal(&mut batch, &LABEL, &SEGMENT, offset);
        batch
    }

    /// The records of the batch at `offset`, if it is whole.
    fn read<'a>(bytes: &'a [u8], segment: &SegmentHeader, offset: u64) -> Option<(BatchHeader, &'a [u8])> {
        let header = BatchHeader::decode(bytes, segment, offset)?;
        let body = bytes.get(BATCH_HEADER_BYTES..)?.get(..header.body_length as usize)?;
        Batch { header, body }.is_whole(segment, offset).then_some((header, body))
    }

    #[test]
    fn a_batch_is_valid_at_its_own_place_only() {
        let batch = sealed(b"records", 100);
        let (header, body) = read(&batch, &SEGMENT, 100).unwrap();
        assert_eq!(body, b"records");
        assert_eq!((header.label, header.label.next_position()), (LABEL, 80));
        for other in [SegmentHeader { number: 8, ..SEGMENT }, SegmentHeader { generation: 5, ..SEGMENT }] {
            assert!(read(&batch, &other, 100).is_none(), "stale bytes of a recycled segment");
        }
        assert!(read(&batch, &SEGMENT, 99).is_none(), "at another offset");
    }

    #[test]
    fn a_header_that_is_apart_from_its_body_is_the_same() {
        let batch = sealed(b"records", 100);
        assert_eq!(batch[..BATCH_HEADER_BYTES], header_of(b"records", &LABEL, &SEGMENT, 100));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let batch = sealed(b"some records", 0);
        for bit in 0..8 * batch.len() {
            let mut batch = batch.clone();
            batch[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&batch, &SEGMENT, 0).is_none(), "bit {bit}");
        }
        for length in 0..batch.len() {
            assert!(read(&batch[..length], &SEGMENT, 0).is_none(), "cut at {length}");
        }
    }

    #[test]
    fn numbers_that_contradict_each_other_are_no_header() {
        const LOCAL: BatchLabel = BatchLabel { term: 0, index: 0, records: 0, flags: FLAG_MOVED, ..LABEL };
        let reads = |label: BatchLabel| {
            let mut batch = [0; BATCH_HEADER_BYTES];
            seal(&mut batch, &label, &SEGMENT, 7);
            BatchHeader::decode(&batch, &SEGMENT, 7).map(|header| header.label)
        };
        let sound = [
            LABEL,
            LOCAL,
            BatchLabel { commit: 9, ..LABEL },
            BatchLabel { records: 0, ..LABEL },
            BatchLabel { flags: FLAG_CLEAN_STOP, ..LOCAL },
            BatchLabel { flags: FLAG_VOTE, ..LOCAL },
            BatchLabel { flags: FLAG_CONFIGURATION, ..LABEL },
        ];
        sound.into_iter().for_each(|label| assert_eq!(reads(label), Some(label)));
        for label in [
            BatchLabel { serial: 10, ..LABEL },
            BatchLabel { commit: 10, ..LABEL },
            BatchLabel { term: 0, ..LABEL },
            BatchLabel { flags: FLAG_CLEAN_STOP, ..LABEL },
            BatchLabel { term: 2, ..LOCAL },
            BatchLabel { records: 1, ..LOCAL },
            BatchLabel { flags: 0, ..LOCAL },
            BatchLabel { flags: 16, ..LOCAL },
            BatchLabel { flags: FLAG_CONFIGURATION, ..LOCAL },
            BatchLabel { flags: FLAG_VOTE, ..LABEL },
            BatchLabel { flags: FLAG_VOTE | FLAG_MOVED, ..LOCAL },
            BatchLabel { first_position: 0, ..LABEL },
            BatchLabel { serial: u64::MAX, ..LABEL },
            BatchLabel { first_position: u64::MAX, ..LABEL },
            BatchLabel { index: u64::MAX, ..LABEL },
        ] {
            assert_eq!(reads(label), None, "{label:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_there_reading_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_u64..200) {
            read(&bytes, &SEGMENT, at);
        }
    }
}
