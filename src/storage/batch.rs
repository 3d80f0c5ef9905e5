//! Batches: what is written at once, and what is whole or not there at all.
//!
//! ```text
//!  0  magic u32
//!  4  body length u32
//!  8  term u64                     0: there is one node yet
//! 16  position of the first record u64
//! 24  durable position u64         what was known to be synced when this was written
//! 32  records u32                  how many positions the batch takes
//! 36  flags u32                    1 last of a clean stop, 2 moved records, which take no positions
//! 40  crc of the body
//! 44  crc of the 44 bytes before
//! 48  records …
//! ```
//! Both checksums are seeded with the generation and the number of the segment and the offset of the batch.

use super::segment::SegmentHeader;

/// Bytes before a batch's first record.
pub const BATCH_HEADER_BYTES: usize = 48;

/// What a batch begins with.
pub const MAGIC: [u8; 4] = *b"LvBt";

/// What a batch is beside its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    pub body_length: u32,
    pub term: u64,
    pub first_position: u64,
    pub durable_position: u64,
    pub records: u32,
    pub flags: u32,
    body_crc: u32,
}

/// The broker stopped after this batch and had nothing more to say.
pub const FLAG_CLEAN_STOP: u32 = 1;
/// Copies of live messages out of segments that are to be freed.
pub const FLAG_MOVED: u32 = 2;

/// What a batch's header says that its body does not.
#[derive(Clone, Copy, Debug)]
pub struct BatchLabel {
    pub first_position: u64,
    pub durable_position: u64,
    pub records: u32,
    pub flags: u32,
}

/// A batch where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub header: BatchHeader,
    pub body: &'a [u8],
}

impl BatchHeader {
    /// The position after this batch's records.
    pub fn next_position(&self) -> u64 {
        self.first_position.saturating_add(u64::from(self.records))
    }

    /// Reads the header that `bytes` begin with, which lies at `offset` of its segment; `None` when there is none.
    pub fn decode(bytes: &[u8], segment: &SegmentHeader, offset: u64) -> Option<Self> {
        let bytes: &[u8; BATCH_HEADER_BYTES] = bytes.first_chunk()?;
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let is_whole = u32_at(44) == crc32c::crc32c_append(seed(segment, offset), &bytes[..44]);
        is_whole.then(|| Self {
            body_length: u32_at(4),
            term: u64_at(8),
            first_position: u64_at(16),
            durable_position: u64_at(24),
            records: u32_at(32),
            flags: u32_at(36),
            body_crc: u32_at(40),
        })
    }
}

fn seed(segment: &SegmentHeader, offset: u64) -> u32 {
    crc32c::crc32c_append(segment.checksum_seed(), &offset.to_le_bytes())
}

/// Writes the header in front of the records that begin at [`BATCH_HEADER_BYTES`], for the place that they will have.
pub fn seal(batch: &mut [u8], label: &BatchLabel, segment: &SegmentHeader, offset: u64) {
    let seed = seed(segment, offset);
    let (header, body) = batch.split_at_mut(BATCH_HEADER_BYTES);
    let body_length = u32::try_from(body.len()).expect("batches are bounded below 4 GiB");
    header[0..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&body_length.to_le_bytes());
    header[8..16].copy_from_slice(&0_u64.to_le_bytes());
    header[16..24].copy_from_slice(&label.first_position.to_le_bytes());
    header[24..32].copy_from_slice(&label.durable_position.to_le_bytes());
    header[32..36].copy_from_slice(&label.records.to_le_bytes());
    header[36..40].copy_from_slice(&label.flags.to_le_bytes());
    header[40..44].copy_from_slice(&crc32c::crc32c_append(seed, body).to_le_bytes());
    let crc = crc32c::crc32c_append(seed, &header[..44]);
    header[44..].copy_from_slice(&crc.to_le_bytes());
}

impl Batch<'_> {
    /// Whether the body is the one that the header was written for.
    pub fn is_whole(&self, segment: &SegmentHeader, offset: u64) -> bool {
        crc32c::crc32c_append(seed(segment, offset), self.body) == self.header.body_crc
    }
}

#[cfg(test)]
mod tests {
    use super::super::NodeId;
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: SegmentHeader =
        SegmentHeader { node_id: NodeId([1; 16]), number: 9, first_position: 1, generation: 4 };

    fn sealed(body: &[u8], offset: u64) -> Vec<u8> {
        let mut batch = vec![0; BATCH_HEADER_BYTES];
        batch.extend_from_slice(body);
        let label = BatchLabel { first_position: 77, durable_position: 70, records: 3, flags: 0 };
        seal(&mut batch, &label, &SEGMENT, offset);
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
        assert_eq!(
            (header.first_position, header.next_position(), header.durable_position, header.flags),
            (77, 80, 70, 0)
        );
        for other in [SegmentHeader { number: 8, ..SEGMENT }, SegmentHeader { generation: 5, ..SEGMENT }] {
            assert!(read(&batch, &other, 100).is_none(), "stale bytes of a recycled segment");
        }
        assert!(read(&batch, &SEGMENT, 99).is_none(), "at another offset");
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

    proptest! {
        #[test]
        fn whatever_is_there_reading_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_u64..200) {
            read(&bytes, &SEGMENT, at);
        }
    }
}
