//! Which policy applies to what, and what a policy may be.

use super::*;
use crate::broker::queue::QueueKind::{Classic, Quorum};

fn text(text: &str) -> FieldValue {
    FieldValue::LongString(text.as_bytes().into())
}

/// Settings with spaces between them: `max-length=5 overflow=drop-head`.
fn table(settings: &str) -> FieldTable {
    let value = |said: &str| said.parse().map_or_else(|_| text(said), FieldValue::I64);
    let entries = settings.split_whitespace().map(|entry| entry.split_once('=').expect("a key and a value"));
    FieldTable(entries.map(|(key, said)| (ShortString::truncated(key.as_bytes()), value(said))).collect())
}

fn said(pattern: &str, settings: &str) -> SaidPolicy {
    SaidPolicy {
        pattern: text(pattern),
        apply_to: None,
        priority: None,
        definition: FieldValue::Table(table(settings)),
    }
}

fn policy(name: &'static str, pattern: &str, apply_to: ApplyTo, priority: i64, settings: &str) -> Arc<Policy> {
    let (apply_to, priority) = (Some(text(apply_to.name())), Some(FieldValue::I64(priority)));
    let said = SaidPolicy { apply_to, priority, ..said(pattern, settings) };
    Arc::new(Policy::read(PolicyKind::User, name.into(), said).unwrap())
}

fn applying(policies: &Policies, thing: Thing, name: &str) -> Option<String> {
    policies.applying_to(thing, name.as_bytes()).policy.map(|policy| policy.name.to_string())
}

#[test]
fn of_those_that_fit_the_one_with_the_highest_priority_applies_alone() {
    let mut policies = Policies::default();
    for (name, pattern, apply_to, priority, settings) in [
        ("everything", "", ApplyTo::All, 0, "max-length=1"),
        ("of a", "^a", ApplyTo::All, 1, "max-length=2"),
        ("with a", "a", ApplyTo::Queues, -1, "max-length=3"),
        ("classic", "^c", ApplyTo::ClassicQueues, 5, "max-length=4"),
        ("quorum", "^c", ApplyTo::QuorumQueues, 5, "max-length=5"),
        ("exchanges", "^x", ApplyTo::Exchanges, 5, "alternate-exchange=y"),
        ("streams", "", ApplyTo::Streams, 9, "max-length=5"),
    ] {
        policies.put(PolicyKind::User, policy(name, pattern, apply_to, priority, settings)).unwrap();
    }
    for (thing, name, expected) in [
        (Thing::Queue(Classic), "abc", "of a"),
        (Thing::Queue(Quorum), "bac", "everything"),
        (Thing::Exchange, "abc", "of a"),
        (Thing::Queue(Classic), "c", "classic"),
        (Thing::Queue(Quorum), "c", "quorum"),
        (Thing::Exchange, "c", "everything"),
        (Thing::Exchange, "x", "exchanges"),
        (Thing::Queue(Classic), "x", "everything"),
        (Thing::Exchange, "", "everything"),
    ] {
        assert_eq!(applying(&policies, thing, name).as_deref(), Some(expected), "{thing:?} {name}");
    }
    assert!(policies.remove(PolicyKind::User, b"everything"));
    assert!(!policies.remove(PolicyKind::User, b"everything"));
    assert_eq!(applying(&policies, Thing::Queue(Quorum), "bac").as_deref(), Some("with a"));
    assert_eq!(applying(&policies, Thing::Queue(Quorum), "b"), None);
    // Put again, it moves to where its priority is.
    policies.put(PolicyKind::User, policy("with a", "a", ApplyTo::Queues, 7, "max-length=3")).unwrap();
    assert_eq!(applying(&policies, Thing::Queue(Quorum), "ca").as_deref(), Some("with a"));
    assert_eq!(policies.of(PolicyKind::User).len(), 6);
}

#[test]
fn of_equal_priorities_the_first_by_name_applies() {
    let mut policies = Policies::default();
    for name in ["b", "a", "c"] {
        policies.put(PolicyKind::User, policy(name, "", ApplyTo::All, 0, "max-length=1")).unwrap();
    }
    assert_eq!(applying(&policies, Thing::Exchange, "x").as_deref(), Some("a"));
}

