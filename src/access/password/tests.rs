//! Hashes that others made, and what is none.

use super::*;
use proptest::prelude::*;

/// Hashes that RabbitMQ 3.10.8 made, with their passwords.
const OF_RABBITMQ: [(&str, &str, &str); 2] = [
    (RABBITMQ_SHA256, "BjGE6UShfVAN+kvIjQeE/JmjhMXwb78jj6KVOne77SbdTYDv", "guest"),
    (
        RABBITMQ_SHA512,
        "S8ws2++Mwfp3Q6ivvwZ4cHJpIfdSddRkxnzP5N4d0BIQdyAAj7BJmCwdaWwSa7sx3hxmvFMiRZDfTRxESSTNmiWOK+Y=",
        "pass word",
    ),
];

/// A hash from the tests of argon2's reference implementation, with another cost than ours.
const OF_REFERENCE: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

fn one_of_each() -> [PasswordHash; 4] {
    [
        PasswordHash::Absent,
        PasswordHash::parse(OF_REFERENCE).unwrap(),
        PasswordHash::salted_sha256(b"password", [1, 2, 3, 4]),
        PasswordHash::salted_sha512(b"password", [1, 2, 3, 4]),
    ]
}

/// The hash of `password` with salt `somesalt`, at some cost.
fn costing(memory_kib: u64, passes: u64, lanes: u64) -> String {
    format!(
        "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
    )
}

#[test]
fn hashes_of_rabbitmq_are_those_of_their_passwords() {
    for (algorithm, base64, password) in OF_RABBITMQ {
        let hash = PasswordHash::of_rabbitmq(base64, algorithm).unwrap();
        assert!(hash.is_of(password.as_bytes()) && hash.is_quick());
        assert!(!hash.is_of(b"another") && !hash.is_of(b""));
        assert_eq!(hash.rabbitmq_form(), (base64.to_owned(), algorithm));
    }
}

#[test]
fn the_hash_of_argon2s_own_tests_is_that_of_its_password() {
    let hash = PasswordHash::parse(OF_REFERENCE).unwrap();
    assert!(hash.is_of(b"password") && !hash.is_of(b"passwore") && !hash.is_of(b""));
    assert!(!hash.is_quick());
}

#[test]
fn our_own_hash_costs_what_it_says_and_depends_on_its_salt() {
    let hash = PasswordHash::argon2id(b"secret", [7; 16]);
    assert!(hash.is_of(b"secret") && !hash.is_of(b"Secret"));
    assert!(hash.to_string().starts_with("$argon2id$v=19$m=19456,t=2,p=1$BwcHBwcHBwcHBwcHBwcHBw$"));
    assert!(hash != PasswordHash::argon2id(b"secret", [8; 16]));
}

#[test]
fn every_kind_is_read_back_from_its_line_and_from_definitions() {
    for hash in one_of_each() {
        let line = hash.to_string();
        assert!(!line.contains('\n'));
        assert!(PasswordHash::parse(&line).is_some_and(|read| read == hash), "{line}");
        let (base64, algorithm) = hash.rabbitmq_form();
        assert!(PasswordHash::of_rabbitmq(&base64, algorithm).is_some_and(|read| read == hash), "{base64}");
    }
}

#[test]
fn an_empty_password_is_nobodys() {
    let of_empty = [
        PasswordHash::Absent,
        PasswordHash::argon2id(b"", [0; 16]),
        PasswordHash::salted_sha256(b"", [0; 4]),
        PasswordHash::salted_sha512(b"", [0; 4]),
    ];
    for hash in of_empty {
        assert!(!hash.is_of(b""), "{hash:?}");
    }
    assert!(!PasswordHash::Absent.is_of(b"absent"));
}

#[test]
fn who_prints_one_by_accident_prints_no_secret() {
    for hash in one_of_each() {
        let (printed, line) = (format!("{hash:?}"), hash.to_string());
        let secret = line.rsplit([':', '$']).next().unwrap();
        assert!(matches!(hash, PasswordHash::Absent) || !printed.contains(secret), "{printed}");
    }
}

