//! Messages in pieces, so that one that is long is looked at as it comes, each piece with its sum.
//!
//! ```text
//! length u32   of the piece's bytes: FRAME_MAX_BYTES at most
//! flags u32    1 the message ends with it; 2 a sign of life, without bytes
//! crc32c u32   of the eight bytes before and of the piece's
//! the piece's bytes
//! ```
//! Numbers are little-endian. What a message says is unknown here.

use std::io::{self, Read, Write};

/// The longest piece, in bytes.
pub const FRAME_MAX_BYTES: usize = 256 << 10;
/// The longest message, in bytes: an entry of one message of the largest size, or of a transaction, with what is around it.
pub const MESSAGE_MAX_BYTES: usize = 1 << 30;

const HEADER_BYTES: usize = 12;
const SUMMED_BYTES: usize = 8;
const LAST: u32 = 1;
const SIGN_OF_LIFE: u32 = 2;

/// Writes a message that lies in several places.
///
/// # Errors
/// The stream's.
pub fn write_message(stream: &mut impl Write, parts: &[&[u8]]) -> io::Result<()> {
    let mut left: usize = parts.iter().map(|part| part.len()).sum();
    debug_assert!(left <= MESSAGE_MAX_BYTES, "whoever sends keeps to it");
    let mut parts = parts.iter().copied().filter(|part| !part.is_empty());
    let mut part: &[u8] = &[];
    loop {
        let length = left.min(FRAME_MAX_BYTES);
        left -= length;
        let mut pieces: Vec<&[u8]> = Vec::with_capacity(4);
        let mut missing = length;
        while missing > 0 {
            if part.is_empty() {
                part = parts.next().expect("as much as was counted");
            }
            let (piece, rest) = part.split_at(part.len().min(missing));
            pieces.push(piece);
            (part, missing) = (rest, missing - piece.len());
        }
        write_frame(stream, if left == 0 { LAST } else { 0 }, length, &pieces)?;
        if left == 0 {
            return Ok(());
        }
    }
}

/// # Errors
/// The stream's.
pub fn write_sign_of_life(stream: &mut impl Write) -> io::Result<()> {
    write_frame(stream, SIGN_OF_LIFE, 0, &[])
}

fn write_frame(stream: &mut impl Write, flags: u32, length: usize, pieces: &[&[u8]]) -> io::Result<()> {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(length as u32).to_le_bytes());
    header[4..SUMMED_BYTES].copy_from_slice(&flags.to_le_bytes());
    let sum =
        pieces.iter().fold(crc32c::crc32c(&header[..SUMMED_BYTES]), |sum, piece| crc32c::crc32c_append(sum, piece));
    header[SUMMED_BYTES..].copy_from_slice(&sum.to_le_bytes());
    stream.write_all(&header)?;
    pieces.iter().try_for_each(|piece| stream.write_all(piece))
}

/// Waits for the next message. It grows as its pieces come, whatever they announce.
///
/// # Errors
/// The stream's, its end, or pieces that are none.
pub fn read_message(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header)?;
        let [length, flags, sum] =
            [0, 4, 8].map(|at| u32::from_le_bytes(*header[at..].first_chunk().expect("twelve bytes")));
        let length = length as usize;
        if length > FRAME_MAX_BYTES || message.len() + length > MESSAGE_MAX_BYTES || flags > SIGN_OF_LIFE {
            return Err(damaged("a piece of a message is none"));
        }
        let begin = message.len();
        message.resize(begin + length, 0);
        stream.read_exact(&mut message[begin..])?;
        if crc32c::crc32c_append(crc32c::crc32c(&header[..SUMMED_BYTES]), &message[begin..]) != sum {
            return Err(damaged("a message came damaged"));
        }
        match flags {
            LAST => return Ok(message),
            SIGN_OF_LIFE if length > 0 || begin > 0 => return Err(damaged("a sign of life in a message")),
            _ => {}
        }
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_message(&mut bytes, parts).unwrap();
        bytes
    }

    #[test]
    fn messages_of_any_length_come_back() {
        for length in [0, 1, FRAME_MAX_BYTES - 1, FRAME_MAX_BYTES, FRAME_MAX_BYTES + 1, 3 * FRAME_MAX_BYTES] {
            let message: Vec<u8> = (0..length).map(|at| at as u8).collect();
            for at in [0, 1, length / 2, length].into_iter().filter(|at| *at <= length) {
                let (one, other) = message.split_at(at);
                let bytes = framed(&[one, b"", other]);
                assert_eq!(bytes.len(), length + HEADER_BYTES * length.div_ceil(FRAME_MAX_BYTES).max(1));
                assert_eq!(read_message(&mut &bytes[..]).unwrap(), message, "{length}, divided at {at}");
            }
        }
    }

    #[test]
    fn signs_of_life_stand_between_messages() {
        let mut bytes = Vec::new();
        write_sign_of_life(&mut bytes).unwrap();
        write_message(&mut bytes, &[b"one"]).unwrap();
        write_sign_of_life(&mut bytes).unwrap();
        write_message(&mut bytes, &[b"two"]).unwrap();
        let stream = &mut &bytes[..];
        assert_eq!([read_message(stream).unwrap(), read_message(stream).unwrap()], [b"one", b"two"]);
        assert_eq!(read_message(stream).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn every_bit_that_changes_is_noticed() {
        let bytes = framed(&[b"one message"]);
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(read_message(&mut &changed[..]).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(length in 0..40u32, flags in 0..4u32, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read_message(&mut &bytes[..]);
            let header = [length.to_le_bytes(), flags.to_le_bytes()].concat();
            let piece = &bytes[..bytes.len().min(length as usize)];
            let sum = crc32c::crc32c_append(crc32c::crc32c(&header), piece).to_le_bytes();
            let _ = read_message(&mut &[&header[..], &sum, &bytes].concat()[..]);
        }
    }
}
