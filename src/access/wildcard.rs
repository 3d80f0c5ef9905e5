//! Names with `*` for any bytes, none among them: what scopes of tokens are made of.

/// What is between the stars, in order: the first is how a name begins, the last is how it ends.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Wildcard {
    parts: Box<[Box<[u8]>]>,
}

impl Wildcard {
    /// One more part than there are stars.
    pub fn new(parts: Vec<Vec<u8>>) -> Self {
        debug_assert!(!parts.is_empty(), "a name without stars is one part");
        Self { parts: parts.into_iter().map(Vec::into_boxed_slice).collect() }
    }

    /// Several, one behind the other, with this name between them.
    pub fn joined(several: &[Self], name: &[u8]) -> Self {
        let mut parts = vec![Vec::new()];
        for (index, Self { parts: behind }) in several.iter().enumerate() {
            let [first, others @ ..] = &**behind else { continue };
            let last = parts.last_mut().expect("there is one from the start");
            last.extend_from_slice(if index == 0 { &[] } else { name });
            last.extend_from_slice(first);
            parts.extend(others.iter().map(|part| part.to_vec()));
        }
        Self::new(parts)
    }

    /// Whether every name is meant.
    pub fn is_everything(&self) -> bool {
        self.parts.len() > 1 && self.parts.iter().all(|part| part.is_empty())
    }

    /// Whether this name is meant. It looks at no byte of the name more often than there are bytes in the longest part.
    pub fn matches(&self, name: &[u8]) -> bool {
        let [first, between @ .., last] = &*self.parts else { return *name == *self.parts[0] };
        let Some(mut rest) = name.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last)) else {
            return false;
        };
        // The first place where a part is leaves the most room for those behind it.
        for part in between.iter().filter(|part| !part.is_empty()) {
            let Some(at) = rest.windows(part.len()).position(|window| window == &**part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wildcard(text: &str) -> Wildcard {
        Wildcard::new(text.split('*').map(|part| part.as_bytes().to_vec()).collect())
    }

    #[test]
    fn a_star_is_any_bytes() {
        for (pattern, meant, others) in [
            ("a", &["a"][..], &["", "aa", "ab", "ba"][..]),
            ("", &[""], &["a"]),
            ("*", &["", "a", "a/b"], &[]),
            ("a*", &["a", "ab", "aa"], &["", "ba"]),
            ("*a", &["a", "ba", "aba"], &["", "ab"]),
            ("a*a", &["aa", "aba", "aaa"], &["a", "ab"]),
            ("a*b*c", &["abc", "a-b-c", "abbc", "a-bcbc"], &["ac", "acb", "cba"]),
            ("**", &["", "a"], &[]),
        ] {
            let wildcard = wildcard(pattern);
            assert!(meant.iter().all(|name| wildcard.matches(name.as_bytes())), "{pattern} means {meant:?}");
            assert!(!others.iter().any(|name| wildcard.matches(name.as_bytes())), "{pattern} means none of {others:?}");
            assert_eq!(wildcard.is_everything(), matches!(pattern, "*" | "**"), "{pattern}");
        }
    }

    /// By its definition, in time that nobody has.
    fn matches_slowly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| matches_slowly(rest, &name[at..])),
            ([first, rest @ ..], [byte, behind @ ..]) => first == byte && matches_slowly(rest, behind),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_as_defined(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(wildcard(&pattern).matches(name.as_bytes()), matches_slowly(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
