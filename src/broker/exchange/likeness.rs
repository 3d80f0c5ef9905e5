//! Whether one key is like one pattern, for who has no trie of them.

/// Whether a key is like a pattern: `*` is one word, `#` any number of them.
pub fn is_like(pattern: &[u8], key: &[u8]) -> bool {
    let (mut pattern, mut key) = (Words::of(pattern), Words::of(key));
    // Where to go on if what follows the last `#` does not fit: `#` takes one word more.
    let mut again: Option<(Words<'_>, Words<'_>)> = None;
    loop {
        let (mut next_pattern, mut next_key) = (pattern, key);
        match (next_pattern.next(), next_key.next()) {
            (None, None) => return true,
            (Some(b"#"), _) => {
                pattern = next_pattern;
                again = Some((next_pattern, key));
            }
            (Some(word), Some(of_key)) if word == b"*" || word == of_key => (pattern, key) = (next_pattern, next_key),
            _ => {
                let Some((after, mut taken)) = again else { return false };
                if taken.next().is_none() {
                    return false;
                }
                (pattern, key) = (after, taken);
                again = Some((after, taken));
            }
        }
    }
}

/// Words between dots. There are none of nothing.
#[derive(Clone, Copy)]
struct Words<'a>(Option<&'a [u8]>);

impl<'a> Words<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self((!text.is_empty()).then_some(text))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        match memchr::memchr(b'.', rest) {
            Some(dot) => {
                self.0 = Some(&rest[dot + 1..]);
                Some(&rest[..dot])
            }
            None => {
                self.0 = None;
                Some(rest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by trying everything.
    fn is_like_slowly(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern, key) {
            ([], []) => true,
            (["#", rest @ ..], _) => (0..=key.len()).any(|taken| is_like_slowly(rest, &key[taken..])),
            ([word, pattern @ ..], [of_key, key @ ..]) => {
                (*word == "*" || word == of_key) && is_like_slowly(pattern, key)
            }
            _ => false,
        }
    }

    fn split(text: &str) -> Vec<&str> {
        if text.is_empty() { Vec::new() } else { text.split('.').collect() }
    }

    proptest! {
        #[test]
        fn a_key_is_like_a_pattern_as_bindings_have_it(
            pattern in "([ab*#](\\.[ab*#]){0,5})?|\\.|a\\.|#\\.",
            key in "([ab](\\.[ab]){0,6})?|\\.|a\\.|\\.b",
        ) {
            let slowly = is_like_slowly(&split(&pattern), &split(&key));
            prop_assert_eq!(is_like(pattern.as_bytes(), key.as_bytes()), slowly);
        }
    }
}
