//! What patterns mean, against readings too simple to be wrong.

use super::*;
use proptest::{collection, prelude::*};

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    Pattern::new(text).expect_err(text).to_string()
}

#[track_caller]
fn assert_means(text: &str, names: &[&str], others: &[&str]) {
    let pattern = pattern(text);
    for name in names {
        assert!(pattern.matches(name.as_bytes()), "{text} means {name:?}");
    }
    for name in others {
        assert!(!pattern.matches(name.as_bytes()), "{text} does not mean {name:?}");
    }
}

#[test]
fn a_pattern_is_anchored_where_it_says_so() {
    assert_means("orders", &["orders", "all-orders-2"], &["order", "Orders", ""]);
    assert_means("^orders", &["orders", "orders-2"], &["all-orders"]);
    assert_means("orders$", &["orders", "all-orders"], &["orders-2", "orders\n"]);
    assert_means("^(?:a|b)$", &["a", "b"], &["ab", ":a"]);
    assert_means("^(a|b)$", &["a", "b"], &["ab", ""]);
    assert_means("^a|b$", &["ax", "xb"], &["xax"]);
}

#[test]
fn the_empty_pattern_means_the_empty_name() {
    for text in ["", "^$"] {
        assert_means(text, &[""], &["a", "\n", "^$"]);
    }
}

#[test]
fn what_means_everything_does() {
    for text in [".*", "^.*", ".*$", "^", "$"] {
        assert_means(text, &["", "a", "a\nb", "\0", "é"], &[]);
        assert!(pattern(text).is_everything());
    }
    assert!(Pattern::everything() == pattern(".*"));
    assert_means("^.*$", &["", "a", "é"], &["a\nb"]);
    assert!(!pattern("^.*$").is_everything());
}

/// The shortcuts mean what the engine says.
#[test]
fn what_is_known_by_sight_is_what_would_be_compiled() {
    for text in ["^$", "^", "$", ".*", "^.*", ".*$", "^.*$"] {
        for name in ["", "a", "\n", "a\n", "\na", "a\nb", "é"] {
            let compiled = pattern(&format!("(?:{text})"));
            assert!(matches!(compiled.meaning, Meaning::Matching(_)));
            assert_eq!(pattern(text).matches(name.as_bytes()), compiled.matches(name.as_bytes()), "{text} {name:?}");
        }
    }
}

#[test]
fn names_and_beginnings_mean_what_would_be_compiled() {
    let texts = [
        "^a",
        "^a$",
        "^a.*",
        "^a\\.b",
        "^a\\.b$",
        "^a-b_c/d:e\\-\\/.*",
        "^a.",
        "^a.b",
        "^a*",
        "^ab?",
        "^a{2}",
        "^a\\.+",
        "^a$b",
        "^a|b",
        "^a.*$",
        "^a.*b",
        "^a\\d",
        "^A",
        "^a\\.*",
        "^a\\-?$",
    ];
    let names = [
        "",
        "a",
        "aa",
        "ab",
        "a.b",
        "a.b.c",
        "axb",
        "a.",
        "a..",
        "b",
        "ba",
        "a\n",
        "a\nb",
        "aé",
        "A",
        "a1",
        "a-b_c/d:e-/",
        "a-",
    ];
    let mut known = 0;
    for text in texts {
        let (read, compiled) = (pattern(text), pattern(&format!("(?:{text})")));
        assert!(matches!(compiled.meaning, Meaning::Matching(_)));
        known += usize::from(read.compiled_bytes() == 0);
        for name in names {
            assert_eq!(read.matches(name.as_bytes()), compiled.matches(name.as_bytes()), "{text} {name:?}");
        }
    }
    assert_eq!(known, 7);
}

#[test]
fn names_and_patterns_are_bytes() {
    assert_means("^..$", &["é", "ab"], &["a", "éé"]);
    assert_means("é+$", &["é", "é\u{e9}"], &["\u{e0}"]);
    let pattern = pattern("^[é]$");
    assert!(pattern.matches(b"\xc3") && pattern.matches(b"\xa9") && !pattern.matches("é".as_bytes()));
    assert!(super::Pattern::new("^\\xff$").unwrap().matches(b"\xff"));
    assert_means("(?i)É", &["É"], &["é"]);
    assert_means("a.b", &["a\0b"], &["a\nb"]);
    assert_means("(?s)a.b", &["a\nb"], &[]);
}