/// As with RabbitMQ, the whole policy counts for nothing there.
#[test]
fn a_policy_with_a_key_that_a_kind_of_queue_does_not_have_applies_to_no_such_queue() {
    let mut policies = Policies::default();
    policies.put(PolicyKind::User, policy("low", "", ApplyTo::All, 0, "max-length=1")).unwrap();
    policies.put(PolicyKind::User, policy("limit", "", ApplyTo::All, 1, "max-length=2 delivery-limit=5")).unwrap();
    assert_eq!(applying(&policies, Thing::Queue(Quorum), "q").as_deref(), Some("limit"));
    assert_eq!(applying(&policies, Thing::Queue(Classic), "q").as_deref(), Some("low"));
    assert_eq!(applying(&policies, Thing::Exchange, "q").as_deref(), Some("limit"));
    policies.put(PolicyKind::User, policy("lazy", "", ApplyTo::All, 2, "queue-mode=lazy")).unwrap();
    assert_eq!(applying(&policies, Thing::Queue(Quorum), "q").as_deref(), Some("limit"));
    assert_eq!(applying(&policies, Thing::Queue(Classic), "q").as_deref(), Some("lazy"));
}

#[test]
fn there_are_so_many_policies_of_a_kind_and_no_more() {
    let mut policies = Policies::default();
    let one = policy("p", "", ApplyTo::All, 0, "max-length=1");
    let named = |number: usize| {
        let Policy { pattern, definition, .. } = &*one;
        let name = ShortString::truncated(number.to_string().as_bytes());
        Arc::new(Policy::new(name, pattern.clone(), ApplyTo::All, 0, definition.clone()))
    };
    for number in 0..POLICIES_MAX {
        policies.put(PolicyKind::User, named(number)).unwrap();
    }
    assert_eq!(policies.put(PolicyKind::User, named(POLICIES_MAX)), Err(TooManyPolicies::OfKind));
    policies.put(PolicyKind::User, named(7)).unwrap();
    policies.put(PolicyKind::Operator, named(POLICIES_MAX)).unwrap();
    assert_eq!((policies.of(PolicyKind::User).len(), policies.len()), (POLICIES_MAX, POLICIES_MAX + 1));
}

/// Whoever may set policies can't make every declaration slow.
#[test]
fn patterns_may_take_so_much_together_and_no_more() {
    let mut policies = Policies::default();
    let costly = |name: &'static str| policy(name, "^(?:a?b?){300}$", ApplyTo::All, 0, "max-length=1");
    let cheap = |name: &'static str| policy(name, "a", ApplyTo::All, 0, "max-length=1");
    let names = ["a", "b"];
    let each = costly("a").pattern.compiled_bytes();
    assert_eq!(each * names.len(), PATTERNS_BYTES_MAX);
    for (number, name) in names.into_iter().enumerate() {
        let kind = if number % 2 == 0 { PolicyKind::User } else { PolicyKind::Operator };
        policies.put(kind, costly(name)).unwrap();
    }
    assert_eq!(policies.patterns_bytes(), PATTERNS_BYTES_MAX);
    for kind in [PolicyKind::User, PolicyKind::Operator] {
        assert_eq!(policies.put(kind, cheap("more")), Err(TooManyPolicies::Patterns));
    }
    assert_eq!(policies.len(), names.len());
    // In place of its own, or one that takes nothing.
    policies.put(PolicyKind::User, costly("a")).unwrap();
    policies.put(PolicyKind::User, policy("all", "", ApplyTo::All, 0, "max-length=1")).unwrap();
    policies.put(PolicyKind::User, cheap("a")).unwrap();
    policies.put(PolicyKind::User, cheap("more")).unwrap();
    assert_eq!(policies.put(PolicyKind::User, costly("a")), Err(TooManyPolicies::Patterns));
    // What is in the log stays.
    policies.restore(PolicyKind::User, costly("a"));
    assert!(policies.patterns_bytes() > PATTERNS_BYTES_MAX);
    assert!(TooManyPolicies::Patterns.to_string().ends_with("may take at most 131072 bytes together, compiled"));
}

