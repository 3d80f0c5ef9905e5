"""What is done to a cluster. Each fault is a function of the cluster, the node that leads, and chance; it says what follows.

Whatever it did is healed by `Cluster.heal`, but for processes that it started again itself.
"""

import time
from dataclasses import dataclass, field


@dataclass
class Outcome:
    lost_leader: str = None  # the node that led and can't any more: another has to
    alone: bool = False  # most nodes are gone: nothing may be confirmed until they are back
    complaints: list = field(default_factory=list)


def others(cluster, node):
    return [each for each in cluster.nodes if each is not node]


def kill_leader(cluster, leader, chance):
    leader.kill()
    return Outcome(lost_leader=leader.name)


def kill_follower(cluster, leader, chance):
    chance.choice(others(cluster, leader)).kill()
    return Outcome()


def kill_at_once(nodes):
    for node in nodes:
        node.process.kill()
    for node in nodes:
        node.process.wait()
        node.process = None


def kill_two(cluster, leader, chance):
    kill_at_once(chance.sample(cluster.nodes, 2))
    return Outcome(alone=True)


def kill_all(cluster, leader, chance):
    """As when the power goes."""
    kill_at_once(cluster.nodes)
    return Outcome(alone=True)


def kill_leader_again_and_again(cluster, leader, chance):
    """Whoever leads is killed, and comes back at once."""
    for _ in range(3):
        leader = cluster.leader()
        leader.kill()
        time.sleep(chance.uniform(0, 1))
        leader.start()
    return Outcome()


def kill_leader_while_one_catches_up(cluster, leader, chance):
    """Of three that had everything one is left, and one that is empty."""
    wipe_follower(cluster, leader, chance)
    time.sleep(chance.uniform(0, 0.6))
    leader.kill()
    return Outcome()


def wipe_one_while_another_is_gone(cluster, leader, chance):
    gone, wiped = chance.sample(others(cluster, leader), 2)
    gone.kill()
    time.sleep(chance.uniform(0, 0.5))
    wiped.kill()
    wiped.wipe()
    wiped.start()
    return Outcome(alone=True)


def stop_all(cluster, leader, chance):
    """Planned, and all at once: whoever leads finds nobody to hand over to."""
    for node in cluster.nodes:
        node.process.terminate()
    return Outcome(complaints=[each for node in cluster.nodes for each in node.ended()], alone=True)


def pause_leader_and_kill_another(cluster, leader, chance):
    leader.pause()
    time.sleep(chance.uniform(0.3, 1.5))
    chance.choice(others(cluster, leader)).kill()
    time.sleep(chance.uniform(0, 0.5))
    leader.resume()
    return Outcome()


def pauses(cluster, leader, chance):
    """Of any node, around as long as an election."""
    for _ in range(4):
        node = chance.choice(cluster.nodes)
        node.pause()
        time.sleep(chance.uniform(0.3, 1.1))
        node.resume()
    return Outcome()


def pause_leader(cluster, leader, chance):
    leader.pause()
    return Outcome(lost_leader=leader.name)


def pause_follower(cluster, leader, chance):
    chance.choice(others(cluster, leader)).pause()
    return Outcome()


def stop_leader(cluster, leader, chance):
    return Outcome(lost_leader=leader.name, complaints=leader.stop())


def rolling_restart(cluster, leader, chance):
    said = []
    for node in chance.sample(cluster.nodes, len(cluster.nodes)):
        said += node.stop()
        node.start()
        cluster.agree()
    return Outcome(complaints=said)


def wipe_follower(cluster, leader, chance):
    node = chance.choice(others(cluster, leader))
    node.kill()
    node.wipe()
    node.start()
    return Outcome()


def wipe_leader(cluster, leader, chance):
    leader.kill()
    leader.wipe()
    leader.start()
    return Outcome(lost_leader=leader.name)


def cut_off_leader(cluster, leader, chance):
    for node in others(cluster, leader):
        cluster.network.cut(leader.name, node.name)
        cluster.network.cut(node.name, leader.name)
    return Outcome(lost_leader=leader.name)


