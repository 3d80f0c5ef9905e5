"""The checker has to see what it looks for: each of these histories is a good one with one thing wrong."""

from harness import checks_of, equal, run
from history import DEAD, REJECTED, History, body_of, complaints, confirms_without_majority, definitions_missing, name_of

HOT, COLD = "hot", "cold"


def message(number, queue=HOT, connection=1):
    return name_of("p", connection, queue, number)


def good(queue=HOT):
    """Three messages, confirmed and acknowledged; the second came once before, to a consumer that was lost."""
    history = History()
    for number in range(3):
        history.publish(message(number, queue), 0)
        history.confirm(message(number, queue), 0.0)
    history.deliver(body_of(message(1, queue)), queue, "lost", False)
    for number in range(3):
        delivery = history.deliver(body_of(message(number, queue)), queue, "c", number == 1)
        history.acknowledge(delivery)
    return history


def kinds(history, untouched=()):
    return [complaint.split(":")[0] for complaint in complaints(history, untouched)]


def check_a_good_history_is_good():
    equal(complaints(good()), [])


def check_a_confirmed_message_that_never_came_is_lost():
    history = good()
    del history.deliveries[3]
    equal(kinds(history), ["lost"])


def check_a_confirmed_message_that_was_not_acknowledged_is_lost():
    history = good()
    history.deliveries[-1].acknowledged = False
    equal(kinds(history), ["lost"])


def check_what_was_not_confirmed_may_be_lost():
    history = good()
    del history.confirmed[message(2)]
    del history.deliveries[3]
    equal(complaints(history), [])


def check_what_nobody_published_is_a_phantom():
    history = good()
    history.acknowledge(history.deliver(b"p.1/hot/7 x", HOT, "c", False))
    equal(kinds(history)[0], "phantom")


def check_a_body_that_is_another_is_damage():
    history = History()
    history.publish(message(0), 0)
    history.acknowledge(history.deliver(body_of(message(0)) + b"x", HOT, "c", False))
    equal(kinds(history), ["damaged"])


def check_a_message_of_another_queue_went_astray():
    history = good()
    history.publish(message(9, COLD), 0)
    history.acknowledge(history.deliver(body_of(message(9, COLD)), HOT, "c", False))
    equal(kinds(history), ["damaged"])


def check_two_deliveries_without_a_flag_are_told():
    history = good()
    history.deliveries[2].redelivered = False
    equal(kinds(history), ["flag"])


def check_a_message_that_comes_twice_to_one_consumer_is_told():
    history = good()
    history.acknowledge(history.deliver(body_of(message(2)), HOT, "c", True))
    equal(kinds(history), ["twice"])


def check_order_is_that_of_a_connection():
    history = good()
    first, last = history.deliveries[1], history.deliveries[3]
    history.deliveries[1], history.deliveries[3] = last, first
    equal(kinds(history), ["order"])
    history = good()
    history.publish(message(0, connection=2), 0)
    history.acknowledge(history.deliver(body_of(message(0, connection=2)), HOT, "c", False))
    equal(complaints(history), [])


def check_what_was_rejected_is_acknowledged_where_it_went():
    history = History()
    history.publish(message(0, REJECTED), 0)
    history.confirm(message(0, REJECTED), 0.0)
    history.deliver(body_of(message(0, REJECTED)), REJECTED, "c", False)
    equal(kinds(history), ["lost"])
    history.acknowledge(history.deliver(body_of(message(0, REJECTED)), DEAD, "d", False))
    equal(complaints(history), [])
    history.deliver(body_of(message(0, REJECTED)), DEAD, "e", False)
    equal(kinds(history), ["flag"])


def check_what_was_flagged_has_an_order_in_a_queue_that_nobody_touched():
    history = good(COLD)
    del history.deliveries[0]
    for delivery in history.deliveries:
        delivery.redelivered = True
    history.deliveries.reverse()
    equal(kinds(history), [])
    equal(kinds(history, [COLD]), ["order", "order"])


def check_what_was_acknowledged_for_good_may_not_rise():
    history = good()
    history.settle(COLD)
    history.acknowledge(history.deliver(body_of(message(0)), HOT, "d", True))
    equal(complaints(history), [])
    history.settle(HOT)
    history.acknowledge(history.deliver(body_of(message(0)), HOT, "e", True))
    equal(kinds(history), ["risen"])


def check_definitions_that_were_answered_are_there_and_deleted_ones_are_not():
    wanted = {"a": True, "b": True, "c": False, "d": False, "e": None, "f": None}
    equal(definitions_missing(wanted, {"a", "c", "e"}), ["definition lost: b", "definition risen: c"])


def check_a_confirm_without_a_majority_is_told():
    history = good()
    history.published[message(2)], history.confirmed[message(2)] = 5.0, 6.0
    equal(len(confirms_without_majority(history, 4.0, 7.0)), 1)
    equal(confirms_without_majority(history, 5.5, 7.0), [])
    equal(confirms_without_majority(history, 4.0, 5.5), [])


if __name__ == "__main__":
    run("cluster-checker", "itself", list(checks_of(__import__("__main__"))))
