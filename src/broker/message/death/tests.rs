//! What becomes of properties with each death.

use super::*;
use crate::protocol::{BasicProperties, FieldTable, FieldValue, PropertiesRef, ShortString};

const TIME_S: u64 = 1_700_000_000;

fn string(text: &str) -> FieldValue {
    FieldValue::LongString(text.as_bytes().into())
}

fn table(entries: &[(&str, FieldValue)]) -> FieldTable {
    FieldTable(entries.iter().map(|(name, value)| (ShortString::truncated(name.as_bytes()), value.clone())).collect())
}

fn entry(queue: &str, reason: &str, count: i64) -> FieldValue {
    FieldValue::Table(table(&[
        ("count", FieldValue::I64(count)),
        ("reason", string(reason)),
        ("queue", string(queue)),
        ("time", FieldValue::Timestamp(TIME_S)),
        ("exchange", string("x")),
        ("routing-keys", FieldValue::Array(vec![string("key")])),
    ]))
}

fn death<'a>(queue: &'a str, reason: &'a str) -> Death<'a> {
    let (queue, reason) = (queue.as_bytes(), reason.as_bytes());
    Death { reason, queue, exchange: b"x", routing_key: b"key", time_s: TIME_S, has_new_key: false }
}

fn encoded(properties: &BasicProperties) -> Vec<u8> {
    let mut bytes = Vec::new();
    properties.encode(&mut bytes);
    bytes
}

fn with_headers(headers: FieldTable) -> BasicProperties {
    BasicProperties { headers: Some(headers), ..BasicProperties::default() }
}

/// The letter's properties, and whether it would go round to queues `a` to `c`.
fn died(properties: &BasicProperties, death: &Death<'_>) -> (BasicProperties, Vec<u8>) {
    let (before, mut after, mut writer) = (encoded(properties), Vec::new(), DeathWriter::default());
    writer.write(&before, death, &mut after);
    let rounds = ["a", "b", "c"].iter().filter(|queue| writer.goes_round(&before, death, queue.as_bytes()));
    let rounds = rounds.flat_map(|queue| queue.bytes()).collect();
    let parsed = PropertiesRef::parse(&after).unwrap().to_owned();
    assert_eq!(encoded(&parsed), after, "it is what anybody would write");
    (parsed, rounds)
}

fn headers(letter: &BasicProperties) -> &FieldTable {
    letter.headers.as_ref().unwrap()
}

fn history(letter: &BasicProperties) -> &[FieldValue] {
    match headers(letter).get(X_DEATH) {
        Some(FieldValue::Array(history)) => history,
        other => panic!("{other:?} is no history"),
    }
}

#[test]
fn the_first_death_writes_all_headers_and_takes_the_expiration() {
    let own = table(&[("CC", FieldValue::Array(vec![string("cc")])), ("z", FieldValue::I32(1)), ("h", string("v"))]);
    let properties = BasicProperties {
        content_type: Some("text/plain".into()),
        delivery_mode: Some(2),
        expiration: Some("0100".into()),
        message_id: Some("id".into()),
        ..with_headers(own)
    };
    let (letter, rounds) = died(&properties, &death("q", "expired"));
    let entry = table(&[
        ("original-expiration", string("100")),
        ("count", FieldValue::I64(1)),
        ("reason", string("expired")),
        ("queue", string("q")),
        ("time", FieldValue::Timestamp(TIME_S)),
        ("exchange", string("x")),
        ("routing-keys", FieldValue::Array(vec![string("key"), string("cc")])),
    ]);
    let expected = table(&[
        ("CC", FieldValue::Array(vec![string("cc")])),
        ("h", string("v")),
        ("x-death", FieldValue::Array(vec![FieldValue::Table(entry)])),
        ("x-first-death-exchange", string("x")),
        ("x-first-death-queue", string("q")),
        ("x-first-death-reason", string("expired")),
        ("x-last-death-exchange", string("x")),
        ("x-last-death-queue", string("q")),
        ("x-last-death-reason", string("expired")),
        ("z", FieldValue::I32(1)),
    ]);
    assert_eq!(letter, BasicProperties { expiration: None, headers: Some(expected), ..properties });
    assert!(rounds.is_empty());
}

#[test]
fn deaths_count_by_queue_and_reason_and_the_newest_is_first() {
    let mut letter = BasicProperties::default();
    for (queue, reason) in [("a", "rejected"), ("b", "expired"), ("a", "expired"), ("a", "rejected"), ("b", "expired")]
    {
        letter = died(&letter, &death(queue, reason)).0;
    }
    let expected = [entry("b", "expired", 2), entry("a", "rejected", 2), entry("a", "expired", 1)];
    assert_eq!(history(&letter), expected);
    assert_eq!(headers(&letter).get(FIRST_QUEUE), Some(&string("a")));
    assert_eq!(headers(&letter).get(FIRST_REASON), Some(&string("rejected")));
    assert_eq!(headers(&letter).get(LAST_QUEUE), Some(&string("b")));
}

#[test]
fn copies_go_when_the_letter_has_a_key_of_its_own() {
    let properties = with_headers(table(&[("CC", FieldValue::Array(vec![string("cc")]))]));
    let (letter, _) = died(&properties, &Death { has_new_key: true, ..death("q", "rejected") });
    assert_eq!(headers(&letter).get(b"CC"), None);
    let FieldValue::Table(entry) = &history(&letter)[0] else { panic!("no entry") };
    assert_eq!(entry.get(b"routing-keys"), Some(&FieldValue::Array(vec![string("key"), string("cc")])));
}