def cut_off_follower(cluster, leader, chance):
    follower = chance.choice(others(cluster, leader))
    for node in others(cluster, follower):
        cluster.network.cut(follower.name, node.name)
        cluster.network.cut(node.name, follower.name)
    return Outcome()


def leader_is_not_heard(cluster, leader, chance):
    for node in others(cluster, leader):
        cluster.network.cut(leader.name, node.name)
    return Outcome(lost_leader=leader.name)


def leader_does_not_hear(cluster, leader, chance):
    for node in others(cluster, leader):
        cluster.network.cut(node.name, leader.name)
    return Outcome(lost_leader=leader.name)


def one_way_between_two(cluster, leader, chance):
    sender, receiver = chance.sample(cluster.nodes, 2)
    cluster.network.cut(sender.name, receiver.name)
    return Outcome()


def cut_between_leader_and_one(cluster, leader, chance):
    node = chance.choice(others(cluster, leader))
    cluster.network.cut(leader.name, node.name)
    cluster.network.cut(node.name, leader.name)
    return Outcome()


def cuts_that_come_and_go(cluster, leader, chance):
    for _ in range(6):
        for _ in range(chance.randrange(1, 4)):
            cluster.network.cut(*chance.sample([node.name for node in cluster.nodes], 2))
        time.sleep(chance.uniform(0.1, 0.9))
        cluster.network.mend()
    return Outcome()


def pairs(cluster):
    return [(one.name, other.name) for place, one in enumerate(cluster.nodes) for other in cluster.nodes[place + 1 :]]


def nodes_are_far_apart(cluster, leader, chance):
    """Each way takes 5 to 50 ms, and up to half as much again: towns, or countries."""
    delay_ms = chance.uniform(5, 50)
    cluster.network.worsen(pairs(cluster), chance, (delay_ms, delay_ms * 1.5), 0)
    return Outcome()


def lines_lose_packets(cluster, leader, chance):
    """Up to one packet in seven: then TCP is silent for longer than an election takes now and then."""
    cluster.network.worsen(pairs(cluster), chance, (0, chance.uniform(0, 20)), chance.uniform(1, 15))
    return Outcome()


def one_node_has_a_bad_line(cluster, leader, chance):
    """Far away, and what it sends and is sent gets lost: now one that follows, now one that leads."""
    node = chance.choice(cluster.nodes)
    of_it = [(node.name, other.name) for other in others(cluster, node)]
    cluster.network.worsen(of_it, chance, (5, 100), chance.uniform(1, 30))
    return Outcome()


def leader_is_killed_behind_bad_lines(cluster, leader, chance):
    """The others have to elect over them. How long that takes depends on the lines, so it is not measured."""
    cluster.network.worsen(pairs(cluster), chance, (5, 50), chance.uniform(0, 5))
    time.sleep(chance.uniform(0.2, 0.6))
    leader.kill()
    return Outcome()


def fill_disk_of_leader(cluster, leader, chance):
    leader.fill_disk()
    return Outcome()


def fill_disk_of_follower(cluster, leader, chance):
    chance.choice(others(cluster, leader)).fill_disk()
    return Outcome()


def fill_disks_of_all(cluster, leader, chance):
    for node in cluster.nodes:
        node.fill_disk()
    return Outcome()


ANYWHERE = [
    kill_leader,
    kill_follower,
    kill_two,
    kill_all,
    kill_leader_again_and_again,
    kill_leader_while_one_catches_up,
    wipe_one_while_another_is_gone,
    stop_all,
    pause_leader_and_kill_another,
    pauses,
    pause_leader,
    pause_follower,
    stop_leader,
    rolling_restart,
    wipe_follower,
    wipe_leader,
]
IN_NAMESPACES = [
    cut_off_leader,
    cut_off_follower,
    leader_is_not_heard,
    leader_does_not_hear,
    one_way_between_two,
    cut_between_leader_and_one,
    cuts_that_come_and_go,
    nodes_are_far_apart,
    lines_lose_packets,
    one_node_has_a_bad_line,
    leader_is_killed_behind_bad_lines,
    fill_disks_of_all,
    fill_disk_of_leader,
    fill_disk_of_follower,
]
NEED_BULK = MAY_END_A_NODE = {fill_disk_of_leader, fill_disk_of_follower, fill_disks_of_all}