#[test]
fn what_a_policy_and_an_operator_policy_say_is_said_together() {
    for (policy, operator, together) in [
        (
            "max-length=5 overflow=drop-head",
            "max-length=7 overflow=reject-publish",
            "max-length=5 overflow=reject-publish",
        ),
        ("max-length=9", "expires=3 max-length=7", "expires=3 max-length=7"),
        ("delivery-limit=-1", "delivery-limit=7", "delivery-limit=7"),
        ("delivery-limit=5", "delivery-limit=7", "delivery-limit=5"),
        ("target-group-size=3", "target-group-size=5", "target-group-size=5"),
        ("max-in-memory-length=3", "max-in-memory-length=5", "max-in-memory-length=3"),
        ("queue-version=1", "queue-version=2", "queue-version=2"),
        (
            "delayed-retry-min=3 delayed-retry-max=9",
            "delayed-retry-min=5 delayed-retry-max=7",
            "delayed-retry-max=7 delayed-retry-min=5",
        ),
    ] {
        let both = Applied {
            policy: Some(self::policy("p", "", ApplyTo::All, 0, policy)),
            operator: Some(self::policy("o", "", ApplyTo::All, 0, operator)),
        };
        assert_eq!(both.definition(), table(together), "{policy} {operator}");
    }
}

fn wrong(kind: PolicyKind, said: SaidPolicy) -> String {
    let text = Policy::read(kind, "p".into(), said).unwrap_err();
    text.strip_prefix("Validation failed\n\n").and_then(|text| text.strip_suffix('\n')).expect("the frame").to_owned()
}

