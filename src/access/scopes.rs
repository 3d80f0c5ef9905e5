//! Scopes: what a token lets whoever shows it do, as RabbitMQ's plugin for OAuth 2 reads them.
//!
//! ```text
//! read:VHOST/NAME          consume, get, purge; bind something to it
//! write:VHOST/NAME         publish; bind it to something
//! configure:VHOST/NAME     declare, delete
//! write:VHOST/NAME/KEY     that, and with an exchange of type topic these routing keys (read: binding keys)
//! ```
//! `*` stands for any bytes, `%2F` for a byte by its number, `+` for a space, `{vhost}` for the name of the virtual host, and
//! `{claim}` for what the token says under that name. What stands for something else is taken as it is: a star in a claim is
//! a star, and a slash no border, so that nobody gets more by choosing a name. A scope that reads otherwise lets do nothing.
//!
//! An exchange of type topic takes a scope with a key: without any that means the key, it is refused.

use super::Right;
use super::wildcard::Wildcard;

/// Scopes that a token may have, as many as RabbitMQ takes.
pub const SCOPES_MAX: usize = 2048;

/// What a token lets its bearer do.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Scopes(Box<[Scope]>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Scope {
    right: Right,
    vhost: Name,
    name: Name,
    /// Routing keys, for exchanges of type topic.
    key: Option<Name>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Name {
    Fixed(Wildcard),
    /// What is between the places where the virtual host's name belongs.
    OfVhost(Box<[Wildcard]>),
}

/// A text that is no scope for a queue or an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct NoScope;

impl Scopes {
    /// What of these texts are scopes. `claim` says what the token says under a name.
    pub fn read<'a>(texts: impl IntoIterator<Item = &'a str>, claim: impl Fn(&str) -> Option<&'a str>) -> Self {
        let mut scopes: Vec<Scope> = texts.into_iter().filter_map(|text| Scope::read(text, &claim).ok()).collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes.into())
    }

    /// Those that mean something in a virtual host, and mean it there alone.
    pub fn within(&self, vhost: &str) -> Self {
        let meant = self.0.iter().filter(|scope| scope.vhost.means(vhost.as_bytes(), vhost));
        Self(meant.map(|scope| scope.within(vhost)).collect())
    }

    /// Whether a virtual host may be entered: whether anything may be done there.
    pub fn allow_to_enter(&self, vhost: &str) -> bool {
        self.0.iter().any(|scope| scope.vhost.means(vhost.as_bytes(), vhost))
    }

    /// Whether this may be done with what has this name.
    pub fn allow(&self, right: Right, vhost: &str, name: &[u8]) -> bool {
        self.of(right, vhost, name).next().is_some()
    }

    /// Whether this may be done with an exchange of type topic and this key. Nobody configures one.
    pub fn allow_key(&self, right: Right, vhost: &str, exchange: &[u8], key: &[u8]) -> bool {
        self.of(right, vhost, exchange).filter_map(|scope| scope.key.as_ref()).any(|keys| keys.means(key, vhost))
    }

    /// Whether this may be done with an exchange of type topic whatever the key, so that it need not be asked.
    pub fn allow_every_key(&self, right: Right, vhost: &str, exchange: &[u8]) -> bool {
        let is_everything = |keys: &Name| matches!(keys, Name::Fixed(keys) if keys.is_everything());
        self.of(right, vhost, exchange).filter_map(|scope| scope.key.as_ref()).any(is_everything)
    }

    fn of(&self, right: Right, vhost: &str, name: &[u8]) -> impl Iterator<Item = &Scope> {
        let is_meant = move |scope: &&Scope| {
            scope.right == right && scope.vhost.means(vhost.as_bytes(), vhost) && scope.name.means(name, vhost)
        };
        self.0.iter().filter(is_meant)
    }
}

