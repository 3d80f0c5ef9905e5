"""Ports for brokers of a test's own. Bound here, and listened at by nobody: so Linux gives them to nobody else before those brokers are
there, or while they are down, and lets whoever reuses addresses listen at them."""

import socket

held = []


def free_ports(count):
    """So many, all different, as long as this program runs."""
    for _ in range(count):
        each = socket.socket()
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind(("127.0.0.1", 0))
        held.append(each)
    return [each.getsockname()[1] for each in held[-count:]]