#[test]
fn a_letter_goes_round_where_nobody_has_rejected_it_since_it_was_there() {
    for (deaths, goes_round_to) in [
        (&[("a", "expired")][..], "a"),
        (&[("a", "rejected")], ""),
        (&[("a", "expired"), ("b", "expired")], "ab"),
        (&[("a", "rejected"), ("b", "expired")], "b"),
        (&[("a", "expired"), ("b", "rejected")], ""),
        (&[("a", "expired"), ("b", "rejected"), ("c", "maxlen")], "c"),
        (&[("a", "expired"), ("a", "rejected"), ("a", "expired")], "a"),
        (&[("a", "expired"), ("b", "delivery_limit"), ("c", "maxlen")], "abc"),
    ] {
        let (mut letter, mut rounds) = (BasicProperties::default(), Vec::new());
        for (queue, reason) in deaths {
            (letter, rounds) = died(&letter, &death(queue, reason));
        }
        assert_eq!(String::from_utf8(rounds).unwrap(), goes_round_to, "{deaths:?}");
    }
    let names = (0..100).map(|number| format!("q{number}"));
    let long: Vec<FieldValue> = names.map(|name| entry(&name, "expired", 1)).collect();
    let before = encoded(&with_headers(table(&[("x-death", FieldValue::Array(long))])));
    let (mut writer, death) = (DeathWriter::default(), death("q", "expired"));
    writer.write(&before, &death, &mut Vec::new());
    assert!(["q0", "q50", "q99", "q"].iter().all(|queue| writer.goes_round(&before, &death, queue.as_bytes())));
    assert!(!writer.goes_round(&before, &death, b"q100"));
}

#[test]
fn what_a_client_made_up_is_read_where_it_is_history_and_left_out_where_it_is_not() {
    let made_up = FieldTable(
        [("exchange", string("x")), ("queue", string("q")), ("reason", string("rejected"))]
            .into_iter()
            .chain([("time", FieldValue::I64(TIME_S as i64)), ("count", FieldValue::I32(6))])
            .chain([("routing-keys", FieldValue::Array(vec![string("key"), FieldValue::Void]))])
            .chain([("more", FieldValue::Boolean(true))])
            .map(|(name, value)| (ShortString::from(name), value))
            .collect(),
    );
    let garbage = [FieldValue::Void, FieldValue::Table(FieldTable::default()), FieldValue::Array(Vec::new())];
    let values = garbage.into_iter().chain([FieldValue::Table(made_up), entry("p", "unheard of", i64::MAX)]);
    let own = table(&[("x-death", FieldValue::Array(values.collect())), ("x-first-death-queue", string("mine"))]);
    let (letter, _) = died(&with_headers(own), &death("q", "rejected"));
    assert_eq!(history(&letter), [entry("q", "rejected", 7), entry("p", "unheard of", i64::MAX)]);
    assert_eq!(headers(&letter).get(FIRST_QUEUE), Some(&string("mine")));
    assert_eq!(headers(&letter).get(FIRST_REASON), None, "there was a history");
    let (letter, _) = died(&letter, &death("p", "unheard of"));
    assert_eq!(history(&letter)[0], entry("p", "unheard of", i64::MAX));

    for no_history in [string("text"), FieldValue::Void, FieldValue::Table(table(&[("a", string("b"))]))] {
        let own = table(&[("x-death", no_history), ("x-first-death-queue", string("mine"))]);
        let (letter, _) = died(&with_headers(own), &death("q", "rejected"));
        assert_eq!(history(&letter), [entry("q", "rejected", 1)]);
        assert_eq!(headers(&letter).get(FIRST_QUEUE), Some(&string("q")));
    }
}

#[test]
fn a_name_that_is_there_twice_is_there_once() {
    let own = table(&[("b", string("first")), ("a", string("a")), ("b", string("second"))]);
    let (letter, _) = died(&with_headers(own), &death("q", "maxlen"));
    let own: Vec<_> = headers(&letter).0.iter().filter(|(name, _)| name.len() == 1).cloned().collect();
    assert_eq!(FieldTable(own), table(&[("a", string("a")), ("b", string("first"))]));
}

#[test]
fn headers_do_not_outgrow_a_frame() {
    let long: Vec<FieldValue> = (0..10_000).map(|number| entry(&format!("{number}"), "expired", 1)).collect();
    let properties = with_headers(table(&[("x-death", FieldValue::Array(long))]));
    let (letter, _) = died(&properties, &death("q", "expired"));
    let size_bytes = encoded(&letter).len();
    assert!((HEADERS_MAX_BYTES - 1024..HEADERS_MAX_BYTES + 1024).contains(&size_bytes), "{size_bytes} bytes");
    assert_eq!(history(&letter)[..2], [entry("q", "expired", 1), entry("0", "expired", 1)]);
    let large = with_headers(table(&[("large", string(&"v".repeat(2 * HEADERS_MAX_BYTES)))]));
    let (letter, _) = died(&large, &death("q", "expired"));
    let (letter, _) = died(&letter, &death("p", "expired"));
    assert_eq!(history(&letter), [entry("p", "expired", 1)]);
}