/// As Erlang's `re:run` says of each byte beyond ASCII. A permission that excludes letters excludes those of Latin-1.
#[test]
fn classes_know_latin_1() {
    let counts = [
        ("\\w", 65),
        ("\\W", 63),
        ("[^\\W]", 65),
        ("\\d", 0),
        ("\\s", 0),
        ("[[:alpha:]]", 65),
        ("[[:^alpha:]]", 63),
        ("[^[:alpha:]]", 63),
        ("[[:ascii:]]", 128),
        ("[[:cntrl:]]", 32),
        ("[[:lower:]]", 35),
        ("[[:upper:]]", 30),
        ("[[:print:]]", 96),
        ("[[:punct:]]", 31),
        ("[[:word:]]", 65),
        ("[[:space:]]", 0),
    ];
    for (text, count) in counts {
        let pattern = pattern(text);
        assert_eq!((128..=255).filter(|&byte| pattern.matches(&[byte])).count(), count, "{text}");
    }
}

#[test]
fn where_letters_beyond_ascii_would_have_to_be_known_such_names_are_not_meant() {
    assert_means("a\\b", &["a", "a-"], &["aé", "a-é"]);
    assert_means("a\\B", &["ab"], &["abé"]);
    assert_means("(?i)[^b]", &["a"], &["B", "é"]);
    assert_means("(?i)^A", &["aé"], &["é"]);
    assert_means("[^b]", &["é"], &["b"]);
}

#[test]
fn braces_that_count_nothing_are_themselves() {
    assert_means("^{a}$", &["{a}"], &["a"]);
    assert_means("^a{,2}$", &["a{,2}"], &["a", "aa"]);
    assert_means("^a{2,}$", &["aa", "aaa"], &["a"]);
    assert_means("^a{2,3}$", &["aa", "aaa"], &["aaaa"]);
    assert_means("^a{2}?$", &["aa"], &["a"]);
    assert_means("^}{$", &["}{"], &[]);
    assert_means("^a{2$", &["a{2"], &["aa"]);
    assert_means("^\\b{start}a$", &[], &["a"]);
}

#[test]
fn brackets_are_read_as_pcre_reads_them() {
    assert_means("^[]a]$", &["]", "a"], &["[]a]"]);
    assert_means("^[^]a]$", &["b"], &["]", "a"]);
    assert_means("^[a[b]$", &["a", "[", "b"], &["a]"]);
    assert_means("^[a&&b]$", &["a", "&", "b"], &["&&"]);
    assert_means("^[a~~b]$", &["a", "~", "b"], &[]);
    assert_means("^[a-]$", &["a", "-"], &["b"]);
    assert_means("^[-a]$", &["a", "-"], &["b"]);
    assert_means("^[a-c]$", &["b"], &["-"]);
    assert_means("^[[:alpha:]_]$", &["b", "_"], &["1", ":"]);
    assert_means("^[[:^alpha:]]$", &["1"], &["b"]);
    assert_means("^[\\d\\]]$", &["1", "]"], &["d"]);
    assert_means("^[\\w-.]$", &["a", "-", "."], &["\\"]);
    assert_means("^[[:digit:]-a]$", &["1", "-", "a"], &["2a"]);
    assert_means("^[\\.-a]$", &["/", "a"], &["-"]);
    assert_means("^[a b#]$", &["a", " ", "#"], &[]);
}

#[test]
fn backslashes_are_read_as_pcre_reads_them() {
    assert_means("^\\<a\\>$", &["<a>"], &["a"]);
    assert_means("^\\é$", &["é"], &["\\é"]);
    assert_means("^a\\.b$", &["a.b"], &["acb"]);
    assert_means("^a\\Z", &["a"], &["a\n", "ab"]);
    assert_means("\\Aa\\z", &["a"], &["a\n", "ba"]);
    assert_means("^\\x41$", &["A"], &["x41"]);
    assert_means("^\\-\\_\\ $", &["-_ "], &[]);
    assert_means("\\bb\\b", &["a b c"], &["abc"]);
}

/// The commonest pattern of RabbitMQ's policies, and its kin.
#[test]
fn names_with_some_beginnings_can_be_excepted() {
    for text in ["^(?!amq\\.)", "^(?!amq\\.).*", "^(?!amq\\.).*$", "^(?!(amq\\.|x\\())", "^(?!amq\\.|[)(]\\)).+"] {
        let pattern = pattern(text);
        assert!(pattern.matches(b"orders") && pattern.matches(b"amq") && pattern.matches(b"my-amq.x"), "{text}");
        assert!(!pattern.matches(b"amq.gen-1"), "{text}");
    }
    assert_means("^(?!amq\\.|x\\.)[a-z.]+$", &["a", "x", "amqx", "ax."], &["amq.a", "x.", "", "A"]);
    assert_means("^(?!)", &[], &["", "a"]);
    assert_means("^(?!a)(?:b|c)", &["b", "cc"], &["ab", "a", ""]);
    assert_means("^(?!a(?:b|c)[)]\\))d?", &["d", "ab)", "ac)x"], &["ab))", "ac))d"]);
    assert_means("^(?!(?i)amq)A", &["A"], &["AMQ", "Amq", "a", "Aé"]);
    // To PCRE an end is before a newline as well.
    assert_means("^(?!a$)", &["ab", "b", ""], &["a", "a\n", "b\n"]);
    assert_means("^(?!a\\b)", &["ab"], &["a", "a-", "aé"]);
    let topics = Pattern::for_topics("^(?!{username}\\.)", "a)|(", "/").unwrap();
    assert!(topics.matches(b"a.b") && !topics.matches(b"a)|(.b"));
}

