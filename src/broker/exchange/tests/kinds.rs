//! The kinds of exchanges that choose one of their bindings, and the one that keeps a history.

use super::*;

/// A queue for each name, bound with its key to an exchange of that kind, which is made.
fn spread(router: &mut Router, kind: &str, queues: &[(&'static str, &str)]) -> Vec<QueueId> {
    exchange(router, "x", kind);
    let ids = queues.iter().enumerate().map(|(id, (name, key))| {
        let id = queue(router, name, id as u32);
        bind(router, "x", id, key);
        id
    });
    ids.collect()
}

#[test]
fn a_consistent_hash_takes_the_same_queue_for_the_same_key() {
    let mut router = router();
    spread(&mut router, "x-consistent-hash", &[("a", "1"), ("b", "1"), ("c", "2")]);
    let before: Vec<_> = (0..50).map(|key| route(&mut router, "x", &format!("key-{key}"))).collect();
    assert!(before.iter().all(|queues| queues.len() == 1));
    assert!((0..3).all(|id| before.contains(&vec![id])), "everybody has some");
    // Other bindings of the vhost, and one of the exchange that changes nothing.
    let c = QueueId(2);
    bind(&mut router, "amq.fanout", c, "");
    bind(&mut router, "x", c, "7");
    let after: Vec<_> = (0..50).map(|key| route(&mut router, "x", &format!("key-{key}"))).collect();
    assert_eq!(before, after);
}

#[test]
fn a_consistent_hash_of_a_header_is_asked_for_every_message() {
    let mut router = router();
    let on_header = table(&[("hash-header", text("h"))]);
    router.declare(b"x", b"x-consistent-hash", true, false, &on_header);
    for (name, id) in [("a", 0), ("b", 1)] {
        let id = queue(&mut router, name, id);
        bind(&mut router, "x", id, "1");
    }
    let with = |router: &mut Router, value: &str| route_with(router, "x", "same", table(&[("h", text(value))]));
    let reached: Vec<_> = ["1", "2", "3", "4", "5", "6"].iter().map(|value| with(&mut router, value)).collect();
    assert!(reached.contains(&vec![0]) && reached.contains(&vec![1]));
    let id = router.id(b"x");
    let mut walks = Walks::default();
    assert!(!router.route(&mut walks, id, b"k", PropertiesRef::default, &mut Vec::new()));
    assert_eq!(route(&mut router, "x", "k1"), route(&mut router, "x", "k2"), "those without it go one way");
}

#[test]
fn weights_are_checked_before_anything_is_bound() {
    let mut router = router();
    let q = queue(&mut router, "q", 0);
    exchange(&mut router, "x", "x-consistent-hash");
    let explanation = "The binding key must be greater than 0";
    refused(router.bind_queue(b"x", q, b"0", &none()), ReplyCode::PreconditionFailed, explanation);
    assert!(!router.has_bindings_from(router.id(b"x")));
}

#[test]
fn a_modulus_counts_queues_by_their_names() {
    let mut router = router();
    spread(&mut router, "x-modulus-hash", &[("c", ""), ("a", ""), ("b", "any")]);
    // erlang:phash2([<<"k1">>], 1 bsl 27) rem 3 and so on, of a, b, c in this order.
    let by_name = [1, 2, 0];
    let expected = |key: &[u8]| by_name[(term_hash::TermHash::default().binary(key).nil().finish() % 3) as usize];
    for key in ["k1", "k2", "k3", "k4", "k5", ""] {
        assert_eq!(route(&mut router, "x", key), [expected(key.as_bytes())], "{key}");
    }
    let id = router.id(b"x");
    assert!(router.route(&mut Walks::default(), id, b"k1", PropertiesRef::default, &mut Vec::new()));
    router.queue_removed(QueueId(1));
    assert!((0..20).all(|key| [0, 2].contains(&route(&mut router, "x", &key.to_string())[0])));
}

#[test]
fn a_modulus_of_many_queues_is_the_one_of_a_sorted_list() {
    let mut router = router();
    exchange(&mut router, "x", "x-modulus-hash");
    let mut names: Vec<(String, u32)> =
        (0..1500_u32).map(|id| (format!("q{}", id.wrapping_mul(7919) % 1500), id)).collect();
    for (name, id) in &names {
        router.queue_added(&ShortString::truncated(name.as_bytes()), QueueId(*id), true);
        bind(&mut router, "x", QueueId(*id), "");
    }
    names.sort();
    for round in 0..4 {
        for key in 0..200 {
            let key = format!("key-{key}");
            let hash = term_hash::TermHash::default().binary(key.as_bytes()).nil().finish();
            assert_eq!(route(&mut router, "x", &key), [names[hash as usize % names.len()].1], "{round}");
        }
        let (gone, left) = names.into_iter().partition(|(_, id)| id % 4 == round);
        let gone: Vec<(String, u32)> = gone;
        gone.iter().for_each(|(_, id)| drop(router.queue_removed(QueueId(*id))));
        names = left;
        if names.is_empty() {
            break;
        }
    }
    assert!(route(&mut router, "x", "k").is_empty());
}

#[test]
fn chance_takes_each_queue_and_is_never_known_before() {
    for kind in ["x-random", "x-local-random"] {
        let mut router = router();
        spread(&mut router, kind, &[("a", ""), ("b", ""), ("c", "")]);
        let id = router.id(b"x");
        let choices = |seed: u64| -> Vec<u32> {
            let mut walks = Walks::with_seed(seed);
            let once = |_| {
                let mut out = Vec::new();
                assert!(!router.route(&mut walks, id, b"k", PropertiesRef::default, &mut out), "no route is known");
                assert_eq!(out.len(), 1);
                out[0].0
            };
            (0..3000).map(once).collect()
        };
        assert_eq!(choices(1), choices(1), "the seed says all");
        assert_ne!(choices(1), choices(2));
        for queue in 0..3 {
            let count = choices(3).iter().filter(|&&chosen| chosen == queue).count();
            assert!((900..1100).contains(&count), "{count} of 3000");
        }
    }
}

#[test]
fn a_topic_route_by_chance_is_not_remembered() {
    let mut router = router();
    spread(&mut router, "x-random", &[("a", ""), ("b", "")]);
    router.bind_exchange(b"amq.topic", b"x", b"#", &none());
    let reached: Vec<_> = (0..50).map(|_| route(&mut router, "amq.topic", "k")).collect();
    assert!(reached.contains(&vec![0]) && reached.contains(&vec![1]));
}

#[test]
fn local_random_takes_queues_with_an_empty_key() {
    let mut router = router();
    let q = queue(&mut router, "q", 0);
    exchange(&mut router, "x", "x-local-random");
    let explanation = "Non empty binding 'k' key not permitted";
    refused(router.bind_queue(b"x", q, b"k", &none()), ReplyCode::PreconditionFailed, explanation);
    let (x, fanout) = (router.id(b"x"), Destination::Exchange(router.id(b"amq.fanout")));
    refused(router.bind(x, fanout, b"", &none()), ReplyCode::PreconditionFailed, "Destination not found");
}

/// Every kind by itself, behind an exchange, in front of one, as an alternate and with one.
#[test]
fn the_kinds_that_choose_one_do_it_among_exchanges_too() {
    for (kind, key) in [("x-consistent-hash", "1"), ("x-modulus-hash", ""), ("x-random", ""), ("x-recent-history", "")]
    {
        let mut router = router();
        let (q, other) = (queue(&mut router, "q", 0), queue(&mut router, "other", 1));
        bind(&mut router, "amq.fanout", other, "");
        router.declare(b"x", kind.as_bytes(), true, true, &table(&[("alternate-exchange", text("amq.fanout"))]));
        assert_eq!(route(&mut router, "x", "k"), [1], "{kind}: nothing is bound, so the alternate is asked");
        router.bind_exchange(b"amq.direct", b"x", b"k", &none());
        router.bind_exchange(b"x", b"amq.topic", key.as_bytes(), &none());
        bind(&mut router, "amq.topic", q, "#");
        assert_eq!(route(&mut router, "amq.direct", "k"), [0], "{kind}");
        assert_eq!(route(&mut router, "x", "k"), [0], "{kind}");
        let unbound = router.unbind_exchange(b"x", b"amq.topic", key.as_bytes(), &none());
        assert_eq!(router.fall(unbound.emptied.into_iter().collect()), ["x".into()]);
        assert!(route(&mut router, "amq.direct", "k").is_empty());
    }
}

#[test]
fn those_with_a_history_on_the_way_are_named() {
    let mut router = router();
    let q = queue(&mut router, "q", 0);
    exchange(&mut router, "x", "x-recent-history");
    router.bind_exchange(b"amq.topic", b"x", b"#", &none());
    bind(&mut router, "amq.topic", q, "a");
    let (id, topic, direct) = (router.id(b"x"), router.id(b"amq.topic"), router.id(b"amq.direct"));
    let mut walks = Walks::default();
    for _ in 0..3 {
        assert!(!router.route(&mut walks, topic, b"a", PropertiesRef::default, &mut Vec::new()));
        assert_eq!(walks.historians(), [id]);
        assert!(router.route(&mut walks, direct, b"a", PropertiesRef::default, &mut Vec::new()));
    }
    assert_eq!(router.history_length(id), 20);
    router.remove(id);
    assert_eq!(router.take_lost_histories(), [id]);
    assert!(router.route(&mut walks, topic, b"a", PropertiesRef::default, &mut Vec::new()));
}
