//! Segments: files of one fixed size, preallocated and used again, that hold batches one behind the other.
//!
//! ```text
//!  0  magic "LEVERSEG"
//!  8  format version u32
//! 12  zero u32
//! 16  cluster id, 16 bytes
//! 32  number u64
//! 40  serial of its first batch u64
//! 48  generation u64: which start of the broker wrote it
//! 56  zero u32
//! 60  crc of the 60 bytes before, seeded with the number of the file's name
//! 64  batches …
//! ```
//! A recycled file gets a new name first and a new header with its first batch. Whatever stands behind the new batches
//! is of another number or generation, and the checksums are seeded with both, so it never looks valid.

use super::batch::NUMBERS_END;
use super::{ClusterId, FORMAT_VERSION};

/// Bytes before a segment's first batch.
pub const SEGMENT_HEADER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"LEVERSEG";
const FILE_SUFFIX: &str = ".seg";
/// The highest number that a file's name has room for.
pub(super) const FILE_NUMBER_MAX: u64 = 9_999_999_999_999_999;

/// A segment's place in the log; a number is never used for two segments of one generation.
pub type SegmentNumber = u64;

/// A segment's file that holds nothing that is needed, and may be used again.
#[derive(Clone, Copy, Debug)]
pub(super) struct FreeSegment {
    pub number: SegmentNumber,
    /// So many of its first bytes at least were written at some time, not only preallocated.
    pub written: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    pub cluster: ClusterId,
    pub number: SegmentNumber,
    pub first_serial: u64,
    pub generation: u64,
}

impl SegmentHeader {
    /// What the checksums of batches know of their segment, for one whose header cannot be read.
    pub fn known_by_batches(number: SegmentNumber, generation: u64) -> Self {
        Self { cluster: ClusterId([0; 16]), number, first_serial: 0, generation }
    }

    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.cluster.0);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_serial.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.generation.to_le_bytes());
        let crc = crc(&bytes, self.number);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of the file of that number; `None` when it was never written, or torn, or is another one's.
    pub fn decode(bytes: &[u8], number: SegmentNumber) -> Option<Self> {
        let bytes: &[u8; SEGMENT_HEADER_BYTES] = bytes.first_chunk()?;
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let header = Self {
            cluster: ClusterId(std::array::from_fn(|index| bytes[16 + index])),
            number: u64_at(32),
            first_serial: u64_at(40),
            generation: u64_at(48),
        };
        let is_whole = Self::format_of(bytes, number) == Some(FORMAT_VERSION) && header.number == number;
        (is_whole && header.first_serial < NUMBERS_END && header.generation < NUMBERS_END).then_some(header)
    }

    /// The format of which the header of the file of that number is, if it is whole.
    pub fn format_of(bytes: &[u8], number: SegmentNumber) -> Option<u32> {
        let bytes: &[u8; SEGMENT_HEADER_BYTES] = bytes.first_chunk()?;
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        (bytes.starts_with(MAGIC) && u32_at(60) == crc(bytes, number)).then(|| u32_at(8))
    }

    /// Whether it is a whole header of another segment: that of its file's earlier life, and this one was never written.
    pub fn is_of_another(bytes: &[u8], number: SegmentNumber) -> bool {
        let other = bytes.get(32..40).and_then(|bytes| bytes.first_chunk()).copied().map(u64::from_le_bytes);
        other.is_some_and(|other| other != number && Self::decode(bytes, other).is_some())
    }

    /// What the checksums of this segment's batches start from.
    pub fn checksum_seed(&self) -> u32 {
        let seed = crc32c::crc32c(&self.generation.to_le_bytes());
        crc32c::crc32c_append(seed, &self.number.to_le_bytes())
    }
}

fn crc(header: &[u8; SEGMENT_HEADER_BYTES], number: SegmentNumber) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &header[..60])
}

/// The name of a segment's file.
pub fn file_name(number: SegmentNumber) -> String {
    format!("{number:016}{FILE_SUFFIX}")
}

/// The number in a segment's name; `None` for a file that is none.
pub fn number_of(name: &str) -> Option<SegmentNumber> {
    let number = name.strip_suffix(FILE_SUFFIX)?.parse().ok()?;
    (number <= FILE_NUMBER_MAX && file_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader =
        SegmentHeader { cluster: ClusterId([7; 16]), number: 12, first_serial: 1_000_000, generation: 3 };

    #[test]
    fn a_header_comes_back_under_its_own_name_only() {
        let bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes, 12), Some(HEADER));
        assert_eq!(SegmentHeader::decode(&bytes, 13), None);
        assert!(SegmentHeader::is_of_another(&bytes, 13) && !SegmentHeader::is_of_another(&bytes, 12));
        assert!(!SegmentHeader::is_of_another(&[0; 64], 13));
        assert_eq!(SegmentHeader::decode(&bytes[..63], 12), None);
        assert_eq!(SegmentHeader::decode(&[0; 64], 0), None);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for bit in 0..8 * SEGMENT_HEADER_BYTES {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes, 12), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_of_another_format_is_known_by_its_number() {
        let mut bytes = HEADER.encode();
        bytes[8] = 1;
        let crc = crc(&bytes, 12);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!((SegmentHeader::decode(&bytes, 12), SegmentHeader::format_of(&bytes, 12)), (None, Some(1)));
        assert_eq!(SegmentHeader::format_of(&bytes, 13), None);
    }

    #[test]
    fn names_are_numbers() {
        assert_eq!(number_of(&file_name(42)), Some(42));
        assert_eq!(number_of("42.seg"), None);
        assert_eq!(number_of("0000000000000042.seg.tmp"), None);
        assert_eq!(number_of("18446744073709551615.seg"), None, "no file could come after it");
    }
}