impl Scope {
    fn read<'a>(text: &str, claim: impl Fn(&str) -> Option<&'a str>) -> Result<Self, NoScope> {
        let (right, rest) = text.split_once(':').ok_or(NoScope)?;
        let right = match right {
            "read" => Right::Read,
            "write" => Right::Write,
            "configure" => Right::Configure,
            _ => return Err(NoScope),
        };
        let mut names = Reader::default().read(rest, claim)?.into_iter();
        let (vhost, name, key) = (names.next().ok_or(NoScope)?, names.next().ok_or(NoScope)?, names.next());
        match names.next() {
            Some(_) => Err(NoScope),
            None => Ok(Self { right, vhost, name, key }),
        }
    }

    fn within(&self, vhost: &str) -> Self {
        let Self { right, vhost: of_vhost, name, key } = self;
        let fixed = |name: &Name| Name::Fixed(name.in_vhost(vhost));
        Self { right: *right, vhost: fixed(of_vhost), name: fixed(name), key: key.as_ref().map(fixed) }
    }
}

impl Name {
    fn means(&self, name: &[u8], vhost: &str) -> bool {
        match self {
            Self::Fixed(wildcard) => wildcard.matches(name),
            Self::OfVhost(_) => self.in_vhost(vhost).matches(name),
        }
    }

    fn in_vhost(&self, vhost: &str) -> Wildcard {
        match self {
            Self::Fixed(wildcard) => wildcard.clone(),
            Self::OfVhost(between) => Wildcard::joined(between, vhost.as_bytes()),
        }
    }
}

/// The names of a scope, as far as they were read.
#[derive(Default)]
struct Reader {
    names: Vec<Name>,
    /// Of the name at hand, what is before the last place of the virtual host's name.
    before: Vec<Wildcard>,
    /// And what is behind it: whole parts, and the last one.
    parts: Vec<Vec<u8>>,
    part: Vec<u8>,
}