#[test]
fn a_hash_that_would_cost_too_much_is_none() {
    let accepted = [
        (u64::from(MEMORY_MAX_KIB), 4, 1),
        (8, PASSES_TIMES_MEMORY_MAX_KIB / 8, 1),
        (u64::from(8 * LANES_MAX), 1, u64::from(LANES_MAX)),
    ];
    for (memory_kib, passes, lanes) in accepted {
        assert!(PasswordHash::parse(&costing(memory_kib, passes, lanes)).is_some(), "{memory_kib} {passes} {lanes}");
    }
    let refused = [
        (u64::from(MEMORY_MAX_KIB) + 1, 1, 1),
        (u64::from(MEMORY_MAX_KIB), 5, 1),
        (8, PASSES_TIMES_MEMORY_MAX_KIB / 8 + 1, 1),
        (1 << 12, 1, u64::from(LANES_MAX) + 1),
        (u64::from(u32::MAX), u64::from(u32::MAX), 1),
        (1 << 32, 2, 1),
        // Fewer than argon2 can do with.
        (7, 1, 1),
        (8, 1, 2),
        (8, 0, 1),
        (8, 1, 0),
    ];
    for (memory_kib, passes, lanes) in refused {
        assert!(PasswordHash::parse(&costing(memory_kib, passes, lanes)).is_none(), "{memory_kib} {passes} {lanes}");
    }
}

#[test]
fn a_salt_and_a_tag_have_a_shortest_and_a_longest() {
    let line = |salt: usize, tag: usize| {
        let [salt, tag] = [salt, tag].map(|length| STANDARD_NO_PAD.encode(vec![7; length]));
        format!("$argon2id$v=19$m=8,t=1,p=1${salt}${tag}")
    };
    for salt in [SALT_BYTES_MIN, SALT_OR_TAG_BYTES_MAX] {
        for tag in [TAG_BYTES_MIN, SALT_OR_TAG_BYTES_MAX] {
            let hash = PasswordHash::parse(&line(salt, tag)).unwrap_or_else(|| panic!("{salt} {tag}"));
            assert!(!hash.is_of(b"right"), "{salt} {tag}");
        }
    }
    for (salt, tag) in [
        (SALT_BYTES_MIN - 1, TAG_BYTES_MIN),
        (SALT_BYTES_MIN, TAG_BYTES_MIN - 1),
        (SALT_OR_TAG_BYTES_MAX + 1, TAG_BYTES_MIN),
        (SALT_BYTES_MIN, SALT_OR_TAG_BYTES_MAX + 1),
    ] {
        assert!(PasswordHash::parse(&line(salt, tag)).is_none(), "{salt} {tag}");
    }
}

#[test]
fn what_is_no_hash_is_none() {
    let lines = [
        "",
        "Absent",
        "secret",
        "salted-sha256:",
        "salted-sha256:AAAA",
        "salted-sha256:!",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ",
        "$argon2id$v=16$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2d$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=2,p=1,x=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4$",
        // Seven bytes of salt, and fifteen of tag.
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbA$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAA",
    ];
    for line in lines {
        assert!(PasswordHash::parse(line).is_none(), "{line}");
    }
    let long = format!("salted-sha512:{}", "A".repeat(TEXT_BYTES_MAX));
    assert!(PasswordHash::parse(&long).is_none());
    let (_, base64, _) = OF_RABBITMQ[0];
    let of_rabbitmq = [
        (base64, RABBITMQ_SHA512),
        (base64, LEVERET_ARGON2ID),
        (base64, "rabbit_password_hashing_md5"),
        (base64, ""),
        ("", ""),
        ("A", RABBITMQ_SHA256),
        ("guest", RABBITMQ_SHA256),
        (&long, RABBITMQ_SHA512),
    ];
    for (base64, algorithm) in of_rabbitmq {
        assert!(PasswordHash::of_rabbitmq(base64, algorithm).is_none(), "{base64} {algorithm}");
    }
    assert!(PasswordHash::of_rabbitmq("", RABBITMQ_SHA256).is_some_and(|hash| hash == PasswordHash::Absent));
}

proptest! {
    #[test]
    fn whatever_is_read_is_written_as_it_was_read(line in "(salted-sha256:|salted-sha512:|\\$argon2id\\$v=19\\$m=[0-9]{1,6},t=[0-9]{1,3},p=[0-9]\\$[A-Za-z0-9+/]{11}\\$[A-Za-z0-9+/]{43})?[ -~]{0,60}") {
        if let Some(hash) = PasswordHash::parse(&line) {
            let again = PasswordHash::parse(&hash.to_string());
            prop_assert!(again.is_some_and(|again| again == hash));
        }
    }

    #[test]
    fn a_quick_hash_is_of_its_password_alone(password: Vec<u8>, another: Vec<u8>, salt: [u8; 4]) {
        for hash in [PasswordHash::salted_sha256(&password, salt), PasswordHash::salted_sha512(&password, salt)] {
            prop_assert_eq!(hash.is_of(&password), !password.is_empty());
            prop_assert_eq!(hash.is_of(&another), another == password && !password.is_empty());
        }
    }
}