#[test]
fn what_the_engine_cannot_take_is_refused_with_a_reason() {
    let lookaround = "of lookaround, only ^(?!...) at the beginning is supported";
    for text in ["(?=a)", "(?!a)", "(?!a).*", "(?<=a)", "(?<!a)b", "^(?=a)", "a^(?!a)", "^(?!a)(?!b)", "^(?!(?!a))"] {
        assert_eq!(refused(text), lookaround, "{text}");
    }
    assert_eq!(refused("(a)\\1"), "back references are not supported");
    for text in ["a*+", "a++b", "a?+", "a{2}+", "a{2,}+"] {
        assert_eq!(refused(text), "possessive quantifiers are not supported", "{text}");
    }
    assert_eq!(refused("(?>a)"), "atomic groups are not supported");
    assert_eq!(refused("(*UTF8)a"), "verbs such as (*UTF8) are not supported");
    for text in ["(?x)a b", "(?u)a", "(?R)", "(?m)^a$", "(?P<n>a)", "(?#no)a", "(?", "(?i"] {
        assert!(refused(text).starts_with("of groups that begin with (?"), "{text}");
    }
    assert_eq!(refused("\\R"), "\\R is not supported");
    for text in ["\\Qa\\E", "\\pL", "\\h", "\\K", "\\e", "[\\v]", "[\\1]"] {
        assert!(refused(text).ends_with("is not supported"), "{text}");
    }
    assert_eq!(refused("[a"), "a bracket is not closed");
    assert_eq!(refused("[]"), "a bracket is not closed");
    assert_eq!(refused("[[.a.]]"), "collating elements are not supported");
    for text in ["[[:nothing:]]", "[[:<:]]", "[[:a]", "[[:"] {
        assert_eq!(refused(text), "[: in brackets begins no class", "{text}");
    }
    assert_eq!(refused("[+--]"), "two hyphens in brackets");
    assert_eq!(refused("a\\"), "it ends with a backslash");
    assert_eq!(refused("\\x{e9}"), "\\x is not followed by two hexadecimal digits");
    assert_eq!(refused("a**"), "a quantifier follows a quantifier");
    assert_eq!(refused("^(?!a)b|c"), "alternatives behind a look-ahead are only supported in a group");
    assert_eq!(refused("^(?!a"), "a look-ahead is not closed");
    for text in ["^(?!a)b)(c", "^(?!a)*", "^(?!a)?b", "^(?!a){2}", "^(?!*)", "(", ")", "*", "a|*", "[b-a]", "a{2,1}"] {
        let reason = refused(text);
        assert!(!reason.is_empty() && !reason.contains('\n'), "{text}: {reason}");
    }
}

#[test]
fn what_explodes_is_refused_and_what_backtracks_does_not() {
    assert_eq!(refused("((a{100}){100}){100}"), "it takes too much memory");
    assert!(Pattern::new(&"(".repeat(500)).is_err());
    let nested = |depth: usize| Pattern::new(&format!("{}{}", "(".repeat(depth), ")".repeat(depth)));
    assert!(nested(500).is_err(), "nested too deep");
    assert!(nested(NESTING_MAX as usize + 1).is_err());
    assert!(nested(NESTING_MAX as usize).is_ok());
    assert_eq!(refused(&"a".repeat(PATTERN_BYTES_MAX + 1)), "it has 1025 bytes, and may have 1024");
    assert!(Pattern::new(&"a".repeat(PATTERN_BYTES_MAX)).is_ok());
    let name = "a".repeat(255);
    assert!(!pattern("^(a+)+$").matches(format!("{}!", &name[1..]).as_bytes()));
    assert!(!pattern("^(a|a|a?)*b$").matches(name.as_bytes()));
}

#[test]
fn what_takes_more_says_so() {
    let sizes = |texts: &[&str]| texts.iter().map(|text| pattern(text).compiled_bytes()).collect::<Vec<_>>();
    assert_eq!(sizes(&["", ".*", "^.*$"]), [0; 3]);
    let ordinary = sizes(&["^amq\\.", "^orders\\.", "\\.dlq$", "^(a|b)-[0-9]+$"]);
    assert!(ordinary.iter().all(|&bytes| bytes <= 2 * COMPILED_BYTES_MIN), "{ordinary:?}");
    let excepting = sizes(&["^(?!amq\\.)orders"])[0];
    assert!(excepting > COMPILED_BYTES_MIN, "{excepting}");
    assert_eq!(sizes(&["^(?:a?b?){300}$"]), [COMPILED_BYTES_MAX]);
}