impl Reader {
    fn read<'a>(mut self, text: &str, claim: impl Fn(&str) -> Option<&'a str>) -> Result<Vec<Name>, NoScope> {
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let (this, behind) = rest.split_at(character.len_utf8());
            rest = behind;
            match character {
                '/' => self.end_name(),
                '*' => self.end_part(),
                '+' => self.part.push(b' '),
                '%' => {
                    let digits = rest.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
                    self.part.push(digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(NoScope)?);
                    rest = &rest[2..];
                }
                '{' => {
                    let (name, behind) = rest.split_once('}').ok_or(NoScope)?;
                    if name.contains(['{', '.', '*']) {
                        return Err(NoScope);
                    }
                    rest = behind;
                    match name {
                        "vhost" => {
                            let wildcard = self.end_wildcard();
                            self.before.push(wildcard);
                        }
                        _ => self.part.extend(claim(name).unwrap_or(name).bytes()),
                    }
                }
                _ => self.part.extend(this.bytes()),
            }
        }
        self.end_name();
        Ok(self.names)
    }

    fn end_part(&mut self) {
        self.parts.push(std::mem::take(&mut self.part));
    }

    fn end_wildcard(&mut self) -> Wildcard {
        self.end_part();
        Wildcard::new(std::mem::take(&mut self.parts))
    }

    fn end_name(&mut self) {
        let last = self.end_wildcard();
        let mut between = std::mem::take(&mut self.before);
        self.names.push(match between.is_empty() {
            true => Name::Fixed(last),
            false => {
                between.push(last);
                Name::OfVhost(between.into())
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scopes(texts: &[&'static str]) -> Scopes {
        Scopes::read(texts.iter().copied(), |name| match name {
            "sub" => Some("bob"),
            "sly" => Some("*/*"),
            _ => None,
        })
    }

    fn may(text: &'static str, right: Right, vhost: &str, name: &str) -> bool {
        let (scopes, name) = (scopes(&[text]), name.as_bytes());
        let may = scopes.allow(right, vhost, name);
        let within = scopes.within(vhost);
        assert_eq!(within.allow(right, vhost, name), may, "{text} within {vhost}");
        assert_eq!(within.allow_to_enter(vhost), scopes.allow_to_enter(vhost), "{text} within {vhost}");
        may
    }

    #[test]
    fn a_scope_lets_do_one_thing_with_names_in_virtual_hosts() {
        let rights = [Right::Configure, Right::Write, Right::Read];
        for (text, right) in [("configure:v/q", 0), ("write:v/q", 1), ("read:v/q", 2)] {
            assert_eq!(rights.map(|right| may(text, right, "v", "q")), [0, 1, 2].map(|index| index == right), "{text}");
        }
        for (text, vhost, name, is_meant) in [
            ("read:*/*", "/", "q", true),
            ("read:v/q", "v", "p", false),
            ("read:v/q", "w", "q", false),
            ("read:v*/q*", "v1", "q1", true),
            ("read:%2F/a%2fb", "/", "a/b", true),
            ("read:%2F/a+b", "/", "a b", true),
            ("read:v/*%2A*", "v", "a*b", true),
            ("read:v/*%2A*", "v", "ab", false),
            ("read:v/", "v", "", true),
            ("read:/q", "", "q", true),
            ("read:v/q/k", "v", "q", true),
            // None of these is a scope.
            ("read:v/%zz", "v", "zz", false),
            ("read:v/%2", "v", "%2", false),
            ("read:v/%", "v", "%", false),
            ("read:v/%+1", "v", "\u{1}", false),
            ("read:v", "v", "", false),
            ("read:v/q/k/k", "v", "q", false),
            ("READ:v/q", "v", "q", false),
            ("read", "", "", false),
            ("", "", "", false),
        ] {
            assert_eq!(may(text, Right::Read, vhost, name), is_meant, "{text} {vhost} {name}");
        }
        assert!(scopes(&["write:v/q"]).allow_to_enter("v"), "whatever may be done");
        assert!(!scopes(&["write:v/q", "tag:administrator", "read:w"]).allow_to_enter("w"));
    }

    #[test]
    fn what_stands_for_something_stands_for_nothing_else() {
        for (text, vhost, name, is_meant) in [
            ("read:{vhost}/q", "v", "q", true),
            ("read:{vhost}/q", "/", "q", true),
            ("read:v/{vhost}-*", "v", "v-1", true),
            ("read:v/{vhost}-*", "v", "w-1", false),
            ("read:*/*-{vhost}-{vhost}", "v", "a-v-v", true),
            ("read:*/{vhost}", "a*", "ab", false),
            ("read:*/{vhost}", "a*", "a*", true),
            ("read:v/{sub}.*", "v", "bob.1", true),
            ("read:v/{sub}.*", "v", "sub.1", false),
            ("read:v/{nothing}", "v", "nothing", true),
            ("read:v/{sly}", "v", "q", false),
            ("read:v/{sly}", "v", "*/*", true),
            ("read:v/{sub", "v", "bob", false),
            ("read:v/{s.b}", "v", "s.b", false),
            ("read:v/a}", "v", "a}", true),
        ] {
            assert_eq!(may(text, Right::Read, vhost, name), is_meant, "{text} {vhost} {name}");
        }
    }

    #[test]
    fn keys_are_for_those_who_have_a_scope_with_keys() {
        let scopes = scopes(&["write:v/x/a.*", "write:v/y", "read:v/z/*", "write:v/w/{vhost}"]);
        let may = |right, exchange: &str, key: &str| scopes.allow_key(right, "v", exchange.as_bytes(), key.as_bytes());
        assert!(may(Right::Write, "x", "a.b") && !may(Right::Write, "x", "b") && !may(Right::Read, "x", "a.b"));
        assert!(!may(Right::Write, "y", "a"), "it has none");
        assert!(may(Right::Read, "z", "") && may(Right::Write, "w", "v") && !may(Right::Write, "w", "w"));
        assert!(scopes.allow_every_key(Right::Read, "v", b"z"));
        assert!(!scopes.allow_every_key(Right::Write, "v", b"x") && !scopes.allow_every_key(Right::Write, "v", b"z"));
    }

    proptest! {
        #[test]
        fn whatever_a_token_says(text in "(read|write|x)?:?([ab*%{}/+2F.]|\\PC){0,20}", vhost in "[ab/*]{0,3}", name in "[ab/*]{0,5}") {
            let scopes = Scopes::read([&*text], |_| None);
            let within = scopes.within(&vhost);
            prop_assert_eq!(within.allow_to_enter(&vhost), scopes.allow_to_enter(&vhost));
            for right in [Right::Configure, Right::Write, Right::Read] {
                prop_assert_eq!(within.allow(right, &vhost, name.as_bytes()), scopes.allow(right, &vhost, name.as_bytes()));
            }
        }
    }
}
