//! Hashes of passwords and patterns of names, from whoever sends them: reading one never panics, and costs little.
//!
//! Input: two lines, which are read as a hash, as a pattern, and as a pattern of topics; the rest is a name.
#![no_main]

use leveret::access::{PasswordHash, Pattern};
use libfuzzer_sys::fuzz_target;

fn read_as_hash(line: &str, algorithm: &str) {
    for hash in [PasswordHash::parse(line), PasswordHash::of_rabbitmq(line, algorithm)].into_iter().flatten() {
        assert!(PasswordHash::parse(&hash.to_string()).is_some_and(|again| again == hash), "written as it was read");
        let (base64, algorithm) = hash.rabbitmq_form();
        assert!(PasswordHash::of_rabbitmq(&base64, algorithm).is_some_and(|again| again == hash));
        // One that is not would make this target slow.
        if hash.is_quick() {
            assert!(!hash.is_of(b""));
        }
    }
}

fn read_as_pattern(line: &str, user: &str, name: &[u8]) {
    if let Ok(pattern) = Pattern::new(line) {
        assert_eq!(pattern.as_str(), line);
        assert!(pattern.matches(name) || !pattern.is_everything());
    }
    if let Ok(pattern) = Pattern::for_topics(line, user, line) {
        pattern.matches(name);
    }
    let exactly = Pattern::for_topics("^{username}$", user, "/");
    if let Ok(exactly) = exactly {
        assert!(exactly.matches(user.as_bytes()), "a user's name is no pattern");
        assert!(!exactly.matches(name) || name == user.as_bytes());
    }
}

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |&octet| octet == b'\n');
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let (Ok(first), Ok(second)) = (std::str::from_utf8(first), std::str::from_utf8(second)) else { return };
    read_as_hash(first, second);
    read_as_pattern(first, second, lines.next().unwrap_or_default());
});