#[test]
fn topics_know_the_name_of_the_user_and_of_the_vhost() {
    let topics = |text, username, vhost| Pattern::for_topics(text, username, vhost).unwrap();
    let of = topics("^{username}\\.{vhost}\\.{username}$", "ann", "shop");
    assert!(of.matches(b"ann.shop.ann") && !of.matches(b"ann.shop.bob") && !of.matches(b"ann-shop.ann"));
    assert_eq!(of.as_str(), "^{username}\\.{vhost}\\.{username}$");
    for hostile in [".*", "a|b", "(", "[", "\\", "{vhost}", "{username}", "a-z", "é", "<", "^$", "\n", "\0", "x{2}"] {
        let of = topics("^{username}$", hostile, "shop");
        assert!(of.matches(hostile.as_bytes()), "{hostile}");
        assert!(!of.matches(b"b") && !of.matches(b"shop") && !of.matches(b"") && !of.matches(b"xx"), "{hostile}");
        let of = topics("^[{vhost}]+$", "ann", hostile);
        assert!(of.matches(hostile.as_bytes()) && !of.matches(b"q"), "{hostile}");
    }
}

#[test]
fn other_braces_in_topics_are_text() {
    let of = Pattern::for_topics("^{client_id}\\.{ username }$", "ann", "shop").unwrap();
    assert!(of.matches(b"{client_id}.{ username }") && !of.matches(b"ann.ann") && !of.matches(b"."));
    assert!(Pattern::for_topics("", "ann", "shop").unwrap().matches(b""));
    assert!(!Pattern::for_topics("", "ann", "shop").unwrap().matches(b"ann"));
    assert!(Pattern::for_topics(".*", "ann", "shop").unwrap().is_everything());
    assert!(Pattern::for_topics("(?=a)", "ann", "shop").is_err());
}

/// A literal with or without anchors, as somebody would read it.
fn reference(name: &[u8], literal: &[u8], begins: bool, ends: bool) -> bool {
    match (begins, ends) {
        (true, true) => name == literal,
        (true, false) => name.starts_with(literal),
        (false, true) => name.ends_with(literal),
        (false, false) => (0..=name.len()).any(|from| name[from..].starts_with(literal)),
    }
}

proptest! {
    #[test]
    fn literals_mean_themselves(literal in "[ab.\\-{}\\[é(*\n]{1,4}", name in "[ab.\\-{}\\[é(*\n]{0,8}", begins: bool, ends: bool) {
        let anchor = |is: bool, anchor| if is { anchor } else { "" };
        let text = format!("{}{}{}", anchor(begins, "^"), syntax::escaped(&literal), anchor(ends, "$"));
        let expected = reference(name.as_bytes(), literal.as_bytes(), begins, ends);
        prop_assert_eq!(pattern(&text).matches(name.as_bytes()), expected);
        let of_user = format!("{}{{username}}{}", anchor(begins, "^"), anchor(ends, "$"));
        let of_user = Pattern::for_topics(&of_user, &literal, "/").unwrap();
        prop_assert_eq!(of_user.matches(name.as_bytes()), expected);
    }

    #[test]
    fn an_exception_excepts_what_begins_so(
        beginnings in collection::vec("[ab.)|]{0,3}", 1..4),
        literal in "[ab.]{0,2}",
        ends: bool,
        name in "[ab.)|\n]{0,6}",
    ) {
        let escaped: Vec<_> = beginnings.iter().map(|beginning| syntax::escaped(beginning)).collect();
        let text = format!("^(?!{}){}{}", escaped.join("|"), syntax::escaped(&literal), if ends { "$" } else { "" });
        let is_excepted = beginnings.iter().any(|beginning| name.starts_with(beginning.as_str()));
        let expected = !is_excepted && reference(name.as_bytes(), literal.as_bytes(), true, ends);
        prop_assert_eq!(pattern(&text).matches(name.as_bytes()), expected, "{}", text);
    }

    #[test]
    fn no_text_panics(text: String, name: Vec<u8>) {
        for pattern in [Pattern::new(&text), Pattern::for_topics(&text, &text, &text)].into_iter().flatten() {
            pattern.matches(&name);
        }
    }

    #[test]
    fn nothing_like_a_pattern_panics(text in "[-ab\\[\\]\\\\(){}^$.|?*+:=!<>,0-9xbdwZisé&~]{0,24}", name: Vec<u8>) {
        for pattern in [Pattern::new(&text), Pattern::for_topics(&text, &text, &text)].into_iter().flatten() {
            pattern.matches(&name);
        }
    }
}
