//! Reading around what a disk does not give: the bytes before and behind it are as good as ever.

use super::disk::{DiskFile, is_unreadable};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;

/// What is lost at once, in bytes: systems read no less.
const BLOCK_BYTES: u64 = 4096;
/// So many stretches are named, and of the others there is only the number.
const NAMED_MAX: usize = 8;

/// The blocks of a file that could not be read.
#[derive(Default)]
pub(super) struct Unreadable {
    /// Their first bytes.
    blocks: BTreeSet<u64>,
    /// What the disk said of the first of them.
    error: String,
}

impl Unreadable {
    /// Reads as [`DiskFile::read_at`] does, with zeros in place of what cannot be read.
    ///
    /// # Errors
    /// Those after which it may be worth trying again.
    pub fn read_around(&mut self, file: &impl DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match file.read_at(buffer, offset) {
            Err(error) if is_unreadable(&error) => {}
            result => return result,
        }
        let mut read = 0;
        while read < buffer.len() {
            let at = offset + read as u64;
            let block = at - at % BLOCK_BYTES;
            let length = (buffer.len() - read).min((block + BLOCK_BYTES - at) as usize);
            let piece = &mut buffer[read..read + length];
            read += match file.read_at(piece, at) {
                Ok(0) => break,
                Err(error) if is_unreadable(&error) => {
                    piece.fill(0);
                    if self.blocks.is_empty() {
                        self.error = error.to_string();
                    }
                    self.blocks.insert(block);
                    length
                }
                result => result?,
            };
        }
        Ok(read)
    }

    /// What could not be read of `file` from one byte to before another, in words, as far as it was tried.
    pub fn between(&self, file: &str, from: u64, to: u64) -> Option<String> {
        let from = from - from % BLOCK_BYTES;
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for &block in self.blocks.range(from..to.max(from)) {
            match stretches.last_mut() {
                Some((_, end)) if *end == block => *end += BLOCK_BYTES,
                _ => stretches.push((block, block + BLOCK_BYTES)),
            }
        }
        let (named, others) = stretches.split_at(stretches.len().min(NAMED_MAX));
        let mut words = String::new();
        for (first, end) in named {
            let comma = if words.is_empty() { "bytes " } else { ", " };
            write!(words, "{comma}{first} to {}", end - 1).expect("a string takes everything");
        }
        if !others.is_empty() {
            write!(words, " and {} other stretches", others.len()).expect("a string takes everything");
        }
        (!words.is_empty()).then(|| format!("{words} of {file} cannot be read: {}", self.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_named_as_far_as_they_are_asked_for() {
        let blocks = [1, 2, 5, 6, 7, 9].map(|block| block * BLOCK_BYTES).into();
        let unreadable = Unreadable { blocks, error: "no".into() };
        let words = |from, to| unreadable.between("x", from, to);
        assert_eq!(words(0, 4096), None);
        assert_eq!(words(5000, 5001).unwrap(), "bytes 4096 to 8191 of x cannot be read: no");
        assert_eq!(
            words(0, u64::MAX).unwrap(),
            "bytes 4096 to 12287, 20480 to 32767, 36864 to 40959 of x cannot be read: no"
        );
        let unreadable = Unreadable { blocks: (0..20).map(|block| 2 * block * BLOCK_BYTES).collect(), ..unreadable };
        let words = unreadable.between("x", 0, u64::MAX).unwrap();
        assert!(words.ends_with("57344 to 61439 and 12 other stretches of x cannot be read: no"), "{words}");
    }
}