#[test]
fn every_key_is_looked_at_with_rabbitmqs_words() {
    let users = |settings: &str| wrong(PolicyKind::User, said("", settings));
    for (settings, expected) in [
        ("max-length=a", r#"<<"a">> is not a valid maximum length"#),
        ("max-length=-1", "-1 is not a valid maximum length"),
        ("max-length-bytes=-1", "-1 is not a valid maximum length in bytes"),
        ("message-ttl=-1", "-1 is not a valid message TTL"),
        ("expires=0", "0 is not a valid queue expiry"),
        ("dead-letter-exchange=5", "5 is not a valid dead letter exchange name"),
        ("dead-letter-routing-key=5", "5 is not a valid dead letter routing key"),
        ("dead-letter-strategy=x", r#"<<"x">> is not a valid dead letter strategy"#),
        ("alternate-exchange=5", "5 is not a valid alternate exchange name"),
        ("overflow=x", r#"<<"x">> is not a valid overflow value"#),
        ("delivery-limit=x", r#"<<"x">> is not a valid delivery limit"#),
        ("consumer-timeout=-1", "-1 is not a valid consumer timeout"),
        ("max-age=5", "5 is not a valid max age"),
        ("max-age=D", r#"<<"D">> is not a valid max age"#),
        ("max-age=0D", r#"<<"0D">> is not a valid max age"#),
        ("queue-leader-locator=x", r#"<<"x">> is not a valid queue leader locator value"#),
        ("queue-master-locator=x", r#"<<"x">> invalid queue-master-locator value"#),
        ("queue-mode=x", r#"<<"x">> is not a valid queue-mode value"#),
        ("queue-version=3", "3 is not a valid queue-version value"),
        ("initial-cluster-size=-1", "-1 is not a valid cluster size"),
        ("target-group-size=0", "0 is not a valid qq target count value"),
        ("stream-filter-size-bytes=5", "5 is not a valid filter size. Valid range is 16-255"),
        ("stream-max-segment-size-bytes=3000000001", "3000000001 is not a valid segment size"),
        (
            "delayed-retry-type=x",
            "<<\"x\">> is not a valid delayed retry type. Must be one of: all, failed, returned, disabled",
        ),
        ("delayed-retry-min=0", "0 is not a valid delayed retry minimum delay. Must be a positive integer"),
        ("delayed-retry-type=all", "delayed-retry-min is required when delayed-retry-type is all"),
        (
            "delayed-retry-min=10 delayed-retry-max=5",
            "delayed-retry-max (5) must not be smaller than delayed-retry-min (10)",
        ),
        ("ha-params=2", "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown"),
        ("ha-mode=x", r#"<<"x">> is not a valid ha-mode value"#),
        ("ha-mode=exactly", r#"ha-mode="exactly" takes an integer, none given"#),
        ("ha-mode=exactly ha-params=0", r#"ha-mode="exactly" takes an integer, 0 given"#),
        ("ha-mode=nodes ha-params=5", r#"ha-mode="nodes" takes a list, 5 given"#),
        ("ha-mode=all ha-params=5", r#"ha-mode="all" does not take parameters"#),
        ("ha-mode=all ha-sync-mode=x", r#"ha-sync-mode must be "manual" or "automatic", got <<"x">>"#),
        ("ha-mode=all ha-sync-batch-size=0", "ha-sync-batch-size takes an integer greater than 0, 0 given"),
        ("ha-mode=all ha-promote-on-failure=5", r#"ha-promote-on-failure must be "always" or "when-synced", got 5"#),
        ("x-cache-size=0", r#""x-cache-size" must be an integer greater than 0, got 0"#),
        ("x-cache-ttl=x", r#""x-cache-ttl" must be an integer greater than 0, got <<"x">>"#),
        ("x-cache-persistence=5", r#""x-cache-persistence" must be either "disk" or "memory", got 5"#),
        ("x-message-deduplication=5", r#""x-message-deduplication" must be a boolean, got 5"#),
        ("foo=1", r#"[{<<"foo">>,1}] are not recognised policy settings"#),
        ("foo=1 bar=x max-length=1", r#"[{<<"bar">>,<<"x">>},{<<"foo">>,1}] are not recognised policy settings"#),
        ("foo=1 max-length=-1", "-1 is not a valid maximum length"),
        ("", "no policy provided"),
    ] {
        assert_eq!(users(settings), expected, "{settings}");
    }
    let operators = |settings: &str| wrong(PolicyKind::Operator, said("", settings));
    let refused = r#"[{<<"dead-letter-exchange">>,<<"x">>}] are not recognised policy settings"#;
    assert_eq!(operators("dead-letter-exchange=x max-length=1"), refused);
    assert_eq!(operators("x-cache-size=5"), r#"[{<<"x-cache-size">>,5}] are not recognised policy settings"#);
    for fine in [
        "x-cache-size=1 x-cache-ttl=1 x-cache-persistence=disk",
        "max-length=0",
        "delivery-limit=-1",
        "ha-mode=all",
        "max-age=5D",
        "queue-version=2",
    ] {
        assert!(Policy::read(PolicyKind::User, "p".into(), said("", fine)).is_ok(), "{fine}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let said = SaidPolicy {
        pattern: FieldValue::I64(5),
        apply_to: Some(text("things")),
        priority: Some(FieldValue::F64(1.5)),
        definition: FieldValue::Array(vec![FieldValue::Void, FieldValue::Boolean(true)]),
    };
    assert_eq!(
        wrong(PolicyKind::User, said),
        "definition must be a dictionary: [null,true]\n\
         apply-to 'things' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', \
         'exchanges', or 'all'\n\
         pattern should be a binary but was 5\n\
         priority should be a number, actually was 1.5"
    );
    assert!(
        wrong(PolicyKind::User, self::said("(", "max-length=1"))
            .starts_with("pattern should be regular expression but")
    );
    let long = "x".repeat(DEFINITION_BYTES_MAX);
    let long = self::said("", &format!("dead-letter-exchange={long}"));
    assert_eq!(wrong(PolicyKind::User, long), format!("definition is longer than {DEFINITION_BYTES_MAX} bytes"));
}

#[test]
fn a_round_that_begins_again_goes_on_where_it_is_and_leaves_nothing_out() {
    let mut round = Round::default().begin_again();
    assert_eq!((0..3).map(|_| round.step(5)).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    let mut round = round.begin_again();
    let rest: Vec<_> = std::iter::from_fn(|| round.step(5)).collect();
    assert_eq!(rest, [3, 4, 0, 1, 2]);
    assert_eq!(round.step(5), None);
    let mut whole = Round::default().begin_again();
    assert_eq!(std::iter::from_fn(|| whole.step(3)).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(Round::default().begin_again().step(0), None);
}
